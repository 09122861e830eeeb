-- delayed.sql: events that are put into their queue at a later time.


CREATE OR REPLACE FUNCTION pgq.insert_event_at(
	i_queue text, i_time timestamptz, i_type text, i_data text,
	i_extra1 text DEFAULT NULL, i_extra2 text DEFAULT NULL,
	i_extra3 text DEFAULT NULL, i_extra4 text DEFAULT NULL)
RETURNS int8 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	id int8;
BEGIN
	IF i_queue IS NULL THEN
		RAISE EXCEPTION 'Queue name must not be NULL'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	-- As a foreign key would: keeps drop_queue away.
	SELECT * INTO q FROM pgq.queue WHERE queue_name = i_queue FOR KEY SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'queue "%" does not exist', i_queue
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	END IF;
	IF i_time IS NULL OR i_time = 'infinity' THEN
		RAISE EXCEPTION 'time of a delayed event must not be %',
				coalesce(i_time::text, 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give the time when the event is to be put into the queue.';
	END IF;
	IF q.queue_disable_insert
		AND current_setting('session_replication_role') <> 'replica' THEN
		RAISE EXCEPTION 'Insert into queue disallowed'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('Queue "%s" is disabled.', i_queue);
	END IF;

	id := nextval(pgq.quote_fqname(q.queue_event_seq)::regclass);
	INSERT INTO pgq.delayed_event (ev_queue, ev_time, ev_id, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (q.queue_id, greatest(i_time, now()), id, i_type, i_data,
		i_extra1, i_extra2, i_extra3, i_extra4);
	RETURN id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.insert_event_at(text, timestamptz, text, text,
	text, text, text, text) IS
	'Puts an event into a queue at a later time and returns its id.';


-- A call moves up to 1000 events of each queue.
CREATE OR REPLACE FUNCTION pgq._move_delayed_events()
RETURNS int4 AS $$
DECLARE
	q record;
	moved int4 := 0;
	n int4;
BEGIN
	FOR q IN
		SELECT queue_id, queue_name,
			   -- More than the limit of one transaction would fail.
			   CASE WHEN queue_per_tx_limit > 0
					THEN least(1000, queue_per_tx_limit)
					ELSE 1000 END AS n_due
		FROM pgq.queue
		WHERE EXISTS (SELECT FROM pgq.delayed_event d
					  WHERE d.ev_queue = queue_id AND d.ev_time <= now())
		ORDER BY queue_name
	LOOP
		-- A queue that refuses events must not hold up the others.
		BEGIN
			WITH due AS (
				SELECT d.ev_time, d.ev_id FROM pgq.delayed_event d
				WHERE d.ev_queue = q.queue_id AND d.ev_time <= now()
				ORDER BY d.ev_time, d.ev_id LIMIT q.n_due
			), gone AS (
				DELETE FROM pgq.delayed_event d USING due
				WHERE d.ev_queue = q.queue_id AND d.ev_time = due.ev_time
				  AND d.ev_id = due.ev_id
				RETURNING d.*
			), ordered AS MATERIALIZED (
				SELECT * FROM gone ORDER BY ev_time, ev_id
			)
			SELECT count(pgq.insert_event_raw(q.queue_name, o.ev_id,
					o.ev_time, NULL, NULL, o.ev_type, o.ev_data,
					o.ev_extra1, o.ev_extra2, o.ev_extra3, o.ev_extra4))
			INTO n FROM ordered o;
			moved := moved + n;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'delayed events of queue "%" have to wait: %',
				q.queue_name, SQLERRM;
		END;
	END LOOP;
	RETURN moved;
END;
$$ LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq._move_delayed_events() IS
	'Puts delayed events that are due into their queues and returns how many.';
