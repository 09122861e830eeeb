/*-------------------------------------------------------------------------
 *
 * build.c
 *		Turn one change of a row into events.
 *
 * This is where captures keep to what the trigger functions write, and where
 * they differ because the WAL holds less than a trigger sees.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "event/event.h"
#include "event/expr.h"
#include "event/guard.h"

/* What a buffer may keep between rows. */
#define LARGE_BUFFER (1024 * 1024)

static const EventField null_field = {NULL, -1};

/*
 * Prepare buffers in the current memory context; they are used again for
 * each event.
 */
void
event_scratch_init(EventScratch *scratch)
{
	for (int i = 0; i < EVENT_BUILD_MAX; i++)
		initStringInfo(&scratch->data[i]);
	initStringInfo(&scratch->extra2);
	initStringInfo(&scratch->extra4);
}

/* Empty a buffer; one that a giant row has blown up is given back. */
static void
reset_buffer(StringInfo buf)
{
	if (unlikely(buf->maxlen > LARGE_BUFFER))
	{
		buf->data = repalloc(buf->data, LARGE_BUFFER);
		buf->maxlen = LARGE_BUFFER;
	}
	resetStringInfo(buf);
}

static void
init_event(const EventPlan *plan, EventOp op, Event *event)
{
	event->field[EVENT_TYPE] = plan->type[EVENT_OP_NO(op)];
	event->field[EVENT_DATA] = null_field;
	event->field[EVENT_EXTRA1] = plan->table;
	event->field[EVENT_EXTRA2] = null_field;
	event->field[EVENT_EXTRA3] = null_field;
	event->field[EVENT_EXTRA4] = null_field;
}

static void
set_field(Event *event, EventFieldNo no, StringInfo buf)
{
	event->field[no].str = buf->data;
	event->field[no].len = buf->len;
}

/* Old rows in ev_extra2 are url-encoded in the sql format, too. */
static void
put_row(const EventPlan *plan, const EventRow *row, bool keys_only,
		StringInfo buf)
{
	if (plan->format == EVENT_FORMAT_JSON)
		event_json_row(plan, row, keys_only, buf);
	else
		event_urlenc_row(plan, row, keys_only, buf);
}

/*
 * Build one event of a change; rows as of event_build().  Returns false if there
 * is nothing to tell.
 */
static bool
build_one(const EventPlan *plan, const EventSource *source, EventOp op,
		  const EventRow *oldrow, const EventRow *newrow, StringInfo buf,
		  Event *event)
{
	init_event(plan, op, event);
	if (plan->format == EVENT_FORMAT_DEBEZIUM)
		event_debezium_change(plan, source, op, oldrow, newrow, buf);
	else if (plan->format != EVENT_FORMAT_SQL)
		put_row(plan, newrow ? newrow : oldrow, false, buf);
	else if (op == EVENT_OP_INSERT)
		event_sql_insert(plan, newrow, buf);
	else if (op == EVENT_OP_DELETE)
		event_sql_delete(plan, oldrow, buf);
	else if (!event_sql_update(plan, oldrow, newrow, buf))
		return false;
	set_field(event, EVENT_DATA, buf);
	return true;
}

/* The data of an event without a row. */
static void
put_no_row(const EventPlan *plan, const EventSource *source, EventOp op,
		   StringInfo buf)
{
	reset_buffer(buf);
	if (plan->format == EVENT_FORMAT_DEBEZIUM)
		event_debezium_change(plan, source, op, NULL, NULL, buf);
	else if (plan->format == EVENT_FORMAT_JSON)
		appendStringInfoString(buf, "{}");
}

/* Name the columns that the WAL did not hold: "unchanged=c1,c2". */
static void
put_absent(const EventPlan *plan, const EventRow *newrow, StringInfo buf)
{
	const char *lead = "unchanged=";

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (col->ignored || !newrow->absent[col->index])
			continue;
		appendStringInfoString(buf, lead);
		appendStringInfoString(buf, col->name);
		lead = ",";
	}
}

