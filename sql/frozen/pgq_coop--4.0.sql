\echo Use "CREATE EXTENSION or ALTER EXTENSION UPDATE" to load this file. \quit
-- pgq_coop.sql: extension pgq_coop: several workers share the batches of one
-- consumer.
--
-- The main consumer's subscription keeps the position and never has a batch
-- open. Each worker is a sub-consumer: a subscription of <main>.<sub> with the
-- main consumer's sub_id, which is empty or holds one batch with both ticks.
-- Who needs several rows locks the main one first.

CREATE SCHEMA IF NOT EXISTS pgq_coop;
GRANT USAGE ON SCHEMA pgq_coop TO PUBLIC;

-- PgQ 3's finish_batch() would leave a position in a sub-consumer's row.
DO $$
BEGIN
	IF pg_catalog.split_part(pgq.version(), '.', 1)::pg_catalog.int4 < 4 THEN
		RAISE EXCEPTION 'extension pgq_coop of PgQ 4 needs extension pgq of PgQ 4'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Call ALTER EXTENSION pgq UPDATE first.';
	END IF;
END;
$$;


CREATE OR REPLACE FUNCTION pgq_coop.version()
RETURNS text AS $$
	SELECT e.extversion FROM pg_catalog.pg_extension e
	WHERE e.extname = 'pgq_coop'
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.version() IS
	'Returns the version of the pgq_coop extension installed in this database.';


CREATE OR REPLACE FUNCTION pgq_coop.register_subconsumer(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text)
RETURNS int4 AS $$
DECLARE
	full_name text := i_consumer_name || '.' || i_subconsumer_name;
	main pgq.subscription%ROWTYPE;
	sub pgq.subscription%ROWTYPE;
	is_new int4;
BEGIN
	-- Its other sub-consumers would not learn that it has lost events.
	PERFORM FROM pgq.get_lost_consumers(i_queue_name)
	WHERE consumer_name = i_consumer_name;
	IF FOUND THEN
		PERFORM pgq.next_batch(i_queue_name, i_consumer_name);
	END IF;
	PERFORM pgq.register_consumer(i_queue_name, i_consumer_name);
	is_new := pgq.register_consumer(i_queue_name, full_name);

	SELECT s.* INTO main
	FROM pgq.queue q CROSS JOIN pgq.consumer c
		 CROSS JOIN LATERAL pgq._lock_subscription(q.queue_id, c.co_id) s
	WHERE q.queue_name = i_queue_name AND c.co_name = i_consumer_name;
	IF main.sub_id IS NULL THEN
		RAISE EXCEPTION 'main consumer not found'
			USING ERRCODE = 'undefined_object',
				HINT = 'Somebody has unregistered it just now: try again.';
	END IF;
	SELECT s.* INTO sub
	FROM pgq.consumer c
		 CROSS JOIN LATERAL pgq._lock_subscription(main.sub_queue, c.co_id) s
	WHERE c.co_name = full_name;

	-- Of an earlier main consumer, whose row alone was removed, idle ones
	-- may be left.
	IF is_new = 1 OR sub.sub_id <> main.sub_id AND sub.sub_last_tick IS NULL
	THEN
		UPDATE pgq.subscription
		SET sub_id = main.sub_id, sub_last_tick = NULL, sub_next_tick = NULL
		WHERE sub_queue = sub.sub_queue AND sub_consumer = sub.sub_consumer;
	ELSIF sub.sub_id <> main.sub_id THEN
		RAISE EXCEPTION 'consumer "%" is registered on its own', full_name
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('It cannot be a sub-consumer of "%s" too.',
								i_consumer_name),
				HINT = 'Take another name for the sub-consumer, or unregister that consumer.';
	END IF;
	RETURN is_new;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.register_subconsumer(text, text, text) IS
	'Registers a sub-consumer, with its main consumer if needed; returns 1 when it is new.';


CREATE OR REPLACE FUNCTION pgq_coop.unregister_subconsumer(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text,
	i_batch_handling int4)
RETURNS int4 AS $$
DECLARE
	sub pgq.subscription%ROWTYPE;
