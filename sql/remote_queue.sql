-- remote_queue.sql: queues on another server, a queue host, which this database
-- feeds. Their events are in the WAL here and in tables there; see source.sql.

CREATE OR REPLACE FUNCTION pgq.declare_remote_queue(i_queue text)
RETURNS int4 AS $$
BEGIN
	IF i_queue IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the name of the queue.';
	END IF;
	IF octet_length(i_queue) > 2000 THEN
		RAISE EXCEPTION 'name of the queue is too long'
			USING ERRCODE = 'program_limit_exceeded',
				HINT = 'A name may have 2000 bytes.';
	END IF;
	-- one at a time, and none while start_capture looks
	LOCK TABLE pgq.slot, pgq.remote_queue IN SHARE ROW EXCLUSIVE MODE;
	PERFORM FROM pgq.queue WHERE queue_name = i_queue;
	IF FOUND THEN
		RAISE EXCEPTION 'queue "%" is in this database', i_queue
			USING ERRCODE = 'duplicate_object',
				HINT = 'Drop it with pgq.drop_queue(), or use another name.';
	END IF;
	PERFORM FROM pgq.slot WHERE NOT slot_remote;
	IF FOUND THEN
		RAISE EXCEPTION 'the capture slot feeds queues of this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'A database has one capture slot, for its own queues or for those of a queue host.',
				HINT = 'Call pgq.stop_capture() when consumers have all events, declare the queue, and call pgq.start_capture().';
	END IF;
	PERFORM FROM pgq.capture c
	WHERE c.cap_queue IN (SELECT queue_name FROM pgq.queue)
	UNION ALL
	SELECT FROM pgq.capture_schema s
	WHERE s.cps_queue IN (SELECT queue_name FROM pgq.queue);
	IF FOUND THEN
		RAISE EXCEPTION 'tables are captured into queues of this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'End these captures first: pgq.get_capture_info() lists them.';
	END IF;
	INSERT INTO pgq.remote_queue (rq_queue)
	SELECT i_queue
	WHERE NOT EXISTS (SELECT FROM pgq.remote_queue WHERE rq_queue = i_queue);
	RETURN CASE WHEN FOUND THEN 1 ELSE 0 END;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.declare_remote_queue(text) IS
	'Lets captures and emit_event name a queue that is on a queue host; returns 1, or 0 if it was declared.';


CREATE OR REPLACE FUNCTION pgq.drop_remote_queue(i_queue text)
RETURNS int4 AS $$
BEGIN
	PERFORM FROM pgq.remote_queue WHERE rq_queue = i_queue FOR UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	PERFORM FROM pgq.capture WHERE cap_queue = i_queue
	UNION ALL
	SELECT FROM pgq.capture_schema WHERE cps_queue = i_queue;
	IF FOUND THEN
		RAISE EXCEPTION 'tables are still captured into queue "%"', i_queue
			USING ERRCODE = 'dependent_objects_still_exist',
				HINT = 'Call pgq.uncapture_table() or pgq.uncapture_schema() first.';
	END IF;
	PERFORM pgq._forget_captures(i_queue);
	DELETE FROM pgq.capture_transaction WHERE ctx_queue = i_queue;
	DELETE FROM pgq.capture_ddl WHERE cdl_queue = i_queue;
	DELETE FROM pgq.remote_queue WHERE rq_queue = i_queue;
	PERFORM pgq._invalidate_capture();
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.drop_remote_queue(text) IS
	'Forgets a queue of a queue host, which stays as it is there; returns 1, or 0 if it was not declared.';
