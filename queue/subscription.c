/*-------------------------------------------------------------------------
 *
 * subscription.c
 *		Rows of pgq.subscription and pgq.consumer: who reads a queue, and where
 *		he stands.
 *
 * Each batch leaves old versions of its consumer's row, and while a snapshot is
 * held open they can't be removed.  So nothing looks a row up by its key alone,
 * which would meet them all: index subscription_active_idx has the versions of
 * a row in the order of their sub_active, and the newest is the last.  (Their
 * places in the table are in no order: free space is used wherever it is.)  Only
 * a clock that was set back makes a look-up meet those from after its new time.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/own.h"
#include "queue/subscription.h"

/* The consumer is too far behind to go on: see size.sql. */
#define ERRCODE_CONSUMER_LOST MAKE_SQLSTATE('P', 'Q', '0', '0', '1')

static int64
int8_or_minus(const OwnScan *scan, SubscriptionColumn column)
{
	return scan->nulls[column] ? -1 : DatumGetInt64(scan->values[column]);
}

static void
read_row(const OwnScan *scan, Subscription *sub)
{
	sub->id = DatumGetInt32(scan->values[SUBSCRIPTION_ID]);
	sub->queue = DatumGetInt32(scan->values[SUBSCRIPTION_QUEUE]);
	sub->consumer = DatumGetInt32(scan->values[SUBSCRIPTION_CONSUMER]);
	sub->last_tick = int8_or_minus(scan, SUBSCRIPTION_LAST_TICK);
	sub->batch = int8_or_minus(scan, SUBSCRIPTION_BATCH);
	sub->next_tick = int8_or_minus(scan, SUBSCRIPTION_NEXT_TICK);
	sub->lost_time = scan->nulls[SUBSCRIPTION_LOST_TIME]
						 ? 0
						 : DatumGetTimestampTz(
							   scan->values[SUBSCRIPTION_LOST_TIME]);
	sub->lost_tick = int8_or_minus(scan, SUBSCRIPTION_LOST_TICK);
	sub->tid = scan->tup->t_self;
}

/*
 * The one subscription that the scan's keys find, or the last of them, and the
 * end of the scan; false if there is none.  Walks the index from its end, where
 * the newest version is.
 */
static bool
read_last(OwnScan *scan, OwnRelation index, Snapshot snapshot,
		  Subscription *sub)
{
	bool found;

	own_begin_ordered(scan, index, BackwardScanDirection, snapshot);
	found = own_next(scan);
	if (found)
		read_row(scan, sub);
	own_close(scan);
	return found;
}

/* Look up a consumer's subscription to a queue; false if there is none. */
bool
subscription_find_ids(int32 queue_id, int32 consumer, Snapshot snapshot,
					  Subscription *sub)
{
	OwnScan scan;

	own_open(&scan, OWN_SUBSCRIPTION, AccessShareLock);
	own_match(&scan, SUBSCRIPTION_QUEUE, Int32GetDatum(queue_id));
	own_match(&scan, SUBSCRIPTION_CONSUMER, Int32GetDatum(consumer));
	return read_last(&scan, OWN_SUBSCRIPTION_ACTIVE, snapshot, sub);
}

/*
 * Put the subscription to the queue before *sub into *sub, by falling ids of
 * consumers; for the first, sub->consumer must be PG_INT32_MAX.  Each is one
 * step down the index, for the reason said at read_last().
 */
static bool
find_previous(int32 queue_id, Snapshot snapshot, Subscription *sub)
{
	OwnScan scan;

	own_open(&scan, OWN_SUBSCRIPTION, AccessShareLock);
	own_match(&scan, SUBSCRIPTION_QUEUE, Int32GetDatum(queue_id));
	own_compare(&scan, SUBSCRIPTION_CONSUMER, BTLessStrategyNumber, F_INT4LT,
				Int32GetDatum(sub->consumer));
	return read_last(&scan, OWN_SUBSCRIPTION_ACTIVE, snapshot, sub);
}

/* The subscription with that open batch; false if there is none. */
bool
subscription_find_batch(int64 batch, Snapshot snapshot, Subscription *sub)
{
	OwnScan scan;

	own_open(&scan, OWN_SUBSCRIPTION, AccessShareLock);
	own_match(&scan, SUBSCRIPTION_BATCH, Int64GetDatum(batch));
	return read_last(&scan, OWN_SUBSCRIPTION_BATCH, snapshot, sub);
}

