/*-------------------------------------------------------------------------
 *
 * batch.c
 *		Opening and finishing batches: pgq.next_batch(), pgq.finish_batch() and
 *		the like.
 *
 * All look at the tables with the snapshot that a new statement of the
 * transaction has: a batch whose last tick is newer than that would be read
 * incompletely in the same transaction.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/own.h"
#include "queue/subscription.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq_find_tick_helper);
PG_FUNCTION_INFO_V1(pgq_next_batch_custom);
PG_FUNCTION_INFO_V1(pgq_next_batch);
PG_FUNCTION_INFO_V1(pgq_finish_batch);
PG_FUNCTION_INFO_V1(pgq_get_batch_info);

/* What a caller asks of the batch he gets; NULL pointers: nothing. */
typedef struct BatchWish
{
	Interval *min_lag;
	int64 *min_count;
	Interval *min_interval;
} BatchWish;

/*
 * Read the tick where a subscription stands.  "consumer" is the name as the
 * caller gave it.
 */
static void
find_last_tick(const Queue *queue, const Subscription *sub, Datum consumer,
			   Snapshot snapshot, Tick *tick)
{
	if (sub->last_tick >= 0 &&
		tick_find_id(queue->id, sub->last_tick, snapshot, tick))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("PgQ corruption: Consumer %s on queue %s does not see "
					"tick <NULL>", TextDatumGetCString(consumer), queue->name),
			 sub->last_tick < 0 ? 0 :
			 errdetail("Tick " INT64_FORMAT " does not exist.",
					   sub->last_tick),
			 errhint("Give it a position with pgq.register_consumer_at().")));
}

/*
 * Look for an open batch by its id, with the queue and both ticks.
 *
 * Returns false if there is none, or its ticks are gone.  Raises PQ001 if its
 * consumer has lost its position.
 */
bool
batch_find(int64 id, Snapshot snapshot, Batch *batch)
{
	Subscription sub;

	if (!subscription_find_batch(id, snapshot, &sub))
		return false;
	subscription_require_position(&sub, snapshot);
	batch->id = id;
	batch->sub_id = sub.id;
	batch->consumer = sub.consumer;
	return sub.last_tick >= 0 && sub.next_tick >= 0 &&
		   queue_find_id(sub.queue, snapshot, &batch->queue) &&
		   tick_find_id(sub.queue, sub.last_tick, snapshot, &batch->from) &&
		   tick_find_id(sub.queue, sub.next_tick, snapshot, &batch->to);
}

/* How far tick "next" is behind "prev", measured by one of the wishes. */
typedef enum Distance
{
	TOO_NEAR,
	ENOUGH,
	TOO_FAR /* more than twice what was asked for */
} Distance;

static Distance
measure_count(const Tick *prev, const Tick *next, int64 min_count)
{
	int64 distance = next->event_seq - prev->event_seq;

	if (distance < min_count)
		return TOO_NEAR;
	return distance - min_count > min_count ? TOO_FAR : ENOUGH;
}

static Distance
measure_interval(const Tick *prev, const Tick *next, Interval *min_interval)
{
	Datum distance = DirectFunctionCall2(timestamp_mi,
										 TimestampTzGetDatum(next->time),
										 TimestampTzGetDatum(prev->time));
	Datum wanted = IntervalPGetDatum(min_interval);

	if (DatumGetBool(DirectFunctionCall2(interval_lt, distance, wanted)))
		return TOO_NEAR;
	wanted = DirectFunctionCall2(interval_mul, wanted, Float8GetDatum(2));
	return DatumGetBool(DirectFunctionCall2(interval_gt, distance, wanted))
			   ? TOO_FAR
			   : ENOUGH;
}

