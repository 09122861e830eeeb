-- A queue over its max_size rotates early, and with policy drop_slowest takes
-- the position from the consumer that is in the way, who is told so.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE EXTENSION IF NOT EXISTS pgq_coop;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('size'), pgq.create_queue('size_2');
SELECT pgq.set_queue_config('size', 'max_size', '0');
SELECT pgq.set_queue_config('size', 'max_size', '-1 GB');
SELECT pgq.set_queue_config('size', 'max_size', 'much');
SELECT pgq.set_queue_config('size', 'max_size_policy', 'panic');
SELECT pgq.set_queue_config('size', 'max_size_policy', NULL);
\set VERBOSITY terse
UPDATE pgq.queue SET queue_max_size_policy = 'panic' WHERE queue_name = 'size';
UPDATE pgq.queue SET queue_max_size = 0 WHERE queue_name = 'size';
SELECT pgq.set_queue_config('size', 'max_size', '10 GB');
SELECT queue_max_size, queue_max_size_policy FROM pgq.queue WHERE queue_name = 'size';
SELECT pgq.set_queue_config('size', 'max_size', NULL);
SELECT queue_max_size FROM pgq.queue WHERE queue_name = 'size';

-- what pgqd does: maintenance, each operation in a transaction of its own
CREATE PROCEDURE size_maint(later interval DEFAULT '2 minutes') LANGUAGE plpgsql AS $$
DECLARE
	op text;
	ops text[];
BEGIN
	UPDATE pgq.tick SET tick_time = tick_time - later;
	SELECT array_agg(format('SELECT %s(%s)', o.func_name, quote_literal(o.func_arg)))
	INTO ops FROM pgq.maint_operations() o
	WHERE o.func_arg = 'size' OR o.func_name ~ 'step2';
	COMMIT;
	FOREACH op IN ARRAY coalesce(ops, '{}') LOOP
		EXECUTE op;
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE size_fill() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pgq.insert_event('size', 't', repeat('x', 1000)) FROM generate_series(1, 1000);
	COMMIT;
	PERFORM pgq.force_tick('size');
	PERFORM pgq.ticker('size');
	COMMIT;
END $$;
CREATE PROCEDURE size_read(consumer text) LANGUAGE plpgsql AS $$
DECLARE
	batch int8;
BEGIN
	LOOP
		batch := pgq.next_batch('size', consumer);
		EXIT WHEN batch IS NULL;
		PERFORM pgq.finish_batch(batch);
		COMMIT;
	END LOOP;
END $$;
CREATE VIEW size_state AS
SELECT s.is_over, s.held_by, q.queue_cur_table AS cur
FROM pgq.get_queue_size('size') s JOIN pgq.queue q USING (queue_name);

SELECT pgq.register_consumer('size', 'fast'), pgq.register_consumer('size', 'slow'),
	pgq.register_consumer('size', 'third'), pgq.register_consumer('size_2', 'slow');

-- no limit: no rotation before its time
CALL size_fill();
CALL size_maint();
SELECT * FROM size_state;
SELECT size > 1000000 AS is_measured, max_size, max_size_policy FROM pgq.get_queue_size() WHERE queue_name = 'size';
-- over the limit: early, but only when the consumers are past the last switch
SELECT pgq.set_queue_config('size', 'max_size', '1 MB');
CALL size_maint();
SELECT * FROM size_state;
CALL size_fill();
CALL size_read('fast');
CALL size_read('third');
CALL size_maint();
SELECT * FROM size_state;
SELECT * FROM pgq.get_lost_consumers();
-- when they are, the events go
CALL size_read('slow');
CALL size_maint();
CALL size_fill();
CALL size_read('fast');
CALL size_read('slow');
CALL size_read('third');
CALL size_maint();
SELECT cur FROM size_state;
SELECT pgq.set_queue_config('size', 'max_size', '4 MB');
SELECT * FROM size_state;

-- drop_slowest: an open batch, and two in the way
SELECT pgq.set_queue_config('size', 'max_size_policy', 'drop_slowest');
SELECT pgq.set_queue_config('size', 'max_size', '1 MB');
CALL size_fill();
CALL size_read('third');
SELECT pgq.next_batch('size', 'slow') AS batch \gset
CALL size_fill();
CALL size_read('fast');
CALL size_maint('30 seconds');
SELECT count(*) AS given_up_too_soon FROM pgq.get_lost_consumers();
CALL size_maint();
SELECT consumer_name, lost_tick IS NOT NULL AS has_tick, lost_batch = :batch AS has_batch, lost_time <= now() AS has_time
FROM pgq.get_lost_consumers('size');
SELECT consumer_name, lag, last_tick, pending_events FROM pgq.get_consumer_info('size', 'slow');
-- all of its calls say so; it goes on only when it registers again
SELECT pgq.next_batch('size', 'slow');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.next_batch_info('size', 'slow');
SELECT count(*) FROM pgq.get_batch_events(:batch);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pgq.get_batch_cursor(:batch, 'cur', 10);
SELECT pgq.get_batch_info(:batch);
SELECT pgq.event_retry(:batch, 1, 0);
SELECT pgq.event_dead(:batch, 1, 'no');
SELECT pgq.finish_batch(:batch);
\echo :LAST_ERROR_SQLSTATE
UPDATE pgq.subscription SET sub_last_tick = 1 WHERE sub_lost_time IS NOT NULL;

