/*-------------------------------------------------------------------------
 *
 * ticker.c
 *		The functions that tick queues: pgq.ticker(), pgq.tick_due(),
 *		pgq.tick() and pgq.force_tick().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/table.h"
#include "queue/tick.h"

PG_FUNCTION_INFO_V1(pgq_ticker_queue);
PG_FUNCTION_INFO_V1(pgq_ticker_all);
PG_FUNCTION_INFO_V1(pgq_ticker_external);
PG_FUNCTION_INFO_V1(pgq_force_tick);
PG_FUNCTION_INFO_V1(pgq_tick_due);
PG_FUNCTION_INFO_V1(pgq_tick);
PG_FUNCTION_INFO_V1(pgq_tick_channel);

/* How long pgq.tick() waits for the transactions that it is told of. */
#define MAX_WAIT_MS 1000

/* How it went with one queue. */
typedef enum TickOutcome
{
	TICK_DONE,
	TICK_NOT_NOW, /* events wait */
	TICK_IDLE     /* nothing to tick, or not ours to tick */
} TickOutcome;

/* Rule that pgq.tick() adds to the queue's own. */
typedef enum TickReason
{
	REASON_DUE,
	REASON_COMMIT /* at once, if a consumer waits for events */
} TickReason;

static bool
find_by_name(text *name, Queue *queue)
{
	Snapshot snapshot = table_fresh_snapshot();
	bool found = queue_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name),
							snapshot, queue);

	UnregisterSnapshot(snapshot);
	return found;
}

static char *
channel_name(int32 queue_id)
{
	return psprintf("pgq_%d", queue_id);
}

/* Does a consumer wait at the newest tick for events that are there? */
static bool
is_awaited(const TickState *state)
{
	Snapshot snapshot = table_fresh_snapshot();
	bool awaited = batch_is_awaited(state->queue.id, state->newest.id,
									snapshot);

	UnregisterSnapshot(snapshot);
	return awaited;
}

/* What should be done about the queue, by "state"? */
static TickOutcome
judge(const TickState *state, TickReason reason)
{
	bool events;

	if (state->queue.external_ticker || state->queue.ticker_paused)
		return TICK_IDLE;
	if (tick_is_due(state))
		return TICK_DONE;
	if (reason == REASON_DUE)
		return TICK_IDLE;
	events = batch_has_events(&state->queue, state->newest.snapshot);
	if (events && is_awaited(state))
		return TICK_DONE;
	return events ? TICK_NOT_NOW : TICK_IDLE;
}

/*
 * Tick queue "id" if "reason" gives cause; *state tells of it then, and *tick
 * is the new tick's id.
 *
 * A look without the lock spares it for the many queues that have nothing to
 * do.  What counts is the look under the lock.
 */
static TickOutcome
tick_queue(int32 id, TickReason reason, TickState *state, int64 *tick)
{
	TickOutcome outcome;

	if (!tick_read_state(id, state))
		return TICK_IDLE;
	outcome = judge(state, reason);
	if (outcome != TICK_DONE)
		return outcome;

	tick_lock_queue(id);
	if (tick_read_state(id, state))
		outcome = judge(state, reason);
	else
		outcome = TICK_IDLE;
	if (outcome == TICK_DONE)
	{
		*tick = 0;
		if (tick_check_state(state, WARNING))
			*tick = tick_insert(state);
		if (*tick == 0)
			outcome = TICK_IDLE;
	}
	if (outcome != TICK_DONE)
		tick_unlock_queue(id);
	return outcome;
}

/* pgq.ticker(i_queue_name) */
Datum
pgq_ticker_queue(PG_FUNCTION_ARGS)
{
	Queue queue;
	TickState state;
	int64 tick = 0;

	PreventCommandIfReadOnly("pgq.ticker()");
	if (PG_ARGISNULL(0) || !find_by_name(PG_GETARG_TEXT_PP(0), &queue))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such queue")));

	tick_lock_queue(queue.id);
	if (!tick_read_state(queue.id, &state))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such queue")));
	if (state.queue.external_ticker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("This queue has external tick source.")));
	if (state.queue.ticker_paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("Ticker has been paused for this queue")));
	tick_check_state(&state, ERROR);
	if (tick_is_due(&state))
		tick = tick_insert(&state);
	if (tick == 0)
	{
		tick_unlock_queue(queue.id);
		PG_RETURN_NULL();
	}
	PG_RETURN_INT64(tick);
}