/* The larger of the distances by those wishes that there are. */
static Distance
measure(const Tick *prev, const Tick *next, const BatchWish *wish)
{
	Distance distance = TOO_NEAR;

	if (wish->min_count != NULL)
		distance = measure_count(prev, next, *wish->min_count);
	if (wish->min_interval != NULL)
		distance = Max(distance,
					   measure_interval(prev, next, wish->min_interval));
	return distance;
}

/*
 * Choose the tick that ends a batch which begins at "prev": the newest, if it
 * is far enough; if it is much too far, the first that is far enough.
 */
static bool
choose_tick(int32 queue_id, const Tick *prev, const BatchWish *wish,
			Snapshot snapshot, Tick *next)
{
	Distance distance;
	int64 id;

	if (tick_find_newest(queue_id, snapshot, next, 1) == 0 ||
		next->id <= prev->id)
		return false;
	distance = measure(prev, next, wish);
	if (distance != TOO_FAR)
		return distance == ENOUGH;

	id = prev->id;
	while (tick_find_next(queue_id, id, snapshot, next))
	{
		if (measure(prev, next, wish) != TOO_NEAR)
			return true;
		id = next->id;
	}
	return false;
}

/* The same for any wish: without one, the very next tick. */
static bool
find_next_tick(int32 queue_id, const Tick *prev, const BatchWish *wish,
			   Snapshot snapshot, Tick *next)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	bool found;
	Datum lag;

	if (wish->min_count == NULL && wish->min_interval == NULL)
		found = tick_find_next(queue_id, prev->id, snapshot, next);
	else
		found = choose_tick(queue_id, prev, wish, snapshot, next);
	if (!found || wish->min_lag == NULL)
		return found;

	lag = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now),
							  TimestampTzGetDatum(next->time));
	return DatumGetBool(DirectFunctionCall2(interval_ge, lag,
											IntervalPGetDatum(wish->min_lag)));
}

/*
 * Write an opened batch into the row that is locked in "w".
 *
 * Its commit is flushed, whatever synchronous_commit says: after a crash the
 * same id must not be given to other events.
 */
static int64
open_batch(TableWriter *w, const Tick *next)
{
	int64 id = nextval_internal(own_oid(OWN_BATCH_SEQUENCE), false);

	own_set(w, OWN_SUBSCRIPTION, SUBSCRIPTION_BATCH, Int64GetDatum(id), false);
	own_set(w, OWN_SUBSCRIPTION, SUBSCRIPTION_NEXT_TICK,
			Int64GetDatum(next->id), false);
	own_set(w, OWN_SUBSCRIPTION, SUBSCRIPTION_ACTIVE,
			TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), false);
	table_update_row(w);
	ForceSyncCommit();
	return id;
}

/*
 * The open batch of a consumer, else a new one; its id is put into *id and its
 * ticks into *prev and *next.  Returns false if there is nothing to do.
 *
 * A consumer that has to wait writes nothing.  Else the subscription is locked
 * before the last look: another session of the same consumer may have opened a
 * batch, which then is the answer to both.
 */
static bool
next_batch(const NullableDatum *names, const BatchWish *wish, int64 *id,
		   Tick *prev, Tick *next)
{
	TableWriter w;
	bool locked = false;
	bool found = false;
	bool done = false;

	while (!done)
	{
		Snapshot snapshot = table_transaction_snapshot();
		Queue queue;
		Subscription sub;

		CHECK_FOR_INTERRUPTS();
		subscription_find(names, snapshot, &queue, &sub);
		subscription_require_position(&sub, snapshot);
		find_last_tick(&queue, &sub, names[1].value, snapshot, prev);
		if (sub.batch >= 0)
		{
			if (!tick_find_id(queue.id, sub.next_tick, snapshot, next))
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("tick " INT64_FORMAT " of open batch "
								INT64_FORMAT " does not exist",
								sub.next_tick, sub.batch),
						 errhint("Give the consumer a position with "
								 "pgq.register_consumer_at().")));
			*id = sub.batch;
			found = done = true;
		}
		else if (!find_next_tick(queue.id, prev, wish, snapshot, next))
			done = true;
		else if (locked && ItemPointerEquals(&sub.tid, &w.slot->tts_tid))
		{
			*id = open_batch(&w, next);
			found = done = true;
		}
		else
		{
			if (!locked)
			{
				PreventCommandIfReadOnly("pgq.next_batch()");
				table_open_writer(&w, own_oid(OWN_SUBSCRIPTION),
								  RowExclusiveLock);
				locked = true;
			}
			/* If it is gone, the next look tells so. */
			table_lock_row(&w, &sub.tid, snapshot);
		}
		UnregisterSnapshot(snapshot);
	}
	if (locked)
		table_close_writer(&w);
	return found;
}

