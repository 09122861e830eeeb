/*-------------------------------------------------------------------------
 *
 * insert.c
 *		Producing events by SQL: pgq.insert_event(), pgq.insert_event_raw() and
 *		pgq.current_event_table().
 *
 * Rows go straight to the event table and its indexes, with no plan in
 * between.  Triggers and rules on event tables are not looked at; what would need
 * a plan is refused (event_table.c).
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/event_arrays.h"
#include "queue/insert.h"
#include "queue/row_batch.h"
#include "queue/target.h"

PG_FUNCTION_INFO_V1(pgq_insert_event);
PG_FUNCTION_INFO_V1(pgq_insert_event_as);
PG_FUNCTION_INFO_V1(pgq_insert_event_jsonb);
PG_FUNCTION_INFO_V1(pgq_insert_event_raw);
PG_FUNCTION_INFO_V1(pgq_insert_events);
PG_FUNCTION_INFO_V1(pgq_current_event_table);

/* Arguments of insert_event_raw() are the columns without ev_txid. */
#define RAW_QUEUE 0
#define RAW_ID 1
#define RAW_TIME 2
#define RAW_OWNER 3
#define RAW_RETRY 4
#define RAW_TYPE 5

/*
 * pgq.insert_event(7 x text).  People replace it to watch what is produced: who
 * inserts events by name must call theirs then.
 */
typedef struct InsertFunction
{
	Oid oid;
	bool is_ours;
} InsertFunction;

static const NullableDatum no_id = {.isnull = true};

/* What was found when "function_changes" was "function_seen". */
static InsertFunction function;
static uint64 function_seen = 0;
static uint64 function_changes = 1;

/* Syscache callback: some function was changed. */
static void
forget_function(Datum arg, int cacheid, uint32 hashvalue)
{
	function_changes++;
}

/*
 * The function as it is now.  By value: any look-up in the catalogue may make
 * us forget it, its own look-up too.
 */
static InsertFunction
find_insert_function(void)
{
	static bool registered = false;
	uint64 changes = function_changes;
	Oid argtypes[INSERT_EVENT_NARGS];
	InsertFunction found;
	FmgrInfo flinfo;
	List *name;

	if (function_seen == changes)
		return function;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(PROCOID, forget_function, (Datum) 0);
		registered = true;
	}
	for (int i = 0; i < INSERT_EVENT_NARGS; i++)
		argtypes[i] = TEXTOID;
	name = list_make2(makeString("pgq"), makeString("insert_event"));
	found.oid = LookupFuncName(name, INSERT_EVENT_NARGS, argtypes, false);
	list_free_deep(name);
	fmgr_info(found.oid, &flinfo);
	found.is_ours = (flinfo.fn_addr == pgq_insert_event);
	function = found;
	function_seen = changes;
	return found;
}

/*
 * Insert one event; the arguments are those of insert_event_raw().  Returns
 * the event's id.  "counted" says that its id has been taken from the queue's
 * sequence already.
 */
