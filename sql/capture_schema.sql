-- capture_schema.sql: capture all tables of a schema, those made later too.
--
-- A rule in pgq.capture_schema is what capture_schema was told; every table
-- has a mark of its own, set when the rule is made or when the table is.

CREATE OR REPLACE FUNCTION pgq._capture_schema_set(
	i_queue text, i_schema name, i_args text[])
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_set' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_set(text, name, text[]) IS
	'Notes that tables of a schema are to be captured; a part of capture_schema.';

CREATE OR REPLACE FUNCTION pgq._capture_schema_unset(i_queue text, i_schema name)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_unset' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_unset(text, name) IS
	'Forgets that tables of a schema are to be captured; a part of uncapture_schema.';


CREATE OR REPLACE FUNCTION pgq._is_move(i_command pg_ddl_command)
RETURNS bool AS 'MODULE_PATHNAME', 'pgq__is_move' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._is_move(pg_ddl_command) IS
	'Tells whether a command moved something to another schema.';

CREATE OR REPLACE FUNCTION pgq._capture_by_rule(
	i_queue text, i_table regclass, i_args text[])
RETURNS void AS 'MODULE_PATHNAME', 'pgq__capture_by_rule' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_by_rule(text, regclass, text[]) IS
	'Captures a table that has come into a captured schema; a part of its event trigger.';


-- The tables that a rule is about. Partitions belong to their parent, and what
-- is not logged has no changes in the WAL.
CREATE OR REPLACE FUNCTION pgq._capture_schema_tables(i_schema name)
RETURNS SETOF regclass AS $$
	SELECT c.oid::regclass
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = i_schema AND c.relkind IN ('r', 'p')
	  AND c.relpersistence = 'p' AND NOT c.relispartition
	ORDER BY c.oid
$$ LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._capture_schema_tables(name) IS
	'Lists the tables of a schema that capture_schema is about.';


CREATE OR REPLACE FUNCTION pgq.capture_schema(
	i_queue text, i_schema name, VARIADIC i_args text[] DEFAULT '{}')
RETURNS int4 AS $$
DECLARE
	old_args text[];
	is_new int4;
	tab regclass;
	tab_args text[];
	-- Tables that are made later have no rows to copy.
	rule_args text[] := array_remove(i_args, 'copy');
BEGIN
	IF i_queue IS NULL OR i_schema IS NULL OR i_args IS NULL THEN
		RAISE EXCEPTION 'arguments of pgq.capture_schema() must not be null'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the names of the queue and of the schema.';
	END IF;
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	is_new := pgq._capture_schema_set(i_queue, i_schema, rule_args);

	FOR tab IN SELECT pgq._capture_schema_tables(i_schema) LOOP
		SELECT i.arguments INTO tab_args FROM pgq.get_capture_info(i_queue) i
		WHERE i.table_name = tab::text;
		-- Tables with arguments of their own keep them.
		IF NOT FOUND OR tab_args = old_args THEN
			PERFORM pgq.capture_table(i_queue, tab, VARIADIC i_args);
		END IF;
	END LOOP;
	RETURN is_new;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_schema(text, name, text[]) IS
	'Captures all tables of a schema into a queue, those made later too; returns 1 when that is new.';


CREATE OR REPLACE FUNCTION pgq.uncapture_schema(i_queue text, i_schema name)
RETURNS int4 AS $$
DECLARE
	old_args text[];
	gone int4;
	tab regclass;
BEGIN
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	gone := pgq._capture_schema_unset(i_queue, i_schema);

	FOR tab IN
		SELECT t.tab FROM pgq._capture_schema_tables(i_schema) t(tab)
			 JOIN pgq.get_capture_info(i_queue) i ON i.table_name = t.tab::text
		WHERE i.arguments = old_args
	LOOP
		PERFORM pgq.uncapture_table(i_queue, tab);
	END LOOP;
	RETURN coalesce(gone, 0);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.uncapture_schema(text, name) IS
	'Ends the capture of a schema''s tables, but for those with arguments of their own; returns 1, or 0 when there was none.';


-- Tables that are made in a captured schema, or moved there, get their marks;
-- what could not be captured is refused here.
CREATE OR REPLACE FUNCTION pgq._capture_new_tables()
RETURNS event_trigger AS $$
DECLARE
	c record;
	r record;
	problem text;