/* The id of a consumer, or 0. */
static int32
find_consumer(text *name, Snapshot snapshot)
{
	OwnScan scan;
	int32 id = 0;

	own_open(&scan, OWN_CONSUMER, AccessShareLock);
	own_match(&scan, CONSUMER_NAME, PointerGetDatum(name));
	own_begin(&scan, OWN_CONSUMER_NAME, snapshot);
	if (own_next(&scan))
		id = DatumGetInt32(scan.values[CONSUMER_ID]);
	own_close(&scan);
	return id;
}

/* A consumer's name, palloc'd; NULL if it is gone. */
char *
subscription_consumer_name(int32 id, Snapshot snapshot)
{
	OwnScan scan;
	char *name = NULL;

	own_open(&scan, OWN_CONSUMER, AccessShareLock);
	own_match(&scan, CONSUMER_ID, Int32GetDatum(id));
	own_begin(&scan, OWN_CONSUMER_PKEY, snapshot);
	if (own_next(&scan))
		name = TextDatumGetCString(scan.values[CONSUMER_NAME]);
	own_close(&scan);
	return name;
}

/*
 * Find the subscription of names[1], a consumer, to names[0], a queue, both text.
 * Raises 42704 if there is none.
 */
void
subscription_find(const NullableDatum *names, Snapshot snapshot, Queue *queue,
				  Subscription *sub)
{
	if (!names[0].isnull && !names[1].isnull)
	{
		text *queue_name = DatumGetTextPP(names[0].value);
		int32 consumer = find_consumer(DatumGetTextPP(names[1].value),
									   snapshot);

		if (consumer != 0 &&
			queue_find(VARDATA_ANY(queue_name), VARSIZE_ANY_EXHDR(queue_name),
					   snapshot, queue) &&
			subscription_find_ids(queue->id, consumer, snapshot, sub))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("Not subscriber to queue: %s/%s",
					names[0].isnull ? "NULL" :
					TextDatumGetCString(names[0].value),
					names[1].isnull ? "NULL" :
					TextDatumGetCString(names[1].value)),
			 errhint("Call pgq.register_consumer() first.")));
}

/* Raise PQ001 if the subscription has lost its position. */
void
subscription_require_position(const Subscription *sub, Snapshot snapshot)
{
	Queue queue;
	char *name;

	if (sub->lost_time == 0)
		return;
	name = subscription_consumer_name(sub->consumer, snapshot);
	if (!queue_find_id(sub->queue, snapshot, &queue) || name == NULL)
		elog(ERROR, "consumer is gone");
	ereport(ERROR,
			(errcode(ERRCODE_CONSUMER_LOST),
			 errmsg("consumer \"%s\" has lost its position on queue \"%s\"",
					name, queue.name),
			 errdetail("The queue was over its max_size at %s. The consumer "
					   "stood at tick " INT64_FORMAT "; events from there on "
					   "were not kept for it.",
					   timestamptz_to_str(sub->lost_time), sub->lost_tick),
			 errhint("Register it again: pgq.register_consumer() goes on with "
					 "what comes from now on, pgq.register_consumer_at() from "
					 "a tick that pgq.tick still has.")));
}

/*
 * Does a consumer of the queue wait at the tick for events to come?  Sets
 * *consumers to whether the queue has any.
 */
bool
subscription_waits(int32 queue_id, int64 tick_id, Snapshot snapshot,
				   bool *consumers)
{
	Subscription sub = {.consumer = PG_INT32_MAX};
	bool awaited = false;

	*consumers = false;
	while (!awaited && find_previous(queue_id, snapshot, &sub))
	{
		*consumers = true;
		awaited = sub.batch < 0 && sub.last_tick == tick_id;
	}
	return awaited;
}

/*
 * The id of the main consumer of a cooperating one, of any other its own.
 *
 * Cooperating consumers share the sub_id of the main consumer, whose name, with
 * a dot, theirs begin with.
 */
int32
subscription_main_consumer(const Subscription *sub, Snapshot snapshot)
{
	char *name = subscription_consumer_name(sub->consumer, snapshot);
	char *dot;

	if (name == NULL)
		return sub->consumer;
	for (dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
	{
		text *main_name = cstring_to_text_with_len(name, dot - name);
		int32 consumer = find_consumer(main_name, snapshot);
		Subscription other;

		if (consumer != 0 &&
			subscription_find_ids(sub->queue, consumer, snapshot, &other) &&
			other.id == sub->id)
			return consumer;
	}
	return sub->consumer;
}