static int64
insert_row(const NullableDatum *args, bool counted)
{
	Target *target;
	TableWriter w;
	int64 id;
	Datum *values;
	bool *nulls;

	if (args[RAW_QUEUE].isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("Queue name must not be NULL")));
	PreventCommandIfReadOnly("pgq.insert_event()");

	target = target_find_or_refuse(DatumGetTextPP(args[RAW_QUEUE].value));

	/* Even if refused: by this the ticker learns of activity. */
	id = counted ? 0 : nextval_internal(target->sequence, false);
	if (!args[RAW_ID].isnull)
		id = DatumGetInt64(args[RAW_ID].value);

	target_require_enabled(target);
	target_count(target, 1);

	target_open_writer(target, &w);
	values = w.slot->tts_values;
	nulls = w.slot->tts_isnull;
	values[EV_ID] = Int64GetDatum(id);
	nulls[EV_ID] = false;
	values[EV_TIME] = args[RAW_TIME].isnull
						  ? TimestampTzGetDatum(
								GetCurrentTransactionStartTimestamp())
						  : args[RAW_TIME].value;
	nulls[EV_TIME] = false;
	values[EV_TXID] = Int64GetDatum(
		(int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	nulls[EV_TXID] = false;
	values[EV_OWNER] = args[RAW_OWNER].value;
	nulls[EV_OWNER] = args[RAW_OWNER].isnull;
	values[EV_RETRY] = args[RAW_RETRY].value;
	nulls[EV_RETRY] = args[RAW_RETRY].isnull;
	for (int i = 0; i < EVENT_NCOLUMNS - EV_TYPE; i++)
	{
		values[EV_TYPE + i] = args[RAW_TYPE + i].value;
		nulls[EV_TYPE + i] = args[RAW_TYPE + i].isnull;
	}
	table_insert_row(&w);
	table_close_writer(&w);
	return id;
}

/*
 * Our own pgq.insert_event(): now, of no owner, never tried before.  "id" has been
 * taken from the queue's sequence already, if it is not null.
 */
static int64
insert_new(const NullableDatum *args, NullableDatum id)
{
	NullableDatum raw[EVENT_NCOLUMNS];

	raw[RAW_QUEUE] = args[0];
	for (int i = RAW_ID; i < RAW_TYPE; i++)
	{
		raw[i].value = (Datum) 0;
		raw[i].isnull = true;
	}
	raw[RAW_ID] = id;
	memcpy(&raw[RAW_TYPE], &args[1],
		   (INSERT_EVENT_NARGS - 1) * sizeof(NullableDatum));
	return insert_row(raw, !id.isnull);
}

static void
check_rights(InsertFunction f)
{
	AclResult allowed = compat_function_aclcheck(f.oid, GetUserId());

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FUNCTION, "insert_event");
}

/*
 * Raise an error unless the current user may call pgq.insert_event().
 */
void
insert_event_check_rights(void)
{
	check_rights(find_insert_function());
}

/*
 * Produce an event through pgq.insert_event(), whatever that is now.
 *
 * "args" has INSERT_EVENT_NARGS texts.  When somebody has replaced the
 * function, his is called with the rights of the caller.  Returns the event's
 * id, 0 if that function returned NULL.  Raises the errors of
 * pgq.insert_event().
 */
int64
insert_event(const NullableDatum *args)
{
	LOCAL_FCINFO(call, INSERT_EVENT_NARGS);
	InsertFunction f = find_insert_function();
	FmgrInfo flinfo;
	Datum id;

	if (f.is_ours)
		return insert_new(args, no_id);

	check_rights(f);
	fmgr_info(f.oid, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, INSERT_EVENT_NARGS,
							 DEFAULT_COLLATION_OID, NULL, NULL);
	memcpy(call->args, args, INSERT_EVENT_NARGS * sizeof(NullableDatum));
	if (flinfo.fn_strict)
	{
		for (int i = 0; i < INSERT_EVENT_NARGS; i++)
		{
			if (args[i].isnull)
				return 0;
		}
	}
	id = FunctionCallInvoke(call);
	return call->isnull ? 0 : DatumGetInt64(id);
}

/*
 * pgq.insert_event(queue_name, ev_type, ev_data [, ev_extra1 .. ev_extra4])
 *
 * With three arguments it stands for the call with seven.
 */
Datum
pgq_insert_event(PG_FUNCTION_ARGS)
{
	NullableDatum args[INSERT_EVENT_NARGS];

	if (PG_NARGS() == INSERT_EVENT_NARGS)
		PG_RETURN_INT64(insert_new(fcinfo->args, no_id));

	memcpy(args, fcinfo->args, 3 * sizeof(NullableDatum));
	for (int i = 3; i < INSERT_EVENT_NARGS; i++)
	{
		args[i].value = (Datum) 0;
		args[i].isnull = true;
	}
	PG_RETURN_INT64(insert_event(args));
}

/*
 * pgq.insert_event(queue_name, ev_type, ev_data jsonb [, ev_extra1 ..
 * ev_extra4]): the same with the text of the JSON.
 */
