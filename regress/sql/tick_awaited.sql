-- pgq.tick_awaited(): ticks what a consumer waits for, and nothing else.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
SELECT pgq.create_queue(q) FROM unnest('{awaited, paused, alone, behind}'::text[]) q;
SELECT pgq.register_consumer(q, 'c') FROM unnest('{awaited, paused, behind}'::text[]) q;
CREATE TEMP VIEW looked AS SELECT queue_name, channel = pgq.tick_channel(queue_name) AS channel, tick_id IS NOT NULL AS ticked
FROM pgq.tick_awaited() WHERE queue_name IN ('awaited', 'paused', 'alone', 'behind') ORDER BY 1;
CREATE FUNCTION pg_temp.pass(q text) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
	b int8;
	n int8 := 0;
BEGIN
	LOOP
		b := pgq.next_batch(q, 'c');
		EXIT WHEN b IS NULL;
		n := n + (SELECT count(*) FROM pgq.get_batch_events(b));
		PERFORM pgq.finish_batch(b);
	END LOOP;
	RETURN n;
END $$;

-- a new queue is due; after that nothing has come
SELECT * FROM looked;
SELECT pg_temp.pass(q) FROM unnest('{awaited, paused, behind}'::text[]) q;
SELECT * FROM looked;
-- the first event of all, which does not move the sequence's last_value
SELECT pgq.insert_event('awaited', 't', 'first') IS NOT NULL;
SELECT * FROM looked;
-- the consumer has it before it
SELECT * FROM looked;
SELECT pgq.insert_event('awaited', 't', 'second') IS NOT NULL;
SELECT * FROM looked;
SELECT pg_temp.pass('awaited');
SELECT * FROM looked;
SELECT pg_temp.pass('awaited');
SELECT * FROM looked;
-- also by a session that has seen nothing yet
SELECT pgq.insert_event('awaited', 't', 'third') IS NOT NULL;
\c
CREATE TEMP VIEW looked AS SELECT queue_name, tick_id IS NOT NULL AS ticked
FROM pgq.tick_awaited() WHERE queue_name IN ('awaited', 'paused', 'alone', 'behind') ORDER BY 1;
SELECT * FROM looked;
SELECT pgq.finish_batch(pgq.next_batch('awaited', 'c'));
-- what was rolled back is nothing to wait for
BEGIN;
SELECT pgq.insert_event('awaited', 't', 'rolled back') IS NOT NULL;
ROLLBACK;
SELECT * FROM looked;
-- nobody waits, or it is not ours to tick
SELECT pgq.set_queue_config('paused', 'ticker_paused', 'true');
SELECT pgq.insert_event(q, 't', 'd') IS NOT NULL FROM unnest('{paused, alone, paused}'::text[]) q;
SELECT * FROM looked;
SELECT pgq.set_queue_config('paused', 'ticker_paused', 'false'), pgq.set_queue_config('paused', 'external_ticker', 'true');
SELECT * FROM looked;
SELECT pgq.set_queue_config('paused', 'external_ticker', 'false');
SELECT * FROM looked;
-- what is due is due
SELECT pgq.set_queue_config('alone', 'ticker_max_lag', '0');
SELECT pgq.insert_event('alone', 't', 'd') IS NOT NULL;
SELECT * FROM looked;
-- of very many that are due a part is ticked, and before it what a consumer waits for
SELECT count(pgq.create_queue('idle' || i) + pgq.set_queue_config('idle' || i, 'ticker_max_lag', '0')
	+ pgq.set_queue_config('idle' || i, 'ticker_idle_period', '0')) FROM generate_series(1, 100) i;
SELECT count(*) AS all, count(tick_id) BETWEEN 50 AND 64 AS a_part FROM pgq.tick_due() WHERE queue_name ~ '^idle';
SELECT pgq.insert_event('awaited', 't', 'd') IS NOT NULL;
SELECT * FROM looked;
SELECT pgq.finish_batch(pgq.next_batch('awaited', 'c'));
SELECT count(pgq.insert_event('idle' || i, 't', 'd')) FROM generate_series(1, 100) i;
SELECT pgq.insert_event('awaited', 't', 'd') IS NOT NULL;
SELECT count(*) AS all, count(tick_id) BETWEEN 50 AND 64 AS a_part,
	bool_or(queue_name = 'awaited' AND tick_id IS NOT NULL) AS awaited
FROM pgq.tick_awaited() WHERE queue_name ~ '^(idle|awaited)';
SELECT sum(pgq.drop_queue('idle' || i)) FROM generate_series(1, 100) i;
-- times that are none
SELECT * FROM pgq.tick_awaited('-1 ms', '1 s');
SELECT * FROM pgq.tick_awaited('1 ms', '11 s');
BEGIN READ ONLY;
SELECT * FROM pgq.tick_awaited();
ROLLBACK;
SELECT sum(pgq.drop_queue(q, true)) FROM unnest('{awaited, paused, alone, behind}'::text[]) q;
