-- consumer.sql: register, move and unregister consumers.
--
-- Row locks are taken in the order queue, consumer, subscription everywhere.
--
-- Cooperating consumers share the sub_id of their main consumer in its queue;
-- a sub-consumer's name begins with the main consumer's name and a dot.

CREATE OR REPLACE FUNCTION pgq._main_consumer(
	i_queue_id int4, i_consumer_id int4)
RETURNS int4 AS $$
DECLARE
	id int4;
BEGIN
	SELECT m.sub_consumer INTO id
	FROM pgq.subscription s
		 JOIN pgq.consumer c ON c.co_id = s.sub_consumer
		 JOIN pgq.subscription m ON m.sub_queue = s.sub_queue
								AND m.sub_id = s.sub_id
		 JOIN pgq.consumer mc ON mc.co_id = m.sub_consumer
	WHERE s.sub_queue = i_queue_id AND s.sub_consumer = i_consumer_id
	  AND (mc.co_id = c.co_id OR starts_with(c.co_name, mc.co_name || '.'))
	ORDER BY length(mc.co_name) LIMIT 1;
	RETURN id;
END;
$$ LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._main_consumer(int4, int4) IS
	'Returns the main consumer of a cooperating consumer, any other as it is; NULL when it is not registered on the queue.';


-- Takes the consumer's row against the order of locks, and so does not wait.
CREATE OR REPLACE FUNCTION pgq._forget_consumer(i_consumer_id int4)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.consumer WHERE co_id = i_consumer_id
	FOR UPDATE SKIP LOCKED;
	IF FOUND THEN
		DELETE FROM pgq.consumer
		WHERE co_id = i_consumer_id
		  AND NOT EXISTS (SELECT FROM pgq.subscription
						  WHERE sub_consumer = i_consumer_id);
	END IF;
EXCEPTION
	WHEN foreign_key_violation THEN
		-- Somebody else's table needs the name.
		NULL;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._forget_consumer(int4) IS
	'Deletes the name of a consumer that is registered nowhere, unless somebody uses it.';



CREATE OR REPLACE FUNCTION pgq.register_consumer_at(
	x_queue_name text, x_consumer_name text, x_tick_pos int8)
RETURNS int4 AS $$
DECLARE
	q_id int4;
	c_id int4;
	s_id int4;
	top_id int4;
	start_tick int8 := x_tick_pos;
	was_registered bool;
	was_lost bool;
