/*-------------------------------------------------------------------------
 *
 * ticker.c
 *		The functions that tick queues: pgq.ticker(), pgq.tick_due(), pgq.tick(),
 *		pgq.tick_awaited() and pgq.force_tick().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/sequence.h"
#include "queue/subscription.h"
#include "queue/table.h"
#include "queue/tick.h"

PG_FUNCTION_INFO_V1(pgq_ticker_queue);
PG_FUNCTION_INFO_V1(pgq_ticker_all);
PG_FUNCTION_INFO_V1(pgq_ticker_external);
PG_FUNCTION_INFO_V1(pgq_force_tick);
PG_FUNCTION_INFO_V1(pgq_tick_awaited);
PG_FUNCTION_INFO_V1(pgq_tick_due);
PG_FUNCTION_INFO_V1(pgq_tick);
PG_FUNCTION_INFO_V1(pgq_tick_channel);

/*
 * How often pgq.tick() looks for a consumer that comes to wait, and how long it
 * pauses between, in microseconds.  Most finish their batch in that time, and
 * to be asked again would take longer than the looks.
 */
#define LOOKS 9
#define LOOK_PAUSE 200

/*
 * After a look in vain pgq.tick_awaited() rests for so many times as long as it
 * took, and for so many microseconds at most.
 */
#define REST_FACTOR 15
#define LONGEST_REST 100000

/*
 * So many queues are ticked in one call for pgqd, or an eighth of those that are to
 * be: what is idle is due at the same time.
 */
#define PORTION 64

/* What it may be told to wait, in microseconds. */
#define LONGEST_WAIT 10000000

/* How it went with one queue. */
typedef enum TickOutcome
{
	TICK_DONE,
	TICK_NOT_NOW, /* events wait for a consumer */
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
	return queue_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), NULL, queue);
}

static char *
channel_name(int32 queue_id)
{
	return psprintf("pgq_%d", queue_id);
}

/* Take a queue's tick lock and read its state; false if it is gone. */
static bool
lock_and_read(TickState *state)
{
	tick_lock_queue(state->queue.id);
	return tick_read_state(state, false);
}

/*
 * How many queues are ticked in one call.  Each takes two locks to the end of
 * the transaction, and all of these shall take a quarter of the server's room
 * for locks at most: where there are more queues, the next call ticks the rest.
 */
static int
max_ticks(void)
{
	int64 locks = (int64) max_locks_per_xact *
				  (MaxBackends + max_prepared_xacts);

	return (int) Max(locks / 8, 1);
}

/*
 * Leave out of a list those queues that cannot be made ours now.  To make one
 * ours takes some more locks than to tick it, so those that would be too many
 * have to wait for the next call.
 */
static List *
adopt_queues(List *queues)
{
	int room = Max(max_ticks() / 4, 1);
	ListCell *lc;

	foreach(lc, queues)
	{
		Queue *queue = lfirst(lc);

		if (tick_queue_is_ours(queue))
			continue;
		if (room == 0 || !tick_adopt_queue(queue))
			queues = foreach_delete_current(queues, lc);
		/* even if it is not to be ticked by this transaction */
		if (room > 0 && tick_queue_is_ours(queue))
			room--;
	}
	return queues;
}

/* What should be done about the queue, by "state"? */
static TickOutcome
judge(const TickState *state, TickReason reason)
{
	Snapshot snapshot;
	bool awaited;
	bool consumers;

	if (state->queue.external_ticker || state->queue.ticker_paused)
		return TICK_IDLE;
	if (tick_is_due(state))
		return TICK_DONE;
	if (reason == REASON_DUE)
		return TICK_IDLE;
	snapshot = table_fresh_snapshot();
	awaited = subscription_waits(state->queue.id, state->newest.id, snapshot,
								 &consumers);
	UnregisterSnapshot(snapshot);
	if (!consumers || !batch_has_events(&state->queue, state->newest.snapshot))
		return TICK_IDLE;
	return awaited ? TICK_DONE : TICK_NOT_NOW;
}

/*
 * Look at one queue without its lock: the list of candidates grows by it, if it
 * seems to need a tick.  What counts is the look under the lock, which the many
 * queues with nothing to do are spared.
 *
 * For the settings of the queue alone, what the session remembers will do.
 */
