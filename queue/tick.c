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

#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/own.h"
#include "queue/sequence.h"
#include "queue/table.h"
#include "queue/tick.h"

static void
read_tick(const OwnScan *scan, Tick *tick)
{
	tick->id = DatumGetInt64(scan->values[TICK_ID]);
	tick->time = DatumGetTimestampTz(scan->values[TICK_TIME]);
	tick->snapshot = snapshot_copy(scan->values[TICK_SNAPSHOT]);
	tick->event_seq = DatumGetInt64(scan->values[TICK_EVENT_SEQ]);
}

static void
open_ticks(OwnScan *scan, int32 queue_id)
{
	own_open(scan, OWN_TICK, AccessShareLock);
	own_match(scan, TICK_QUEUE, Int32GetDatum(queue_id));
}

/*
 * Read up to "max" ticks in the order of the index, which the scan's keys
 * narrow, and close it.  Returns how many were there.
 */
static int
read_ticks(OwnScan *scan, ScanDirection direction, Snapshot snapshot,
		   Tick *ticks, int max)
{
	int n = 0;

	own_begin_ordered(scan, OWN_TICK_PKEY, direction, snapshot);
	while (n < max && own_next(scan))
		read_tick(scan, &ticks[n++]);
	own_close(scan);
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
	OwnScan scan;

	open_ticks(&scan, queue_id);
	return read_ticks(&scan, BackwardScanDirection, snapshot, ticks, max);
}

/* Read the tick with the given id; false if there is none. */
bool
tick_find_id(int32 queue_id, int64 id, Snapshot snapshot, Tick *tick)
{
	OwnScan scan;

	open_ticks(&scan, queue_id);
	own_match(&scan, TICK_ID, Int64GetDatum(id));
	return read_ticks(&scan, ForwardScanDirection, snapshot, tick, 1) == 1;
}

/* Read the first tick with an id above "id"; false if there is none. */
bool
tick_find_next(int32 queue_id, int64 id, Snapshot snapshot, Tick *tick)
{
	OwnScan scan;

	open_ticks(&scan, queue_id);
	own_compare(&scan, TICK_ID, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(id));
	return read_ticks(&scan, ForwardScanDirection, snapshot, tick, 1) == 1;
}

/* Take the queue's tick lock, to the end of the transaction. */
void
tick_lock_queue(int32 queue_id)
{
	LockDatabaseObject(own_oid(OWN_QUEUE), queue_id, 0,
					   ShareUpdateExclusiveLock);
}

/* The same without waiting: false if another transaction has the lock. */
bool
tick_try_lock_queue(int32 queue_id)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, own_oid(OWN_QUEUE), queue_id, 0);
	if (LockAcquire(&tag, ShareUpdateExclusiveLock, false, true) ==
		LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/*
 * The same for the sequence of its ticks too, which who drops the queue has
 * locked: the ticks of others shall not wait for him.
 */
bool
tick_try_lock(TickState *state)
{
	if (!tick_try_lock_queue(state->queue.id))
		return false;
	if (!OidIsValid(state->tick_sequence))
		state->tick_sequence = table_find_name(state->queue.tick_seq);
	if (!OidIsValid(state->tick_sequence) ||
		ConditionalLockRelationOid(state->tick_sequence, RowExclusiveLock))
		return true;
	tick_unlock_queue(state->queue.id);
	return false;
}

/* Give the tick lock back: only if nothing was ticked under it. */
void
tick_unlock_queue(int32 queue_id)
{
	UnlockDatabaseObject(own_oid(OWN_QUEUE), queue_id, 0,
						 ShareUpdateExclusiveLock);
}

/*
 * Read one sequence; false if it is gone, or, with skip_locked, if it is locked:
 * then *locked is set.
 */
static bool
read_one(Oid sequence, bool skip_locked, int64 *value, bool *called,
		 bool *locked)
{
	bool found;

	if (!OidIsValid(sequence))
		return false;
	if (!skip_locked)
		return sequence_read_called(sequence, value, called);

	*locked = !ConditionalLockRelationOid(sequence, AccessShareLock);
	if (*locked)
		return false;
	found = sequence_read_called(sequence, value, called);
	UnlockRelationOid(sequence, AccessShareLock);
	return found;
}

/*
 * Read the sequences; false if there is none of events, or, with skip_locked, if
 * one is locked: then *locked is set.
 */
static bool
read_sequence(TickState *state, bool skip_locked, bool *locked)
{
	bool called;

	*locked = false;
	if (!OidIsValid(state->sequence))
		state->sequence = table_find_name(state->queue.event_seq);
	if (!read_one(state->sequence, skip_locked, &state->event_seq, &called,
				  locked))
		return false;

	/* without a sequence of ticks, none was asked for */
	if (!OidIsValid(state->tick_sequence))
		state->tick_sequence = table_find_name(state->queue.tick_seq);
	if (!read_one(state->tick_sequence, skip_locked, &state->tick_seq,
				  &state->tick_called, locked))
		state->tick_seq = 0;
	return !*locked;
}

/*
 * Read the newest ticks and the event sequence of state->queue, and its row
 * again if it has changed, as they are at this moment.  The state's sequences must
 * be known or none.  With skip_locked a queue that is being dropped counts as
 * gone, else it is waited for.
 *
 * The sequence is read before a tick's own snapshot is taken.  Returns false if
 * there is no such queue any more and, with a warning, if it has no sequence.
 */
bool
tick_read_state(TickState *state, bool skip_locked)
{
	int32 id = state->queue.id;
	Tick ticks[2];
	bool locked = false;

	while (!queue_is_current(&state->queue) ||
		   !read_sequence(state, skip_locked, &locked))
	{
		bool found = queue_find_id(id, NULL, &state->queue);

		if (!found || locked)
			return false;
		state->sequence = InvalidOid;
		state->tick_sequence = InvalidOid;
		if (!read_sequence(state, skip_locked, &locked) && !locked &&
			queue_is_current(&state->queue))
		{
			/* Other queues go on. */
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("sequence \"%s\" of queue \"%s\" does not exist",
							state->queue.event_seq, state->queue.name)));
			return false;
		}
		CHECK_FOR_INTERRUPTS();
	}
	state->nticks = tick_find_newest(id, NULL, ticks, 2);
	if (state->nticks > 0)
		state->newest = ticks[0];
	if (state->nticks > 1)
		state->before = ticks[1];
	return true;
}

