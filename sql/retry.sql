-- retry.sql: events that a consumer wants to see again later.

CREATE OR REPLACE FUNCTION pgq._find_batch_event(
	i_batch_id int8, i_event_id int8)
RETURNS pgq.event_template
AS 'MODULE_PATHNAME', 'pgq_find_batch_event'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._find_batch_event(int8, int8) IS
	'Returns an event of an open batch, NULLs if there is none; the session remembers where that batch''s events are.';


-- An event of an open batch, whose it is, and how often its work has failed: each
-- retry that was no postponement is such a failure.
CREATE OR REPLACE FUNCTION pgq._require_batch_event(
	i_batch_id int8, i_event_id int8,
	OUT o_queue int4, OUT o_consumer int4, OUT o_owner int4,
	OUT o_max_retries int4, OUT o_failures int4, OUT o_event pgq.event_template)
RETURNS record AS $$
BEGIN
	SELECT sub.sub_queue, sub.sub_consumer, sub.sub_id, q.queue_max_retries
	INTO o_queue, o_consumer, o_owner, o_max_retries
	FROM pgq._batch_subscription(i_batch_id) sub
		 JOIN pgq.queue q ON q.queue_id = sub.sub_queue;
	IF FOUND THEN
		SELECT * INTO o_event FROM pgq._find_batch_event(i_batch_id, i_event_id);
	END IF;
	IF o_event.ev_id IS NULL THEN
		RAISE EXCEPTION 'event not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no open batch %s with an event %s.',
								coalesce(i_batch_id::text, 'NULL'),
								coalesce(i_event_id::text, 'NULL')),
				HINT = 'Events can be put aside until their batch is finished.';
	END IF;
	o_failures := coalesce(o_event.ev_retry, 0);
	IF o_failures > 0 THEN
		-- one that it waits for is not yet in its ev_retry
		o_failures := greatest(0, o_failures
			- coalesce((SELECT p.pe_count - (p.pe_txid IS NULL)::int4
						FROM pgq.postponed_event p
						WHERE p.pe_owner = o_owner
						  AND p.ev_id = o_event.ev_id), 0));
	END IF;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._require_batch_event(int8, int8) IS
	'Returns an event of an open batch, its owner and how often it has failed before; an error if there is none.';


CREATE OR REPLACE FUNCTION pgq._add_retry(
	i_queue_id int4, i_consumer_id int4, i_sub_id int4,
	i_event pgq.event_template, i_after timestamptz)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (i_after, i_queue_id, i_event.ev_id, i_event.ev_time, NULL, i_sub_id,
		coalesce(i_event.ev_retry, 0) + 1, i_event.ev_type, i_event.ev_data,
		i_event.ev_extra1, i_event.ev_extra2, i_event.ev_extra3,
		i_event.ev_extra4)
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM pgq._revive_event(i_queue_id, i_consumer_id, i_event.ev_id);
	RETURN n;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._add_retry(
	int4, int4, int4, pgq.event_template, timestamptz) IS
	'Puts an event into the retry queue of a consumer, and not among its dead ones; returns 0 when it waits already.';


-- One that was postponed in its batch, whose work failed when that came again.
CREATE OR REPLACE FUNCTION pgq._fail_postponed(i_owner int4, i_event_id int8)
RETURNS void AS $$
BEGIN
	UPDATE pgq.postponed_event
	SET pe_count = pe_count - 1, pe_txid = txid_current()
	WHERE pe_owner = i_owner AND ev_id = i_event_id AND pe_txid IS NULL;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._fail_postponed(int4, int8) IS
	'Counts the postponement that an event waits for as a failure.';


CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_time timestamptz)
RETURNS int4 AS $$
DECLARE
	e record;
BEGIN
	SELECT * INTO e FROM pgq._require_batch_event(x_batch_id, x_event_id);
	IF e.o_failures >= e.o_max_retries THEN
		RETURN pgq._add_dead_event(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
								   pgq._retry_reason(e.o_failures));
	END IF;
	PERFORM pgq._fail_postponed(e.o_owner, x_event_id);
	RETURN pgq._add_retry(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
						  x_retry_time);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, timestamptz) IS
	'Delivers an event of an open batch again after a time, which counts as a failure, or buries it past queue_max_retries; of this and event_dead the last call counts; returns 0 when that was done already.';


CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_seconds int4)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.event_retry(x_batch_id, x_event_id,
						   now() + make_interval(secs => x_retry_seconds));
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, int4) IS
	'Delivers an event of an open batch again after some seconds, which counts as a failure, or buries it past queue_max_retries; of this and event_dead the last call counts; returns 0 when that was done already.';


