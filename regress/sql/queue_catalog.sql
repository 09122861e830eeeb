-- The catalogue that clients rely on: tables, constraints, signatures, grants.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;

-- columns
SELECT c.relname AS "table", a.attnum AS n, a.attname AS "column",
	format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS "not null",
	pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'pgq'::regnamespace AND c.relname IN ('consumer', 'queue',
	'tick', 'subscription', 'event_template', 'retry_queue', 'capture',
	'event_table', 'slot', 'position', 'dead_event', 'delayed_event',
	'once_key', 'share', 'share_worker', 'postponed_event')
ORDER BY c.relname COLLATE "C", a.attnum;

-- constraints, indexes and sequences
SELECT conrelid::regclass AS "table", conname, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE connamespace = 'pgq'::regnamespace AND contype IN ('p', 'u', 'f')
	AND conrelid::regclass::text !~ 'event_[0-9]'
ORDER BY conrelid::regclass::text COLLATE "C", conname COLLATE "C";
SELECT conrelid::regclass AS "table", conname FROM pg_constraint
WHERE connamespace = 'pgq'::regnamespace AND contype = 'c'
ORDER BY conname COLLATE "C";
SELECT indexdef FROM pg_indexes
WHERE schemaname = 'pgq' AND indexname = 'rq_retry_idx';
SELECT c.relname, s.seqtypid::regtype, s.seqstart, s.seqcache
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
WHERE c.relnamespace = 'pgq'::regnamespace AND c.relname !~ '^event_[0-9]'
ORDER BY c.relname COLLATE "C";

-- what the plugin reads has no value outside of its row: the historic
-- snapshot does not reach there
SELECT c.relname, c.reloptions, a.attname, a.attstorage
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid IN ('pgq.capture'::regclass, 'pgq.event_table'::regclass)
ORDER BY c.relname COLLATE "C", a.attnum;

-- what pg_dump saves
SELECT c.relname, nullif(cond, '') AS filter
FROM pg_extension, unnest(extconfig, extcondition) AS x(rel, cond)
	JOIN pg_class c ON c.oid = rel
WHERE extname = 'pgq' ORDER BY c.relname COLLATE "C";

-- functions of PgQ 3.5, and those of maintenance, dead and delayed events
CREATE TEMP VIEW api AS
SELECT p.*, p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS signature
FROM pg_proc p
WHERE p.pronamespace = 'pgq'::regnamespace AND p.proname IN ('create_queue',
	'drop_queue', 'set_queue_config', 'grant_perms', '_grant_perms_from',
	'tune_storage', 'upgrade_schema', 'insert_event', 'insert_event_raw',
	'current_event_table', 'register_consumer', 'register_consumer_at',
	'unregister_consumer', 'seek_consumer', 'next_batch', 'next_batch_info', 'next_batch_custom',
	'find_tick_helper', 'get_batch_events', 'get_batch_cursor', 'get_batch_info',
	'finish_batch', 'batch_event_sql', 'batch_event_tables', 'event_retry',
	'batch_retry', 'event_retry_raw', 'maint_retry_events', 'ticker',
	'force_tick', 'maint_rotate_tables_step1', 'maint_rotate_tables_step2',
	'maint_tables_to_vacuum', 'maint_operations', 'maint_positions',
	'get_queue_info', 'get_consumer_info', 'version', 'seq_getval',
	'seq_setval', 'quote_fqname', 'event_dead', 'event_failed', 'event_postpone', 'get_dead_events',
	'requeue_dead_event', 'purge_dead_events', 'insert_event_at',
	'insert_events', 'insert_event_once', 'maint_once_keys', 'next_share', 'get_share_events',
	'renew_share', 'finish_share', 'event_share', 'maint_shares');
\a
SELECT signature, pg_get_function_result(oid) AS result, proisstrict AS strict,
	provolatile AS vol, proparallel AS par,
	(SELECT string_agg(CASE WHEN a.grantee = 0 THEN 'PUBLIC'
			ELSE pg_get_userbyid(a.grantee)::text END, ' '
			ORDER BY a.grantee = 0, pg_get_userbyid(a.grantee)::text COLLATE "C")
		FROM aclexplode(proacl) a WHERE a.grantee <> proowner) AS granted_to
FROM api ORDER BY signature COLLATE "C";
\a

-- what everybody may call
SELECT p.proname, count(*) FROM pg_proc p
WHERE p.pronamespace = 'pgq'::regnamespace
	AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))
GROUP BY p.proname ORDER BY p.proname COLLATE "C";
-- each function says what it is for
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'pgq'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;

-- grants on the schema, tables and sequences
SELECT c.relname, CASE WHEN a.grantee = 0 THEN 'PUBLIC'
		ELSE pg_get_userbyid(a.grantee)::text END AS granted_to,
	string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type) AS rights
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'pgq'::regnamespace AND a.grantee <> c.relowner
	AND c.relname !~ '^event_[0-9]'
GROUP BY c.relname, a.grantee
ORDER BY c.relname COLLATE "C", a.grantee = 0,
	pg_get_userbyid(a.grantee)::text COLLATE "C";
SELECT a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname = 'pgq' AND a.grantee = 0;