/*
 * Lock the sequence of the queue's ticks, as its use does anyway.
 *
 * It stands for the foreign key's lock on the queue's row: drop_queue() drops
 * the sequence before it deletes the ticks, so it waits for us and then deletes
 * ours too.  Returns false if the queue has been dropped.
 */
static bool
lock_sequence(TickState *state)
{
	if (!OidIsValid(state->tick_sequence))
		state->tick_sequence = table_find_name(state->queue.tick_seq);
	if (!OidIsValid(state->tick_sequence))
		return false;
	LockRelationOid(state->tick_sequence, RowExclusiveLock);
	return SearchSysCacheExists1(RELOID,
								 ObjectIdGetDatum(state->tick_sequence));
}

/*
 * The same, under the tick lock, for a state that was read or recalled before:
 * all of it is read again only if it may not be true any more.
 *
 * Whoever has ticked since took the tick's id from the sequence.  While that
 * stands at the newest tick, there is no newer one.
 */
bool
tick_read_again(TickState *state)
{
	int64 id;

	if (state->nticks > 0 && lock_sequence(state) &&
		sequence_read(state->tick_sequence, &id) && id == state->newest.id &&
		queue_is_current(&state->queue))
		return true;
	return tick_read_state(state, true);
}

/* Does the newest tick fit this server's transaction ids? */
static bool
check_ids(const TickState *state, int elevel)
{
	const TickSnapshot *snapshot = state->newest.snapshot;
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (snapshot->xmin > next)
	{
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("Invalid PgQ state: old xmin=" UINT64_FORMAT
						", old xmax=" UINT64_FORMAT
						", cur txid=" UINT64_FORMAT,
						snapshot->xmin, snapshot->xmax, next),
				 errdetail("The newest tick of queue \"%s\" has higher "
						   "transaction ids than this server.",
						   state->queue.name),
				 errhint("Set the queue's queue_origin in pgq.queue to NULL: "
						 "then the next ticker run gives it new ids.")));
		return false;
	}
	if (snapshot->xmax > next)
		ereport(WARNING,
				(errmsg("Dubious PgQ state: old xmax=" UINT64_FORMAT
						", cur txid=" UINT64_FORMAT,
						snapshot->xmax, next)));
	return true;
}

/*
 * Does the newest tick fit this server's transaction ids and the sequence?
 *
 * If not, a new tick would not be behind the old one.  (Queues from servers with
 * higher ids are taken care of before: see adopt.c.)  Complains with "elevel"
 * then and returns false.  Warns of lesser oddities.  A remembered tick's ids do
 * fit.
 */
bool
tick_check_state(const TickState *state, int elevel)
{
	if (state->nticks == 0)
		return true;
	if (state->newest.snapshot != NULL && !check_ids(state, elevel))
		return false;
	if (state->event_seq < state->newest.event_seq)
		ereport(WARNING,
				(errmsg("Negative new_events?  old=" INT64_FORMAT
						" cur=" INT64_FORMAT,
						state->newest.event_seq, state->event_seq)));
	return true;
}