static Interval *
interval_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_INTERVAL_P(n);
}

/*
 * pgq.next_batch_custom(i_queue_name, i_consumer_name, i_min_lag, i_min_count,
 * i_min_interval), and pgq.next_batch_info() with the names only
 */
Datum
pgq_next_batch_custom(PG_FUNCTION_ARGS)
{
	BatchWish wish = {NULL, NULL, NULL};
	int64 min_count;
	int64 id;
	Tick prev;
	Tick next;
	Datum values[7] = {0};
	bool nulls[7];

	if (PG_NARGS() > 2)
	{
		wish.min_lag = interval_argument(fcinfo, 2);
		if (!PG_ARGISNULL(3))
		{
			min_count = PG_GETARG_INT32(3);
			wish.min_count = &min_count;
		}
		wish.min_interval = interval_argument(fcinfo, 4);
	}

	if (next_batch(fcinfo->args, &wish, &id, &prev, &next))
	{
		values[0] = Int64GetDatum(id);
		values[1] = Int64GetDatum(next.id);
		values[2] = Int64GetDatum(prev.id);
		values[3] = TimestampTzGetDatum(next.time);
		values[4] = TimestampTzGetDatum(prev.time);
		values[5] = Int64GetDatum(next.event_seq);
		values[6] = Int64GetDatum(prev.event_seq);
		memset(nulls, false, sizeof(nulls));
	}
	else
		memset(nulls, true, sizeof(nulls));
	return table_make_record(fcinfo, values, nulls);
}

/* pgq.next_batch(i_queue_name, i_consumer_name) */
Datum
pgq_next_batch(PG_FUNCTION_ARGS)
{
	BatchWish wish = {NULL, NULL, NULL};
	int64 id;
	Tick prev;
	Tick next;

	if (!next_batch(fcinfo->args, &wish, &id, &prev, &next))
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/*
 * pgq.find_tick_helper(i_queue_id, i_prev_tick_id, i_prev_tick_time,
 * i_prev_tick_seq, i_min_count, i_min_interval)
 */
Datum
pgq_find_tick_helper(PG_FUNCTION_ARGS)
{
	BatchWish wish = {NULL, NULL, NULL};
	int64 min_count;
	Tick prev;
	Tick next;
	Datum values[3] = {0};
	bool nulls[3] = {true, true, true};

	if (!PG_ARGISNULL(4))
	{
		min_count = PG_GETARG_INT64(4);
		wish.min_count = &min_count;
	}
	wish.min_interval = interval_argument(fcinfo, 5);

	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1) && !PG_ARGISNULL(2) &&
		!PG_ARGISNULL(3))
	{
		prev.id = PG_GETARG_INT64(1);
		prev.time = PG_GETARG_TIMESTAMPTZ(2);
		prev.event_seq = PG_GETARG_INT64(3);
		if (choose_tick(PG_GETARG_INT32(0), &prev, &wish, GetActiveSnapshot(),
						&next))
		{
			values[0] = Int64GetDatum(next.id);
			values[1] = TimestampTzGetDatum(next.time);
			values[2] = Int64GetDatum(next.event_seq);
			memset(nulls, false, sizeof(nulls));
		}
	}
	return table_make_record(fcinfo, values, nulls);
}