/* Add a row (queue, tick or NULL for 0, channel) to a result. */
static void
put_row(TableResult *result, const Queue *queue, int64 tick)
{
	Datum values[3];
	bool nulls[3] = {false, tick == 0, false};

	values[0] = CStringGetTextDatum(queue->name);
	values[1] = Int64GetDatum(tick);
	values[2] = CStringGetTextDatum(channel_name(queue->id));
	tuplestore_putvalues(result->store, result->tupdesc, values, nulls);
}

/* Tick every queue that is due; puts a row for each into "result", if any. */
static int64
tick_all(TableResult *result)
{
	Snapshot snapshot = table_fresh_snapshot();
	List *ids = queue_list_ids(snapshot);
	MemoryContext context;
	MemoryContext old;
	int64 ticked = 0;
	ListCell *lc;

	UnregisterSnapshot(snapshot);
	context = AllocSetContextCreate(CurrentMemoryContext, "pgq ticker",
									ALLOCSET_DEFAULT_SIZES);
	foreach(lc, ids)
	{
		TickState state;
		int64 tick;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(context);
		if (tick_queue(lfirst_int(lc), REASON_DUE, &state, &tick) == TICK_DONE)
		{
			ticked++;
			if (result != NULL)
				put_row(result, &state.queue, tick);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return ticked;
}

/* pgq.ticker() */
Datum
pgq_ticker_all(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("pgq.ticker()");
	PG_RETURN_INT64(tick_all(NULL));
}

/* pgq.tick_due() */
Datum
pgq_tick_due(PG_FUNCTION_ARGS)
{
	TableResult result;

	PreventCommandIfReadOnly("pgq.tick_due()");
	table_begin_result(fcinfo, &result);
	tick_all(&result);
	return (Datum) 0;
}

/*
 * Wait until none of the transactions runs any more: the WAL shows a commit
 * before other sessions see it.  Returns false when that takes too long.
 */
static bool
wait_for_transactions(ArrayType *xids)
{
	Datum *values;
	bool *nulls;
	int n;
	long pause = 50; /* microseconds */
	instr_time start;

	deconstruct_array(xids, XIDOID, sizeof(TransactionId), true, TYPALIGN_INT,
					  &values, &nulls, &n);
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < n; i++)
	{
		while (!nulls[i] &&
			   TransactionIdIsNormal(DatumGetTransactionId(values[i])) &&
			   TransactionIdIsInProgress(DatumGetTransactionId(values[i])))
		{
			instr_time now;

			CHECK_FOR_INTERRUPTS();
			INSTR_TIME_SET_CURRENT(now);
			INSTR_TIME_SUBTRACT(now, start);
			if (INSTR_TIME_GET_MILLISEC(now) >= MAX_WAIT_MS)
				return false;
			pg_usleep(pause);
			pause = Min(pause * 2, 2000);
		}
	}
	return true;
}

/* The ids of the named queues, rising, each once; unknown ones are left out. */
static List *
find_named_queues(ArrayType *names)
{
	Snapshot snapshot = table_fresh_snapshot();
	List *ids = NIL;
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		Queue queue;
		text *name;

		if (nulls[i])
			continue;
		name = DatumGetTextPP(values[i]);
		if (queue_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), snapshot,
					   &queue))
			ids = list_append_unique_int(ids, queue.id);
	}
	UnregisterSnapshot(snapshot);
	queue_sort_ids(ids);
	return ids;
}

/*
 * pgq.tick(i_queues, i_xids): commits have fed these queues
 *
 * A queue where a consumer waits is ticked at once; one that is not, though it
 * has events, is returned with a NULL tick: the caller asks again.
 */
