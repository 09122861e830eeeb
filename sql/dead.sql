-- dead.sql: events that a consumer has given up, kept to be looked at, put
-- back or purged.
--
-- They belong to the consumer of the queue; for cooperating consumers that is
-- the main one, whichever of them gave up.
--
-- An event never is among a consumer's dead events and waits for a retry too: of
-- what the consumer said, the last counts. Whoever says either goes by a row in
-- pgq.retry_queue first, by whose key two sessions wait for each other.


CREATE OR REPLACE FUNCTION pgq._add_dead_event(
	i_queue_id int4, i_consumer_id int4, i_sub_id int4,
	i_event pgq.event_template, i_reason text)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_owner)
	VALUES (now(), i_queue_id, i_event.ev_id, i_event.ev_time, i_sub_id)
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	DELETE FROM pgq.retry_queue
	WHERE ev_owner = i_sub_id AND ev_id = i_event.ev_id;
	DELETE FROM pgq.postponed_event
	WHERE pe_owner = i_sub_id AND ev_id = i_event.ev_id;
	INSERT INTO pgq.dead_event (dead_reason, dead_queue, dead_consumer, ev_id,
		ev_time, ev_txid, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (i_reason, i_queue_id,
		pgq._main_consumer(i_queue_id, i_consumer_id), i_event.ev_id,
		i_event.ev_time, i_event.ev_txid, i_event.ev_retry, i_event.ev_type,
		i_event.ev_data, i_event.ev_extra1, i_event.ev_extra2,
		i_event.ev_extra3, i_event.ev_extra4)
	ON CONFLICT ON CONSTRAINT dead_event_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._add_dead_event(
	int4, int4, int4, pgq.event_template, text) IS
	'Puts an event among the dead ones of a consumer, and not into its retry queue; returns 0 when it is dead already.';


CREATE OR REPLACE FUNCTION pgq._revive_event(
	i_queue_id int4, i_consumer_id int4, i_event_id int8)
RETURNS void AS $$
BEGIN
	DELETE FROM pgq.dead_event
	WHERE dead_queue = i_queue_id AND ev_id = i_event_id
	  AND dead_consumer = pgq._main_consumer(i_queue_id, i_consumer_id);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._revive_event(int4, int4, int8) IS
	'Takes an event, which waits for a retry now, from the dead ones of a consumer.';


-- The reason for events that are dead because of queue_max_retries.
CREATE OR REPLACE FUNCTION pgq._retry_reason(i_retries int4)
RETURNS text AS $$
BEGIN
	RETURN format('retries done: %s, queue_max_retries allows no more',
				  coalesce(i_retries, 0));
END;
$$ LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._retry_reason(int4) IS
	'Says why an event that has failed so many times is dead.';


CREATE OR REPLACE FUNCTION pgq.event_dead(
	i_batch_id int8, i_event_id int8, i_reason text)
RETURNS int4 AS $$
DECLARE
	e record;
BEGIN
	SELECT * INTO e FROM pgq._require_batch_event(i_batch_id, i_event_id);
	RETURN pgq._add_dead_event(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
							   i_reason);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_dead(int8, int8, text) IS
	'Gives up an event of an open batch and keeps it among the dead events, also if it was to be retried; returns 0 when it is dead already.';


CREATE OR REPLACE FUNCTION pgq.get_dead_events(
	i_queue text,
	i_consumer text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT dead_time timestamptz,
	OUT dead_reason text,
	OUT ev_id int8,
	OUT ev_time timestamptz,
	OUT ev_retry int4,
	OUT ev_type text,
	OUT ev_data text,
	OUT ev_extra1 text,
	OUT ev_extra2 text,
	OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, d.dead_time, d.dead_reason, d.ev_id,
		   d.ev_time, d.ev_retry, d.ev_type, d.ev_data,
		   d.ev_extra1, d.ev_extra2, d.ev_extra3, d.ev_extra4
	FROM pgq.dead_event d
		 JOIN pgq.queue q ON q.queue_id = d.dead_queue
		 JOIN pgq.consumer c ON c.co_id = d.dead_consumer
	WHERE (i_queue IS NULL OR q.queue_name = i_queue)
	  AND (i_consumer IS NULL OR c.co_name = i_consumer)
	ORDER BY q.queue_name, c.co_name, d.dead_time, d.ev_id
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_dead_events(text, text) IS
	'Returns the dead events of a consumer on a queue, oldest first; NULL stands for all queues or consumers.';


CREATE OR REPLACE FUNCTION pgq.requeue_dead_event(
	i_queue text, i_consumer text, i_event_id int8)
RETURNS int4 AS $$
DECLARE
	s record;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue, sub.sub_consumer INTO s
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) sub
		 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer "%s" on queue "%s".',
								i_consumer, i_queue),
				HINT = 'pgq.get_dead_events(NULL, NULL) lists all dead events with their queues and consumers.';
	END IF;

	-- One that waits for a retry already stays among the dead.
	WITH back AS (
		INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
			ev_txid, ev_owner, ev_retry, ev_type, ev_data,
			ev_extra1, ev_extra2, ev_extra3, ev_extra4)
		SELECT now(), d.dead_queue, d.ev_id, d.ev_time, NULL, s.sub_id, 0,
			d.ev_type, d.ev_data,
			d.ev_extra1, d.ev_extra2, d.ev_extra3, d.ev_extra4
		FROM pgq.dead_event d
		WHERE d.dead_queue = s.sub_queue AND d.ev_id = i_event_id
		  AND d.dead_consumer = pgq._main_consumer(s.sub_queue, s.sub_consumer)
		FOR UPDATE
		ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING
		RETURNING ev_id
	)
	DELETE FROM pgq.dead_event d USING back
	WHERE d.dead_queue = s.sub_queue AND d.ev_id = back.ev_id
	  AND d.dead_consumer = pgq._main_consumer(s.sub_queue, s.sub_consumer);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.requeue_dead_event(text, text, int8) IS
	'Puts a dead event back for its consumer, counted as never retried; returns 0 when there is none or it waits already.';


CREATE OR REPLACE FUNCTION pgq.purge_dead_events(
	i_queue text, i_consumer text, i_before timestamptz DEFAULT now())
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	DELETE FROM pgq.dead_event d
	USING pgq.queue q, pgq.consumer c
	WHERE q.queue_id = d.dead_queue AND q.queue_name = i_queue
	  AND c.co_id = d.dead_consumer AND c.co_name = i_consumer
	  AND d.dead_time <= i_before;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.purge_dead_events(text, text, timestamptz) IS
	'Deletes the dead events of a consumer on a queue that died by a time, now unless given; returns how many.';
