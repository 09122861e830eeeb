/*-------------------------------------------------------------------------
 *
 * tick.c
 *		Ticks: their rows, when a queue has to tick, and how it does.
 *
 * Whoever ticks a queue holds the queue's tick lock to the end of his
 * transaction and takes the tick's snapshot under it.  So a tick with a higher
 * id never has an older snapshot, in any isolation level: events between them
 * would be delivered twice or not at all.  Who needs several queues locks them
 * in the order of their ids.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/table.h"
#include "queue/tick.h"

/* columns of pgq.tick */
#define TICK_QUEUE 1
#define TICK_ID 2
#define TICK_TIME 3
#define TICK_SNAPSHOT 4
#define TICK_EVENT_SEQ 5
#define TICK_NCOLUMNS 5

static void
read_tick(Relation rel, HeapTuple tup, Tick *tick)
{
	Datum values[TICK_NCOLUMNS];
	bool nulls[TICK_NCOLUMNS];

	heap_deform_tuple(tup, RelationGetDescr(rel), values, nulls);
	tick->id = DatumGetInt64(values[TICK_ID - 1]);
	tick->time = DatumGetTimestampTz(values[TICK_TIME - 1]);
	tick->snapshot = snapshot_copy(values[TICK_SNAPSHOT - 1]);
	tick->event_seq = DatumGetInt64(values[TICK_EVENT_SEQ - 1]);
}

/*
 * Read up to "max" ticks in the order of the index, which "keys" narrow.
 * Returns how many were there.
 */
static int
read_ticks(int nkeys, ScanKey keys, ScanDirection direction, Snapshot snapshot,
		   Tick *ticks, int max)
{
	Relation rel = table_open(queue_relation(QUEUE_TICK_TABLE),
							  AccessShareLock);
	Relation index = index_open(queue_relation(QUEUE_TICK_PKEY),
								AccessShareLock);
	SysScanDesc scan;
	int n = 0;

	scan = systable_beginscan_ordered(rel, index, snapshot, nkeys, keys);
	while (n < max)
	{
		HeapTuple tup = systable_getnext_ordered(scan, direction);

		if (!HeapTupleIsValid(tup))
			break;
		read_tick(rel, tup, &ticks[n++]);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return n;
}

/*
 * Read the newest ticks of a queue, highest id first; at most "max".
 *
 * Walks the index from its end, so that old ticks, dead or not, are not in the
 * way.  Returns how many there are; snapshots are palloc'd.
 */
int
tick_find_newest(int32 queue_id, Snapshot snapshot, Tick *ticks, int max)
{
	ScanKeyData key;

	table_key_int4(&key, TICK_QUEUE, queue_id);
	return read_ticks(1, &key, BackwardScanDirection, snapshot, ticks, max);
}

/* Read the tick with the given id; false if there is none. */
bool
tick_find_id(int32 queue_id, int64 id, Snapshot snapshot, Tick *tick)
{
	ScanKeyData keys[2];

	table_key_int4(&keys[0], TICK_QUEUE, queue_id);
	table_key_int8(&keys[1], TICK_ID, BTEqualStrategyNumber, F_INT8EQ, id);
	return read_ticks(2, keys, ForwardScanDirection, snapshot, tick, 1) == 1;
}

/* Read the first tick with an id above "id"; false if there is none. */
bool
tick_find_next(int32 queue_id, int64 id, Snapshot snapshot, Tick *tick)
{
	ScanKeyData keys[2];

	table_key_int4(&keys[0], TICK_QUEUE, queue_id);
	table_key_int8(&keys[1], TICK_ID, BTGreaterStrategyNumber, F_INT8GT, id);
	return read_ticks(2, keys, ForwardScanDirection, snapshot, tick, 1) == 1;
}

/* Take the queue's tick lock, to the end of the transaction. */
void
tick_lock_queue(int32 queue_id)
{
	LockDatabaseObject(queue_relation(QUEUE_TABLE), queue_id, 0,
					   ShareUpdateExclusiveLock);
}

/* Give the tick lock back: only if nothing was ticked under it. */
void
tick_unlock_queue(int32 queue_id)
{
	UnlockDatabaseObject(queue_relation(QUEUE_TABLE), queue_id, 0,
						 ShareUpdateExclusiveLock);
}

/* tick_read_state() by one snapshot; sets *gone if a drop came between. */
static bool
read_state(int32 queue_id, Snapshot snapshot, TickState *state, bool *gone)
{
	Queue *queue = &state->queue;
	Tick ticks[2];
	Oid seq;

	*gone = false;
	if (!queue_find_id(queue_id, snapshot, queue))
		return false;
	seq = queue_sequence(queue, queue->event_seq, gone);
	if (*gone || !table_sequence_value(seq, &state->event_seq))
	{
		*gone = true;
		return false;
	}
	state->nticks = tick_find_newest(queue_id, snapshot, ticks, 2);
	if (state->nticks > 0)
		state->newest = ticks[0];
	if (state->nticks > 1)
		state->before = ticks[1];
	return true;
}

/*
 * Read a queue and its newest ticks as they are at this moment.
 *
 * The sequence is read before a tick's own snapshot is taken.  Returns false if
 * there is no such queue any more.
 */
bool
tick_read_state(int32 queue_id, TickState *state)
{
	bool found;
	bool gone;

	do
	{
		Snapshot snapshot = table_fresh_snapshot();

		CHECK_FOR_INTERRUPTS();
		found = read_state(queue_id, snapshot, state, &gone);
		UnregisterSnapshot(snapshot);
	} while (gone);
	return found;
}

/*
 * Does the newest tick fit this server's transaction ids and the sequence?
 *
 * After a restore into a server with lower ids it does not, and a new tick
 * would not be behind the old one.  Complains with "elevel" then and returns
 * false.  Warns of lesser oddities.
 */
bool
tick_check_state(const TickState *state, int elevel)
{
	const Tick *newest = &state->newest;
	uint64 next;

	if (state->nticks == 0)
		return true;

	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	if (newest->snapshot->xmin > next)
	{
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("Invalid PgQ state: old xmin=" UINT64_FORMAT
						", old xmax=" UINT64_FORMAT
						", cur txid=" UINT64_FORMAT,
						newest->snapshot->xmin, newest->snapshot->xmax, next),
				 errdetail("Queue \"%s\" comes from a server with higher "
						   "transaction ids.", state->queue.name),
				 errhint("Raise this server's transaction id epoch with "
						 "pg_resetwal -e, or drop the queue and create it "
						 "again.")));
		return false;
	}
	if (newest->snapshot->xmax > next)
		ereport(WARNING,
				(errmsg("Dubious PgQ state: old xmax=" UINT64_FORMAT
						", cur txid=" UINT64_FORMAT,
						newest->snapshot->xmax, next)));
	if (state->event_seq < newest->event_seq)
		ereport(WARNING,
				(errmsg("Negative new_events?  old=" INT64_FORMAT
						" cur=" INT64_FORMAT,
						newest->event_seq, state->event_seq)));
	return true;
}

