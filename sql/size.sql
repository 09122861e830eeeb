-- size.sql: how much disk a queue takes, and what is done when that is more
-- than its max_size: the next maintenance rotates early; with policy
-- drop_slowest it also takes the position from the consumer that is in the way.

CREATE OR REPLACE FUNCTION pgq._queue_size(i_queue_id int4)
RETURNS int8 AS $$
	SELECT sum(pg_total_relation_size(to_regclass(
		q.queue_data_pfx || '_' || i)))::int8
	FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) AS i
	WHERE q.queue_id = i_queue_id
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._queue_size(int4) IS
	'Returns the bytes that the event tables of a queue take, with indexes.';


CREATE OR REPLACE FUNCTION pgq._is_over_size(i_queue pgq.queue)
RETURNS bool AS $$
BEGIN
	RETURN i_queue.queue_max_size IS NOT NULL
		AND pgq._queue_size(i_queue.queue_id) > i_queue.queue_max_size;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_over_size(pgq.queue) IS
	'Tells whether a queue takes more disk than its max_size.';


-- While an old transaction keeps all ticks from being past the last switch, no
-- consumer is to blame; nor is one that had no time to get there.
CREATE OR REPLACE FUNCTION pgq._can_be_past_switch(i_queue pgq.queue)
RETURNS bool AS $$
	SELECT txid_snapshot_xmin(t.tick_snapshot) > i_queue.queue_switch_step2
	FROM pgq.tick t
	WHERE t.tick_queue = i_queue.queue_id
	  AND t.tick_time <= now() - least(interval '1 minute',
									   i_queue.queue_rotation_period / 10)
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._can_be_past_switch(pgq.queue) IS
	'Tells whether a consumer that is a minute late at most, or a tenth of the rotation period, would let a queue rotate.';


CREATE OR REPLACE FUNCTION pgq.get_queue_size(
	i_queue_name text DEFAULT NULL,
	OUT queue_name text,
	OUT size int8,
	OUT max_size int8,
	OUT max_size_policy text,
	OUT is_over bool,
	OUT held_by text)
RETURNS SETOF record AS $$
	SELECT q.queue_name, s.size, q.queue_max_size, q.queue_max_size_policy,
		   coalesce(s.size > q.queue_max_size, false), slow.co_name
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._queue_size(q.queue_id) AS s (size)
		 LEFT JOIN LATERAL (
			SELECT c.co_name
			FROM pgq._subscriptions(q.queue_id) sub
				 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
				 JOIN pgq.tick t ON t.tick_queue = sub.sub_queue
								AND t.tick_id = sub.sub_last_tick
			WHERE txid_snapshot_xmin(t.tick_snapshot) <= q.queue_switch_step2
			  AND pgq._can_be_past_switch(q)
			ORDER BY sub.sub_last_tick, c.co_name LIMIT 1) slow ON true
	WHERE i_queue_name IS NULL OR q.queue_name = i_queue_name
	ORDER BY q.queue_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_size(text) IS
	'Returns the disk space that queues take, their limit, and the consumer that keeps the next event table from being emptied.';


CREATE OR REPLACE FUNCTION pgq.get_lost_consumers(
	i_queue_name text DEFAULT NULL,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lost_time timestamptz,
	OUT lost_tick int8,
	OUT lost_batch int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, s.sub_lost_time, s.sub_lost_tick,
		   s.sub_batch
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) s
		 JOIN pgq.consumer c ON c.co_id = s.sub_consumer
	WHERE s.sub_lost_time IS NOT NULL
	  AND (i_queue_name IS NULL OR q.queue_name = i_queue_name)
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_lost_consumers(text) IS
	'Returns the consumers whose position was given up because their queue was over its max_size.';


-- The batch's id stays, so that its reader can be told.
CREATE OR REPLACE FUNCTION pgq._drop_slowest(
	i_queue pgq.queue, i_tick_id int8)
RETURNS bool AS $$
DECLARE
	s record;
	found_one bool := false;
BEGIN
	IF i_queue.queue_max_size_policy <> 'drop_slowest'
		OR pgq._can_be_past_switch(i_queue) IS NOT TRUE
		OR NOT pgq._is_over_size(i_queue)
	THEN
		RETURN false;
	END IF;

	FOR s IN
		SELECT sub.sub_consumer, c.co_name
		FROM pgq.subscription sub
			 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
		WHERE sub.sub_queue = i_queue.queue_id
		  AND sub.sub_last_tick = i_tick_id
		ORDER BY c.co_name
		FOR NO KEY UPDATE OF sub SKIP LOCKED
	LOOP
		UPDATE pgq.subscription
		SET sub_lost_time = now(), sub_lost_tick = sub_last_tick,
			sub_last_tick = NULL, sub_next_tick = NULL
		WHERE sub_queue = i_queue.queue_id AND sub_consumer = s.sub_consumer;
		found_one := true;
		RAISE WARNING 'consumer "%" of queue "%" has lost its position',
				s.co_name, i_queue.queue_name
			USING DETAIL = format('The queue takes %s, more than its max_size of %s, and the consumer was the slowest, at tick %s.',
					pg_size_pretty(pgq._queue_size(i_queue.queue_id)),
					pg_size_pretty(i_queue.queue_max_size), i_tick_id);
	END LOOP;
	RETURN found_one;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._drop_slowest(pgq.queue, int8) IS
	'Takes the position from the consumers at a tick, the lowest of the queue, if the queue is over its max_size and has the policy for it; true if there was one.';
