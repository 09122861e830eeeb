-- When queues tick, and what a tick is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('tick');
SELECT queue_id AS id, queue_event_seq AS event_seq, queue_tick_seq AS tick_seq
FROM pgq.queue WHERE queue_name = 'tick' \gset
SELECT pgq.seq_setval(:'event_seq', 100000) IS NOT NULL;

-- Does the queue tick with "n" ticks, the newest "lag" old and "period" after
-- the one before, and "events" since then?
CREATE FUNCTION pg_temp.ticks(
	queue text, n int, period interval, lag interval, events int)
RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
	q pgq.queue := (SELECT q FROM pgq.queue q WHERE queue_name = queue);
	seq int8 := pgq.seq_getval(q.queue_event_seq);
	res bool;
BEGIN
	DELETE FROM pgq.tick WHERE tick_queue = q.queue_id;
	INSERT INTO pgq.tick (tick_queue, tick_id, tick_time, tick_event_seq)
	SELECT q.queue_id, i, now() - lag - (n - i) * period,
		   seq - events - (n - i)
	FROM generate_series(1, n) i;
	PERFORM pgq.seq_setval(q.queue_tick_seq, n);
	res := pgq.ticker(queue) IS NOT NULL;
	RETURN res;
END $$;

-- the rules: settings 500 events, 3 s, idle 1 min
SELECT n, period, lag, events, pg_temp.ticks('tick', n, period::interval, lag::interval, events)
FROM (VALUES
	(1, 0, '0', '0', 0),
	(2, 1, '0', '0', 0),
	(3, 1, '0', '10 s', 5),
	(4, 1, '0', '0', 5),
	(10, 2, '1 s', '1.5 s', 0),
	(11, 2, '0.1 s', '1.5 s', 0),
	(12, 2, '1 s', '1.9 s', 0),
	(13, 2, '1 s', '2 s', 0),
	(14, 2, '1 h', '59.9 s', 0),
	(15, 2, '1 h', '60 s', 0),
	(16, 2, '0', '1.49 s', 0),
	(17, 3, '1 s', '2 s', 0),
	(20, 2, '1 h', '2.9 s', 1),
	(21, 2, '1 h', '3 s', 1),
	(22, 2, '1 h', '0', 499),
	(23, 2, '1 h', '0', 500),
	(24, 2, '1 h', '-5 s', 500),
	(25, 2, '1 h', '-5 s', 1)
) v(no, n, period, lag, events)
ORDER BY no;

-- max_lag/2 dominates the idle period
BEGIN;
UPDATE pgq.queue SET queue_ticker_max_lag = '10 min', queue_ticker_idle_period = '1 s'
WHERE queue_name = 'tick';
SELECT lag, pg_temp.ticks('tick', 2, '1 s', lag::interval, 0)
FROM (VALUES ('4 min 59.9 s'), ('5 min')) v(lag);
ROLLBACK;

-- a tick has now() and the sequence as it stands
BEGIN;
SELECT pg_temp.ticks('tick', 1, '0', '0', 0);
SELECT tick_id, tick_time = now() AS now,
	tick_event_seq = pgq.seq_getval(:'event_seq') AS seq
FROM pgq.tick WHERE tick_queue = :id ORDER BY tick_id;
-- once more: not due
SELECT pgq.ticker('tick');
ROLLBACK;

-- refusals
SELECT pgq.ticker('tick none');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ticker(NULL);
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'true');
SELECT pgq.ticker('tick');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('tick', 'external_ticker', 'true');
SELECT pgq.ticker('tick');
\echo :LAST_ERROR_SQLSTATE

