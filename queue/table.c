/*-------------------------------------------------------------------------
 *
 * table.c
 *		Direct access to tables; see table.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/table.h"

/*
 * A registered snapshot of this moment, whatever the isolation level says.
 * The caller gives it back with UnregisterSnapshot().
 */
Snapshot
table_fresh_snapshot(void)
{
	return RegisterSnapshot(GetLatestSnapshot());
}

/*
 * A registered snapshot as a new statement of this transaction gets it: fresh
 * in READ COMMITTED, else the transaction's.  The caller gives it back with
 * UnregisterSnapshot().
 */
Snapshot
table_transaction_snapshot(void)
{
	return RegisterSnapshot(GetTransactionSnapshot());
}

/*
 * Open table "relid" for table_insert_row() or table_lock_row() and
 * table_update_row().  "lockmode" is held to the end of the transaction;
 * NoLock when the caller holds one already.
 */
void
table_open_writer(TableWriter *w, Oid relid, LOCKMODE lockmode)
{
	w->rel = table_open(relid, lockmode);
	w->estate = CreateExecutorState();
	w->target = makeNode(ResultRelInfo);
	InitResultRelInfo(w->target, w->rel, 0, NULL, 0);
	ExecOpenIndices(w->target, false);
	w->slot = table_slot_create(w->rel, NULL);
}

/* Insert the slot's values, then empty the slot. */
void
table_insert_row(TableWriter *w)
{
	ExecStoreVirtualTuple(w->slot);
	table_tuple_insert(w->rel, w->slot, GetCurrentCommandId(true), 0, NULL);
	if (w->target->ri_NumIndices > 0)
		compat_insert_index_entries(w->target, w->slot, w->estate, false);
	ResetPerTupleExprContext(w->estate);
	ExecClearTuple(w->slot);
}

/*
 * Lock the row at "tid", as seen by "snapshot", for an update, and put it
 * into the slot with all its columns.
 *
 * Waits for others who hold it.  In READ COMMITTED follows it to its newest
 * version, which the slot then has.  Returns false when the row is gone;
 * raises 40001 where the isolation level forbids to go on with a newer one.
 */
bool
table_lock_row(TableWriter *w, ItemPointer tid, Snapshot snapshot)
{
	TM_FailureData failure;
	TM_Result result;
	uint8 flags = 0;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;

	result = table_tuple_lock(w->rel, tid, snapshot, w->slot,
							  GetCurrentCommandId(false), LockTupleExclusive,
							  LockWaitBlock, flags, &failure);
	switch (result)
	{
		case TM_Ok:
			slot_getallattrs(w->slot);
			return true;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("could not serialize access due to "
								"concurrent update")));
			return false;
		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("row of \"%s\" was already modified by the "
							"current command",
							RelationGetRelationName(w->rel))));
			return false;
		default:
			elog(ERROR, "unexpected table_tuple_lock status: %u", result);
			return false;
	}
}

/*
 * Add entries to the indexes for the row in "slot", which replaces one with the
 * same primary key: that index need not be searched for others with the key.
 * The search would meet every old version of the row.
 */
static void
insert_index_entries(TableWriter *w, TupleTableSlot *slot,
					 PgqUpdateIndexes indexes)
{
	ResultRelInfo *target = w->target;

	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		Relation index = target->ri_IndexRelationDescs[i];
		IndexInfo *info = target->ri_IndexRelationInfo[i];
		bool same = index->rd_index->indisprimary;
		Datum values[INDEX_MAX_KEYS];
		bool nulls[INDEX_MAX_KEYS];

		if (!PGQ_UPDATE_CONCERNS(indexes, info))
			continue;
		if (info->ii_Predicate != NIL)
		{
			ExprContext *context = GetPerTupleExprContext(w->estate);

			context->ecxt_scantuple = slot;
			if (!ExecQual(ExecPrepareQual(info->ii_Predicate, w->estate),
						  context))
				continue;
		}
		FormIndexDatum(info, slot, w->estate, values, nulls);
		index_insert(index, values, nulls, &slot->tts_tid, w->rel,
					 index->rd_index->indisunique && !same ? UNIQUE_CHECK_YES
														   : UNIQUE_CHECK_NO,
					 same, info);
	}
}

/*
 * Replace the row that table_lock_row() locked by the slot's present values,
 * and make it visible to the commands that follow.  The primary key must be
 * what it was, and no index on an expression.
 */
void
table_update_row(TableWriter *w)
{
	TupleTableSlot *slot = w->slot;
	int natts = slot->tts_tupleDescriptor->natts;
	ItemPointerData tid = slot->tts_tid;
	TupleTableSlot *copy = table_slot_create(w->rel, NULL);
	TM_FailureData failure;
	LockTupleMode lockmode;
	PgqUpdateIndexes indexes;
	TM_Result result;

	memcpy(copy->tts_values, slot->tts_values, natts * sizeof(Datum));
	memcpy(copy->tts_isnull, slot->tts_isnull, natts * sizeof(bool));
	ExecStoreVirtualTuple(copy);

	result = TABLE_TUPLE_UPDATE(w->rel, &tid, copy, &failure, &lockmode,
								&indexes);
	if (result != TM_Ok)
		elog(ERROR, "unexpected table_tuple_update status: %u", result);
	if (PGQ_UPDATE_SOME_INDEXES(indexes))
		insert_index_entries(w, copy, indexes);
	ExecDropSingleTupleTableSlot(copy);
	CommandCounterIncrement();
}

/* Close the table; locks stay until the transaction ends. */
void
table_close_writer(TableWriter *w)
{
	ExecDropSingleTupleTableSlot(w->slot);
	ExecCloseIndices(w->target);
	FreeExecutorState(w->estate);
	pfree(w->target);
	table_close(w->rel, NoLock);
}

/*
 * The relation called "name", an unquoted name as the queue rows have it: the
 * schema stands before the first dot, and is "public" if there is none.
 * Returns InvalidOid when there is no such relation.
 */
Oid
table_find_name(const char *name)
{
	const char *dot = strchr(name, '.');
	Oid schema;

	if (dot == NULL)
		schema = get_namespace_oid("public", true);
	else
		schema = get_namespace_oid(pnstrdup(name, dot - name), true);
	if (!OidIsValid(schema))
		return InvalidOid;
	return get_relname_relid(dot == NULL ? name : dot + 1, schema);
}

/* Raise 22004 if an argument is NULL; function is for the message. */
void
table_refuse_nulls(FunctionCallInfo fcinfo, const char *function)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arguments of %s must not be null", function)));
}

/*
 * Begin the result of a set-returning function that fills a tuplestore: the
 * caller puts rows of result->tupdesc into result->store and returns.
 */
void
table_begin_result(FunctionCallInfo fcinfo, TableResult *result)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc tupdesc;
	Oid scalar;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot "
						"accept a set")));

	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	switch (get_call_result_type(fcinfo, &scalar, &tupdesc))
	{
		case TYPEFUNC_COMPOSITE:
			result->tupdesc = CreateTupleDescCopy(tupdesc);
			break;
		case TYPEFUNC_SCALAR:
			result->tupdesc = CreateTemplateTupleDesc(1);
			TupleDescInitEntry(result->tupdesc, 1, "value", scalar, -1, 0);
			break;
		default:
			elog(ERROR, "unexpected result type of a queue function");
	}
	result->store = tuplestore_begin_heap(
		(rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	MemoryContextSwitchTo(old);

	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = result->store;
	rsinfo->setDesc = result->tupdesc;
}

/* The result of a function that returns a row, made of its columns. */
Datum
table_make_record(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tupdesc = BlessTupleDesc(tupdesc);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}
