-- Batches: which ticks they span, what they hold, opening and finishing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('batch');
SELECT pgq.register_consumer('batch', 'batch_c');
SELECT queue_id AS id, queue_data_pfx AS pfx FROM pgq.queue WHERE queue_name = 'batch' \gset
UPDATE pgq.queue SET queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'
WHERE queue_name = 'batch';

-- nothing to do, and whom nobody knows
SELECT * FROM pgq.next_batch_info('batch', 'batch_c');
SELECT pgq.next_batch('batch', 'batch_c');
SELECT pgq.next_batch('batch', 'batch_none');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.next_batch('batch_none', 'batch_c');
SELECT pgq.next_batch(NULL, NULL);

-- a batch from tick to tick
SELECT pgq.insert_event('batch', 't', d) IS NOT NULL FROM (VALUES ('1'), ('2')) v(d);
SELECT pgq.insert_event_raw('batch', NULL, NULL, -5, 1, 't', 'someone else''s retry', NULL, NULL, NULL, NULL) IS NOT NULL;
SELECT pgq.insert_event_raw('batch', 1, NULL, sub_id, 1, 't', 'own retry', 'x1', 'x2', 'x3', 'x4') IS NOT NULL
FROM pgq.subscription WHERE sub_queue = :id;
SELECT pgq.ticker('batch');
SELECT pgq.insert_event('batch', 't', 'later') IS NOT NULL;
SELECT pgq.ticker('batch');
SELECT batch_id AS batch, cur_tick_id, prev_tick_id, cur_tick_event_seq, prev_tick_event_seq
FROM pgq.next_batch_info('batch', 'batch_c') \gset
SELECT :cur_tick_id AS cur, :prev_tick_id AS prev, :cur_tick_event_seq AS cur_seq, :prev_tick_event_seq AS prev_seq;
SELECT ev_id, ev_retry, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4
FROM pgq.get_batch_events(:batch);
-- again the same, whatever is asked for
SELECT pgq.next_batch('batch', 'batch_c') = :batch;
SELECT batch_id = :batch AS same, cur_tick_id, prev_tick_id
FROM pgq.next_batch_custom('batch', 'batch_c', '1 day', 1000, '1 day');
SELECT queue_name, consumer_name, batch_start < batch_end AS times, prev_tick_id, tick_id,
	lag = now() - batch_end AS lag, seq_start, seq_end
FROM pgq.get_batch_info(:batch);
SELECT count(*), count(i.queue_name) FROM pgq.get_batch_info(-1) i;

