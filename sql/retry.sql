-- retry.sql: events that a consumer wants to see again later.

CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_time timestamptz)
RETURNS int4 AS $$
DECLARE
	s record;
	ev pgq.event_template%ROWTYPE;
	event_table text;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue,
		   a.tick_snapshot AS snap_from, b.tick_snapshot AS snap_to
	INTO s
	FROM pgq.subscription sub
		 JOIN pgq.tick a ON a.tick_queue = sub.sub_queue
						AND a.tick_id = sub.sub_last_tick
		 JOIN pgq.tick b ON b.tick_queue = sub.sub_queue
						AND b.tick_id = sub.sub_next_tick
	WHERE sub.sub_batch = x_batch_id;
	IF FOUND THEN
		-- Not visible in the first snapshot means: at or above its xmax, or
		-- one of those that ran then. Both go by the index on ev_txid,
		-- however old the oldest of them is.
		FOR event_table IN SELECT pgq.batch_event_tables(x_batch_id) LOOP
			EXECUTE format(
				'SELECT e.* FROM ('
				'SELECT * FROM ONLY %1$s'
				' WHERE ev_txid >= txid_snapshot_xmax($2)'
				' AND ev_txid < txid_snapshot_xmax($3)'
				' UNION ALL '
				'SELECT * FROM ONLY %1$s'
				' WHERE ev_txid = ANY (ARRAY('
				'SELECT x FROM txid_snapshot_xip($2) x))'
				') e WHERE e.ev_id = $1'
				' AND txid_visible_in_snapshot(e.ev_txid, $3)'
				' AND (e.ev_owner IS NULL OR e.ev_owner = $4)'
				' ORDER BY e.ev_retry DESC NULLS LAST LIMIT 1',
				pgq.quote_fqname(event_table))
			INTO ev USING x_event_id, s.snap_from, s.snap_to, s.sub_id;
			EXIT WHEN ev.ev_id IS NOT NULL;
		END LOOP;
	END IF;
	IF ev.ev_id IS NULL THEN
		RAISE EXCEPTION 'event not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no open batch %s with an event %s.',
								coalesce(x_batch_id::text, 'NULL'),
								coalesce(x_event_id::text, 'NULL')),
				HINT = 'Events can be retried until their batch is finished.';
	END IF;

	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (x_retry_time, s.sub_queue, ev.ev_id, ev.ev_time,
		NULL, s.sub_id, coalesce(ev.ev_retry, 0) + 1, ev.ev_type, ev.ev_data,
		ev.ev_extra1, ev.ev_extra2, ev.ev_extra3, ev.ev_extra4)
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, timestamptz) IS
	'Delivers an event of an open batch again after a time; returns 0 when it already waits.';


CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_seconds int4)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.event_retry(x_batch_id, x_event_id,
						   now() + make_interval(secs => x_retry_seconds));
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, int4) IS
	'Delivers an event of an open batch again after some seconds; returns 0 when it already waits.';


CREATE OR REPLACE FUNCTION pgq.batch_retry(i_batch_id int8, i_retry_seconds int4)
RETURNS int4 AS $$
DECLARE
	s pgq.subscription%ROWTYPE;
	n int4;
BEGIN
	SELECT * INTO s FROM pgq.subscription WHERE sub_batch = i_batch_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'batch_retry: batch % not found',
				coalesce(i_batch_id::text, 'NULL')
			USING ERRCODE = 'undefined_object',
				HINT = 'A batch can be retried until it is finished.';
	END IF;
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	SELECT now() + make_interval(secs => i_retry_seconds), s.sub_queue,
		ev.ev_id, ev.ev_time, NULL, s.sub_id, coalesce(ev.ev_retry, 0) + 1,
		ev.ev_type, ev.ev_data,
		ev.ev_extra1, ev.ev_extra2, ev.ev_extra3, ev.ev_extra4
	FROM pgq.get_batch_events(i_batch_id) ev
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.batch_retry(int8, int4) IS
	'Delivers all events of an open batch again after some seconds; returns how many did not wait already.';


CREATE OR REPLACE FUNCTION pgq.event_retry_raw(
	x_queue text, x_consumer text, x_retry_after timestamptz,
	x_ev_id int8, x_ev_time timestamptz, x_ev_retry int4,
	x_ev_type text, x_ev_data text, x_ev_extra1 text, x_ev_extra2 text,
	x_ev_extra3 text, x_ev_extra4 text)
