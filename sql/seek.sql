-- seek.sql: consumers go to another place of what their queue still has.

-- The last tick before those that are later, so that all that became visible at
-- the time or later comes behind it, also where the clock was set back.
CREATE OR REPLACE FUNCTION pgq._find_tick_at(i_queue_id int4, i_time timestamptz)
RETURNS int8 AS $$
	SELECT t.tick_id FROM pgq.tick t
	WHERE t.tick_queue = i_queue_id
	  AND t.tick_id < coalesce((SELECT l.tick_id FROM pgq.tick l
								WHERE l.tick_queue = i_queue_id
								  AND l.tick_time > i_time
								ORDER BY l.tick_queue, l.tick_id LIMIT 1),
							   9223372036854775807)
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1
$$ LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._find_tick_at(int4, timestamptz) IS
	'Returns the tick of a queue behind which all is that came from a time on; NULL when there is none so old.';


CREATE OR REPLACE FUNCTION pgq._seek_consumer(
	i_queue text, i_consumer text, i_tick int8, i_time timestamptz,
	i_discard_batch bool)
RETURNS int8 AS $$
DECLARE
	q_id int4;
	s pgq.subscription;
	o pgq.subscription;
	oldest pgq.tick;
	target int8;
BEGIN
	-- Keeps rotation and drop_queue away until the position is committed.
	SELECT queue_id INTO q_id FROM pgq.queue
	WHERE queue_name = i_queue FOR SHARE;
	SELECT sub.* INTO s
	FROM pgq.consumer c
		 CROSS JOIN LATERAL pgq._lock_subscription(q_id, c.co_id) sub
	WHERE c.co_name = i_consumer;
	IF s.sub_id IS NULL THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer "%s" on queue "%s".',
								i_consumer, i_queue),
				HINT = 'Call pgq.register_consumer() first.';
	END IF;
	IF pgq._main_consumer(q_id, s.sub_consumer) <> s.sub_consumer THEN
		RAISE EXCEPTION 'cannot reposition, "%" is a sub-consumer', i_consumer
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'The main consumer has the position.',
				HINT = 'Reposition the main consumer.';
	END IF;

	-- Whoever works on a batch would finish it later, and be where he was.
	FOR o IN
		SELECT sub.* FROM pgq._subscriptions(q_id) sub
		WHERE sub.sub_id = s.sub_id AND sub.sub_batch IS NOT NULL
		  AND sub.sub_lost_time IS NULL
	LOOP
		IF i_discard_batch IS NOT TRUE THEN
			RAISE EXCEPTION 'consumer "%" has batch % open', i_consumer, o.sub_batch
				USING ERRCODE = 'object_in_use',
					DETAIL = 'It was opened ' || date_trunc('second',
							  now() - o.sub_active) || ' ago.',
					HINT = 'Stop the consumer when it has finished it. If the batch is to be given up: SELECT pgq.seek_consumer(..., i_discard_batch => true), or pgqadm seek --discard-batch.';
		END IF;
		PERFORM pgq._move_subscription(q_id, o.sub_consumer,
			CASE WHEN o.sub_consumer = s.sub_consumer THEN o.sub_last_tick END,
			NULL, NULL);
	END LOOP;

	SELECT t.* INTO oldest FROM pgq.tick t
	WHERE t.tick_queue = q_id ORDER BY t.tick_queue, t.tick_id LIMIT 1;
	IF i_tick IS NOT NULL THEN
		SELECT t.tick_id INTO target FROM pgq.tick t
		WHERE t.tick_queue = q_id AND t.tick_id = i_tick;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'cannot reposition, tick not found: %', i_tick
				USING ERRCODE = 'undefined_object',
					DETAIL = format('The oldest tick of queue "%s" is %s, of %s.',
									i_queue, oldest.tick_id, oldest.tick_time),
					HINT = 'pgq.tick lists the ticks that rotation has left.';
		END IF;
	ELSE
		target := CASE WHEN i_time = '-infinity' THEN oldest.tick_id
					   ELSE pgq._find_tick_at(q_id, i_time) END;
		IF target IS NULL THEN
			RAISE EXCEPTION 'queue "%" has nothing as old as %', i_queue, i_time
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = format('Its oldest tick is %s, of %s.',
									oldest.tick_id, oldest.tick_time),
					HINT = 'Take -infinity to go to the oldest; setting "retention" of a queue says how long events are kept.';
		END IF;
	END IF;
	PERFORM pgq._move_subscription(q_id, s.sub_consumer, target, NULL, NULL);
	RETURN target;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._seek_consumer(text, text, int8, timestamptz, bool) IS
	'Moves a consumer to a tick or a time, the one of both that is not NULL; returns the tick.';


CREATE OR REPLACE FUNCTION pgq.seek_consumer(
	i_queue text, i_consumer text, i_time timestamptz,
	i_discard_batch bool DEFAULT false)
RETURNS int8 AS $$
BEGIN
	IF i_time IS NULL THEN
		RAISE EXCEPTION 'time to go to must not be NULL'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Take infinity to go to the end, -infinity to go to the oldest that is there.';
	END IF;
	RETURN pgq._seek_consumer(i_queue, i_consumer, NULL, i_time, i_discard_batch);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seek_consumer(text, text, timestamptz, bool) IS
	'Moves a consumer, forwards or back, so that it gets what came from a time on; refused while it has a batch open, unless that is to be given up; returns the tick where it stands.';


CREATE OR REPLACE FUNCTION pgq.seek_consumer(
	i_queue text, i_consumer text, i_tick int8,
	i_discard_batch bool DEFAULT false)
RETURNS int8 AS $$
BEGIN
	IF i_tick IS NULL THEN
		RAISE EXCEPTION 'tick to go to must not be NULL'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'pgq.tick lists the ticks that rotation has left.';
	END IF;
	RETURN pgq._seek_consumer(i_queue, i_consumer, i_tick, NULL, i_discard_batch);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seek_consumer(text, text, int8, bool) IS
	'Moves a consumer to a tick, forwards or back; refused while it has a batch open, unless that is to be given up; returns the tick.';