BEGIN
	SELECT s.* INTO sub
	FROM pgq.queue q CROSS JOIN pgq.consumer c
		 CROSS JOIN LATERAL pgq._lock_subscription(q.queue_id, c.co_id) s
	WHERE q.queue_name = i_queue_name
	  AND c.co_name = i_consumer_name || '.' || i_subconsumer_name;
	-- One that is registered on its own is none of ours.
	IF sub.sub_id IS NULL OR
		pgq._main_consumer(sub.sub_queue, sub.sub_consumer) = sub.sub_consumer
	THEN
		RETURN 0;
	END IF;
	IF sub.sub_batch IS NOT NULL AND i_batch_handling IS DISTINCT FROM 1 THEN
		RAISE EXCEPTION 'subconsumer has active batch'
			USING ERRCODE = 'object_in_use',
				DETAIL = format('It is batch %s.', sub.sub_batch),
				HINT = 'Finish the batch first, or give 1 as the last argument to lose its events.';
	END IF;
	DELETE FROM pgq.subscription
	WHERE sub_queue = sub.sub_queue AND sub_consumer = sub.sub_consumer;
	PERFORM pgq._forget_consumer(sub.sub_consumer);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.unregister_subconsumer(text, text, text, int4) IS
	'Removes a sub-consumer; with an open batch only if the last argument is 1, and then its events are lost.';


CREATE OR REPLACE FUNCTION pgq_coop.next_batch_custom(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text,
	i_min_lag interval, i_min_count int4, i_min_interval interval,
	i_dead_interval interval)
RETURNS int8 AS $$
DECLARE
	full_name text := i_consumer_name || '.' || i_subconsumer_name;
	main pgq.subscription%ROWTYPE;
	own pgq.subscription%ROWTYPE;
	dead pgq.subscription%ROWTYPE;
	dead_id int4;
	next_one record;
BEGIN
	-- The lock makes the sub-consumers of one main consumer follow each other.
	LOOP
		SELECT s.* INTO main
		FROM pgq.queue q CROSS JOIN pgq.consumer c
			 CROSS JOIN LATERAL pgq._lock_subscription(q.queue_id, c.co_id) s
		WHERE q.queue_name = i_queue_name AND c.co_name = i_consumer_name;
		SELECT s.* INTO own
		FROM pgq.consumer c
			 CROSS JOIN LATERAL pgq._lock_subscription(main.sub_queue, c.co_id) s
		WHERE c.co_name = full_name;
		EXIT WHEN own.sub_id = main.sub_id;
		PERFORM pgq_coop.register_subconsumer(
			i_queue_name, i_consumer_name, i_subconsumer_name);
	END LOOP;

	-- It says so.
	IF main.sub_lost_time IS NOT NULL THEN
		PERFORM pgq.next_batch(i_queue_name, i_consumer_name);
	ELSIF own.sub_lost_time IS NOT NULL THEN
		PERFORM pgq.next_batch(i_queue_name, full_name);
	END IF;
	IF main.sub_batch IS NOT NULL THEN
		RAISE EXCEPTION 'main consumer has batch open?'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('Consumer "%s" has opened batch %s itself.',
								i_consumer_name, main.sub_batch),
				HINT = 'Finish that batch with pgq.finish_batch(); the main consumer must leave the batches to the sub-consumers.';
	END IF;
	IF own.sub_batch IS NOT NULL THEN
		PERFORM pgq._move_subscription(own.sub_queue, own.sub_consumer,
			own.sub_last_tick, own.sub_batch, own.sub_next_tick);
		RETURN own.sub_batch;
	END IF;

	-- Takes over from the one that has been silent for longest.
	IF i_dead_interval IS NOT NULL THEN
		SELECT sub_consumer INTO dead_id FROM pgq._subscriptions(main.sub_queue)
		WHERE sub_id = main.sub_id
		  AND sub_consumer <> main.sub_consumer
		  AND sub_consumer <> own.sub_consumer
		  AND pgq._main_consumer(sub_queue, sub_consumer) = main.sub_consumer
		  AND sub_active < now() - i_dead_interval
		  AND sub_lost_time IS NULL
		ORDER BY sub_active, sub_consumer LIMIT 1;
		SELECT * INTO dead FROM pgq._lock_subscription(main.sub_queue, dead_id);
		-- It may have given a sign of life meanwhile.
		IF dead.sub_active < now() - i_dead_interval
			AND dead.sub_lost_time IS NULL
		THEN
			DELETE FROM pgq.subscription
			WHERE sub_queue = dead.sub_queue
			  AND sub_consumer = dead.sub_consumer;
			PERFORM pgq._forget_consumer(dead.sub_consumer);
			IF dead.sub_batch IS NOT NULL THEN
				PERFORM pgq._move_subscription(own.sub_queue, own.sub_consumer,
					dead.sub_last_tick, dead.sub_batch, dead.sub_next_tick);
				RETURN dead.sub_batch;
			END IF;
		END IF;
	END IF;

	SELECT * INTO next_one
	FROM pgq.next_batch_custom(i_queue_name, i_consumer_name, i_min_lag,
							   i_min_count, i_min_interval);
	IF next_one.batch_id IS NULL THEN
		-- Not dead, only without work; not written at every look.
		IF own.sub_active < now() - i_dead_interval / 4 THEN
			PERFORM pgq._move_subscription(own.sub_queue, own.sub_consumer,
										   NULL, NULL, NULL);
		END IF;
		RETURN NULL;
	END IF;

	-- The main consumer is past the batch at once: what holds up rotation
	-- now is the sub-consumer's row.
	PERFORM pgq._move_subscription(main.sub_queue, main.sub_consumer,
								   next_one.cur_tick_id, NULL, NULL);
	PERFORM pgq._move_subscription(own.sub_queue, own.sub_consumer,
		next_one.prev_tick_id, next_one.batch_id, next_one.cur_tick_id);
	RETURN next_one.batch_id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.next_batch_custom(
	text, text, text, interval, int4, interval, interval) IS
	'Opens a batch of a wished size and age for a sub-consumer, or returns its open one, or that of a sub-consumer silent for the last interval; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq_coop.next_batch_custom(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text,
	i_min_lag interval, i_min_count int4, i_min_interval interval)