-- another queue has its consumer still, and the others read on
SELECT last_tick FROM pgq.get_consumer_info('size_2', 'slow');
CALL size_fill();
CALL size_read('fast');
CALL size_read('third');
SELECT pgq.register_consumer('size', 'slow');
SELECT * FROM pgq.get_lost_consumers();
SELECT pgq.register_consumer('size', 'slow');
SELECT pgq.next_batch('size', 'slow') IS NULL AS has_nothing_old;
CALL size_fill();
SELECT count(*) FROM pgq.get_batch_events(pgq.next_batch('size', 'slow'));
CALL size_read('slow');
-- or at a tick
UPDATE pgq.subscription SET sub_lost_time = now(), sub_last_tick = NULL FROM pgq.consumer
WHERE sub_consumer = co_id AND co_name = 'slow' AND sub_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = 'size');
SELECT pgq.register_consumer_at('size', 'slow', min(tick_id)) FROM pgq.tick JOIN pgq.queue ON tick_queue = queue_id WHERE queue_name = 'size';
SELECT count(*) FROM pgq.get_lost_consumers();
-- one that keeps up is never in the way, however small the limit is
SELECT pgq.unregister_consumer('size', 'slow'), pgq.unregister_consumer('size', 'third');
SELECT pgq.set_queue_config('size', 'max_size', '1 kB');
CALL size_read('fast');
CALL size_maint();
CALL size_maint();
SELECT * FROM pgq.get_lost_consumers();

-- cooperating consumers: the one with the batch, or the position of all
SELECT pgq_coop.register_subconsumer('size', 'main', 'a'), pgq_coop.register_subconsumer('size', 'main', 'b');
CALL size_fill();
SELECT pgq_coop.next_batch('size', 'main', 'a') AS batch \gset
CALL size_fill();
CALL size_read('fast');
SELECT pgq_coop.next_batch('size', 'main', 'b') AS batch_b \gset
SELECT pgq_coop.finish_batch(:batch_b);
CALL size_maint();
SELECT consumer_name FROM pgq.get_lost_consumers('size');
SELECT pgq_coop.next_batch('size', 'main', 'a') IS NOT NULL AS has_batch;
\echo :LAST_ERROR_SQLSTATE
SELECT pgq_coop.finish_batch(:batch);
-- nobody takes over what is gone
UPDATE pgq.subscription SET sub_active = now() - interval '1 hour' WHERE sub_batch = :batch;
SELECT pgq_coop.next_batch('size', 'main', 'b', '1 second') IS NOT NULL AS has_batch;
SELECT pgq_coop.register_subconsumer('size', 'main', 'a');
SELECT pgq_coop.next_batch('size', 'main', 'a') IS NOT NULL AS has_batch;
CALL size_fill();
CALL size_fill();
CALL size_read('fast');
CALL size_maint();
CALL size_fill();
CALL size_read('fast');
CALL size_maint();
SELECT consumer_name FROM pgq.get_lost_consumers('size');
SELECT pgq_coop.next_batch('size', 'main', 'a') IS NOT NULL AS has_batch;
\echo :LAST_ERROR_SQLSTATE
SELECT pgq_coop.next_batch('size', 'main', 'new') IS NOT NULL AS has_batch;
SELECT pgq_coop.register_subconsumer('size', 'main', 'a');
SELECT pgq.register_consumer('size', 'main');
SELECT pgq_coop.next_batch('size', 'main', 'a') IS NOT NULL AS has_batch;
CALL size_fill();
SELECT count(*) FROM pgq.get_batch_events(pgq_coop.next_batch('size', 'main', 'a'));

-- no special rights needed, but for setting
CREATE ROLE size_admin IN ROLE pgq_admin;
CREATE ROLE size_nobody;
SET ROLE size_admin;
CALL size_maint();
SELECT count(*) FROM pgq.get_lost_consumers('size');
SET ROLE size_nobody;
SELECT is_over FROM pgq.get_queue_size('size');
SELECT pgq.set_queue_config('size', 'max_size', NULL);
SELECT count(*) FROM pgq.get_lost_consumers();
RESET ROLE;
DROP ROLE size_admin, size_nobody;
DROP VIEW size_state;
DROP PROCEDURE size_maint, size_fill, size_read;
SELECT pgq.drop_queue('size', true), pgq.drop_queue('size_2', true);
DROP EXTENSION pgq_coop;
