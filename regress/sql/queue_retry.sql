-- Retried events come back to the one who asked, and nobody blocks another.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('queue_retry'), pgq.create_queue('queue_retry2');
SELECT pgq.set_queue_config(q, p, '0')
FROM (VALUES ('queue_retry'), ('queue_retry2')) q(q),
	(VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('queue_retry', 'qret_a'),
	pgq.register_consumer('queue_retry', 'qret_b');
SELECT pgq.insert_event('queue_retry', 'type', 'data', 'e1', 'e2', 'e3', 'e4');
SELECT pgq.insert_event('queue_retry', 't' || i, 'd' || i)
FROM generate_series(2, 5) i;
SELECT pgq.ticker('queue_retry');
SELECT pgq.next_batch('queue_retry', 'qret_a') AS batch \gset
-- not yet in the batch
SELECT pgq.insert_event('queue_retry', 'late', 'late');
CREATE TEMP VIEW waiting AS
SELECT r.ev_id, r.ev_txid, c.co_name AS owner, r.ev_retry, r.ev_type, r.ev_data,
	r.ev_extra1, r.ev_extra2, r.ev_extra3, r.ev_extra4,
	r.ev_retry_after <= now() AS due
FROM pgq.retry_queue r JOIN pgq.queue q ON q.queue_id = r.ev_queue
	JOIN pgq.subscription s ON s.sub_id = r.ev_owner AND s.sub_queue = r.ev_queue
	JOIN pgq.consumer c ON c.co_id = s.sub_consumer
WHERE q.queue_name LIKE 'queue_retry%' ORDER BY q.queue_name, r.ev_id;

SELECT pgq.event_retry(:batch, 1, 0);
SELECT pgq.event_retry(:batch, 2, 3600);
SELECT pgq.event_retry(:batch, 3, now() - interval '1 hour');
SELECT pgq.event_retry(:batch, 1, 3600);
SELECT pgq.event_retry(NULL, 1, 0);
\set VERBOSITY terse
SELECT pgq.event_retry(:batch, 6, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.event_retry(:batch, NULL::int8, 0);
SELECT pgq.event_retry(:batch, 4, NULL::timestamptz);
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM waiting;

SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT * FROM waiting;
-- they keep id and time, and are for their owner alone
SELECT pgq.ticker('queue_retry');
SELECT pgq.finish_batch(:batch);
SELECT pgq.next_batch('queue_retry', 'qret_a') AS batch \gset
SELECT ev_id, ev_retry, ev_type, ev_data, ev_extra1, ev_extra4
FROM pgq.get_batch_events(:batch) ORDER BY ev_id;
SELECT pgq.next_batch('queue_retry', 'qret_b') AS batch_b \gset
SELECT pgq.finish_batch(:batch_b);
SELECT pgq.next_batch('queue_retry', 'qret_b') AS batch_b \gset
SELECT ev_id, ev_retry, ev_type FROM pgq.get_batch_events(:batch_b) ORDER BY ev_id;
-- nor can the other one retry them
\set VERBOSITY terse
SELECT pgq.event_retry(:batch_b, 3, 0);
\set VERBOSITY default
-- the counter goes on
SELECT pgq.event_retry(:batch, 3, 0);
SELECT ev_id, ev_retry FROM waiting WHERE ev_id = 3;

-- the whole batch; what waits already is not counted
SELECT pgq.batch_retry(:batch, 0);
SELECT pgq.batch_retry(:batch, 0);
SELECT ev_id, owner, ev_retry FROM waiting;
SELECT pgq.batch_retry(-1, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.batch_retry(NULL, 0);
SELECT pgq.finish_batch(:batch), pgq.finish_batch(:batch_b);

-- by hand
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), 1, now(), 1,
	't', 'd', NULL, NULL, NULL, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.register_consumer('queue_retry2', 'qret_a');
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), NULL, now(), NULL,
	't', 'd', 'e1', 'e2', 'e3', 'e4');
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), 77, now(), 9,
	't', 'd', NULL, NULL, NULL, NULL);
\set VERBOSITY terse
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), 77, now(), 9,
	't', 'd', NULL, NULL, NULL, NULL);
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', NULL, 78, now(), 9,
	't', 'd', NULL, NULL, NULL, NULL);
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), 78, NULL, 9,
	't', 'd', NULL, NULL, NULL, NULL);
\set VERBOSITY default
SELECT * FROM waiting WHERE ev_id IN (1, 77);

-- one queue is closed: its events wait, all others move, none twice
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'queue_retry';
\set VERBOSITY terse
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
\set VERBOSITY default
SELECT count(*) FROM waiting;
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'queue_retry';
SELECT pgq.maint_retry_events(), pgq.maint_retry_events();

-- a full list of one queue does not hide those behind it
INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time, ev_owner, ev_type)
SELECT now() - interval '1 day', sub_queue, i, now(), sub_id, 'bulk'
FROM pgq.subscription JOIN pgq.queue ON queue_id = sub_queue
	JOIN pgq.consumer ON co_id = sub_consumer, generate_series(1001, 2500) i
WHERE queue_name = 'queue_retry' AND co_name = 'qret_a';
SELECT pgq.event_retry_raw('queue_retry2', 'qret_a', now(), 88, now(), 1,
	't', 'd', NULL, NULL, NULL, NULL);
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'queue_retry';
\set VERBOSITY terse
SELECT pgq.maint_retry_events();
\set VERBOSITY default
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'queue_retry';
-- a limit of events in a transaction is kept
UPDATE pgq.queue SET queue_per_tx_limit = 700 WHERE queue_name = 'queue_retry';
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
UPDATE pgq.queue SET queue_per_tx_limit = NULL WHERE queue_name = 'queue_retry';
SELECT pgq.maint_retry_events();
SELECT pgq.maint_retry_events();
SELECT ev_type, count(*), count(DISTINCT ev_id) FROM pgq.event_template e
	JOIN pgq.event_table ON evt_relid = e.tableoid
WHERE evt_queue = 'queue_retry' AND ev_type = 'bulk' GROUP BY 1;

-- events of transactions that were open at the batch's first tick are found
SELECT pgq.ticker('queue_retry') IS NOT NULL AS ticked;
SELECT pgq.register_consumer('queue_retry', 'qret_c');
BEGIN;
SELECT pgq.insert_event('queue_retry', 'open', 'x') AS ev \gset
-- our own transaction is open while it ticks
SELECT pgq.ticker('queue_retry') IS NOT NULL AS ticked;
COMMIT;
SELECT pgq.finish_batch(pgq.next_batch('queue_retry', 'qret_c'));
SELECT pgq.ticker('queue_retry') IS NOT NULL AS ticked;
SELECT pgq.next_batch('queue_retry', 'qret_c') AS batch \gset
SELECT ev_type FROM pgq.get_batch_events(:batch);
SELECT pgq.event_retry(:batch, :ev, 0);

SELECT pgq.drop_queue('queue_retry', true), pgq.drop_queue('queue_retry2', true);
SELECT count(*) FROM waiting;