/* Microseconds of an interval, as comparisons of intervals count them. */
double
tick_span(const Interval *i)
{
	return i->time +
		   (i->day + (double) i->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

/*
 * Did pgq.force_tick() ask for a tick since the newest one?
 *
 * It leaves a mark in the sequence of the ticks: the next id stands there as one
 * that is not given yet, as nothing else leaves it.  Ids of events, which PgQ
 * uses up for that, would be counted as events.
 */
bool
tick_is_forced(const TickState *state)
{
	return state->nticks > 0 && !state->tick_called &&
		   state->tick_seq > state->newest.id;
}

/*
 * When is it time for the queue to tick, by its settings, if no more events
 * come?  An idle queue ticks at ever longer intervals, up to its idle period.
 */
static TimestampTz
due_time(const TickState *state)
{
	double max_lag = tick_span(&state->queue.ticker_max_lag);
	int64 new_events;
	double due;

	if (state->nticks == 0 || tick_is_forced(state))
		return DT_NOBEGIN;

	new_events = state->event_seq - state->newest.event_seq;
	if (new_events > 0)
	{
		if (new_events >= state->queue.ticker_max_count)
			return DT_NOBEGIN;
		due = max_lag;
	}
	else
	{
		if (state->nticks == 1)
			return DT_NOBEGIN;
		due = Min(2.0 * (state->newest.time - state->before.time),
				  tick_span(&state->queue.ticker_idle_period));
		due = Max(due, max_lag / 2);
	}
	due += state->newest.time;
	if (due >= (double) DT_NOEND)
		return DT_NOEND;
	return due <= (double) DT_NOBEGIN ? DT_NOBEGIN : (TimestampTz) due;
}

/* Is that time come? */
bool
tick_is_due(const TickState *state)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	/*
	 * The clock was set back since: that must not stop ticks until it is as
	 * late again.  A tick of a transaction that began after ours is nearer.
	 */
	if (state->nticks > 0 && state->newest.time > now + USECS_PER_MINUTE)
		return true;
	return now >= due_time(state);
}

/*
 * Write a tick's row.  Its commit need not be flushed: a batch that ends at the
 * tick is opened by a later commit, which is (see open_batch() in batch.c), and
 * that flushes all WAL before it.
 */
static void
put_row(TableWriter *w, const Queue *queue, int64 id, TimestampTz time,
		TickSnapshot *snapshot, int64 event_seq)
{
	memset(w->slot->tts_isnull, true,
		   w->slot->tts_tupleDescriptor->natts * sizeof(bool));
	own_set(w, OWN_TICK, TICK_QUEUE, Int32GetDatum(queue->id), false);
	own_set(w, OWN_TICK, TICK_ID, Int64GetDatum(id), false);
	own_set(w, OWN_TICK, TICK_TIME, TimestampTzGetDatum(time), false);
	own_set(w, OWN_TICK, TICK_SNAPSHOT, PointerGetDatum(snapshot), false);
	own_set(w, OWN_TICK, TICK_EVENT_SEQ, Int64GetDatum(event_seq), false);
	table_insert_row(w);
}

/*
 * Add a tick that was made elsewhere, with the snapshot of this moment; the
 * tick lock must be held.
 *
 * Returns false if the queue was dropped meanwhile.  Raises 23505 if the queue
 * has a tick with that id.
 */
bool
tick_insert_row(TickState *state, int64 id, TimestampTz time, int64 event_seq)
{
	TableWriter w;

	if (!lock_sequence(state))
		return false;
	table_open_writer(&w, own_oid(OWN_TICK), RowExclusiveLock);
	put_row(&w, &state->queue, id, time, snapshot_take(), event_seq);
	table_close_writer(&w);

	/* The next queue function of the same statement must see it. */
	CommandCounterIncrement();
	return true;
}

/*
 * Tick "n" queues whose tick locks are held, with "states" read under them: all
 * with the same snapshot.  Puts the ids of the ticks into "ids", 0 for a queue
 * that was dropped meanwhile.  The states then are those after the ticks.
 */
void
tick_insert(TickState **states, int n, int64 *ids)
{
	TickSnapshot *snapshot = snapshot_take();
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	TableWriter w;

	table_open_writer(&w, own_oid(OWN_TICK), RowExclusiveLock);
	for (int i = 0; i < n; i++)
	{
		TickState *state = states[i];

		ids[i] = 0;
		if (!lock_sequence(state))
			continue;
		/* It may be behind the ticks after a restore by hand. */
		do
		{
			CHECK_FOR_INTERRUPTS();
			ids[i] = nextval_internal(state->tick_sequence, false);
		} while (state->nticks > 0 && ids[i] <= state->newest.id);
		put_row(&w, &state->queue, ids[i], now, snapshot, state->event_seq);
		state->before = state->newest;
		state->newest.id = state->tick_seq = ids[i];
		state->tick_called = true;
		state->newest.time = now;
		state->newest.snapshot = snapshot;
		state->newest.event_seq = state->event_seq;
		state->nticks = Min(state->nticks + 1, 2);
		tick_remember(state);
	}
	table_close_writer(&w);
	CommandCounterIncrement();
}
