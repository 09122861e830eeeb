/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		The trigger functions jsontriga, logutriga and sqltriga.
 *
 * They build events as captures do (event/) and insert them as
 * pgq.insert_event() does, with what is the same for all rows of a trigger
 * prepared once.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "event/event.h"
#include "event/relation.h"
#include "queue/insert.h"
#include "queue/trigger_expr.h"

PG_FUNCTION_INFO_V1(pgq_jsontriga);
PG_FUNCTION_INFO_V1(pgq_logutriga);
PG_FUNCTION_INFO_V1(pgq_sqltriga);

/*
 * What is prepared for a trigger.  A trigger can fire inside of itself, by
 * what an expression calls, and its table can change meanwhile: then the
 * state stays until its last user is done.
 */
typedef struct TriggerState
{
	MemoryContext cxt; /* owns this and all below */
	int users;
	bool stale;
	EventArgs *args;
	EventPlan *plan;
	TupleDesc desc;
	TriggerExpr *when;
	TriggerExpr *expr[EVENT_FIELDS];
	bool has_expr;
	bool quote_all; /* quote_all_identifiers that the plan is for */
} TriggerState;

typedef struct TriggerKey
{
	Oid trigger;
	EventFormat format;
} TriggerKey;

typedef struct TriggerEntry
{
	TriggerKey key; /* must be first */
	Oid relid;
	bool valid;
	TriggerState *state;
} TriggerEntry;

/* The rows of one firing. */
typedef struct TriggerRows
{
	EventRow oldrow;
	EventRow newrow;
} TriggerRows;

static HTAB *triggers = NULL;

static void
relation_changed(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	TriggerEntry *entry;

	hash_seq_init(&scan, triggers);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!OidIsValid(relid) || entry->relid == relid)
			entry->valid = false;
}

/* A schema may have got another name. */
static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	relation_changed((Datum) 0, InvalidOid);
}