BEGIN
	FOR c IN
		SELECT d.objid, d.object_identity, d.command_tag, n.nspname,
			   k.relowner::regrole AS owner
		FROM pg_event_trigger_ddl_commands() d
			 JOIN pg_class k ON k.oid = d.objid
			 JOIN pg_namespace n ON n.oid = k.relnamespace
		WHERE d.classid = 'pg_class'::regclass
		  AND k.relkind IN ('r', 'p') AND k.relpersistence = 'p'
		  AND NOT k.relispartition AND n.nspname <> 'pgq'
		  AND (d.command_tag <> 'ALTER TABLE' OR pgq._is_move(d.command))
	LOOP
		-- A rule that is being made must be waited for.
		LOCK TABLE pgq.capture_schema IN ROW EXCLUSIVE MODE;
		FOR r IN
			SELECT s.cps_queue, s.cps_args FROM pgq.capture_schema s
			WHERE s.cps_schema = c.nspname
			  AND NOT EXISTS (SELECT FROM pgq.capture m
							  WHERE m.cap_relid = c.objid
								AND m.cap_queue = s.cps_queue)
		LOOP
			IF c.command_tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
				RAISE EXCEPTION 'table % of a captured schema can''t be made and filled at once',
						c.object_identity
					USING ERRCODE = 'feature_not_supported',
						DETAIL = 'Its first rows would be missing in the queue.',
						HINT = 'Use CREATE TABLE, then INSERT ... SELECT.';
			END IF;
			IF NOT pg_has_role(c.owner, 'pgq_writer', 'USAGE') THEN
				RAISE EXCEPTION 'table % of a captured schema needs an owner who may write to queues',
						c.object_identity
					USING ERRCODE = 'insufficient_privilege',
						HINT = format('Run "GRANT pgq_writer TO %s", or call pgq.uncapture_schema().', c.owner);
			END IF;
			problem := pgq._capture_problem(c.objid::regclass, r.cps_args);
			IF problem IS NOT NULL THEN
				RAISE EXCEPTION 'table % of a captured schema can''t be captured',
						c.object_identity
					USING ERRCODE = 'object_not_in_prerequisite_state',
						DETAIL = problem,
						HINT = CASE c.command_tag WHEN 'ALTER TABLE'
							THEN 'Give the table a primary key before it is moved.'
							ELSE 'Give the table a primary key when it is made, or make it elsewhere.' END;
			END IF;
			PERFORM pgq._capture_by_rule(r.cps_queue, c.objid::regclass, r.cps_args);
		END LOOP;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._capture_new_tables() IS
	'Event trigger function: captures tables that are made in captured schemas or moved there.';


-- Rules follow their schema. Of all schemas that rules name, only one that has
-- just been renamed can be missing.
CREATE OR REPLACE FUNCTION pgq._capture_schema_renamed()
RETURNS event_trigger AS $$
BEGIN
	UPDATE pgq.capture_schema r SET cps_schema = n.nspname
	FROM pg_event_trigger_ddl_commands() d
		 JOIN pg_namespace n ON n.oid = d.objid
	WHERE d.classid = 'pg_namespace'::regclass
	  AND NOT EXISTS (SELECT FROM pg_namespace o WHERE o.nspname = r.cps_schema);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._capture_schema_renamed() IS
	'Event trigger function: keeps rules of captured schemas with their schema.';

CREATE OR REPLACE FUNCTION pgq._capture_schema_dropped()
RETURNS event_trigger AS $$
BEGIN
	DELETE FROM pgq.capture_schema r
	USING pg_event_trigger_dropped_objects() d
	WHERE d.object_type = 'schema' AND d.object_name = r.cps_schema;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._capture_schema_dropped() IS
	'Event trigger function: ends the rules of dropped schemas.';

-- The name makes it run after pgq_capture_ddl.
CREATE EVENT TRIGGER pgq_capture_new ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO',
				 'CREATE SCHEMA', 'ALTER TABLE')
	EXECUTE FUNCTION pgq._capture_new_tables();
ALTER EVENT TRIGGER pgq_capture_new ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_new IS
	'Captures tables that are made in captured schemas or moved there.';

CREATE EVENT TRIGGER pgq_capture_rename ON ddl_command_end
	WHEN TAG IN ('ALTER SCHEMA')
	EXECUTE FUNCTION pgq._capture_schema_renamed();
ALTER EVENT TRIGGER pgq_capture_rename ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_rename IS
	'Keeps rules of captured schemas with their schema.';

CREATE EVENT TRIGGER pgq_capture_schema_drop ON sql_drop
	WHEN TAG IN ('DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION')
	EXECUTE FUNCTION pgq._capture_schema_dropped();
ALTER EVENT TRIGGER pgq_capture_schema_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_schema_drop IS
	'Ends the rules of dropped schemas.';