-- external ticks: paused, then not
SELECT pgq.ticker('tick', 700, '2020-01-01', 200000);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'false');
SELECT pgq.ticker('tick', 700, '2020-01-01 00:00Z', 200000);
SELECT tick_id, tick_time = '2020-01-01 00:00Z' AS time, tick_event_seq
FROM pgq.tick WHERE tick_queue = :id AND tick_id >= 700;
SELECT pgq.seq_getval(:'event_seq'), pgq.seq_getval(:'tick_seq');
-- lower: taken, but nothing is lowered
SELECT pgq.ticker('tick', 600, '2020-01-01 00:00Z', 10);
SELECT pgq.seq_getval(:'event_seq'), pgq.seq_getval(:'tick_seq');
\set VERBOSITY terse
SELECT pgq.ticker('tick', 700, '2020-01-01 00:00Z', 10);
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ticker('tick', NULL, '2020-01-01 00:00Z', 10);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ticker('tick none', 1, '2020-01-01', 1);
SELECT pgq.ticker(NULL, 1, '2020-01-01', 1);
-- nothing to force there
SELECT pgq.force_tick('tick'), pgq.seq_getval(:'event_seq');
SELECT pgq.set_queue_config('tick', 'external_ticker', 'false');
SELECT pgq.ticker('tick', 701, '2020-01-01', 1);

-- force_tick: no ids of events, however often it is called
BEGIN;
DELETE FROM pgq.tick WHERE tick_queue = :id;
SELECT pgq.force_tick('tick');
SELECT pg_temp.ticks('tick', 2, '1 h', '0', 0);
SELECT pgq.seq_getval(:'event_seq') AS seq_before \gset
SELECT pgq.force_tick('tick') FROM generate_series(1, 3);
SELECT pgq.seq_getval(:'event_seq') - :seq_before;
SELECT pgq.ticker('tick');
SELECT pgq.force_tick('tick none'), pgq.force_tick(NULL);
-- settings out of bounds
UPDATE pgq.queue SET queue_ticker_max_count = 2147483647 WHERE queue_name = 'tick';
SELECT pgq.force_tick('tick');
SELECT pgq.ticker('tick');
UPDATE pgq.queue SET queue_ticker_max_count = -2147483648 WHERE queue_name = 'tick';
SELECT pgq.force_tick('tick');
SELECT pgq.ticker('tick');
ROLLBACK;

-- a queue with higher transaction ids than its server stops alone
CREATE FUNCTION pg_temp.restored(low int8, high int8) RETURNS void LANGUAGE sql AS $$
	UPDATE pgq.tick SET tick_time = '2020-01-01',
		tick_snapshot = (low || ':' || high || ':')::txid_snapshot
	WHERE tick_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = 'tick restored') $$;
SELECT pgq.create_queue('tick restored');
SELECT pg_temp.restored(1000000000000, 1000000000001);
UPDATE pgq.queue SET queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'
WHERE queue_name = 'tick';
DO $$
DECLARE
	detail text;
BEGIN
	PERFORM pgq.ticker('tick restored');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', regexp_replace(SQLERRM, 'cur txid=\d+', 'cur txid=N');
	RAISE NOTICE '%', detail;
END $$;
SET client_min_messages = error;
SELECT pgq.ticker() >= 1 AS others_tick;
SELECT count(*) FROM pgq.tick JOIN pgq.queue ON queue_id = tick_queue
WHERE queue_name = 'tick restored';
-- only its xmax is too high: a warning
SELECT pg_temp.restored(1, 1000000000001);
SELECT pgq.ticker('tick restored') IS NOT NULL;
RESET client_min_messages;
SELECT pgq.drop_queue('tick restored');

-- tick_due tells what it ticked
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'true');
SELECT * FROM pgq.tick_due() WHERE queue_name = 'tick';
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'false');
SELECT queue_name, tick_id AS newest, channel = 'pgq_' || :id AS channel
FROM pgq.tick_due() t WHERE queue_name = 'tick' \gset
SELECT :'queue_name' AS queue, :'channel' AS channel, max(tick_id) = :newest AS newest
FROM pgq.tick WHERE tick_queue = :id;