static void
make_cache(void)
{
	HASHCTL ctl = {0};

	ctl.keysize = sizeof(TriggerKey);
	ctl.entrysize = sizeof(TriggerEntry);
	ctl.hcxt = CacheMemoryContext;
	triggers = hash_create("pgq triggers", 64, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
}

static void
free_state(TriggerState *state)
{
	trigger_expr_free(state->when);
	for (int i = 0; i < EVENT_FIELDS; i++)
		trigger_expr_free(state->expr[i]);
	MemoryContextDelete(state->cxt);
}

static void
release_state(TriggerState *state)
{
	if (--state->users == 0 && state->stale)
		free_state(state);
}

static TriggerState *
make_state(TriggerData *tg, EventFormat format)
{
	Trigger *trigger = tg->tg_trigger;
	MemoryContext cxt = AllocSetContextCreate(
		CurrentMemoryContext, "pgq trigger", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	TriggerState *state = palloc0(sizeof(TriggerState));

	state->cxt = cxt;
	state->args = event_args_parse_trigger(trigger->tgnargs - 1,
										   trigger->tgargs + 1, format);
	state->plan = event_plan_make(tg->tg_relation, state->args);
	/* with the values of columns that are newer than a row */
	state->desc = CreateTupleDescCopyConstr(RelationGetDescr(tg->tg_relation));
	state->quote_all = quote_all_identifiers;
	if (state->args->when)
		state->when = trigger_expr_make(state->args->when);
	for (int i = 0; i < EVENT_FIELDS; i++)
	{
		if (!state->args->expr[i])
			continue;
		state->expr[i] = trigger_expr_make(state->args->expr[i]);
		state->has_expr = true;
	}
	MemoryContextSwitchTo(old);

	/* an error until here takes it away, from now on it is kept */
	MemoryContextSetParent(cxt, CacheMemoryContext);
	return state;
}

/*
 * The prepared state of the trigger that fires, its arguments parsed; to be
 * given back by release_state().
 */
static TriggerState *
acquire_state(TriggerData *tg, EventFormat format)
{
	TriggerKey key = {tg->tg_trigger->tgoid, format};
	TriggerEntry *entry;
	bool found;

	if (!triggers)
		make_cache();
	entry = hash_search(triggers, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(entry, 0, sizeof(TriggerEntry));
		entry->key = key;
	}
	if (!entry->valid || !entry->state ||
		entry->state->quote_all != quote_all_identifiers ||
		entry->relid != RelationGetRelid(tg->tg_relation))
	{
		if (entry->state)
		{
			entry->state->stale = true;
			entry->state->users++;
			release_state(entry->state);
			entry->state = NULL;
		}
		/* our lock keeps the table as it is, but not its schema's name */
		entry->relid = RelationGetRelid(tg->tg_relation);
		entry->valid = true;
		entry->state = make_state(tg, format);
	}
	entry->state->users++;
	return entry->state;
}

static EventOp
trigger_op(const TriggerData *tg)
{
	if (TRIGGER_FIRED_BY_INSERT(tg->tg_event))
		return EVENT_OP_INSERT;
	if (TRIGGER_FIRED_BY_UPDATE(tg->tg_event))
		return EVENT_OP_UPDATE;
	if (TRIGGER_FIRED_BY_DELETE(tg->tg_event))
		return EVENT_OP_DELETE;
	return EVENT_OP_TRUNCATE;
}

static void
refuse(int sqlstate, const char *message, const char *hint)
{
	ereport(ERROR, (errcode(sqlstate), errmsg("%s", message),
					errhint("%s", hint)));
}

static void
check_firing(const TriggerData *tg, EventOp op)
{
	if (op == EVENT_OP_TRUNCATE)
	{
		if (!TRIGGER_FIRED_FOR_STATEMENT(tg->tg_event))
			refuse(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
				   "pgq tRuncate trigger must be fired FOR EACH STATEMENT",
				   "Create the trigger with FOR EACH STATEMENT.");
	}
	else if (!TRIGGER_FIRED_FOR_ROW(tg->tg_event))
		refuse(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
			   "pgq Ins/Upd/Del trigger must be fired FOR EACH ROW",
			   "Create the trigger with FOR EACH ROW.");
	if (tg->tg_trigger->tgnargs < 1)
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "pgq trigger must have destination queue as argument",
			   "For example: EXECUTE FUNCTION pgq.jsontriga('my_queue')");
}

static void
check_truncate(const TriggerState *state)
{
	static const char hint[] =
		"Make a trigger of its own for TRUNCATE, without that argument.";
	const EventArgs *args = state->args;

	if (args->ignore != NIL)
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "Column ignore does not make sense for truncate trigger", hint);
	if (args->has_pkey)
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "Custom pkey_list does not make sense for truncate trigger",
			   hint);
	if (args->backup)
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "Backup does not make sense for truncate trigger", hint);
	if (state->has_expr || state->when)
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "Custom expressions do not make sense for truncater trigger",
			   hint);
}

/*
 * Whether pkey= or the table names any key; "pkey=" names none.  In the formats
 * that only print pkey=, any name will do; the sql format would name no row.
 */
static bool
has_usable_key(const TriggerState *state)
{
	const EventArgs *args = state->args;

	if (state->plan->format != EVENT_FORMAT_SQL && args->has_pkey)
		return list_length(args->pkey) > 1 ||
			   *(char *) linitial(args->pkey) != '\0';
	for (int i = 0; i < state->plan->ncolumns; i++)
		if (state->plan->columns[i].is_key)
			return true;
	return false;
}