RETURNS int8 AS $$
DECLARE
	s record;
	id int8 := x_ev_id;
BEGIN
	SELECT sub.sub_id, q.queue_id, q.queue_event_seq INTO s
	FROM pgq.consumer c
		 JOIN pgq.subscription sub ON sub.sub_consumer = c.co_id
		 JOIN pgq.queue q ON q.queue_id = sub.sub_queue
	WHERE q.queue_name = x_queue AND c.co_name = x_consumer;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer %L on queue %L.',
								x_consumer, x_queue),
				HINT = 'Call pgq.register_consumer() first.';
	END IF;
	IF id IS NULL THEN
		id := nextval(pgq.quote_fqname(s.queue_event_seq)::regclass);
	END IF;
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (x_retry_after, s.queue_id, id, x_ev_time,
		NULL, s.sub_id, x_ev_retry, x_ev_type, x_ev_data,
		x_ev_extra1, x_ev_extra2, x_ev_extra3, x_ev_extra4);
	RETURN id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry_raw(text, text, timestamptz, int8,
	timestamptz, int4, text, text, text, text, text, text) IS
	'Puts an event into the retry queue of one consumer and returns its id.';


-- Callers repeat it until it returns 0. A call moves up to 1000 events (PgQ 3
-- moved 10): clients look only at zero or not.
CREATE OR REPLACE FUNCTION pgq.maint_retry_events()
RETURNS int4 AS $$
DECLARE
	g record;
	failed int4[] := '{}';
	moved int4 := 0;
	n int4;
	again bool := true;
BEGIN
	-- One mover at a time, while consumers can still add events.
	LOCK TABLE pgq.retry_queue IN SHARE UPDATE EXCLUSIVE MODE;

	WHILE again LOOP
		again := false;
		FOR g IN
			SELECT q.queue_id, q.queue_name,
				   -- More than the limit of one transaction would fail.
				   CASE WHEN q.queue_per_tx_limit > 0
						THEN least(count(*), q.queue_per_tx_limit)
						ELSE count(*) END AS n_due
			FROM (SELECT r.ev_queue, r.ev_retry_after FROM pgq.retry_queue r
				  WHERE r.ev_retry_after <= now()
					AND r.ev_queue <> ALL (failed)
				  ORDER BY r.ev_retry_after LIMIT 1000) due
				 JOIN pgq.queue q ON q.queue_id = due.ev_queue
			GROUP BY q.queue_id
			ORDER BY min(due.ev_retry_after), q.queue_name
		LOOP
			-- A queue that refuses events must not hold up the others.
			BEGIN
				WITH due AS (
					SELECT r.ev_owner, r.ev_id FROM pgq.retry_queue r
					WHERE r.ev_queue = g.queue_id
					  AND r.ev_retry_after <= now()
					ORDER BY r.ev_retry_after, r.ev_owner, r.ev_id
					LIMIT g.n_due
				), gone AS (
					DELETE FROM pgq.retry_queue r USING due
					WHERE r.ev_owner = due.ev_owner AND r.ev_id = due.ev_id
					RETURNING r.*
				), ordered AS MATERIALIZED (
					SELECT * FROM gone ORDER BY ev_retry_after, ev_owner, ev_id
				)
				SELECT count(pgq.insert_event_raw(g.queue_name, o.ev_id,
						o.ev_time, o.ev_owner, o.ev_retry, o.ev_type,
						o.ev_data, o.ev_extra1, o.ev_extra2, o.ev_extra3,
						o.ev_extra4))
				INTO n FROM ordered o;
				moved := moved + n;
			EXCEPTION WHEN OTHERS THEN
				RAISE WARNING 'retried events of queue "%" have to wait: %',
					g.queue_name, SQLERRM;
				failed := failed || g.queue_id;
				-- Its events may have filled the list: look behind them.
				again := true;
			END;
		END LOOP;
		again := again AND moved = 0;
	END LOOP;
	RETURN moved;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_retry_events() IS
	'Moves due events from the retry queue back to their queues; returns how many, 0 when nothing is left to move.';
