-- relay.sql: what pgqrelay tells of itself, so that all see it from anywhere.
--
-- A relay writes its row when its state changes and once a minute, never per batch.
-- What belongs to a batch is in the consumer's row and its bookmark.  Not in dumps:
-- a relay that runs writes it anew.


CREATE OR REPLACE FUNCTION pgq._forget_relay()
RETURNS trigger AS $$
BEGIN
	DELETE FROM pgq.relay
	WHERE rl_queue = OLD.sub_queue AND rl_consumer = OLD.sub_consumer;
	RETURN NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._forget_relay() IS
	'Deletes what the relay told that was a consumer, when that leaves a queue.';


CREATE OR REPLACE FUNCTION pgq.note_relay(i_queue text, i_consumer text,
	i_target text, i_state text, i_error text, i_ev_per_sec float8)
RETURNS int4 AS $$
DECLARE
	q_id int4;
	c_id int4;
	-- lines that are shown on terminals
	target text := left(regexp_replace(i_target, '[[:cntrl:]]+', ' ', 'g'), 1000);
	state text := left(regexp_replace(i_state, '[[:cntrl:]]+', ' ', 'g'), 100);
	error text := nullif(left(regexp_replace(i_error, '[[:cntrl:]]+', ' ', 'g'), 1000), '');
BEGIN
	-- Not to outlive the consumer, whose name unregister_consumer locks first. Its
	-- subscription is locked by whoever has a batch under way.
	SELECT q.queue_id, c.co_id INTO q_id, c_id
	FROM pgq.queue q CROSS JOIN pgq.consumer c
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer
	FOR KEY SHARE OF c;
	PERFORM FROM pgq._subscriptions(q_id) s WHERE s.sub_consumer = c_id;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	INSERT INTO pgq.relay AS r
	VALUES (q_id, c_id, target, state, now(), now(), i_ev_per_sec,
			error, CASE WHEN error IS NOT NULL THEN now() END)
	ON CONFLICT (rl_queue, rl_consumer) DO UPDATE SET
		rl_target = excluded.rl_target,
		rl_state = excluded.rl_state,
		rl_since = CASE WHEN r.rl_state = excluded.rl_state THEN r.rl_since ELSE now() END,
		rl_seen = now(),
		rl_rate = i_ev_per_sec,
		rl_error = coalesce(error, r.rl_error),
		rl_error_time = coalesce(excluded.rl_error_time, r.rl_error_time);
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.note_relay(text, text, text, text, text, float8) IS
	'Keeps how a relay is, for get_relay_info; returns 0 when there is no such consumer.';


CREATE OR REPLACE FUNCTION pgq.get_relay_info(
	OUT queue_name text,
	OUT consumer_name text,
	OUT target text,
	OUT state text,
	OUT since timestamptz,
	OUT batch int8,
	OUT engine_position text,
	OUT ev_per_sec float8,
	OUT lag interval,
	OUT pending_events int8,
	OUT last_error text,
	OUT last_error_time timestamptz,
	OUT last_seen interval)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, r.rl_target,
		   -- it tells of itself once a minute
		   CASE WHEN silent THEN 'silent' ELSE r.rl_state END,
		   CASE WHEN silent THEN r.rl_seen ELSE r.rl_since END,
		   coalesce(i.current_batch, b.bm_batch), b.bm_text,
		   CASE WHEN silent THEN 0 ELSE r.rl_rate END,
		   i.lag, i.pending_events, r.rl_error, r.rl_error_time, now() - r.rl_seen
	FROM pgq.relay r
		 JOIN pgq.queue q ON q.queue_id = r.rl_queue
		 JOIN pgq.consumer c ON c.co_id = r.rl_consumer
		 CROSS JOIN LATERAL (SELECT r.rl_state <> 'ended'
			AND r.rl_seen < now() - interval '3 minutes' AS silent) s
		 LEFT JOIN LATERAL pgq.get_consumer_info(q.queue_name, c.co_name) i ON true
		 LEFT JOIN LATERAL (
			SELECT k.bm_batch, k.bm_text FROM pgq.bookmark k
			WHERE k.bm_queue = r.rl_queue AND k.bm_consumer = r.rl_consumer
			ORDER BY k.bm_queue DESC, k.bm_consumer DESC, k.bm_batch DESC LIMIT 1) b ON true
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.get_relay_info() IS
	'Returns how each relay is: its target, state and since when, the batch under way or finished last, the bookmark, events per second, lag, the last error.';


-- What it was told for a moment is no problem; where an engine is away, the relay
-- comes again by itself.
CREATE OR REPLACE FUNCTION pgq._relay_problems()
RETURNS SETOF pgq.problem AS $$
	SELECT 'relay', format('%s/%s', q.queue_name, c.co_name), 'problem',
		format('relay "%s" of queue "%s" into %s ', c.co_name, q.queue_name, r.rl_target)
			|| CASE WHEN s.silent
				THEN format('has not been heard of for %s',
							date_trunc('second', now() - r.rl_seen))
				WHEN r.rl_state = 'engine away'
				THEN format('does not reach its engine: %s', r.rl_error)
				ELSE format('stands still: %s', r.rl_error) END,
		CASE WHEN s.silent
			THEN format('Start pgqrelay, or see in its log why it does not reach this database. If nobody needs the relay: SELECT pgq.unregister_consumer(%L, %L);',
						q.queue_name, c.co_name)
			WHEN r.rl_state = 'engine away'
			THEN 'See to the engine and to the way there; the relay tries again by itself.'
			ELSE 'See relay.md for what that means; when the cause is gone, restart pgqrelay, which else tries again once a minute.' END,
		NULL::text, now() - CASE WHEN s.silent THEN r.rl_seen ELSE r.rl_since END
	FROM pgq.relay r
		 JOIN pgq.queue q ON q.queue_id = r.rl_queue
		 JOIN pgq.consumer c ON c.co_id = r.rl_consumer
		 CROSS JOIN LATERAL (SELECT r.rl_state <> 'ended'
			AND r.rl_seen < now() - interval '3 minutes' AS silent) s
	WHERE s.silent OR r.rl_state = 'stands still'
	   OR r.rl_state = 'engine away' AND r.rl_since < now() - pgq._patience()
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._relay_problems() IS
	'Tells which relays move nothing.';