static bool
key_changed(const EventPlan *plan, const EventRow *oldrow,
			const EventRow *newrow)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].is_key &&
			!event_value_same(&plan->columns[i], oldrow, newrow))
			return true;
	return false;
}

/*
 * Ignored columns changed and no others did: no event, as of PgQ 3.5.  Only a
 * complete old row can tell.
 */
static bool
only_ignored_changed(const EventPlan *plan, const EventRow *oldrow,
					 const EventRow *newrow)
{
	bool ignored_changed = false;

	if (!plan->has_ignore || !oldrow || !oldrow->complete)
		return false;
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (event_value_same(col, oldrow, newrow))
			continue;
		if (!col->ignored)
			return false;
		ignored_changed = true;
	}
	return ignored_changed;
}

/*
 * Replace fields by the values of expressions, until there is more text than
 * an event may have.
 */
static void
put_expressions(EventPlan *plan, const EventRow *row, Event *event)
{
	for (int i = 0; i < EVENT_FIELDS; i++)
	{
		bool failed;

		if (frame_event_size(event) > FRAME_MAX_EVENT)
			return;

		if (!plan->expr[i])
			continue;
		event->field[i] = event_expr_text(plan->expr[i], row, &failed);
		plan->failed_row |= failed;
	}
}

/* Whether a when= condition lets the change through. */
static bool
is_wanted(EventPlan *plan, const EventRow *row)
{
	bool failed;
	bool wanted = event_expr_condition(plan->when, row, &failed);

	plan->failed_row |= failed;
	return wanted;
}

/* Replace fields by the values of magic columns. */
static void
put_magic(const EventPlan *plan, const EventRow *row, Event *event)
{
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];
		EventField *field;

		if (col->magic < 0 || row->absent[col->index])
			continue;
		field = &event->field[col->magic];
		if (row->isnull[col->index])
			*field = null_field;
		else
			field->str = event_value_text(col, row->values[col->index],
										  palloc(EVENT_VALUE_BUFLEN),
										  &field->len);
	}
}

/* A new value of an identity that no UPDATE of a copy could set. */
static bool
fixed_changed(const EventPlan *plan, const EventRow *oldrow,
			  const EventRow *newrow)
{
	for (int i = 0; i < plan->ncolumns; i++)
		if (plan->columns[i].fixed && !plan->columns[i].ignored &&
			!event_value_same(&plan->columns[i], oldrow, newrow))
			return true;
	return false;
}

/* What ev_extra2 of an update has of the old row: all, its key, or nothing. */
static void
put_old_row(const EventPlan *plan, const EventRow *oldrow, bool new_key,
			StringInfo buf)
{
	bool is_sql = plan->format == EVENT_FORMAT_SQL;

	if (oldrow && oldrow->complete &&
		(plan->backup || (!is_sql && !plan->has_key)))
		put_row(plan, oldrow, false, buf);
	else if (new_key && !is_sql)
		put_row(plan, oldrow, true, buf);
}