static Interval *
time_between(TimestampTz later, TimestampTz earlier)
{
	return DatumGetIntervalP(DirectFunctionCall2(timestamp_mi,
												 TimestampTzGetDatum(later),
												 TimestampTzGetDatum(earlier)));
}

static bool
is_at_least(Interval *a, Interval *b)
{
	return DatumGetBool(DirectFunctionCall2(interval_ge, IntervalPGetDatum(a),
											IntervalPGetDatum(b)));
}

static Interval *
multiply(Interval *span, double factor)
{
	return DatumGetIntervalP(DirectFunctionCall2(
		interval_mul, IntervalPGetDatum(span), Float8GetDatum(factor)));
}

/*
 * Is it time for the queue to tick, by its settings?  An idle queue ticks at
 * ever longer intervals, up to its idle period.
 */
bool
tick_is_due(const TickState *state)
{
	Queue queue = state->queue;
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	int64 new_events;
	Interval *lag;

	if (state->nticks == 0)
		return true;

	lag = time_between(now, state->newest.time);
	new_events = state->event_seq - state->newest.event_seq;
	if (new_events > 0)
		return new_events >= queue.ticker_max_count ||
			   is_at_least(lag, &queue.ticker_max_lag);

	if (state->nticks == 1)
		return true;
	return is_at_least(lag, multiply(&queue.ticker_max_lag, 0.5)) &&
		   (is_at_least(lag, multiply(time_between(state->newest.time,
												   state->before.time),
									  2)) ||
			is_at_least(lag, &queue.ticker_idle_period));
}

/*
 * Lock the parent of the queue's event tables in AccessShare mode.
 *
 * It stands for the foreign key's lock on the queue's row: drop_queue() drops
 * the parent before it deletes the ticks, so it waits for us and then deletes
 * ours too.  Returns false if the queue has been dropped.
 */
static bool
lock_parent(const Queue *queue)
{
	Oid parent = table_find_name(queue->data_pfx);

	if (!OidIsValid(parent))
		return false;
	LockRelationOid(parent, AccessShareLock);
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(parent));
}

/*
 * Add a tick with the snapshot of this moment; the tick lock must be held.
 *
 * Its commit is flushed, whatever synchronous_commit says: after a crash a
 * batch id must not come back with another tick, so with other events.
 *
 * Returns false if the queue was dropped meanwhile.  Raises 23505 if the queue
 * has a tick with that id.
 */
bool
tick_insert_row(const Queue *queue, int64 id, TimestampTz time, int64 event_seq)
{
	TableWriter w;
	Datum *values;

	if (!lock_parent(queue))
		return false;

	table_open_writer(&w, queue_relation(QUEUE_TICK_TABLE), RowExclusiveLock);
	values = w.slot->tts_values;
	memset(w.slot->tts_isnull, false, TICK_NCOLUMNS * sizeof(bool));
	values[TICK_QUEUE - 1] = Int32GetDatum(queue->id);
	values[TICK_ID - 1] = Int64GetDatum(id);
	values[TICK_TIME - 1] = TimestampTzGetDatum(time);
	values[TICK_SNAPSHOT - 1] = PointerGetDatum(snapshot_take());
	values[TICK_EVENT_SEQ - 1] = Int64GetDatum(event_seq);
	table_insert_row(&w);
	table_close_writer(&w);
	ForceSyncCommit();

	/* The next queue function of the same statement must see it. */
	CommandCounterIncrement();
	return true;
}

/*
 * Tick a queue whose tick lock is held, with "state" read under the lock.
 * Returns the new tick's id, 0 if the queue was dropped meanwhile.
 */
int64
tick_insert(const TickState *state)
{
	const Queue *queue = &state->queue;
	int64 id;

	/* Before the sequence is used: it goes away together with the parent. */
	if (!lock_parent(queue))
		return 0;
	id = nextval_internal(queue_sequence(queue, queue->tick_seq, NULL), false);
	tick_insert_row(queue, id, GetCurrentTransactionStartTimestamp(),
					state->event_seq);
	return id;
}
