-- unpackaged.sql: takes a PgQ 3 that was installed by plain SQL files into the
-- extension, as version "unpackaged"; the upgrade from there goes on.

DO $$
DECLARE
	member record;
BEGIN
	-- PgQ 2 has no such function.
	IF pg_catalog.to_regprocedure('pgq.maint_operations()') IS NULL THEN
		RAISE EXCEPTION 'there is no PgQ 3 in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'For a new installation: CREATE EXTENSION pgq.';
	END IF;

	-- Who owns one of its objects could let us, and whoever uses PgQ, run
	-- what he likes.
	SELECT pg_catalog.pg_describe_object(o.class, o.oid, 0) AS object,
		   r.rolname AS owner
	INTO member
	FROM (SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass AS class,
				 n.oid, n.nspowner AS owner, n.oid AS schema
		  FROM pg_catalog.pg_namespace n
		  UNION ALL
		  SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid,
				 c.relowner, c.relnamespace
		  FROM pg_catalog.pg_class c
		  UNION ALL
		  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid,
				 p.proowner, p.pronamespace
		  FROM pg_catalog.pg_proc p) o
		 JOIN pg_catalog.pg_roles r ON r.oid = o.owner
	WHERE o.schema = 'pgq'::pg_catalog.regnamespace AND NOT r.rolsuper
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% belongs to role "%", who is no superuser',
				member.object, member.owner
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Look at what is in schema pgq, then give the schema and all of it to a superuser.';
	END IF;

	ALTER EXTENSION pgq ADD SCHEMA pgq;
	FOR member IN
		SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS type,
			   c.oid::pg_catalog.regclass::text AS name
		FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'pgq'::pg_catalog.regnamespace
		  AND c.relname IN ('consumer', 'consumer_co_id_seq', 'queue',
				'queue_queue_id_seq', 'tick', 'batch_id_seq', 'subscription',
				'subscription_sub_id_seq', 'event_template', 'retry_queue')
		UNION ALL
		SELECT 'FUNCTION', p.oid::pg_catalog.regprocedure::text
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = 'pgq'::pg_catalog.regnamespace
		  AND p.proname IN ('_grant_perms_from', 'batch_event_sql',
				'batch_event_tables', 'batch_retry', 'create_queue',
				'current_event_table', 'drop_queue', 'event_retry',
				'event_retry_raw', 'find_tick_helper', 'finish_batch',
				'force_tick', 'get_batch_cursor', 'get_batch_events',
				'get_batch_info', 'get_consumer_info', 'get_queue_info',
				'grant_perms', 'insert_event', 'insert_event_raw', 'jsontriga',
				'logutriga', 'maint_operations', 'maint_retry_events',
				'maint_rotate_tables_step1', 'maint_rotate_tables_step2',
				'maint_tables_to_vacuum', 'next_batch', 'next_batch_custom',
				'next_batch_info', 'quote_fqname', 'register_consumer',
				'register_consumer_at', 'seq_getval', 'seq_setval',
				'set_queue_config', 'sqltriga', 'ticker', 'tune_storage',
				'unregister_consumer', 'upgrade_schema', 'version')
	LOOP
		EXECUTE pg_catalog.format('ALTER EXTENSION pgq ADD %s %s',
								  member.type, member.name);
	END LOOP;
END;
$$;