static int
build_update(const EventPlan *plan, EventScratch *scratch,
			 const EventRow *oldrow, const EventRow *newrow, Event *events)
{
	bool new_key = oldrow && plan->has_key && !plan->is_trigger &&
				   key_changed(plan, oldrow, newrow);
	bool is_sql = plan->format == EVENT_FORMAT_SQL;
	bool as_two = is_sql ? oldrow && !plan->is_trigger &&
							   fixed_changed(plan, oldrow, newrow)
						 : new_key;

	if (only_ignored_changed(plan, oldrow, newrow))
		return 0;

	/*
	 * A consumer of json or urlenc finds the row by the key in the data: it
	 * must hear that the old key is gone.  If that lost a value that only the
	 * old row has, one update with the old key in ev_extra2 has to do.  One of
	 * sql could not change the row.
	 */
	if (as_two && newrow->complete)
	{
		(void) build_one(plan, &scratch->source, EVENT_OP_DELETE, oldrow, NULL,
						 &scratch->data[0], &events[0]);
		(void) build_one(plan, &scratch->source, EVENT_OP_INSERT, NULL, newrow,
						 &scratch->data[1], &events[1]);
		return 2;
	}

	if (!build_one(plan, &scratch->source, EVENT_OP_UPDATE, oldrow, newrow,
				   &scratch->data[0], &events[0]))
		return 0;

	/* the envelope has the old row itself */
	if (plan->format != EVENT_FORMAT_DEBEZIUM)
		put_old_row(plan, oldrow, new_key, &scratch->extra2);
	if (scratch->extra2.len > 0)
		set_field(&events[0], EVENT_EXTRA2, &scratch->extra2);

	if (!newrow->complete)
		put_absent(plan, newrow, &scratch->extra4);
	if (scratch->extra4.len > 0)
		set_field(&events[0], EVENT_EXTRA4, &scratch->extra4);
	return 1;
}

static int
build(EventPlan *plan, EventScratch *scratch, EventOp op,
	  const EventRow *oldrow, const EventRow *newrow, Event *events)
{
	int n = 1;

	if (plan->when && !is_wanted(plan, op == EVENT_OP_DELETE ? oldrow : newrow))
		return 0;
	for (int i = 0; i < EVENT_BUILD_MAX; i++)
		reset_buffer(&scratch->data[i]);
	reset_buffer(&scratch->extra2);
	reset_buffer(&scratch->extra4);

	if (op == EVENT_OP_UPDATE)
		n = build_update(plan, scratch, oldrow, newrow, events);
	else
		(void) build_one(plan, &scratch->source, op, oldrow, newrow,
						 &scratch->data[0], &events[0]);

	if (likely(!plan->has_magic && !plan->has_expr))
		return n;
	for (int i = 0; i < n; i++)
	{
		/* of two events the first is about the old row */
		const EventRow *row = newrow && i == n - 1 ? newrow : oldrow;

		put_magic(plan, row, &events[i]);
		put_expressions(plan, row, &events[i]);
	}
	return n;
}

/* The row without anything but its key. */
static EventRow *
key_of_row(const EventPlan *plan, const EventRow *row)
{
	EventRow *key = palloc(sizeof(EventRow));
	int n = plan->ncolumns ? plan->columns[plan->ncolumns - 1].index + 1 : 0;

	*key = *row;
	key->complete = false;
	key->absent = palloc(n * sizeof(bool) + 1);
	memcpy(key->absent, row->absent, n * sizeof(bool));
	for (int i = 0; i < plan->ncolumns; i++)
		if (!plan->columns[i].is_key)
			key->absent[plan->columns[i].index] = true;
	return key;
}

/*
 * What an output function writes need not be text in the database's encoding;
 * the queue takes nothing else.
 */
static void
check_encoding(const Event *event)
{
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		if (event->field[i].len > 0)
			(void) pg_verifymbstr(event->field[i].str, event->field[i].len,
								  false);
}

/* What a guarded build works on, and its result. */
typedef struct BuildCall
{
	EventPlan *plan;
	EventScratch *scratch;
	EventOp op;
	const EventRow *oldrow;
	const EventRow *newrow;
	Event *events;
	int n;
} BuildCall;

static void
build_guarded(void *arg)
{
	BuildCall *call = arg;

	call->n = build(call->plan, call->scratch, call->op, call->oldrow,
					call->newrow, call->events);
	for (int i = 0; i < call->n; i++)
		check_encoding(&call->events[i]);
}

/* Write the key of a row; in an envelope the rest counts as unavailable. */
static void
put_key_guarded(void *arg)
{
	BuildCall *call = arg;
	StringInfo buf = &call->scratch->data[0];
	const EventRow *key = key_of_row(call->plan, call->oldrow ? call->oldrow
															  : call->newrow);
	bool is_delete = call->op == EVENT_OP_DELETE;

	if (call->plan->format == EVENT_FORMAT_DEBEZIUM)
		event_debezium_change(call->plan, &call->scratch->source, call->op,
							  is_delete ? key : NULL, is_delete ? NULL : key,
							  buf);
	else
		put_row(call->plan, key, true, buf);
	(void) pg_verifymbstr(buf->data, buf->len, false);
}

