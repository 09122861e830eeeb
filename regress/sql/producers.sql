-- Producers: calls of old clients go on to mean text, whatever overloads stand beside;
-- JSON, many events in one call, and one event however often it is said.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_producer IN ROLE pgq_writer;
CREATE ROLE regress_no_producer;
CREATE ROLE regress_producer_admin IN ROLE pgq_admin;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('producers');
SELECT queue_id AS id, queue_data_pfx AS pfx, queue_event_seq AS seq FROM pgq.queue WHERE queue_name = 'producers' \gset
CREATE FUNCTION pg_temp.take() RETURNS TABLE (ev_type text, ev_data text, x1 text, x4 text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT e.ev_type, e.ev_data, e.ev_extra1, e.ev_extra4
		FROM pgq.event_template e JOIN pgq.event_table ON evt_relid = e.tableoid
		WHERE evt_queue = 'producers' ORDER BY e.ev_id;
	EXECUTE format('TRUNCATE %s', (SELECT string_agg(evt_relid::text, ',') FROM pgq.event_table WHERE evt_queue = 'producers'));
END $$;

-- every way to say text: literals without a type, parameters, NULL, names, other strings
SELECT pgq.insert_event('producers', 't', 'd') IS NOT NULL;
SELECT pgq.insert_event('producers', 't', '{"a":  1}') IS NOT NULL;
SELECT pgq.insert_event('producers', NULL, NULL) IS NOT NULL;
SELECT pgq.insert_event('producers'::text, 't'::text, NULL) IS NOT NULL;
SELECT pgq.insert_event('producers', 't'::name, '[1,  2]') IS NOT NULL;
SELECT pgq.insert_event('producers'::name, 't'::varchar, 'd'::varchar) IS NOT NULL;
SELECT pgq.insert_event('producers', 't'::char(3), 'd'::char(3)) IS NOT NULL;
SELECT pgq.insert_event(queue_name => 'producers', ev_type => 't', ev_data => '{ }') IS NOT NULL;
SELECT pgq.insert_event(ev_data => '{ }', queue_name := 'producers', ev_type => NULL) IS NOT NULL;
SELECT pgq.insert_event('producers', 't', '{  }', '1', NULL, '3', '4') IS NOT NULL;
SELECT pgq.insert_event('producers', 't', NULL, NULL, NULL, NULL, NULL) IS NOT NULL;
SELECT pgq.insert_event('producers', 't', 'd', ev_extra1 => 'x', ev_extra2 => NULL, ev_extra3 => NULL, ev_extra4 => 'y') IS NOT NULL;
PREPARE three AS SELECT pgq.insert_event($1, $2, $3) IS NOT NULL;
EXECUTE three('producers', 'prepared', '{"b":  2}');
PREPARE seven AS SELECT pgq.insert_event($1, $2, $3, $4, $5, $6, $7) IS NOT NULL;
EXECUTE seven('producers', 'prepared', '{  }', '1', '2', '3', '4');
DO $$ DECLARE d varchar := '{"in":  "plpgsql"}'; BEGIN PERFORM pgq.insert_event('producers', 't', d); END $$;
SELECT pgq.insert_event_raw('producers', NULL, now(), NULL, NULL, 't', '{  }', NULL, NULL, NULL, NULL) IS NOT NULL;
SELECT pgq.insert_event_at('producers', now(), 't', '{  }') IS NOT NULL;
SELECT * FROM pg_temp.take();

-- JSON; SQL's NULL is not JSON's
SELECT pgq.insert_event('producers', 'j', '{"b":  [1, "ü"], "a": null}'::jsonb) IS NOT NULL;
SELECT pgq.insert_event('producers', 'j', to_jsonb(x)) IS NOT NULL FROM (VALUES (1, 'a')) x(i, t);
SELECT pgq.insert_event('producers', 'j', 'null'::jsonb, '1', NULL, NULL, '4') IS NOT NULL;
SELECT pgq.insert_event('producers', 'j', NULL::jsonb) IS NOT NULL;
SELECT pgq.insert_event(ev_data => '7'::jsonb, ev_type => 'j', queue_name => 'producers') IS NOT NULL;
SELECT * FROM pg_temp.take();
-- what was no call stays none
\set VERBOSITY terse
SELECT pgq.insert_event('producers', 't', 'd', 'x1');
SELECT pgq.insert_event('producers', 't', 5);
\set VERBOSITY default
SELECT pgq.insert_event('producers none', 'j', '{}'::jsonb);

-- many: ids in the order of the arrays
SELECT pgq.insert_events('producers', '{a,b,NULL}', '{1,NULL,"x y"}') AS ids \gset
SELECT pgq.insert_events('producers', '{c}', '{}'::text[] || 'd'::text, i_extra1 => '{e1}', i_extra4 => ARRAY[NULL]) AS more \gset
SELECT ev_type FROM :pfx JOIN unnest(:'ids'::int8[] || :'more'::int8[]) WITH ORDINALITY u(id, n) ON id = ev_id ORDER BY n;
SELECT min(ev_time) = max(ev_time), bool_and(ev_txid IS NOT NULL) FROM :pfx WHERE ev_id = ANY (:'more');
SELECT * FROM pg_temp.take();
SELECT pgq.insert_events('producers', '{}', '{}');
SELECT cardinality(pgq.insert_events('producers', array_fill('t'::text, '{100000}'),
	(SELECT array_agg(repeat('d', i % 100) || i ORDER BY i) FROM generate_series(1, 100000) i)));
SELECT count(*), count(DISTINCT ev_id), bool_and(ev_data LIKE '%' || n) AS in_order
FROM (SELECT *, row_number() OVER (ORDER BY ev_id) n FROM :pfx) e;
SELECT count(*) FROM pg_temp.take();
-- all or none
SELECT pgq.insert_events('producers', '{a,b}', '{1}');
SELECT pgq.insert_events('producers', '{a,b}', '{1,2}', '{}', '{x}');
SELECT pgq.insert_events('producers', '{a,b}', '{1,2}', NULL, '{x}');
SELECT pgq.insert_events('producers', NULL, '{1}');
SELECT pgq.insert_events(NULL, '{a}', '{1}');
SELECT pgq.insert_events('producers none', '{a}', '{1}');
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY;
SELECT pgq.insert_events('producers', '{a}', '{1}');
ROLLBACK;
UPDATE pgq.queue SET queue_per_tx_limit = 3 WHERE queue_name = 'producers';
BEGIN;
SELECT cardinality(pgq.insert_events('producers', '{a,b}', '{1,2}'));
SELECT cardinality(pgq.insert_events('producers', '{a,b}', '{3,4}'));
ROLLBACK;
SELECT cardinality(pgq.insert_events('producers', '{a,b,c}', '{1,2,3}'));
UPDATE pgq.queue SET queue_per_tx_limit = NULL, queue_disable_insert = true WHERE queue_name = 'producers';
SELECT pgq.insert_events('producers', '{a}', '{1}');
\echo :LAST_ERROR_SQLSTATE
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'producers';
SELECT count(*) FROM pg_temp.take();
-- who has replaced insert_event sees them all
BEGIN;
CREATE OR REPLACE FUNCTION pgq.insert_event(queue_name text, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8 AS $$ SELECT 1000 + length(ev_data) $$ LANGUAGE sql;
SELECT pgq.insert_events('producers', '{a,b}', '{1,22}');
SELECT pgq.insert_event('producers', 'j', '[]'::jsonb);
SELECT pgq.insert_event_once('producers', 'watched', 't', '333'), pgq.insert_event_once('producers', 'watched', 't', '4444');
ROLLBACK;

-- once: the first id counts until the key's time is over
SELECT pgq.insert_event_once('producers', 'k1', 't', 'first') AS first \gset
SELECT pgq.insert_event_once('producers', 'k1', 't', 'again') = :first AS same,
	pgq.insert_event_once('producers', 'k1', 'other type', NULL, '1 second') = :first AS same,
	pgq.insert_event_once('producers', 'k2', 't', 'other key', '1 hour', '1', '2', '3', i_extra4 => '4') > :first AS other;
SELECT ev_id = :first AS id FROM :pfx WHERE ev_data = 'first';
-- each takes one id from the sequence, so that counts of events are right
SELECT pgq.seq_getval(:'seq') - :first AS more_ids;
BEGIN;
SELECT pgq.insert_event_once('producers', 'k3', 't', 'rolled back') IS NOT NULL;
ROLLBACK;
SELECT pgq.insert_event_once('producers', 'k3', 't', 'said again') IS NOT NULL;
UPDATE pgq.once_key SET ok_until = now() WHERE ok_key = 'k1';
SELECT pgq.insert_event_once('producers', 'k1', 't', 'too late') > :first AS late;
SELECT * FROM pg_temp.take();
SELECT pgq.create_queue('producers2');
SELECT pgq.insert_event_once('producers2', 'k1', 't', 'another queue') AS id;
SELECT pgq.insert_event_once('producers', NULL, 't', 'd');
SELECT pgq.insert_event_once(NULL, 'k', 't', 'd');
SELECT pgq.insert_event_once('producers none', 'k', 't', 'd');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event_once('producers', 'k', 't', 'd', '0');
SELECT pgq.insert_event_once('producers', 'k', 't', 'd', NULL);
SELECT pgq.insert_event_once('producers', repeat('k', 1001), 't', 'd');
SELECT pgq.insert_event_once('producers', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 31) i), 't', 'long key') IS NOT NULL;
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'producers';
SELECT pgq.insert_event_once('producers', 'disabled', 't', 'd');
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'producers';
SELECT pgq.insert_event_once('producers', 'disabled', 't', 'd') IS NOT NULL;