Datum
pgq_insert_event_jsonb(PG_FUNCTION_ARGS)
{
	NullableDatum args[INSERT_EVENT_NARGS];

	for (int i = 0; i < INSERT_EVENT_NARGS; i++)
	{
		args[i].isnull = i >= PG_NARGS() || PG_ARGISNULL(i);
		args[i].value = args[i].isnull ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	if (!args[2].isnull)
	{
		Jsonb *json = DatumGetJsonbP(args[2].value);

		args[2].value = CStringGetTextDatum(
			JsonbToCString(NULL, &json->root, VARSIZE(json)));
	}
	PG_RETURN_INT64(insert_event(args));
}

/*
 * pgq.insert_event_raw(queue_name, ev_id, ev_time, ev_owner, ev_retry,
 * ev_type, ev_data, ev_extra1 .. ev_extra4)
 */
Datum
pgq_insert_event_raw(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(insert_row(fcinfo->args, false));
}

/* pgq._insert_event_as(i_queue, i_id, i_type, i_data, i_extra1 .. i_extra4) */
Datum
pgq_insert_event_as(PG_FUNCTION_ARGS)
{
	NullableDatum args[INSERT_EVENT_NARGS];

	args[0] = fcinfo->args[0];
	memcpy(&args[1], &fcinfo->args[2],
		   (INSERT_EVENT_NARGS - 1) * sizeof(NullableDatum));
	/* who has replaced ours gives an id of his own */
	PG_RETURN_INT64(find_insert_function().is_ours
						? insert_new(args, fcinfo->args[1])
						: insert_event(args));
}

/* One event for each place of the arrays, all into our own queue. */
static void
insert_rows(Datum queue, const EventArrays *arrays, Datum *ids)
{
	Target *target = target_find_or_refuse(DatumGetTextPP(queue));
	RowBatch *batch;
	Event event;

	target_require_enabled(target);
	target_count(target, arrays->n);
	batch = row_batch_open(target);
	batch->ids = ids;
	event.time = GetCurrentTransactionStartTimestamp();
	for (int i = 0; i < arrays->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		event_arrays_get(arrays, i, event.field);
		row_batch_add(batch, &event);
	}
	row_batch_close(batch);
}

/* The same one by one, through a function that has replaced ours. */
static void
insert_rows_by_function(Datum queue, const EventArrays *arrays, Datum *ids)
{
	NullableDatum args[INSERT_EVENT_NARGS];

	args[0].value = queue;
	args[0].isnull = false;
	for (int i = 0; i < arrays->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int f = 0; f < FRAME_EVENT_FIELDS; f++)
		{
			args[f + 1].isnull = arrays->nulls[f] == NULL ||
								 arrays->nulls[f][i];
			args[f + 1].value = args[f + 1].isnull ? (Datum) 0
												   : arrays->values[f][i];
		}
		ids[i] = Int64GetDatum(insert_event(args));
	}
}

/*
 * pgq.insert_events(i_queue, i_types text[], i_datas text[] [, i_extra1 text[]
 * .. i_extra4 text[]]) -> int8[]
 */
Datum
pgq_insert_events(PG_FUNCTION_ARGS)
{
	EventArrays arrays;
	Datum *ids;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("Queue name must not be NULL")));
	PreventCommandIfReadOnly("pgq.insert_events()");
	event_arrays_read(fcinfo, 1, &arrays);
	ids = palloc(sizeof(Datum) * Max(arrays.n, 1));
	if (find_insert_function().is_ours)
		insert_rows(PG_GETARG_DATUM(0), &arrays, ids);
	else
		insert_rows_by_function(PG_GETARG_DATUM(0), &arrays, ids);
	PG_RETURN_ARRAYTYPE_P(construct_array(ids, arrays.n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* pgq.current_event_table(x_queue_name) */
Datum
pgq_current_event_table(PG_FUNCTION_ARGS)
{
	Target *target = NULL;

	if (!PG_ARGISNULL(0))
	{
		text *name = PG_GETARG_TEXT_PP(0);

		target = target_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("Event queue not found")));
	if (target_is_disabled(target))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("Writing to queue disabled"),
				 errdetail("Queue \"%s\" is disabled.", target->queue.name)));
	PG_RETURN_TEXT_P(cstring_to_text(
		queue_table_name(&target->queue, target->queue.cur_table)));
}
