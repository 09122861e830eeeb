-- consumer.sql: register, move and unregister consumers.
--
-- Row locks are taken in the order queue, consumer, subscription everywhere.
--
-- Cooperating consumers share the sub_id of their main consumer in its queue;
-- a sub-consumer's name begins with the main consumer's name and a dot.

-- Who looks a subscription up by its key in SQL reads all versions of the row,
-- and while a snapshot is held open there is one more for each step of a batch. These
-- find the newest from the end of an index.
CREATE OR REPLACE FUNCTION pgq._subscriptions(i_queue_id int4)
RETURNS SETOF pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_subscriptions'
LANGUAGE C VOLATILE STRICT ROWS 3;
COMMENT ON FUNCTION pgq._subscriptions(int4) IS
	'Returns the subscriptions to a queue, whatever dead versions of them there are.';


CREATE OR REPLACE FUNCTION pgq._batch_subscription(i_batch_id int8)
RETURNS pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_batch_subscription'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._batch_subscription(int8) IS
	'Returns the subscription that has a batch open, NULLs if there is none.';


CREATE OR REPLACE FUNCTION pgq._lock_subscription(
	i_queue_id int4, i_consumer_id int4)
RETURNS pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_lock_subscription'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._lock_subscription(int4, int4) IS
	'Locks a subscription for an update and returns it, NULLs if there is none.';


CREATE OR REPLACE FUNCTION pgq._move_subscription(
	i_queue_id int4, i_consumer_id int4, i_last_tick int8, i_batch_id int8,
	i_next_tick int8)
RETURNS bool
AS 'MODULE_PATHNAME', 'pgq_move_subscription'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._move_subscription(int4, int4, int8, int8, int8) IS
	'Gives a subscription a position and an open batch, each of them or NULL, and notes that it is active; false if it is gone.';


CREATE OR REPLACE FUNCTION pgq._main_consumer(
	i_queue_id int4, i_consumer_id int4)
RETURNS int4
AS 'MODULE_PATHNAME', 'pgq_main_consumer'
LANGUAGE C STABLE STRICT;
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
	s pgq.subscription;
	was_registered bool;
	was_lost bool;
BEGIN
	-- Keeps rotation and drop_queue away until the position is committed.
	SELECT queue_id INTO q_id FROM pgq.queue
	WHERE queue_name = x_queue_name FOR SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'Event queue not created yet'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue "%s".', x_queue_name),
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

	SELECT * INTO s FROM pgq._lock_subscription(q_id, c_id);
	was_registered := s.sub_id IS NOT NULL;
	was_lost := s.sub_lost_time IS NOT NULL;
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
		PERFORM pgq._move_subscription(q_id, c_id, start_tick, NULL, NULL);
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
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._lock_subscription(q.queue_id, c_id) sub
	WHERE q.queue_name = x_queue_name;
	IF s.sub_id IS NULL THEN
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
	DELETE FROM pgq.postponed_event
	WHERE pe_owner = s.sub_id AND pe_queue = s.sub_queue;
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