Datum
pgq_tick(PG_FUNCTION_ARGS)
{
	TableResult result;
	bool ended;
	ListCell *lc;

	PreventCommandIfReadOnly("pgq.tick()");
	table_begin_result(fcinfo, &result);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	ended = PG_ARGISNULL(1) || wait_for_transactions(PG_GETARG_ARRAYTYPE_P(1));
	foreach(lc, find_named_queues(PG_GETARG_ARRAYTYPE_P(0)))
	{
		TickState state;
		int64 tick = 0;
		TickOutcome outcome;

		if (ended)
			outcome = tick_queue(lfirst_int(lc), REASON_COMMIT, &state, &tick);
		else
			outcome = tick_read_state(lfirst_int(lc), &state) &&
							  !state.queue.external_ticker &&
							  !state.queue.ticker_paused
						  ? TICK_NOT_NOW
						  : TICK_IDLE;
		if (outcome != TICK_IDLE)
			put_row(&result, &state.queue, tick);
	}
	return (Datum) 0;
}

/* Raise a sequence to "value"; it is never lowered. */
static void
raise_sequence(Oid seq, int64 value)
{
	int64 last;

	if (table_sequence_value(seq, &last) && last < value)
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(seq),
							Int64GetDatum(value));
}

/*
 * pgq.ticker(i_queue_name, i_tick_id, i_orig_timestamp, i_event_seq): a tick
 * that was made elsewhere
 */
Datum
pgq_ticker_external(PG_FUNCTION_ARGS)
{
	Queue queue;
	bool found;

	PreventCommandIfReadOnly("pgq.ticker()");
	found = !PG_ARGISNULL(0) && find_by_name(PG_GETARG_TEXT_PP(0), &queue);
	if (found)
	{
		TickState state;

		tick_lock_queue(queue.id);
		found = tick_read_state(queue.id, &state) &&
				state.queue.external_ticker && !state.queue.ticker_paused;
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue not found or ticker disabled: %s",
						PG_ARGISNULL(0) ? "<NULL>" :
						text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	for (int i = 1; i <= 3; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("id, time and event sequence of a tick must not "
							"be NULL")));
	}

	if (!tick_insert_row(&queue, PG_GETARG_INT64(1), PG_GETARG_TIMESTAMPTZ(2),
						 PG_GETARG_INT64(3)))
		PG_RETURN_NULL();
	raise_sequence(queue_sequence(&queue, queue.tick_seq, NULL),
				   PG_GETARG_INT64(1));
	raise_sequence(queue_sequence(&queue, queue.event_seq, NULL),
				   PG_GETARG_INT64(3));
	PG_RETURN_INT64(PG_GETARG_INT64(1));
}

/*
 * pgq.force_tick(i_queue_name): let the next ticker run tick
 *
 * Does so by event ids that are never used, and only if those since the newest
 * tick are not enough already: callers repeat this until the tick is there.
 */
Datum
pgq_force_tick(PG_FUNCTION_ARGS)
{
	Queue queue;
	TickState state;

	if (PG_ARGISNULL(0) || !find_by_name(PG_GETARG_TEXT_PP(0), &queue) ||
		!tick_read_state(queue.id, &state))
		PG_RETURN_NULL();

	if (!state.queue.external_ticker && !state.queue.ticker_paused &&
		!(state.nticks > 0 && state.event_seq > state.newest.event_seq &&
		  state.event_seq - state.newest.event_seq >=
			  state.queue.ticker_max_count))
	{
		int64 more = 1000 + 2 * (int64) Max(state.queue.ticker_max_count, 0);
		Oid seq = queue_sequence(&queue, queue.event_seq, NULL);
		int64 value = nextval_internal(seq, false);

		if (!pg_add_s64_overflow(value, more, &value))
			raise_sequence(seq, value);
	}
	if (state.nticks == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(state.newest.id);
}

/* pgq.tick_channel(i_queue) */
Datum
pgq_tick_channel(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	Queue queue;

	if (!find_by_name(name, &queue))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such queue"),
				 errdetail("There is no queue \"%s\".",
						   text_to_cstring(name))));
	PG_RETURN_TEXT_P(cstring_to_text(channel_name(queue.id)));
}
