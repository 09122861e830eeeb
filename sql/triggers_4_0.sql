-- triggers_4_0.sql: what of PgQ 4.0 needs functions and is made once: triggers, and
-- the first secret. Frozen, as tables_4_0.sql is.

SELECT pgq._new_secret();

-- In place of foreign keys, see tables_4_0.sql.
CREATE OR REPLACE TRIGGER forget_bookmark AFTER DELETE ON pgq.subscription
	FOR EACH ROW EXECUTE FUNCTION pgq._forget_bookmark();

CREATE OR REPLACE TRIGGER forget_relay AFTER DELETE ON pgq.subscription
	FOR EACH ROW EXECUTE FUNCTION pgq._forget_relay();

-- ALTER INDEX renames tables, too, and ALTER VIEW their columns; CREATE may add
-- a partition, or a table to a captured schema.
CREATE EVENT TRIGGER pgq_capture_ddl ON ddl_command_end
	WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER INDEX',
				 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER TYPE',
				 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS',
				 'SELECT INTO', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA')
	EXECUTE FUNCTION pgq._capture_ddl();
ALTER EVENT TRIGGER pgq_capture_ddl ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_ddl IS
	'Keeps captured tables fit for their capture, and captures what comes into captured schemas.';

CREATE EVENT TRIGGER pgq_capture_drop ON sql_drop
	EXECUTE FUNCTION pgq._capture_drop();
ALTER EVENT TRIGGER pgq_capture_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_drop IS
	'Ends the captures of dropped tables and schemas.';

CREATE EVENT TRIGGER pgq_capture_drop_index ON ddl_command_start
	WHEN TAG IN ('DROP INDEX')
	EXECUTE FUNCTION pgq._capture_drop_index();
ALTER EVENT TRIGGER pgq_capture_drop_index ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_drop_index IS
	'Keeps the replica identity of captured tables.';