/*
 * Whether something has got too large for memory or for an event.  What an output
 * function will ask for can't be told before it does: eight bytes of numeric may
 * be 131,000 digits.
 */
static bool
is_size_error(const ErrorData *error)
{
	/* no code tells it; by elog(), so nobody translates it */
	static const char alloc[] = "invalid memory alloc request size";

	return error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		   error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		   strncmp(error->message, alloc, strlen(alloc)) == 0;
}

/*
 * An event in place of one that can't be: its type, its table and its key, or
 * nothing of that where the key itself is too large or fails.  Eight bytes of
 * an array of numeric can become 131,000 digits.
 */
static void
build_key_only(BuildCall *call, const char *flag)
{
	StringInfo buf = &call->scratch->data[0];
	EventPlan *plan = call->plan;
	ErrorData *error;

	init_event(plan, call->op, &call->events[0]);
	reset_buffer(buf);
	error = guard_run_light(put_key_guarded, call);
	/* now it is the server that has no memory */
	if (error && error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		ReThrowError(error);
	if (error || buf->len > FRAME_MAX_EVENT / 2)
		put_no_row(plan, &call->scratch->source, call->op, buf);
	set_field(&call->events[0], EVENT_DATA, buf);
	call->events[0].field[EVENT_EXTRA3].str = flag;
	call->events[0].field[EVENT_EXTRA3].len = strlen(flag);
	call->n = 1;
}

/*
 * Build the events of one changed row.
 *
 * op is INSERT (newrow), UPDATE (newrow, and oldrow where the WAL has one) or
 * DELETE (oldrow).  Values that are not in the data may be garbage where
 * absent.  The events' strings lie in scratch, in the plan or in the rows and
 * live until the next call; ev_time is left to the caller.  Returns the
 * number of events, 0 to EVENT_BUILD_MAX.  An event that would not fit into a
 * frame comes without data but its key and "too large" in ev_extra3, one whose
 * values can't be written with "broken" there; both are counted in the plan.
 * Memory that output functions take is in the current context, to be reset by
 * the caller.  For a trigger it raises what output functions raise, for a
 * capture nothing but what is the server's fault.
 */
int
event_build(EventPlan *plan, EventScratch *scratch, EventOp op,
			const EventRow *oldrow, const EventRow *newrow, Event *events)
{
	BuildCall call = {plan, scratch, op, oldrow, newrow, events, 0};
	ErrorData *error;
	bool fits = true;

	/* in a trigger the writer's statement fails */
	if (plan->is_trigger)
		return build(plan, scratch, op, oldrow, newrow, events);

	error = guard_run_light(build_guarded, &call);
	if (unlikely(error && !is_size_error(error)))
	{
		plan->broken_rows++;
		plan->reason = guard_reason(error);
		build_key_only(&call, "broken");
		return call.n;
	}

	/* expressions make large text of small rows, too */
	for (int i = 0; i < call.n && !error; i++)
		fits = fits && frame_event_size(&events[i]) <= FRAME_MAX_EVENT;
	if (unlikely(error || !fits))
	{
		plan->large_events++;
		build_key_only(&call, "too large");
	}
	return call.n;
}

/*
 * Build the event of a TRUNCATE.  Its strings lie in the plan and in scratch.
 */
void
event_build_truncate(const EventPlan *plan, EventScratch *scratch, Event *event)
{
	StringInfo buf = &scratch->data[0];

	init_event(plan, EVENT_OP_TRUNCATE, event);
	put_no_row(plan, &scratch->source, EVENT_OP_TRUNCATE, buf);
	set_field(event, EVENT_DATA, buf);
}
