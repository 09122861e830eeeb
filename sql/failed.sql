-- failed.sql: events whose work failed, and those that are merely postponed.
--
-- Both come again with a higher ev_retry. What max_retries limits, and what the pauses
-- grow by, is how often an event failed: by event_failed, or by event_retry, whose
-- callers do not say why. Postponements are counted apart, in pgq.postponed_event, and
-- taken off.


CREATE OR REPLACE FUNCTION pgq.event_failed(
	i_batch_id int8, i_event_id int8, i_reason text,
	i_delay interval DEFAULT '10 seconds',
	i_max_delay interval DEFAULT '1 hour',
	i_max_retries int4 DEFAULT NULL)
RETURNS timestamptz AS $$
DECLARE
	e record;
	after timestamptz;
	pause float8;
BEGIN
	IF i_delay IS NULL OR i_max_delay IS NULL
		OR least(i_delay, i_max_delay) < interval '0' OR i_max_retries < 0 THEN
		RAISE EXCEPTION 'delays and the number of retries must not be negative'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Leave them out for 10 seconds, an hour, and what max_retries of the queue says.';
	END IF;
	SELECT * INTO e FROM pgq._require_batch_event(i_batch_id, i_event_id);
	IF e.o_failures >= least(e.o_max_retries, i_max_retries) THEN
		PERFORM pgq._add_dead_event(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
			coalesce(i_reason, format('failures: %s', e.o_failures + 1)));
		RETURN NULL;
	END IF;
	pause := least(extract(epoch FROM i_max_delay)::float8,
				   extract(epoch FROM i_delay)::float8
						* 2.0 ^ least(e.o_failures, 60));
	PERFORM pgq._fail_postponed(e.o_owner, i_event_id);
	PERFORM pgq._add_retry(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
						   clock_timestamp() + make_interval(secs => pause));
	SELECT r.ev_retry_after INTO after FROM pgq.retry_queue r
	WHERE r.ev_owner = e.o_owner AND r.ev_id = i_event_id;
	RETURN after;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_failed(
	int8, int8, text, interval, interval, int4) IS
	'Delivers an event of an open batch, whose work failed, again after a delay that doubles with each failure, or buries it with the reason past max_retries, of the queue or as given; returns when it comes again, NULL when it is dead.';


CREATE OR REPLACE FUNCTION pgq.event_postpone(
	i_batch_id int8, i_event_id int8, i_delay interval)
RETURNS int4 AS $$
DECLARE
	e record;
	n int4;
BEGIN
	IF i_delay IS NULL THEN
		RAISE EXCEPTION 'an event is postponed by some interval, not NULL'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give one, such as ''1 minute''.';
	END IF;
	SELECT * INTO e FROM pgq._require_batch_event(i_batch_id, i_event_id);
	n := pgq._add_retry(e.o_queue, e.o_consumer, e.o_owner, e.o_event,
						now() + i_delay);
	IF n > 0 THEN
		INSERT INTO pgq.postponed_event AS p (pe_owner, pe_queue, ev_id, pe_count)
		VALUES (e.o_owner, e.o_queue, i_event_id, 1)
		ON CONFLICT ON CONSTRAINT postponed_event_pkey DO UPDATE
		SET pe_count = p.pe_count + 1, pe_txid = NULL;
	END IF;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_postpone(int8, int8, interval) IS
	'Delivers an event of an open batch again after a while, which is no failure and never buries it; returns 0 when it waits already.';


-- An event that was put back is over for its consumer when a batch behind it is: had
-- it been put aside again, it would wait.
CREATE OR REPLACE FUNCTION pgq.maint_postponed()
RETURNS int4 AS $$
BEGIN
	DELETE FROM pgq.postponed_event p
	WHERE p.pe_txid IS NOT NULL
	  AND NOT EXISTS (SELECT FROM pgq.retry_queue r
					  WHERE r.ev_owner = p.pe_owner AND r.ev_id = p.ev_id)
	  AND p.pe_txid < (
			SELECT min(txid_snapshot_xmin(t.tick_snapshot))
			FROM pgq._subscriptions(p.pe_queue) s
				 JOIN pgq.tick t ON t.tick_queue = s.sub_queue
								AND t.tick_id = s.sub_last_tick
			WHERE s.sub_id = p.pe_owner);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_postponed() IS
	'Forgets how often events were postponed that their consumers are done with.';