BEGIN
	-- Keeps rotation and drop_queue away until the position is committed.
	SELECT queue_id INTO q_id FROM pgq.queue
	WHERE queue_name = x_queue_name FOR SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'Event queue not created yet'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue %L.', x_queue_name),
				HINT = 'Call pgq.create_queue() first.';
	END IF;

	-- The lock makes two registrations of one consumer follow each other.
	LOOP
		SELECT co_id INTO c_id FROM pgq.consumer
		WHERE co_name = x_consumer_name FOR NO KEY UPDATE;
		EXIT WHEN FOUND;
		-- The sequence may be behind the table after a restore by hand.
		SELECT max(co_id) INTO top_id FROM pgq.consumer;
		LOOP
			c_id := nextval('pgq.consumer_co_id_seq');
			EXIT WHEN c_id > coalesce(top_id, 0);
		END LOOP;
		INSERT INTO pgq.consumer (co_id, co_name)
		VALUES (c_id, x_consumer_name)
		ON CONFLICT (co_name) DO NOTHING;
	END LOOP;

	IF x_tick_pos IS NOT NULL THEN
		PERFORM FROM pgq.tick
		WHERE tick_queue = q_id AND tick_id = x_tick_pos;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'cannot reposition, tick not found: %', x_tick_pos
				USING ERRCODE = 'undefined_object',
					HINT = 'pgq.tick lists the ticks that rotation has left.';
		END IF;
	END IF;

	SELECT sub_lost_time IS NOT NULL INTO was_lost FROM pgq.subscription
	WHERE sub_queue = q_id AND sub_consumer = c_id FOR UPDATE;
	was_registered := FOUND;
	IF was_registered AND x_tick_pos IS NULL AND NOT was_lost THEN
		RETURN 0;
	END IF;

	IF start_tick IS NULL THEN
		SELECT tick_id INTO start_tick FROM pgq.tick
		WHERE tick_queue = q_id ORDER BY tick_queue DESC, tick_id DESC LIMIT 1;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No ticks for this queue.  Please run ticker on database.'
				USING ERRCODE = 'object_not_in_prerequisite_state',
					HINT = 'Start pgqd, or call pgq.ticker().';
		END IF;
	END IF;

	IF was_registered THEN
		-- A sub-consumer's position would never move, and stop rotation.
		IF pgq._main_consumer(q_id, c_id) <> c_id THEN
			IF x_tick_pos IS NOT NULL THEN
				RAISE EXCEPTION 'cannot reposition, "%" is a sub-consumer',
						x_consumer_name
					USING ERRCODE = 'object_not_in_prerequisite_state',
						DETAIL = 'The main consumer has the position.',
						HINT = 'Reposition the main consumer.';
			END IF;
			start_tick := NULL;
		END IF;
		UPDATE pgq.subscription
		SET sub_last_tick = start_tick, sub_batch = NULL, sub_next_tick = NULL,
			sub_active = now(), sub_lost_time = NULL, sub_lost_tick = NULL
		WHERE sub_queue = q_id AND sub_consumer = c_id;
		RETURN was_lost::int4;
	END IF;

	-- sub_id has no unique constraint that would catch a used one, and sharing
	-- one by accident means sharing retried events.
	SELECT max(sub_id) INTO top_id FROM pgq.subscription;
	LOOP
		s_id := nextval('pgq.subscription_sub_id_seq');
		EXIT WHEN s_id > coalesce(top_id, 0);
	END LOOP;
	INSERT INTO pgq.subscription (sub_id, sub_queue, sub_consumer,
								  sub_last_tick)
	VALUES (s_id, q_id, c_id, start_tick);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.register_consumer_at(text, text, int8) IS
	'Registers a consumer at a tick, or moves it there; returns 1 when it is new or had lost its position.';


CREATE OR REPLACE FUNCTION pgq.register_consumer(x_queue_name text, x_consumer_id text)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.register_consumer_at(x_queue_name, x_consumer_id, NULL);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.register_consumer(text, text) IS
	'Registers a consumer at the newest tick of a queue; returns 1 when it is new or had lost its position.';


CREATE OR REPLACE FUNCTION pgq.unregister_consumer(
	x_queue_name text, x_consumer_name text)
RETURNS int4 AS $$
DECLARE
	c_id int4;
	s pgq.subscription%ROWTYPE;
	member int4;
	n int4 := 0;
BEGIN
	SELECT co_id INTO c_id FROM pgq.consumer
	WHERE co_name = x_consumer_name FOR UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	SELECT sub.* INTO s
	FROM pgq.subscription sub JOIN pgq.queue q ON q.queue_id = sub.sub_queue
	WHERE q.queue_name = x_queue_name AND sub.sub_consumer = c_id
	FOR UPDATE OF sub;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;

	IF pgq._main_consumer(s.sub_queue, c_id) <> c_id THEN
		DELETE FROM pgq.subscription
		WHERE sub_queue = s.sub_queue AND sub_consumer = c_id;
		PERFORM pgq._forget_consumer(c_id);
		RETURN 1;
	END IF;

	DELETE FROM pgq.retry_queue
	WHERE ev_owner = s.sub_id AND ev_queue = s.sub_queue;
	DELETE FROM pgq.dead_event
	WHERE dead_queue = s.sub_queue AND dead_consumer = c_id;
	FOR member IN
		DELETE FROM pgq.subscription
		WHERE sub_id = s.sub_id AND sub_queue = s.sub_queue
		  AND pgq._main_consumer(sub_queue, sub_consumer) = c_id
		RETURNING sub_consumer
	LOOP
		n := n + 1;
		IF member <> c_id THEN
			PERFORM pgq._forget_consumer(member);
		END IF;
	END LOOP;
	DELETE FROM pgq.consumer
	WHERE co_id = c_id
	  AND NOT EXISTS (SELECT FROM pgq.subscription
					  WHERE sub_consumer = c_id);
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.unregister_consumer(text, text) IS
	'Removes a consumer from a queue with its retried and dead events; returns the number of subscriptions removed.';