/* Is batch "id" open in the row that is locked in "w", and not lost? */
static bool
is_open(TableWriter *w, int64 id)
{
	bool no_batch;
	bool not_lost;
	Datum batch = own_get(w, OWN_SUBSCRIPTION, SUBSCRIPTION_BATCH, &no_batch);

	(void) own_get(w, OWN_SUBSCRIPTION, SUBSCRIPTION_LOST_TIME, &not_lost);
	return !no_batch && DatumGetInt64(batch) == id && not_lost;
}

/*
 * Finish batch "id"; false if it is not open.
 *
 * A cooperating consumer keeps no position: its main consumer is past the
 * batch already, and one left here would stop rotation for ever.
 */
static bool
finish_batch(int64 id)
{
	TableWriter w;
	bool found;
	bool done = false;

	table_open_writer(&w, own_oid(OWN_SUBSCRIPTION), RowExclusiveLock);
	do
	{
		Snapshot snapshot = table_transaction_snapshot();
		Subscription sub;

		CHECK_FOR_INTERRUPTS();
		found = subscription_find_batch(id, snapshot, &sub);
		if (found)
			subscription_require_position(&sub, snapshot);
		/* Another session may have been quicker: then look again. */
		if (found && table_lock_row(&w, &sub.tid, snapshot) && is_open(&w, id))
		{
			bool isnull;
			Datum tick = own_get(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_NEXT_TICK,
								 &isnull);

			own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_LAST_TICK, tick,
					isnull || subscription_main_consumer(&sub, snapshot) !=
								  sub.consumer);
			own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_NEXT_TICK, (Datum) 0,
					true);
			own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_BATCH, (Datum) 0, true);
			own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_ACTIVE,
					TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
					false);
			table_update_row(&w);
			done = true;
		}
		UnregisterSnapshot(snapshot);
	} while (found && !done);
	table_close_writer(&w);
	return found;
}

/* pgq.finish_batch(x_batch_id) */
Datum
pgq_finish_batch(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("pgq.finish_batch()");
	if (!PG_ARGISNULL(0) && finish_batch(PG_GETARG_INT64(0)))
		PG_RETURN_INT32(1);
	ereport(WARNING,
			(PG_ARGISNULL(0)
				 ? errmsg("finish_batch: batch <NULL> not found")
				 : errmsg("finish_batch: batch " INT64_FORMAT " not found",
						  PG_GETARG_INT64(0)),
			 errhint("A batch is finished only once. If another session of "
					 "this consumer was first, run a single one, or "
					 "cooperating consumers.")));
	PG_RETURN_INT32(0);
}

/* pgq.get_batch_info(x_batch_id) */
Datum
pgq_get_batch_info(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Snapshot snapshot = table_transaction_snapshot();
	Datum values[9] = {0};
	bool nulls[9];
	Batch batch;
	char *consumer = NULL;

	memset(nulls, true, sizeof(nulls));
	if (!PG_ARGISNULL(0) && batch_find(PG_GETARG_INT64(0), snapshot, &batch))
		consumer = subscription_consumer_name(batch.consumer, snapshot);
	if (consumer)
	{
		values[0] = CStringGetTextDatum(batch.queue.name);
		values[1] = CStringGetTextDatum(consumer);
		values[2] = TimestampTzGetDatum(batch.from.time);
		values[3] = TimestampTzGetDatum(batch.to.time);
		values[4] = Int64GetDatum(batch.from.id);
		values[5] = Int64GetDatum(batch.to.id);
		values[6] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now),
										TimestampTzGetDatum(batch.to.time));
		values[7] = Int64GetDatum(batch.from.event_seq);
		values[8] = Int64GetDatum(batch.to.event_seq);
		memset(nulls, false, sizeof(nulls));
	}
	UnregisterSnapshot(snapshot);
	return table_make_record(fcinfo, values, nulls);
}