-- maintenance takes old keys away, and only those
SELECT func_name FROM pgq.maint_operations() WHERE func_name LIKE '%once%';
INSERT INTO pgq.once_key SELECT :id, 'old' || i, i, now() - interval '1 s' FROM generate_series(1, 15000) i;
SELECT func_name, func_arg FROM pgq.maint_operations() WHERE func_name LIKE '%once%';
SET ROLE regress_producer_admin;
SELECT pgq.maint_once_keys(), pgq.maint_once_keys(), pgq.maint_once_keys();
RESET ROLE;
SELECT ok_queue = :id AS here, count(*) FROM pgq.once_key GROUP BY 1 ORDER BY 1;
SELECT func_name FROM pgq.maint_operations() WHERE func_name LIKE '%once%';
-- rights are those of insert_event
SET ROLE regress_producer;
SELECT pgq.insert_event('producers', 'j', '{}'::jsonb) IS NOT NULL, pgq.insert_event('producers', 'j', '{}'::jsonb, NULL, NULL, NULL, NULL) IS NOT NULL,
	cardinality(pgq.insert_events('producers', '{t}', '{d}')), pgq.insert_event_once('producers', 'writer', 't', 'd') IS NOT NULL;
SELECT count(*) FROM pgq.once_key;
SELECT pgq._insert_event_as('producers', 1, 't', 'd', NULL, NULL, NULL, NULL);
SET ROLE regress_no_producer;
SELECT pgq.insert_event('producers', 'j', '{}'::jsonb);
SELECT pgq.insert_event('producers', 'j', '{}'::jsonb, NULL, NULL, NULL, NULL);
SELECT pgq.insert_events('producers', '{t}', '{d}');
SELECT pgq.insert_event_once('producers', 'k', 't', 'd');
SELECT pgq.maint_once_keys();
RESET ROLE;

-- keys go with their queue
SELECT pgq.drop_queue('producers'), pgq.drop_queue('producers2');
SELECT count(*) FROM pgq.once_key;
DROP ROLE regress_producer, regress_no_producer, regress_producer_admin;