static void
check_arguments(const TriggerData *tg, const TriggerState *state, EventOp op)
{
	static const char *const names[] = {[EVENT_OP_INSERT] = "INSERT",
										[EVENT_OP_UPDATE] = "UPDATE",
										[EVENT_OP_DELETE] = "DELETE",
										[EVENT_OP_TRUNCATE] = "TRUNCATE"};

	if (op == EVENT_OP_TRUNCATE)
		check_truncate(state);
	else if (op != EVENT_OP_INSERT && !has_usable_key(state))
		refuse(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"Update/Delete on table without pkey",
			"Add a primary key to the table, or the argument pkey= to the trigger.");
	if (state->args->skip && TRIGGER_FIRED_AFTER(tg->tg_event))
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   "SKIP does not work in AFTER trigger.",
			   "Create the trigger as BEFORE trigger.");
	if (state->args->deny)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("Table '%s' to queue '%s': change not allowed (%s)",
						state->plan->table.str, tg->tg_trigger->tgargs[0],
						names[op])));
}

static void
unpack_row(EventRow *row, TupleDesc desc, HeapTuple tuple)
{
	row->values = palloc(desc->natts * sizeof(Datum) + 1);
	row->isnull = palloc(desc->natts * sizeof(bool) + 1);
	row->absent = palloc0(desc->natts * sizeof(bool) + 1);
	row->complete = true;
	heap_deform_tuple(tuple, desc, row->values, row->isnull);
}

/* The type's own equality decides whether a key has changed. */
static bool
key_equal(const EventColumn *col, Oid collation, Datum a, Datum b)
{
	TypeCacheEntry *type = lookup_type_cache(col->typid,
											 TYPECACHE_EQ_OPR_FINFO);

	if (!OidIsValid(type->eq_opr_finfo.fn_oid))
		return false;
	return DatumGetBool(
		FunctionCall2Coll(&type->eq_opr_finfo, collation, a, b));
}

static void
check_key_change(const TriggerState *state, const TriggerRows *rows)
{
	for (int i = 0; i < state->plan->ncolumns; i++)
	{
		const EventColumn *col = &state->plan->columns[i];
		int at = col->index;

		if (!col->is_key || event_value_same(col, &rows->oldrow, &rows->newrow))
			continue;
		if (rows->oldrow.isnull[at] || rows->newrow.isnull[at] ||
			!key_equal(col, TupleDescAttr(state->desc, at)->attcollation,
					   rows->oldrow.values[at], rows->newrow.values[at]))
			refuse(
				ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION,
				"primary key update not allowed",
				"Delete the row and insert it again, or capture the table instead of using a trigger.");
	}
}

/* The row of an UPDATE or DELETE must be found again by its key. */
static void
check_key(const TriggerState *state, const TriggerRows *rows, EventOp op)
{
	if (op == EVENT_OP_UPDATE)
		check_key_change(state, rows);
	if (state->plan->format != EVENT_FORMAT_SQL)
		return;
	for (int i = 0; i < state->plan->ncolumns; i++)
	{
		const EventColumn *col = &state->plan->columns[i];

		if (col->is_key && rows->oldrow.isnull[col->index])
			refuse(ERRCODE_NULL_VALUE_NOT_ALLOWED,
				   "logtriga: Unexpected NULL key value",
				   "Name columns that are NOT NULL in pkey=.");
	}
}

static void
insert_built(const char *queue, const Event *event)
{
	NullableDatum args[INSERT_EVENT_NARGS];

	insert_event_check_rights();
	args[0].value = CStringGetTextDatum(queue);
	args[0].isnull = false;
	for (int i = 0; i < EVENT_FIELDS; i++)
	{
		const EventField *field = &event->field[i];

		args[i + 1].isnull = field->len < 0;
		args[i + 1].value = field->len < 0
								? (Datum) 0
								: PointerGetDatum(cstring_to_text_with_len(
									  field->str, field->len));
	}
	insert_event(args);
}

/*
 * Build and insert the event of a row.  Expressions see NEW, or OLD for a
 * DELETE; the condition comes first, so that it can guard the others.
 */