CREATE OR REPLACE FUNCTION pgq.batch_retry(i_batch_id int8, i_retry_seconds int4)
RETURNS int4 AS $$
DECLARE
	s record;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue, sub.sub_consumer, q.queue_max_retries,
		   pgq._main_consumer(sub.sub_queue, sub.sub_consumer) AS main_consumer
	INTO s
	FROM pgq._batch_subscription(i_batch_id) sub
		 JOIN pgq.queue q ON q.queue_id = sub.sub_queue;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'batch_retry: batch % not found',
				coalesce(i_batch_id::text, 'NULL')
			USING ERRCODE = 'undefined_object',
				HINT = 'A batch can be retried until it is finished.';
	END IF;
	PERFORM pgq._fail_postponed(s.sub_id, p.ev_id)
	FROM pgq.postponed_event p
	WHERE p.pe_owner = s.sub_id AND p.pe_txid IS NULL
	  AND p.ev_id IN (SELECT e.ev_id FROM pgq.get_batch_events(i_batch_id) e);
	-- Of one id the event that was retried most often, as in event_retry.
	WITH ev AS MATERIALIZED (
		SELECT DISTINCT ON (e.ev_id) e.*,
			   coalesce(e.ev_retry, 0) - coalesce(p.pe_count, 0) AS failures,
			   coalesce(e.ev_retry, 0) - coalesce(p.pe_count, 0)
					>= s.queue_max_retries AS dead
		FROM pgq.get_batch_events(i_batch_id) e
			 LEFT JOIN pgq.postponed_event p
				ON p.pe_owner = s.sub_id AND p.ev_id = e.ev_id
		ORDER BY e.ev_id, e.ev_retry DESC NULLS LAST
	), again AS (
		INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
			ev_txid, ev_owner, ev_retry, ev_type, ev_data,
			ev_extra1, ev_extra2, ev_extra3, ev_extra4)
		SELECT now() + make_interval(secs => i_retry_seconds), s.sub_queue,
			ev.ev_id, ev.ev_time, NULL, s.sub_id, coalesce(ev.ev_retry, 0) + 1,
			ev.ev_type, ev.ev_data,
			ev.ev_extra1, ev.ev_extra2, ev.ev_extra3, ev.ev_extra4
		FROM ev WHERE dead IS NOT TRUE
		ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING
		RETURNING 1
	)
	SELECT (SELECT count(*) FROM again)
		+ coalesce(sum(pgq._add_dead_event(s.sub_queue, s.sub_consumer, s.sub_id,
			ROW(ev.ev_id, ev.ev_time, ev.ev_txid, NULL, ev.ev_retry, ev.ev_type,
				ev.ev_data, ev.ev_extra1, ev.ev_extra2, ev.ev_extra3,
				ev.ev_extra4)::pgq.event_template,
			pgq._retry_reason(ev.failures))), 0)
	INTO n FROM ev WHERE dead;
	DELETE FROM pgq.dead_event d USING pgq.retry_queue r
	WHERE r.ev_owner = s.sub_id AND r.ev_queue = s.sub_queue
	  AND d.dead_queue = s.sub_queue AND d.dead_consumer = s.main_consumer
	  AND d.ev_id = r.ev_id;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.batch_retry(int8, int4) IS
	'Delivers all events of an open batch again after some seconds, or buries those past queue_max_retries; returns for how many that was not done already.';


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
	SELECT sub.sub_id, sub.sub_consumer, q.queue_id, q.queue_event_seq INTO s
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) sub
		 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
	WHERE q.queue_name = x_queue AND c.co_name = x_consumer;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer "%s" on queue "%s".',
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
	PERFORM pgq._revive_event(s.queue_id, s.sub_consumer, id);
	RETURN id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry_raw(text, text, timestamptz, int8,
	timestamptz, int4, text, text, text, text, text, text) IS
	'Puts an event into the retry queue of one consumer and returns its id.';


-- Waits for nobody for long: other queues are behind this one.
CREATE OR REPLACE FUNCTION pgq._move_retry_events(
	i_queue_id int4, i_queue_name text, i_max int8)
RETURNS int8 AS $$
	WITH due AS (
		SELECT r.ev_owner, r.ev_id FROM pgq.retry_queue r
		WHERE r.ev_queue = i_queue_id AND r.ev_retry_after <= now()
		ORDER BY r.ev_retry_after, r.ev_owner, r.ev_id
		LIMIT i_max
	), gone AS (
		DELETE FROM pgq.retry_queue r USING due
		WHERE r.ev_owner = due.ev_owner AND r.ev_id = due.ev_id
		RETURNING r.*
	), noted AS (
		UPDATE pgq.postponed_event p SET pe_txid = txid_current()
		FROM gone WHERE p.pe_owner = gone.ev_owner AND p.ev_id = gone.ev_id
	), ordered AS MATERIALIZED (
		SELECT * FROM gone ORDER BY ev_retry_after, ev_owner, ev_id
	)
	SELECT count(pgq.insert_event_raw(i_queue_name, o.ev_id, o.ev_time,
			o.ev_owner, o.ev_retry, o.ev_type, o.ev_data, o.ev_extra1,
			o.ev_extra2, o.ev_extra3, o.ev_extra4))
	FROM ordered o
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq._move_retry_events(int4, text, int8) IS
	'Puts due retried events of one queue into it; returns how many.';


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
				n := pgq._move_retry_events(g.queue_id, g.queue_name, g.n_due);
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

	-- In a transaction of their own, as both count against queue_per_tx_limit.
	IF moved = 0 THEN
		moved := pgq._move_delayed_events();
	END IF;
	RETURN moved;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_retry_events() IS
	'Puts due events, retried and delayed ones, into their queues; returns how many, 0 when nothing is left to move.';
