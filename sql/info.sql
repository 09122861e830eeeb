-- info.sql: state of queues and consumers.

CREATE OR REPLACE FUNCTION pgq.get_queue_info(
	i_queue_name text,
	OUT queue_name text,
	OUT queue_ntables int4,
	OUT queue_cur_table int4,
	OUT queue_rotation_period interval,
	OUT queue_switch_time timestamptz,
	OUT queue_external_ticker bool,
	OUT queue_ticker_paused bool,
	OUT queue_ticker_max_count int4,
	OUT queue_ticker_max_lag interval,
	OUT queue_ticker_idle_period interval,
	OUT ticker_lag interval,
	OUT ev_per_sec float8,
	OUT ev_new int8,
	OUT last_tick_id int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, q.queue_ntables, q.queue_cur_table,
		   q.queue_rotation_period, q.queue_switch_time,
		   q.queue_external_ticker, q.queue_ticker_paused,
		   q.queue_ticker_max_count, q.queue_ticker_max_lag,
		   q.queue_ticker_idle_period,
		   now() - top.tick_time,
		   -- not NULL while there is one tick: PgQ 3's clients can't print it
		   CASE WHEN top.tick_time > past.tick_time
				THEN (top.tick_event_seq - past.tick_event_seq)
					/ extract(epoch FROM top.tick_time - past.tick_time)::float8
				WHEN top.tick_id IS NOT NULL THEN 0 END,
		   pgq.seq_getval(q.queue_event_seq) - top.tick_event_seq,
		   top.tick_id
	FROM pgq.queue q
		 LEFT JOIN LATERAL (
			SELECT t.tick_id, t.tick_time, t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) top ON true
		 LEFT JOIN LATERAL (
			SELECT t.tick_time, t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id AND t.tick_id >= top.tick_id - 20
			ORDER BY t.tick_queue, t.tick_id LIMIT 1) past ON true
	WHERE i_queue_name IS NULL OR q.queue_name = i_queue_name
	ORDER BY q.queue_name
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_info(text) IS
	'Returns settings and state of one queue, or of all for NULL.';


CREATE OR REPLACE FUNCTION pgq.get_queue_info(
	OUT queue_name text,
	OUT queue_ntables int4,
	OUT queue_cur_table int4,
	OUT queue_rotation_period interval,
	OUT queue_switch_time timestamptz,
	OUT queue_external_ticker bool,
	OUT queue_ticker_paused bool,
	OUT queue_ticker_max_count int4,
	OUT queue_ticker_max_lag interval,
	OUT queue_ticker_idle_period interval,
	OUT ticker_lag interval,
	OUT ev_per_sec float8,
	OUT ev_new int8,
	OUT last_tick_id int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_queue_info(NULL)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_info() IS
	'Returns settings and state of all queues.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	i_queue_name text,
	i_consumer_name text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name,
		   now() - done.tick_time,
		   now() - s.sub_active,
		   s.sub_last_tick, s.sub_batch, s.sub_next_tick,
		   -- an idle sub-consumer has no position of its own; who lost his
		   -- has no end of it
		   CASE WHEN s.sub_last_tick IS NULL AND s.sub_lost_time IS NULL THEN 0
				ELSE top.tick_event_seq - done.tick_event_seq END
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) s
		 JOIN pgq.consumer c ON c.co_id = s.sub_consumer
		 LEFT JOIN pgq.tick done ON done.tick_queue = q.queue_id
								AND done.tick_id = s.sub_last_tick
		 LEFT JOIN LATERAL (
			SELECT t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) top ON true
	WHERE (i_queue_name IS NULL OR q.queue_name = i_queue_name)
	  AND (i_consumer_name IS NULL OR c.co_name = i_consumer_name)
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info(text, text) IS
	'Returns position and lag of one consumer on one queue; NULL stands for all.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	i_queue_name text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_consumer_info(i_queue_name, NULL)
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info(text) IS
	'Returns position and lag of all consumers of one queue, or of all queues for NULL.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_consumer_info(NULL, NULL)
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info() IS
	'Returns position and lag of all consumers on all queues.';