-- tick by commit: at once for a consumer that waits, by the rules for others
UPDATE pgq.queue SET queue_ticker_max_lag = '1 h', queue_ticker_idle_period = '1 h'
WHERE queue_name = 'tick';
CREATE FUNCTION pg_temp.tick() RETURNS TABLE (queue_name text, ticked bool) LANGUAGE sql AS $$
	SELECT queue_name, tick_id IS NOT NULL
	FROM pgq.tick('{tick, tick, tick none, NULL}', '{3, NULL}') $$;
SELECT pgq.ticker('tick');
SELECT * FROM pg_temp.tick();
SELECT pgq.insert_event('tick', 't', 'd') IS NOT NULL;
SELECT * FROM pg_temp.tick();
SELECT pgq.register_consumer('tick', 'tick_c');
SELECT * FROM pg_temp.tick();
SELECT * FROM pg_temp.tick();
-- it has not got that yet: more events have to wait for it
SELECT pgq.insert_event('tick', 't', 'd') IS NOT NULL;
SELECT * FROM pg_temp.tick();
SELECT pgq.next_batch('tick', 'tick_c') AS batch \gset
SELECT * FROM pg_temp.tick();
SELECT pgq.finish_batch(:batch);
SELECT * FROM pg_temp.tick();
-- it waits at the newest tick: of a rolled-back event it hears nothing
SELECT pgq.next_batch('tick', 'tick_c') AS batch \gset
SELECT pgq.finish_batch(:batch);
BEGIN;
SELECT pgq.insert_event('tick', 't', 'd') IS NOT NULL;
ROLLBACK;
SELECT * FROM pg_temp.tick();
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'true');
SELECT pgq.insert_event('tick', 't', 'd') IS NOT NULL;
SELECT * FROM pg_temp.tick();
SELECT pgq.set_queue_config('tick', 'ticker_paused', 'false');
-- a transaction that does not end: given up, but said that events wait
BEGIN;
SELECT queue_name, tick_id FROM pgq.tick('{tick}', ARRAY[txid_current()::text::xid]);
ROLLBACK;
SELECT * FROM pg_temp.tick();
SELECT * FROM pgq.tick('{}', '{}');
SELECT * FROM pgq.tick(NULL, NULL);

-- a sequence that got other storage is read there, and after a rollback where it was
SELECT pgq.ticker() >= 0;
BEGIN;
ALTER SEQUENCE :event_seq RESTART 9000000000;
SELECT pgq.ticker('tick') IS NOT NULL AS ticked;
SELECT max(tick_event_seq) FROM pgq.tick WHERE tick_queue = :id;
ROLLBACK;
SELECT pgq.ticker('tick') IS NOT NULL AS ticked;

SELECT pgq.tick_channel('tick') = 'pgq_' || :id, pgq.tick_channel(NULL);
SELECT pgq.tick_channel('tick none');
\echo :LAST_ERROR_SQLSTATE

BEGIN READ ONLY;
SELECT pgq.ticker();
ROLLBACK;

SELECT pgq.drop_queue('tick', true);

-- what was forced is no event
SELECT pgq.create_queue('tick counts'), pgq.register_consumer('tick counts', 'c');
SELECT count(pgq.insert_event('tick counts', 't', 'd')) FROM generate_series(1, 11);
SELECT pgq.force_tick('tick counts'), pgq.force_tick('tick counts');
SELECT ev_new FROM pgq.get_queue_info('tick counts');
SELECT pgq.ticker('tick counts') > 1, pgq.ticker('tick counts');
-- all but the first, which PgQ does not count
SELECT ev_new, ev_per_sec * (SELECT extract(epoch FROM max(tick_time) - min(tick_time))
	FROM pgq.tick JOIN pgq.queue ON queue_id = tick_queue
	WHERE queue_name = 'tick counts') BETWEEN 9.9 AND 10.1 AS rate
FROM pgq.get_queue_info('tick counts');
SELECT pending_events FROM pgq.get_consumer_info('tick counts', 'c');
SELECT pgq.unregister_consumer('tick counts', 'c'), pgq.drop_queue('tick counts');