-- the same by SQL, and by cursors
SELECT pgq.batch_event_sql(:batch) AS sql \gset
:sql \g (format=unaligned tuples_only=on) | cut -d '|' -f 1,5,6
SELECT replace(t, :'pfx', 'pfx') FROM pgq.batch_event_tables(:batch) t;
BEGIN;
SELECT ev_id, ev_data FROM pgq.get_batch_cursor(:batch, 'My "c', 1);
SELECT pgq.get_batch_cursor(:batch, 'My "c', 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SELECT ev_id, ev_data FROM pgq.get_batch_cursor(:batch, 'My "c', 1);
MOVE 1 FROM "My ""c";
SELECT is_holdable, is_scrollable FROM pg_cursors WHERE name = 'My "c';
CLOSE "My ""c";
SELECT ev_id, ev_data FROM pgq.get_batch_cursor(:batch, 'c2', 0);
SELECT ev_id, ev_data, ev_extra4 FROM pgq.get_batch_cursor(:batch, 'c3', 10, 'ev_extra4 = ''x4'' -- or so');
SELECT ev_id, ev_data FROM pgq.get_batch_cursor(:batch, 'c4', 10, NULL);
SELECT * FROM pgq.get_batch_cursor(NULL, 'c5', 10);
SELECT * FROM pgq.get_batch_cursor(:batch, NULL, 10, NULL);
SELECT * FROM pgq.get_batch_cursor(:batch, 'c5', NULL, NULL);
SELECT name FROM pg_cursors WHERE name LIKE 'c_' ORDER BY 1;
COMMIT;
\set VERBOSITY sqlstate
SELECT * FROM pgq.get_batch_cursor(:batch, 'c6', 10, '');
SELECT * FROM pgq.get_batch_cursor(:batch, 'c6', 10, 'ev_owner is null');
\set VERBOSITY default
SELECT ev_data FROM pgq.get_batch_cursor(:batch, 'c6', 1);

-- finished
SELECT pgq.finish_batch(:batch);
\set VERBOSITY sqlstate
SELECT pgq.finish_batch(:batch);
\set VERBOSITY default
SELECT pgq.finish_batch(-3);
SELECT pgq.finish_batch(NULL);
SELECT * FROM pgq.get_batch_events(:batch);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM pgq.get_batch_events(NULL);
SELECT pgq.batch_event_sql(NULL);
SELECT pgq.batch_event_tables(-3);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.batch_event_tables(NULL);
SELECT * FROM pgq.get_batch_cursor(-3, 'c6', 1);

-- opened, read and finished in one statement
SELECT (SELECT string_agg(ev_data, ',') FROM pgq.get_batch_events(b)), pgq.finish_batch(b)
FROM pgq.next_batch('batch', 'batch_c') b;
SELECT pgq.next_batch('batch', 'batch_c');

-- events out of order of their ids come sorted
SELECT pgq.insert_event_raw('batch', i, NULL, NULL, NULL, 't', 'sorted', NULL, NULL, NULL, NULL) IS NULL AS x
FROM unnest('{1005,1001,1004,1002,1002,1003}'::int[]) i GROUP BY 1;
SELECT pgq.ticker('batch') IS NOT NULL;
SELECT pgq.next_batch('batch', 'batch_c') AS batch \gset
SELECT array_agg(ev_id) FROM pgq.get_batch_events(:batch);
-- rolled-back work leaves an empty batch
SELECT pgq.finish_batch(:batch);
BEGIN;
SELECT pgq.insert_event('batch', 't', 'd') IS NOT NULL;
ROLLBACK;
SELECT pgq.ticker('batch') IS NOT NULL;
SELECT pgq.next_batch('batch', 'batch_c') AS batch \gset
SELECT count(*) FROM pgq.get_batch_events(:batch);
SELECT pgq.finish_batch(:batch);

-- batches of a wished size: ticks 1 to 10, 100 events and a minute apart
BEGIN;
UPDATE pgq.subscription SET sub_last_tick = 1 WHERE sub_queue = :id;
DELETE FROM pgq.tick WHERE tick_queue = :id;
INSERT INTO pgq.tick (tick_queue, tick_id, tick_time, tick_event_seq)
SELECT :id, i, now() - (10 - i) * interval '1 minute', i * 100 FROM generate_series(1, 10) i;
CREATE FUNCTION pg_temp.next_tick(lag interval, n int, span interval) RETURNS int8
LANGUAGE plpgsql AS $$
DECLARE
	b record;
BEGIN
	SELECT * INTO b FROM pgq.next_batch_custom('batch', 'batch_c', lag, n, span);
	PERFORM pgq.register_consumer_at('batch', 'batch_c', 1);
	RETURN b.cur_tick_id;
END $$;
SELECT lag, n, span, pg_temp.next_tick(lag::interval, n, span::interval) FROM (VALUES
	(NULL, NULL::int, NULL),
	(NULL, 50, NULL), (NULL, 150, NULL), (NULL, 449, NULL), (NULL, 450, NULL),
	(NULL, 900, NULL), (NULL, 901, NULL),
	(NULL, NULL, '2 min'), (NULL, NULL, '5 min'), (NULL, NULL, '1 h'),
	(NULL, 10000, '2 min'), (NULL, 100, '1 h'),
	('5 min', NULL, NULL), ('5 min', 800, NULL), ('1 h', NULL, NULL)
) v(lag, n, span);
SELECT h.next_tick_id, h.next_tick_time = now() - interval '9 min' + n * interval '1 min' AS time, h.next_tick_seq
FROM (VALUES (1), (5)) v(n),
	pgq.find_tick_helper(:id, 1, now() - interval '9 min', 100, n * 100, NULL) h;
SELECT * FROM pgq.find_tick_helper(:id, 1, now(), 100, NULL, NULL);
SELECT * FROM pgq.find_tick_helper(NULL, 1, now(), 100, 1, NULL);
SELECT * FROM pgq.find_tick_helper(:id, 10, now(), 1000, 1, NULL);
ROLLBACK;

-- a position that is gone
BEGIN;
DELETE FROM pgq.tick WHERE tick_queue = :id;
SELECT pgq.next_batch('batch', 'batch_c');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
UPDATE pgq.subscription SET sub_last_tick = NULL WHERE sub_queue = :id;
SELECT pgq.next_batch('batch', 'batch_c');
ROLLBACK;

-- readers do all that; others don't
SELECT pgq.insert_event('batch', 't', 'for readers') IS NOT NULL;
SELECT pgq.ticker('batch') IS NOT NULL;
CREATE ROLE batch_reader IN ROLE pgq_reader;
CREATE ROLE batch_nobody;
SET ROLE batch_reader;
SELECT pgq.next_batch('batch', 'batch_c') AS batch \gset
SELECT ev_data FROM pgq.get_batch_events(:batch);
SELECT ev_data FROM pgq.get_batch_cursor(:batch, 'c', 1);
SET ROLE batch_nobody;
SELECT pgq.next_batch('batch', 'batch_c');
RESET ROLE;
-- the function alone is not enough to read the events
GRANT EXECUTE ON FUNCTION pgq.get_batch_events(int8) TO batch_nobody;
SET ROLE batch_nobody;
\set VERBOSITY sqlstate
SELECT * FROM pgq.get_batch_events(:batch);
\set VERBOSITY default
SET ROLE batch_reader;
SELECT pgq.finish_batch(:batch);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION pgq.get_batch_events(int8) FROM batch_nobody;
DROP ROLE batch_reader, batch_nobody;

-- waiting needs no write, opening does
BEGIN READ ONLY;
SELECT pgq.next_batch('batch', 'batch_c');
COMMIT;
SELECT pgq.ticker('batch') IS NOT NULL;
BEGIN READ ONLY;
SELECT pgq.next_batch('batch', 'batch_c');
COMMIT;

SELECT pgq.drop_queue('batch', true);
