-- A delayed event is delivered to everybody, not before its time, and only once.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_delayed_writer IN ROLE pgq_writer;
CREATE ROLE regress_delayed_admin IN ROLE pgq_admin;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('delayed'), pgq.create_queue('delayed2');
SELECT pgq.set_queue_config(q, p, '0')
FROM (VALUES ('delayed'), ('delayed2')) q(q), (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('delayed', 'delayed_a'), pgq.register_consumer('delayed', 'delayed_b');
\set tick 'SELECT pgq.ticker(\'delayed\') IS NOT NULL AS ticked'

-- the id is that of the call
SET ROLE regress_delayed_writer;
SELECT pgq.insert_event_at('delayed', now() + interval '1 hour', 't', 'later'),
	pgq.insert_event('delayed', 't', 'now'),
	pgq.insert_event_at('delayed', now() - interval '1 hour', 't', 'past', 'e1', 'e2', 'e3', 'e4'),
	pgq.insert_event_at(i_queue => 'delayed', i_time => '-infinity', i_type => NULL, i_data => NULL, i_extra4 => 'x');
SELECT count(*) FROM pgq.delayed_event;
SELECT pgq.maint_retry_events();
RESET ROLE;
-- what is late already is late by nothing
SELECT ev_id, ev_time > now() AS waits, ev_time > now() - interval '10 minutes' AS recent, ev_type, ev_data,
	ev_extra1, ev_extra4
FROM pgq.delayed_event JOIN pgq.queue ON queue_id = ev_queue WHERE queue_name = 'delayed' ORDER BY ev_id;
BEGIN;
SELECT pgq.insert_event_at('delayed', now(), 't', 'rolled back');
ROLLBACK;

-- moved by the daemon's retry run
SET ROLE regress_delayed_admin;
SELECT pgq.maint_retry_events(), pgq.maint_retry_events();
RESET ROLE;
:tick;
SELECT pgq.next_batch('delayed', 'delayed_a') AS a, pgq.next_batch('delayed', 'delayed_b') AS b \gset
SELECT ev_id, ev_retry, ev_time <= now() AS due, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4
FROM pgq.get_batch_events(:a);
SELECT count(*) FROM pgq.get_batch_events(:b);
SELECT pgq.finish_batch(:a), pgq.finish_batch(:b);
UPDATE pgq.delayed_event SET ev_time = now() WHERE ev_data = 'later';
SELECT pgq.maint_retry_events(), pgq.maint_retry_events();
:tick;
SELECT pgq.next_batch('delayed', 'delayed_a') AS a, pgq.next_batch('delayed', 'delayed_b') AS b \gset
SELECT ev_id, ev_data FROM pgq.get_batch_events(:a);
SELECT ev_id, ev_data FROM pgq.get_batch_events(:b);

-- one count for retried and delayed ones; callers go on until it is 0
SELECT pgq.event_retry(:a, 1, 0);
SELECT count(pgq.insert_event_at('delayed', now(), 'bulk', i::text)) FROM generate_series(1, 1500) i;
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT ev_type, count(*), count(DISTINCT ev_id) FROM pgq.event_template e
	JOIN pgq.event_table ON evt_relid = e.tableoid
WHERE evt_queue = 'delayed' AND ev_type = 'bulk' GROUP BY 1;

-- a queue that is closed keeps its own waiting, and no others
SELECT pgq.insert_event_at('delayed', now(), 't', 'closed') IS NOT NULL AS a,
	pgq.insert_event_at('delayed2', now(), 't', 'open') IS NOT NULL AS b;
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'delayed';
\set VERBOSITY terse
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
\set VERBOSITY default
SELECT pgq.insert_event_at('delayed', now(), 't', 'refused');
\echo :LAST_ERROR_SQLSTATE
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'delayed';
-- a limit of events in a transaction is kept
SELECT pgq.insert_event_at('delayed', now(), 't', 'limited') IS NOT NULL AS id;
UPDATE pgq.queue SET queue_per_tx_limit = 1 WHERE queue_name = 'delayed';
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
UPDATE pgq.queue SET queue_per_tx_limit = NULL WHERE queue_name = 'delayed';

-- refused
SELECT pgq.insert_event_at('delayed none', now(), 't', 'd');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event_at(NULL, now(), 't', 'd');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event_at('delayed', NULL, 't', 'd');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event_at('delayed', 'infinity', 't', 'd');

-- they go with the queue
SELECT pgq.insert_event_at('delayed', now() + interval '1 hour', 't', 'd') IS NOT NULL AS id;
SELECT pgq.drop_queue('delayed', true), pgq.drop_queue('delayed2');
SELECT count(*) FROM pgq.delayed_event d WHERE NOT EXISTS (SELECT FROM pgq.queue WHERE queue_id = ev_queue);
DROP ROLE regress_delayed_writer, regress_delayed_admin;