RETURNS int8 AS $$
BEGIN
	RETURN pgq_coop.next_batch_custom(i_queue_name, i_consumer_name,
		i_subconsumer_name, i_min_lag, i_min_count, i_min_interval, NULL);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.next_batch_custom(
	text, text, text, interval, int4, interval) IS
	'Opens a batch of a wished size and age for a sub-consumer, or returns its open one; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq_coop.next_batch(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text)
RETURNS int8 AS $$
BEGIN
	RETURN pgq_coop.next_batch_custom(i_queue_name, i_consumer_name,
		i_subconsumer_name, NULL, NULL, NULL, NULL);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.next_batch(text, text, text) IS
	'Opens the next batch for a sub-consumer, or returns its open one; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq_coop.next_batch(
	i_queue_name text, i_consumer_name text, i_subconsumer_name text,
	i_dead_interval interval)
RETURNS int8 AS $$
BEGIN
	RETURN pgq_coop.next_batch_custom(i_queue_name, i_consumer_name,
		i_subconsumer_name, NULL, NULL, NULL, i_dead_interval);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.next_batch(text, text, text, interval) IS
	'Opens the next batch for a sub-consumer, or returns its open one, or that of a sub-consumer silent for an interval; NULL when there is none.';


-- pgq.finish_batch() tells sub-consumers from others, so that either function
-- is right for any batch.
CREATE OR REPLACE FUNCTION pgq_coop.finish_batch(i_batch_id int8)
RETURNS int4 AS $$
BEGIN
	PERFORM FROM pgq._batch_subscription(i_batch_id) s WHERE s.sub_id IS NOT NULL;
	IF NOT FOUND THEN
		RAISE WARNING 'coop_finish_batch: batch % not found', i_batch_id
			USING HINT = 'A batch is finished only once; each session needs a sub-consumer of its own.';
		RETURN 0;
	END IF;
	RETURN pgq.finish_batch(i_batch_id);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_coop.finish_batch(int8) IS
	'Closes a sub-consumer''s batch, so that it can get another; returns 0 with a warning when it is not open.';


-- Rows that PgQ 3's pgq.finish_batch() left with a position: they stop rotation.
UPDATE pgq.subscription SET sub_last_tick = NULL
WHERE sub_batch IS NULL AND sub_last_tick IS NOT NULL
  AND pgq._main_consumer(sub_queue, sub_consumer) <> sub_consumer;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgq_coop FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgq_coop.version() TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	pgq_coop.register_subconsumer(text, text, text),
	pgq_coop.unregister_subconsumer(text, text, text, int4),
	pgq_coop.next_batch(text, text, text),
	pgq_coop.next_batch(text, text, text, interval),
	pgq_coop.next_batch_custom(text, text, text, interval, int4, interval),
	pgq_coop.next_batch_custom(text, text, text, interval, int4, interval,
							   interval),
	pgq_coop.finish_batch(int8)
TO pgq_reader;
