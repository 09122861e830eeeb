-- What people and monitors read about queues and consumers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;

SELECT pgq.create_queue('queue_info b'), pgq.create_queue('queue_info a');
UPDATE pgq.queue SET queue_external_ticker = true WHERE queue_name LIKE 'queue_info%';
-- one tick: no rate yet
SELECT queue_name, queue_ntables, queue_cur_table, queue_rotation_period,
	queue_external_ticker, queue_ticker_paused, queue_ticker_max_count,
	queue_ticker_max_lag, queue_ticker_idle_period, ticker_lag >= '0' AS lag,
	ev_per_sec, ev_new, last_tick_id
FROM pgq.get_queue_info() WHERE queue_name LIKE 'queue_info%';

-- thirty ticks, one a minute, 120 events each; the rate is of the last twenty
SELECT pgq.ticker('queue_info a', 1 + i, '2030-01-01 00:00Z'::timestamptz + i * interval '1 min',
	CASE WHEN i <= 10 THEN i ELSE 120 * i END) FROM generate_series(1, 30) i;
SELECT ev_per_sec, ev_new, last_tick_id FROM pgq.get_queue_info('queue_info a');
SELECT pgq.insert_event('queue_info a', 't', 'd');
SELECT ev_new FROM pgq.get_queue_info('queue_info a');
DELETE FROM pgq.tick USING pgq.queue
WHERE tick_queue = queue_id AND queue_name = 'queue_info b';
SELECT ticker_lag, ev_per_sec, ev_new, last_tick_id FROM pgq.get_queue_info('queue_info b');
SELECT count(*) FROM pgq.get_queue_info('queue_info none');
SELECT count(*) >= 2 AS all_for_null FROM pgq.get_queue_info(NULL);

-- consumers
SELECT pgq.register_consumer_at('queue_info a', 'qinf_y', 11),
	pgq.register_consumer_at('queue_info a', 'qinf_x', 31);
SELECT queue_name, consumer_name, lag = now() - '2030-01-01 00:10Z'::timestamptz AS lag_of_11,
	last_seen >= '0' AS seen, last_tick, current_batch, next_tick, pending_events
FROM pgq.get_consumer_info('queue_info a');
SELECT pgq.next_batch('queue_info a', 'qinf_y') AS batch \gset
SELECT consumer_name, last_tick, current_batch = :batch AS batch, next_tick, pending_events
FROM pgq.get_consumer_info('queue_info a', 'qinf_y');
SELECT consumer_name FROM pgq.get_consumer_info(NULL, 'qinf_x');
SELECT consumer_name FROM pgq.get_consumer_info() WHERE queue_name = 'queue_info a';
SELECT consumer_name FROM pgq.get_consumer_info(NULL) WHERE queue_name = 'queue_info a';
SELECT count(*) FROM pgq.get_consumer_info('queue_info none');

SELECT pgq.drop_queue('queue_info a', true), pgq.drop_queue('queue_info b', true);
