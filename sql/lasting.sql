-- What wants to be seen to and lasts: queues, consumers, rotation. pgqadm and pgqd
-- have the query itself, too (common/lasting.h is made from it), for databases
-- with PgQ 3: so it uses nothing that is newer.

CREATE OR REPLACE FUNCTION pgq._lasting_problems()
RETURNS SETOF pgq.problem AS $$
	-- the age of a consumer's last tick says nothing: it may have done all
	SELECT 'consumer', format('%s/%s', c.queue_name, c.consumer_name), 'problem',
		format('consumer "%s" of queue "%s" %sis %s behind, with %s events to come: the queue cannot forget any of them',
			c.consumer_name, c.queue_name,
			CASE WHEN c.current_batch IS NOT NULL AND c.last_seen > interval '1 minute'
				THEN format('has had batch %s open for %s, and ', c.current_batch,
					date_trunc('second', c.last_seen)) END,
			date_trunc('second', now() - t.tick_time),
			coalesce(c.pending_events::text, 'unknown')),
		format('%s If nobody needs it: SELECT pgq.unregister_consumer(%L, %L);',
			CASE WHEN c.current_batch IS NOT NULL AND c.last_seen > interval '1 minute'
				THEN 'See what it does in that batch; started anew, it gets the batch again.'
				ELSE 'Start the consumer.' END,
			c.queue_name, c.consumer_name),
		NULL::text, now() - t.tick_time
	FROM pgq.get_consumer_info() c
		 JOIN pgq.queue q ON q.queue_name = c.queue_name
		 -- the main row of cooperating consumers, without a tick, follows them
		 CROSS JOIN LATERAL (SELECT n.tick_time FROM pgq.tick n
							 WHERE n.tick_queue = q.queue_id
							   AND n.tick_id > c.last_tick
							 ORDER BY n.tick_queue, n.tick_id LIMIT 1) t
	-- within the retention, which PgQ 3 has not got, it keeps nothing that would
	-- not be kept without it
	WHERE now() - t.tick_time > greatest(3 * q.queue_rotation_period,
			coalesce((to_jsonb(q) ->> 'queue_retention')::interval, '0'))
		+ interval '1 minute'
	UNION ALL
	SELECT 'paused', q.queue_name, 'warning',
		format('queue "%s" is paused: its consumers get nothing', q.queue_name),
		'Let it go on:',
		format('SELECT pgq.set_queue_config(%L, ''ticker_paused'', ''false'');',
			q.queue_name),
		NULL
	FROM pgq.queue q WHERE q.queue_ticker_paused
	UNION ALL
	SELECT 'rotation', q.queue_name, 'problem',
		format('queue "%s" has not rotated its tables for %s: they grow (%s)',
			q.queue_name, date_trunc('second', now() - q.queue_switch_time),
			CASE WHEN q.queue_switch_step2 IS NULL
				THEN 'step 2 of the last one is not done'
				ELSE coalesce((
					SELECT format('consumer "%s" is in the way', c.consumer_name)
					FROM pgq.get_consumer_info(q.queue_name) c
						 JOIN pgq.tick t ON t.tick_queue = q.queue_id
							AND t.tick_id = c.last_tick
					WHERE t.tick_time < q.queue_switch_time
					ORDER BY c.last_tick LIMIT 1),
					'a transaction or the lack of pgqd is in the way') END),
		'See to the consumers, transactions and pgqd that doctor names; pgqd rotates with its next maintenance (maint_period).',
		NULL, now() - q.queue_switch_time
	FROM pgq.queue q
	WHERE now() - q.queue_switch_time > 2 * q.queue_rotation_period
		+ greatest(q.queue_rotation_period,
			coalesce((to_jsonb(q) ->> 'queue_retention')::interval, '0'))
		+ interval '10 minutes'
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._lasting_problems() IS
	'Tells of consumers that are far behind, paused queues and late rotation.';