static TickOutcome
look(const Queue *queue, TickReason reason, List **candidates)
{
	TickState *state = palloc0(sizeof(TickState));
	TickOutcome outcome;

	state->queue = *queue;
	if (reason != REASON_DUE || !tick_recall(queue, state))
	{
		if (!tick_read_state(state, true))
			return TICK_IDLE;
		tick_remember(state);
	}
	outcome = judge(state, reason);
	if (outcome == TICK_DONE)
		*candidates = lappend(*candidates, state);
	return outcome;
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

/* A queue that is ticked for a consumer that waits goes before those that are due. */
static TimestampTz
waits_since(const ListCell *lc)
{
	const TickState *state = lfirst(lc);

	return state->nticks > 0 && tick_is_due(state) ? state->newest.time
												   : DT_NOBEGIN;
}

static int
compare_times(const ListCell *a, const ListCell *b)
{
	TimestampTz i = waits_since(a);
	TimestampTz j = waits_since(b);

	return (i > j) - (i < j);
}

/*
 * Cut a list of candidates to as many as one call may tick: those that have
 * waited longest, in the order of their ids.  The others get a row without a
 * tick.
 */
static List *
take_portion(List *candidates, int max, TableResult *result)
{
	if (list_length(candidates) <= max)
		return candidates;
	list_sort(candidates, compare_times);
	for (int i = max; result != NULL && i < list_length(candidates); i++)
		put_row(result, &((TickState *) list_nth(candidates, i))->queue, 0);
	candidates = list_truncate(candidates, max);
	/* each begins with its queue */
	queue_sort(candidates);
	return candidates;
}

/*
 * Tick those of the candidates, at most "max", in the order of their ids, that
 * "reason" gives cause for under their locks: all locks are taken first, so that
 * one snapshot does for all ticks.  A queue whose lock somebody has is left out.
 * Puts a row for each into "result", if any, and returns how many were ticked.
 */
static int64
tick_candidates(List *candidates, int max, TickReason reason,
				TableResult *result)
{
	int n = 0;
	int64 ticked = 0;
	TickState **states;
	int64 *ids;
	ListCell *lc;

	if (candidates == NIL)
		return 0;
	candidates = take_portion(candidates, Min(max, max_ticks()), result);
	states = palloc(list_length(candidates) * sizeof(TickState *));
	ids = palloc(list_length(candidates) * sizeof(int64));
	foreach(lc, candidates)
	{
		TickState *state = lfirst(lc);

		/* Another transaction ticks or drops it, and may take its time. */
		if (tick_try_lock(state))
			continue;
		if (reason == REASON_COMMIT && result != NULL)
			put_row(result, &state->queue, 0);
		candidates = foreach_delete_current(candidates, lc);
	}
	foreach(lc, candidates)
	{
		TickState *state = lfirst(lc);
		int32 id = state->queue.id;
		TickOutcome outcome = TICK_IDLE;

		CHECK_FOR_INTERRUPTS();
		if (tick_read_again(state))
			outcome = judge(state, reason);
		if (outcome == TICK_DONE && tick_check_state(state, WARNING))
			states[n++] = state;
		else
			tick_unlock_queue(id);
		if (outcome == TICK_NOT_NOW && result != NULL)
			put_row(result, &state->queue, 0);
	}
	if (n > 0)
		tick_insert(states, n, ids);
	for (int i = 0; i < n; i++)
	{
		if (ids[i] == 0)
		{
			tick_unlock_queue(states[i]->queue.id);
			continue;
		}
		ticked++;
		if (result != NULL)
			put_row(result, &states[i]->queue, ids[i]);
	}
	return ticked;
}

/* pgq.ticker(i_queue_name) */
Datum
pgq_ticker_queue(PG_FUNCTION_ARGS)
{
	TickState state = {0};
	TickState *states = &state;
	int64 tick = 0;

	PreventCommandIfReadOnly("pgq.ticker()");
	if (PG_ARGISNULL(0) || !find_by_name(PG_GETARG_TEXT_PP(0), &state.queue))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such queue")));

	if (!tick_adopt_queue(&state.queue))
		PG_RETURN_NULL();
	if (!lock_and_read(&state))
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
		tick_insert(&states, 1, &tick);
	if (tick == 0)
	{
		tick_unlock_queue(state.queue.id);
		PG_RETURN_NULL();
	}
	PG_RETURN_INT64(tick);
}

/*
 * May there be events since the newest tick?  By what the session remembers alone:
 * with nothing to remember by, there may.
 *
 * The first id of all does not move last_value, so it is as good as a new one.
 */
static bool
may_be_fed(const Queue *queue)
{
	TickState state = {.queue = *queue};
	int64 last;
	bool called;

	if (!tick_recall(queue, &state) || state.nticks == 0)
		return true;
	if (state.event_seq > 1 || state.newest.event_seq > 1)
		return state.event_seq > state.newest.event_seq;
	return sequence_read_called(state.sequence, &last, &called) && called;
}

/*
 * Tick the queues that are due, of very many a part, or those that have events
 * which a consumer waits for, too; puts a row for each into "result", if any.  *fed
 * is set if there may be events in any of the latter.
 */
static int64
tick_all(TickReason reason, TableResult *result, bool *fed)
{
	Snapshot snapshot = table_fresh_snapshot();
	List *queues = queue_list(snapshot);
	List *candidates = NIL;
	int max = PG_INT32_MAX;
	ListCell *lc;

	if (reason == REASON_DUE)
		queues = adopt_queues(queues);
	foreach(lc, queues)
	{
		Queue *queue = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (reason == REASON_COMMIT &&
			(queue->external_ticker || queue->ticker_paused ||
			 !tick_queue_is_ours(queue) || !may_be_fed(queue)))
			continue;
		if (fed != NULL)
			*fed = true;
		look(queue, reason, &candidates);
	}
	UnregisterSnapshot(snapshot);
	/* who gets rows calls again: other questions of his need not wait for all */
	if (result != NULL)
		max = Max(PORTION, list_length(candidates) / 8);
	return tick_candidates(candidates, max, reason, result);
}

/* pgq.ticker() */
Datum
pgq_ticker_all(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("pgq.ticker()");
	PG_RETURN_INT64(tick_all(REASON_DUE, NULL, NULL));
}

/* pgq.tick_due() */
Datum
pgq_tick_due(PG_FUNCTION_ARGS)
{
	TableResult result;

	PreventCommandIfReadOnly("pgq.tick_due()");
	table_begin_result(fcinfo, &result);
	tick_all(REASON_DUE, &result, NULL);
	return (Datum) 0;
}

/* CPU time of this thread in microseconds, 0 where nobody tells. */
static double
cpu_time(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
		return 0;
	return t.tv_sec * 1000000.0 + t.tv_nsec / 1000.0;
}

/* Microseconds of an argument that is an interval; NULL is none. */
static long
span_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	double span = PG_ARGISNULL(n) ? 0 : tick_span(PG_GETARG_INTERVAL_P(n));

	if (!(span >= 0 && span <= LONGEST_WAIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", name),
				 errhint("It must be between 0 and %d seconds.",
						 LONGEST_WAIT / 1000000)));
	return (long) span;
}

