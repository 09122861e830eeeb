/*-------------------------------------------------------------------------
 *
 * lasting.h
 *		What wants to be seen to and lasts: queues, consumers, rotation.  One
 *		list for pgqadm doctor, /health and pgqd's page.
 *
 * What keeps events from moving just now the server tells itself, by
 * pgq.get_problems(); this is a query, since databases with PgQ 3 have it too.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_LASTING_H
#define PGQ_LASTING_H

/*
 * A queue's retention, which PgQ 3 has not got.  A consumer within it keeps nothing
 * that would not be kept without him, and no rotation is due before its end.
 */
/* clang-format off */
#define QUEUE_RETENTION \
	"coalesce((to_jsonb(q) ->> 'queue_retention')::interval, '0')"

/*
 * For search_path pg_catalog.  Columns: kind, problem, hint, statement or ''.
 * A queue may be so late, beside three rotation periods, before it is told.
 */
#define LASTING_SQL \
	/* the age of a consumer's last tick says nothing: it may have done all */ \
	"select 'consumers' as kind, format('consumer \"%s\" of queue \"%s\" is" \
	" %s behind, with %s events to come: the queue cannot forget any of them'," \
	" c.consumer_name, c.queue_name, date_trunc('second', now() - t.tick_time)," \
	" coalesce(c.pending_events::text, 'unknown')) as problem," \
	" format('Start the consumer. If nobody needs it: SELECT" \
	" pgq.unregister_consumer(%L, %L);', c.queue_name, c.consumer_name) as hint," \
	" '' as statement" \
	" from pgq.get_consumer_info() c" \
	" join pgq.queue q on q.queue_name = c.queue_name" \
	/* the main row of cooperating consumers, without a tick, follows them */ \
	" cross join lateral (select n.tick_time from pgq.tick n" \
	" where n.tick_queue = q.queue_id and n.tick_id > c.last_tick" \
	" order by n.tick_queue, n.tick_id limit 1) t" \
	" where now() - t.tick_time" \
	" > greatest(3 * q.queue_rotation_period, " QUEUE_RETENTION ")" \
	" + interval '1 minute'" \
	" union all" \
	" select 'paused', format('queue \"%s\" is paused: its consumers get" \
	" nothing', q.queue_name), 'Let it go on:'," \
	" format('SELECT pgq.set_queue_config(%L, ''ticker_paused'', ''false'');'," \
	" q.queue_name)" \
	" from pgq.queue q where q.queue_ticker_paused" \
	" union all" \
	" select 'rotation', format('queue \"%s\" has not rotated its tables for %s:" \
	" they grow (%s)', q.queue_name, date_trunc('second'," \
	" now() - q.queue_switch_time), case when q.queue_switch_step2 is null" \
	" then 'step 2 of the last one is not done'" \
	" else 'a consumer, a transaction or the lack of pgqd is in the way' end)," \
	" 'See to the consumers, transactions and pgqd that doctor names; pgqd" \
	" rotates with its next maintenance (maint_period).', ''" \
	" from pgq.queue q where now() - q.queue_switch_time" \
	" > 2 * q.queue_rotation_period + greatest(q.queue_rotation_period, " \
	QUEUE_RETENTION ") + interval '10 minutes'"
/* clang-format on */

#endif /* PGQ_LASTING_H */
