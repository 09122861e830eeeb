-- While a snapshot is held open every batch leaves versions of rows that nobody
-- can remove. What a call reads stays the same all the same.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE EXTENSION pgq_coop;
CREATE EXTENSION pgq_ext;
RESET client_min_messages;

SELECT pgq.create_queue('held'), pgq.register_consumer('held', 'c'),
	pgq.register_consumer('held', 'early'), pgq_coop.register_subconsumer('held', 'm', 'w');
UPDATE pgq.queue SET queue_rotation_period = '0' WHERE queue_name = 'held';
INSERT INTO pgq.tick (tick_queue, tick_id, tick_event_seq)
SELECT queue_id, i, 1 FROM pgq.queue, generate_series(2, 20000) i WHERE queue_name = 'held';
SELECT pgq.seq_setval('pgq.event_' || queue_id || '_tick_seq', 20000) > 0
FROM pgq.queue WHERE queue_name = 'held';
ANALYZE pgq.subscription, pgq.tick;

CREATE TEMP TABLE measured (phase text, call text, n int);

-- the buffers that a statement reads
CREATE FUNCTION pg_temp.buffers(statement text) RETURNS int AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || statement INTO plan;
	RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int
		+ (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
END;
$$ LANGUAGE plpgsql;

-- one batch after the other, each step in its transaction
CREATE PROCEDURE pg_temp.work(n int) AS $$
DECLARE
	batch int8;
BEGIN
	FOR i IN 1 .. n LOOP
		batch := pgq.next_batch('held', 'c');
		PERFORM pgq.set_bookmark(batch, i::text);
		COMMIT;
		PERFORM pgq.finish_batch(batch);
		COMMIT;
		PERFORM pgq_ext.set_batch_done('c', batch), pgq_ext.set_last_tick('c', batch),
			pgq_ext.set_event_done('c', batch, 1);
		batch := pgq_coop.next_batch('held', 'm', 'w');
		COMMIT;
		PERFORM pgq_coop.finish_batch(batch);
		COMMIT;
	END LOOP;
END;
$$ LANGUAGE plpgsql;

-- the least of some times: once in a while a page is cleaned or added
CREATE PROCEDURE pg_temp.measure(phase text) AS $$
DECLARE
	call text;
	batch int8;
	coop_batch int8;
BEGIN
	FOR i IN 1 .. 5 LOOP
		SELECT s.sub_batch INTO batch FROM pgq.subscription s JOIN pgq.consumer ON co_id = sub_consumer
		WHERE co_name = 'c';
		FOREACH call IN ARRAY ARRAY[
			$c$next_batch('held', 'c')$c$, 'get_batch_info(%s)', 'get_batch_events(%s)',
			$c$set_bookmark(%s, 'b')$c$, $c$get_bookmark('held', 'c')$c$, 'batch_retry(%s, 0)',
			$c$register_consumer('held', 'c')$c$, 'finish_batch(%s)',
			$c$get_consumer_info('held')$c$, $c$get_consumer_info('held', 'c')$c$,
			$c$get_queue_size('held')$c$, $c$get_lost_consumers('held')$c$,
			$c$maint_rotate_tables_step1('held')$c$,
			$c$force_tick('held')$c$, $c$ticker('held')$c$,
			$c$ext.set_batch_done('c', %s)$c$, $c$ext.set_last_tick('c', %s)$c$,
			$c$ext.get_last_tick('c')$c$, $c$ext.set_event_done('c', %s, 1)$c$,
			$c$coop.next_batch('held', 'm', 'w')$c$, $c$coop.next_batch('held', 'm', 'w', '1 hour')$c$,
			$c$coop.register_subconsumer('held', 'm', 'w')$c$, 'coop.finish_batch(%s)']
		LOOP
			INSERT INTO measured
			SELECT phase, call, pg_temp.buffers(format('SELECT * FROM pgq'
				|| CASE WHEN call ~ '^(ext|coop)\.' THEN '_' ELSE '.' END || call,
				CASE WHEN call LIKE 'coop%' THEN coop_batch ELSE batch END));
			COMMIT;
			IF call LIKE 'next_batch%' THEN
				batch := pgq.next_batch('held', 'c');
			ELSIF call LIKE 'coop.next_batch%' THEN
				coop_batch := pgq_coop.next_batch('held', 'm', 'w');
			END IF;
			COMMIT;
		END LOOP;
	END LOOP;
END;
$$ LANGUAGE plpgsql;

CALL pg_temp.measure('warm');
BEGIN;
SELECT txid_current() > 0 AS old;
PREPARE TRANSACTION 'held';
CALL pg_temp.measure('start');
CALL pg_temp.work(2000);
CALL pg_temp.measure('filled');
ROLLBACK PREPARED 'held';

-- once more, in pages that were filled before and are taken in any order
VACUUM pgq.subscription, pgq.bookmark, pgq_ext.completed_batch, pgq_ext.completed_event,
	pgq_ext.completed_tick, pgq_ext.partial_batch;
BEGIN;
SELECT txid_current() > 0 AS old;
PREPARE TRANSACTION 'held';
CALL pg_temp.work(2000);
CALL pg_temp.measure('end');
ROLLBACK PREPARED 'held';

-- calls that came to read more; a level more of each index is no matter
SELECT a.call, b.phase, a.n AS at_start, b.n AS later
FROM (SELECT call, min(n) AS n FROM measured WHERE phase = 'start' GROUP BY 1) a
	JOIN (SELECT call, phase, min(n) AS n FROM measured
		  WHERE phase IN ('filled', 'end') GROUP BY 1, 2) b USING (call)
WHERE b.n NOT BETWEEN 1 AND a.n * 1.5 + 5
ORDER BY 1, 2;
SELECT count(DISTINCT call) AS calls, count(DISTINCT phase) AS phases FROM measured;

SELECT pgq.drop_queue('held', true);
SET client_min_messages = warning;
DROP EXTENSION pgq_coop;
DROP EXTENSION pgq_ext;
