-- schema_change.sql: commands that change the database's schema, as events among
-- the changes of its tables, in the order of the WAL.
--
-- Whoever runs such a command is never refused for it: what can be in no event
-- is a warning. While no queue wants them, the event triggers are off.

CREATE OR REPLACE FUNCTION pgq.capture_ddl(i_queue text, i_on bool DEFAULT true)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	-- one at a time, also for the event triggers
	LOCK TABLE pgq.capture_ddl IN SHARE ROW EXCLUSIVE MODE;
	PERFORM pgq._lock_queue(i_queue);
	IF i_on THEN
		INSERT INTO pgq.capture_ddl (cdl_queue)
		SELECT i_queue
		WHERE NOT EXISTS (SELECT FROM pgq.capture_ddl
						  WHERE cdl_queue = i_queue);
	ELSE
		DELETE FROM pgq.capture_ddl WHERE cdl_queue = i_queue;
	END IF;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_ddl(text, bool) IS
	'Puts an event of type pgq.ddl into a queue for each object whose definition changes; returns 1 when that is new.';


CREATE OR REPLACE FUNCTION pgq._table_columns(i_table oid)
RETURNS jsonb AS $$
	SELECT jsonb_agg(jsonb_build_object(
			'name', a.attname,
			'type', format_type(a.atttypid, a.atttypmod),
			'not_null', a.attnotnull,
			'key', coalesce(a.attnum = ANY (x.indkey), false))
		ORDER BY a.attnum)
	FROM pg_attribute a
		 LEFT JOIN pg_index x ON x.indrelid = a.attrelid AND x.indisprimary
	WHERE a.attrelid = i_table AND a.attnum > 0 AND NOT a.attisdropped
$$ LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._table_columns(oid) IS
	'The columns of a table, as events of type pgq.ddl list them.';


CREATE OR REPLACE FUNCTION pgq._emit_schema_change(i_change jsonb)
RETURNS void AS $$
	SELECT pgq.emit_event(cdl_queue, 'pgq.ddl', i_change::text,
						  i_change ->> 'identity', i_change ->> 'command')
	FROM pgq.capture_ddl ORDER BY cdl_queue
$$ LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._emit_schema_change(jsonb) IS
	'Emits a change of the schema to the queues of capture_ddl.';


-- Temporary objects, those of PgQ and of extensions concern no consumer; what
-- changes no definition neither.
CREATE OR REPLACE FUNCTION pgq._emit_ddl()
RETURNS event_trigger AS $$
BEGIN
	PERFORM pgq._emit_schema_change(jsonb_strip_nulls(jsonb_build_object(
			'command', c.command_tag, 'object_type', c.object_type,
			'schema', c.schema_name, 'identity', c.object_identity,
			'role', session_user,
			'columns', CASE WHEN c.classid = 'pg_class'::regclass
							THEN pgq._table_columns(t.oid) END)))
	FROM pg_event_trigger_ddl_commands() WITH ORDINALITY
			AS c (classid, objid, objsubid, command_tag, object_type,
				  schema_name, object_identity, in_extension, command, n)
		 LEFT JOIN pg_class t
			ON t.oid = c.objid AND t.relkind IN ('r', 'p', 'v', 'm', 'f')
	WHERE c.objid IS NOT NULL AND NOT c.in_extension
	  AND c.command_tag NOT IN ('COMMENT', 'SECURITY LABEL',
								'REFRESH MATERIALIZED VIEW')
	  AND (c.schema_name IN ('pgq', 'pg_temp')) IS NOT TRUE
	ORDER BY c.n;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'this change of the schema is in no event: %', SQLERRM;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._emit_ddl() IS
	'Emits what a command has made or altered.';


CREATE OR REPLACE FUNCTION pgq._emit_drop()
RETURNS event_trigger AS $$
BEGIN
	PERFORM pgq._emit_schema_change(jsonb_strip_nulls(jsonb_build_object(
			'command', tg_tag, 'object_type', d.object_type,
			'schema', d.schema_name, 'identity', d.object_identity,
			'role', session_user, 'dropped', true)))
	FROM pg_event_trigger_dropped_objects() WITH ORDINALITY
			AS d (classid, objid, objsubid, original, normal, is_temporary,
				  object_type, schema_name, object_name, object_identity,
				  address_names, address_args, n)
	-- the rule of a view goes with it, which not all servers say
	WHERE (d.original OR d.normal) AND NOT d.is_temporary
	  AND d.object_type <> 'rule'
	  AND (d.schema_name IN ('pgq', 'pg_temp')) IS NOT TRUE
	ORDER BY d.n;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'this change of the schema is in no event: %', SQLERRM;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._emit_drop() IS
	'Emits what a command has dropped.';


-- Event triggers belong to superusers, which the owner of PgQ may be no more.
CREATE OR REPLACE FUNCTION pgq._switch_ddl()
RETURNS trigger AS $$
DECLARE
	wanted bool := EXISTS (SELECT FROM pgq.capture_ddl);
BEGIN
	IF NOT EXISTS (SELECT FROM pg_event_trigger
				   WHERE evtname IN ('pgq_emit_ddl', 'pgq_emit_drop')
					 AND (evtenabled <> 'D') <> wanted) THEN
		RETURN NULL;
	ELSIF wanted THEN
		ALTER EVENT TRIGGER pgq_emit_ddl ENABLE ALWAYS;
		ALTER EVENT TRIGGER pgq_emit_drop ENABLE ALWAYS;
	ELSE
		ALTER EVENT TRIGGER pgq_emit_ddl DISABLE;
		ALTER EVENT TRIGGER pgq_emit_drop DISABLE;
	END IF;
	RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
	RAISE EXCEPTION 'event triggers of PgQ can not be switched: %', SQLERRM
		USING ERRCODE = 'insufficient_privilege',
			HINT = 'They belong to superusers alone: give the functions of PgQ to one, too.';
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._switch_ddl() IS
	'Switches the event triggers of capture_ddl on while a queue wants them.';


CREATE EVENT TRIGGER pgq_emit_ddl ON ddl_command_end
	EXECUTE FUNCTION pgq._emit_ddl();
ALTER EVENT TRIGGER pgq_emit_ddl DISABLE;
COMMENT ON EVENT TRIGGER pgq_emit_ddl IS
	'Puts changes of the schema into the queues of capture_ddl.';

CREATE EVENT TRIGGER pgq_emit_drop ON sql_drop
	EXECUTE FUNCTION pgq._emit_drop();
ALTER EVENT TRIGGER pgq_emit_drop DISABLE;
COMMENT ON EVENT TRIGGER pgq_emit_drop IS
	'Puts what was dropped into the queues of capture_ddl.';

-- also when a dump's rows come back
CREATE OR REPLACE TRIGGER switch_ddl AFTER INSERT OR DELETE OR TRUNCATE ON pgq.capture_ddl
	FOR EACH STATEMENT EXECUTE FUNCTION pgq._switch_ddl();