static void
write_row_event(TriggerData *tg, TriggerState *state, const TriggerRows *rows,
				EventOp op)
{
	const EventRow *row = op == EVENT_OP_DELETE ? &rows->oldrow : &rows->newrow;
	bool use_spi = state->has_expr || state->when;
	EventScratch scratch;
	Event events[EVENT_BUILD_MAX];
	int n;

	event_scratch_init(&scratch);
	if (use_spi)
		SPI_connect();
	if (!state->when || trigger_expr_condition(state->when, state->desc, row))
	{
		n = event_build(state->plan, &scratch, op,
						op == EVENT_OP_INSERT ? NULL : &rows->oldrow,
						op == EVENT_OP_DELETE ? NULL : &rows->newrow, events);
		for (int i = 0; i < EVENT_FIELDS && n > 0; i++)
			if (state->expr[i])
				events[0].field[i] = trigger_expr_text(state->expr[i],
													   state->desc, row);
		if (n > 0)
			insert_built(tg->tg_trigger->tgargs[0], &events[0]);
	}
	if (use_spi)
		SPI_finish();
}

static void
write_truncate_event(TriggerData *tg, TriggerState *state)
{
	EventScratch scratch;
	Event event;

	event_scratch_init(&scratch);
	event_build_truncate(state->plan, &scratch, &event);
	insert_built(tg->tg_trigger->tgargs[0], &event);
}

/* What the executor goes on with, unless the trigger suppresses it. */
static HeapTuple
result_row(const TriggerData *tg, EventOp op)
{
	return op == EVENT_OP_UPDATE ? tg->tg_newtuple : tg->tg_trigtuple;
}

/* Take apart the rows that the event has. */
static void
unpack_rows(const TriggerData *tg, TupleDesc desc, EventOp op,
			TriggerRows *rows)
{
	if (op != EVENT_OP_INSERT)
		unpack_row(&rows->oldrow, desc, tg->tg_trigtuple);
	if (op != EVENT_OP_DELETE)
		unpack_row(&rows->newrow, desc, result_row(tg, op));
}

static void
write_event(TriggerData *tg, TriggerState *state, EventOp op)
{
	TriggerRows rows;

	check_arguments(tg, state, op);
	if (op == EVENT_OP_TRUNCATE)
	{
		write_truncate_event(tg, state);
		return;
	}
	unpack_rows(tg, state->desc, op, &rows);
	if (op != EVENT_OP_INSERT)
		check_key(state, &rows, op);
	write_row_event(tg, state, &rows, op);
}

static Datum
fire(FunctionCallInfo fcinfo, EventFormat format, const char *name)
{
	TriggerData *tg = (TriggerData *) fcinfo->context;
	TriggerState *state;
	EventOp op;
	MemoryContext work;
	MemoryContext old;
	volatile bool skip = false;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s not called as trigger", name)));
	op = trigger_op(tg);
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_LOCAL)
		return PointerGetDatum(result_row(tg, op));

	check_firing(tg, op);
	work = AllocSetContextCreate(CurrentMemoryContext, "pgq trigger row",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);
	state = acquire_state(tg, format);
	PG_TRY();
	{
		write_event(tg, state, op);
		skip = state->args->skip;
	}
	PG_FINALLY();
	{
		release_state(state);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);

	return PointerGetDatum(skip ? NULL : result_row(tg, op));
}

/* pgq.jsontriga(): rows as JSON objects */
Datum
pgq_jsontriga(PG_FUNCTION_ARGS)
{
	return fire(fcinfo, EVENT_FORMAT_JSON, "pgq.logutriga");
}

/* pgq.logutriga(): rows url-encoded */
Datum
pgq_logutriga(PG_FUNCTION_ARGS)
{
	return fire(fcinfo, EVENT_FORMAT_URLENC, "pgq.logutriga");
}

/* pgq.sqltriga(): fragments of SQL statements */
Datum
pgq_sqltriga(PG_FUNCTION_ARGS)
{
	return fire(fcinfo, EVENT_FORMAT_SQL, "pgq.sqltriga");
}