/*
 * pgq.tick_awaited(i_period, i_wait): tick the queues that have events which a
 * consumer waits for, or are due
 *
 * For who does not know by the WAL which queues are fed, and asks all the time.
 * A look at a queue that was not fed costs a look at its sequence; when no queue
 * was and no transaction has ended since, none is looked at.
 *
 * The first look comes after i_period; looks that find nothing are repeated until
 * i_wait is over, and so far apart that they take a fifteenth of a core at most.
 */
Datum
pgq_tick_awaited(PG_FUNCTION_ARGS)
{
	static uint64 idle_at = 0; /* transactions that had ended; 0: not idle */
	static instr_time looked;  /* at the queues, in vain */
	static double usual = 0;   /* CPU time of such a look */
	static double rest = 0;    /* microseconds from then to the next look */
	long period = span_argument(fcinfo, 0, "i_period");
	long wait = span_argument(fcinfo, 1, "i_wait");
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context;
	TableResult result;
	instr_time start;
	int64 ticked = 0;

	PreventCommandIfReadOnly("pgq.tick_awaited()");
	table_begin_result(fcinfo, &result);
	context = AllocSetContextCreate(outer, "pgq.tick_awaited",
									ALLOCSET_DEFAULT_SIZES);
	INSTR_TIME_SET_CURRENT(start);
	do
	{
		uint64 ended;
		double cost;
		bool fed = false;

		if (period > 0)
			tick_sleep(period);
		ended = GetLatestSnapshot()->snapXactCompletionCount;
		if (ended == idle_at || (period > 0 && tick_time_since(looked) < rest))
			continue;
		idle_at = 0;
		rest = 0;
		cost = -cpu_time();
		MemoryContextSwitchTo(context);
		ticked = tick_all(REASON_COMMIT, &result, &fed);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(context);
		cost += cpu_time();
		if (!fed)
			idle_at = ended;
		if (ticked == 0)
		{
			INSTR_TIME_SET_CURRENT(looked);
			/* one that meets many new ticks takes longer */
			usual = usual == 0 ? cost : Min(cost, usual * 1.02);
			rest = Min(usual * REST_FACTOR, LONGEST_REST);
		}
	} while (ticked == 0 && period > 0 && tick_time_since(start) < wait);
	return (Datum) 0;
}

/*
 * The named queues in the order of their ids, each once; those that are unknown
 * or not ours to tick are left out.
 */
