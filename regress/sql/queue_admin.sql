-- Queues are created with everything they need, configured, and dropped whole.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('queue_admin');
SELECT pgq.create_queue('queue_admin');
SELECT pgq.create_queue(NULL);

-- ids differ from run to run: N stands for the queue's
CREATE TEMP TABLE q AS
SELECT queue_id FROM pgq.queue WHERE queue_name = 'queue_admin';
CREATE FUNCTION pg_temp.n(t text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(t, 'event_' || queue_id || '(?![0-9])', 'event_N', 'g')
	FROM q $$;

\x on
SELECT queue_ntables, queue_cur_table, queue_rotation_period,
	queue_switch_step1 = queue_switch_step2 AS steps_equal,
	queue_switch_time <= now() AS switch_time_ok, queue_external_ticker,
	queue_disable_insert, queue_ticker_paused, queue_ticker_max_count,
	queue_ticker_max_lag, queue_ticker_idle_period, queue_per_tx_limit,
	pg_temp.n(queue_data_pfx) AS pfx, pg_temp.n(queue_event_seq) AS event_seq,
	pg_temp.n(queue_tick_seq) AS tick_seq, queue_extra_maint
FROM pgq.queue WHERE queue_name = 'queue_admin';
\x off
SELECT tick_id, tick_event_seq, tick_time <= now() AS time_ok
FROM pgq.tick JOIN q ON tick_queue = queue_id;

-- tables, their parents, options and defaults
SELECT pg_temp.n(c.relname) AS name, c.relkind, c.relpersistence AS persistence,
	(SELECT pg_temp.n(string_agg(inhparent::regclass::text, ','))
	 FROM pg_inherits WHERE inhrelid = c.oid) AS parent,
	c.reloptions, t.reloptions AS toast_options,
	pg_temp.n(pg_get_expr(d.adbin, d.adrelid)) AS ev_id_default
FROM pg_class c
	LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
	LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = 1 AND c.relkind = 'r',
	q
WHERE c.relnamespace = 'pgq'::regnamespace
	AND c.relname ~ ('^event_' || queue_id || '(_|$)')
ORDER BY c.relname COLLATE "C";
SELECT pg_temp.n(indexdef) FROM pg_indexes, q
WHERE schemaname = 'pgq' AND tablename ~ ('^event_' || queue_id || '(_|$)')
ORDER BY indexname COLLATE "C";
SELECT pg_temp.n(evt_relid::text), evt_queue
FROM pgq.event_table WHERE evt_queue = 'queue_admin' ORDER BY 1;
SELECT seqstart, seqmin, seqcache, seqtypid::regtype, seqcycle
FROM pg_sequence, q WHERE seqrelid IN (
	('pgq.event_' || queue_id || '_id_seq')::regclass,
	('pgq.event_' || queue_id || '_tick_seq')::regclass);
-- none of them belongs to the extension
SELECT count(*) FROM pg_depend d, q
WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass
	AND d.objid::regclass::text ~ ('^pgq\.event_' || queue_id || '(_|$)');
-- the rights that PgQ's roles have on them
CREATE FUNCTION pg_temp.rights() RETURNS TABLE (name text, rights text)
LANGUAGE sql AS $$
	SELECT pg_temp.n(c.relname), string_agg(
			CASE WHEN a.grantee = 0 THEN 'PUBLIC'
				ELSE pg_get_userbyid(a.grantee)::text END
			|| ':' || a.privilege_type, ' '
			ORDER BY a.grantee <> 0, pg_get_userbyid(a.grantee), a.privilege_type)
	FROM pg_class c, aclexplode(c.relacl) a, q
	WHERE c.relnamespace = 'pgq'::regnamespace AND a.grantee <> c.relowner
		AND c.relname ~ ('^event_' || queue_id || '(_|$)')
	GROUP BY c.relname ORDER BY c.relname COLLATE "C" $$;
SELECT * FROM pg_temp.rights();

-- grant_perms and tune_storage bring back what was taken away
DO $$
DECLARE id int4 := (SELECT queue_id FROM q);
BEGIN
	EXECUTE format('REVOKE ALL ON pgq.event_%s_0 FROM pgq_reader, pgq_admin', id);
	EXECUTE format('REVOKE ALL ON SEQUENCE pgq.event_%s_id_seq FROM PUBLIC, pgq_admin', id);
	EXECUTE format('ALTER TABLE pgq.event_%s_0 RESET (fillfactor)', id);
END $$;
SELECT * FROM pg_temp.rights() WHERE name IN ('event_N_0', 'event_N_id_seq');
SELECT pgq.grant_perms('queue_admin');
SELECT * FROM pg_temp.rights() WHERE name IN ('event_N_0', 'event_N_id_seq');
SELECT pgq.grant_perms('queue_admin_none');
SELECT pgq.tune_storage('queue_admin'), pgq.tune_storage('queue_admin_none'),
	pgq.tune_storage(NULL);
SELECT count(*) FROM pg_class, q
WHERE oid = ('pgq.event_' || queue_id || '_0')::regclass
	AND 'fillfactor=100' = ANY (reloptions);
SELECT pgq._grant_perms_from('pgq', 'event_template', NULL, 'x');

-- settings
SELECT pgq.set_queue_config('queue_admin', p, v)
FROM (VALUES ('ticker_max_count', '7'), ('ticker_max_lag', '8 seconds'),
	('ticker_idle_period', '9 minutes'), ('ticker_paused', 'true'),
	('rotation_period', '-1 hour'), ('external_ticker', 'on')) AS s(p, v);
SELECT queue_ticker_max_count, queue_ticker_max_lag, queue_ticker_idle_period,
	queue_ticker_paused, queue_rotation_period, queue_external_ticker
FROM pgq.queue WHERE queue_name = 'queue_admin';
SELECT pgq.set_queue_config(NULL, 'ticker_paused', 'true');
SELECT pgq.set_queue_config('queue_admin', NULL, 'true');
SELECT pgq.set_queue_config('queue_admin_none', 'foo', '1');
SELECT pgq.set_queue_config('queue_admin', 'foo', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('queue_admin', 'disable_insert', 'true');
SELECT pgq.set_queue_config('queue_admin', 'ticker_max_count', 'many');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('queue_admin', 'ticker_max_lag', 'long');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('queue_admin', 'ticker_max_lag', NULL);
\echo :LAST_ERROR_SQLSTATE
-- what would fail in maintenance, or where problems are looked for, of all queues
SELECT pgq.set_queue_config('queue_admin', 'rotation_period', '178000000 years');
SELECT pgq.set_queue_config('queue_admin', 'retention', '1001 years');
SELECT pgq.set_queue_config('queue_admin', 'ticker_max_lag', '-1001 years');

-- the number of tables comes from the column's default
ALTER TABLE pgq.queue ALTER queue_ntables SET DEFAULT 5;
SELECT pgq.create_queue('queue_admin five');
ALTER TABLE pgq.queue ALTER queue_ntables SET DEFAULT 3;
SELECT count(*) FROM pgq.event_table WHERE evt_queue = 'queue_admin five';
SELECT pgq.drop_queue('queue_admin five');

-- any text is a name
CREATE TEMP TABLE name (n int, name text);
INSERT INTO name VALUES (1, ''), (2, 'queue_admin "a" ''b'' $c$'),
	(3, 'queue_admin.with.dots'), (4, E'queue_admin \\ tab\t new\nline %s'),
	(5, 'queue_admin ' || repeat('x', 200)), (6, 'queue_admin žöß');
SELECT n, pgq.create_queue(name), pgq.register_consumer(name, name),
	pgq.set_queue_config(name, 'ticker_paused', 'off'),
	pgq.grant_perms(name), pgq.tune_storage(name)
FROM name ORDER BY n;
SELECT n, (SELECT count(*) FROM pgq.get_queue_info(name)) AS queues,
	(SELECT count(*) FROM pgq.get_consumer_info(name, name)) AS consumers
FROM name ORDER BY n;
SELECT n, pgq.drop_queue(name, true) FROM name ORDER BY n;

-- a sequence that is behind does not stop new queues
SELECT setval('pgq.queue_queue_id_seq', greatest(1, max(queue_id) - 2), false) IS NOT NULL AS set_back
FROM pgq.queue;
SELECT pgq.create_queue('queue_admin behind');
SELECT queue_id > (SELECT queue_id FROM q) AS above
FROM pgq.queue WHERE queue_name = 'queue_admin behind';
SELECT pgq.drop_queue('queue_admin behind');

-- an administrator can't point a queue at relations of his own
\set VERBOSITY terse
UPDATE pgq.queue SET queue_data_pfx = 'public.event_1'
WHERE queue_name = 'queue_admin';
\set VERBOSITY default

-- dropping
SELECT pgq.drop_queue('queue_admin_none');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.drop_queue(NULL, true);
SELECT pgq.drop_queue(NULL);
SELECT pgq.register_consumer('queue_admin', 'queue_admin_c1'),
	pgq.register_consumer('queue_admin', 'queue_admin_c2');
SELECT pgq.drop_queue('queue_admin');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.drop_queue('queue_admin', NULL);
SELECT pgq.unregister_consumer('queue_admin', 'queue_admin_c1');
-- a mark set by hand: capture_table has tests of its own
CREATE TABLE queue_admin_t (id int PRIMARY KEY);
INSERT INTO pgq.capture VALUES ('queue_admin_t', 'queue_admin');
SELECT pgq.drop_queue('queue_admin', false);
SELECT pgq.unregister_consumer('queue_admin', 'queue_admin_c2');
SELECT pgq.drop_queue('queue_admin', false);
SELECT pgq.register_consumer('queue_admin', 'queue_admin_c3');
SELECT pgq.drop_queue('queue_admin', true);
SELECT count(*) FROM pg_class, q
WHERE relnamespace = 'pgq'::regnamespace
	AND relname ~ ('^event_' || queue_id || '(_|$)');
SELECT (SELECT count(*) FROM pgq.queue, q WHERE queue.queue_id = q.queue_id) AS queues,
	(SELECT count(*) FROM pgq.tick, q WHERE tick_queue = queue_id) AS ticks,
	(SELECT count(*) FROM pgq.consumer WHERE co_name ~ '^queue_admin') AS consumers,
	(SELECT count(*) FROM pgq.event_table WHERE evt_queue = 'queue_admin') AS event_tables,
	(SELECT count(*) FROM pgq.capture WHERE cap_queue = 'queue_admin') AS marks;
DROP TABLE queue_admin_t;

-- small helpers
SELECT n, pgq.quote_fqname(n)
FROM unnest('{abc, a.B, a.b.C, "", "sel ect.from", NULL}'::text[]) n;
SELECT pgq.version() = default_version AS newest
FROM pg_available_extensions WHERE name = 'pgq';
SELECT pgq.upgrade_schema();
CREATE SEQUENCE "queue_admin Seq";
SELECT pgq.seq_getval('queue_admin Seq'), pgq.seq_getval(NULL);
SELECT pgq.seq_setval('public.queue_admin Seq', 10);
SELECT pgq.seq_setval('queue_admin Seq', 5);
SELECT pgq.seq_setval('queue_admin Seq', 11), nextval('"queue_admin Seq"');
SELECT pgq.seq_getval('queue_admin none');
\echo :LAST_ERROR_SQLSTATE
DROP SEQUENCE "queue_admin Seq";