static List *
find_named_queues(ArrayType *names)
{
	List *queues = NIL;
	Datum *values;
	bool *nulls;
	int n;
	int32 last = 0;
	ListCell *lc;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		Queue *queue = palloc(sizeof(Queue));

		if (!nulls[i] && find_by_name(DatumGetTextPP(values[i]), queue) &&
			!queue->external_ticker && !queue->ticker_paused)
			queues = lappend(queues, queue);
	}
	queue_sort(queues);
	foreach(lc, queues)
	{
		int32 id = ((Queue *) lfirst(lc))->id;

		if (id == last)
			queues = foreach_delete_current(queues, lc);
		last = id;
	}
	return queues;
}

/* Look at queues that were fed; returns those that have to wait. */
static List *
look_at_fed(List *queues, List **candidates)
{
	List *waiting = NIL;
	ListCell *lc;

	foreach(lc, queues)
		if (look(lfirst(lc), REASON_COMMIT, candidates) == TICK_NOT_NOW)
			waiting = lappend(waiting, lfirst(lc));
	return waiting;
}

/*
 * pgq.tick(i_queues, i_xids): commits have fed these queues
 *
 * A queue where a consumer waits is ticked at once; one where none does, though
 * it has events, is looked at for some time.  Then it is returned with a NULL
 * tick: the caller asks again.  Without any queue it waits for the transactions,
 * as long as it takes.
 */
Datum
pgq_tick(PG_FUNCTION_ARGS)
{
	TableResult result;
	ArrayType *names;
	List *candidates = NIL;
	List *queues;
	ListCell *lc;

	PreventCommandIfReadOnly("pgq.tick()");
	table_begin_result(fcinfo, &result);
	if (PG_ARGISNULL(0))
		return (Datum) 0;

	names = PG_GETARG_ARRAYTYPE_P(0);
	queues = adopt_queues(find_named_queues(names));
	if (PG_ARGISNULL(1) ||
		tick_wait_for(PG_GETARG_ARRAYTYPE_P(1), ARR_NDIM(names) == 0))
	{
		queues = look_at_fed(queues, &candidates);
		for (int i = 1; i < LOOKS && queues != NIL && candidates == NIL; i++)
		{
			tick_sleep(LOOK_PAUSE);
			queues = look_at_fed(queues, &candidates);
		}
	}
	foreach(lc, queues)
		put_row(&result, lfirst(lc), 0);
	tick_candidates(candidates, PG_INT32_MAX, REASON_COMMIT, &result);
	return (Datum) 0;
}

/* Raise a sequence to "value"; it is never lowered. */
static void
raise_sequence(Oid seq, int64 value)
{
	int64 last;

	if (sequence_read(seq, &last) && last < value)
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
	TickState state = {0};
	bool found;

	PreventCommandIfReadOnly("pgq.ticker()");
	found = !PG_ARGISNULL(0) &&
			find_by_name(PG_GETARG_TEXT_PP(0), &state.queue) &&
			lock_and_read(&state) && state.queue.external_ticker &&
			!state.queue.ticker_paused;
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

	if (!tick_adopt_queue(&state.queue))
		PG_RETURN_NULL();
	if (!tick_insert_row(&state, PG_GETARG_INT64(1), PG_GETARG_TIMESTAMPTZ(2),
						 PG_GETARG_INT64(3)))
		PG_RETURN_NULL();
	raise_sequence(queue_sequence(&state.queue, state.queue.tick_seq, NULL),
				   PG_GETARG_INT64(1));
	raise_sequence(queue_sequence(&state.queue, state.queue.event_seq, NULL),
				   PG_GETARG_INT64(3));
	PG_RETURN_INT64(PG_GETARG_INT64(1));
}

/*
 * pgq.force_tick(i_queue_name): let the next ticker run tick
 *
 * Callers repeat this until the tick is there.
 */
Datum
pgq_force_tick(PG_FUNCTION_ARGS)
{
	TickState state = {0};

	if (PG_ARGISNULL(0) || !find_by_name(PG_GETARG_TEXT_PP(0), &state.queue))
		PG_RETURN_NULL();
	if (!tick_read_state(&state, false) || state.nticks == 0)
		PG_RETURN_NULL();

	/* The sequence may be behind the ticks after a restore by hand. */
	if (!state.queue.external_ticker && !state.queue.ticker_paused &&
		!tick_is_forced(&state))
	{
		Oid seq = queue_sequence(&state.queue, state.queue.tick_seq, NULL);
		int64 next = Max(state.tick_seq, state.newest.id) + 1;

		DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(seq),
							Int64GetDatum(next), BoolGetDatum(false));
	}
	PG_RETURN_INT64(state.newest.id);
}

/* pgq.tick_channel(i_queue) */
Datum
pgq_tick_channel(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	Queue queue;

	if (!find_by_name(name, &queue))
		queue_refuse_unknown(text_to_cstring(name));
	PG_RETURN_TEXT_P(cstring_to_text(channel_name(queue.id)));
}
