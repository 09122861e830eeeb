/*-------------------------------------------------------------------------
 *
 * batch_read.c
 *		Finding the events of a batch: batch_visit_events() for all of C,
 *		pgq.get_batch_events() for SQL.
 *
 * A batch has the events of the transactions that ended between two snapshots.
 * Most of them began between them too: one index scan over that range of ids.
 * The others are those that ran at the first snapshot and had ended by the
 * second, perhaps much older: each gets an index scan of its own, unless it is
 * so near to the range that the range is stretched over it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_operator_d.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/event_table.h"
#include "queue/target.h"

PG_FUNCTION_INFO_V1(pgq_get_batch_events);

/* How far the range of ids is stretched to take in one straggler more. */
#define MAX_STRETCH 100

/* Columns of the result: those of the event table without ev_owner. */
#define RESULT_NCOLUMNS (EVENT_NCOLUMNS - 1)

/* Where the events that are found go to. */
typedef struct EventSink
{
	TableResult *result;
	int64 last_id;
	Tuplesortstate *sort; /* NULL while ids have come in rising order */
	BatchFilter filter;   /* NULL: all events are wanted */
	void *filter_arg;
	TupleTableSlot *slot;
} EventSink;

/*
 * Plan the index scans for what ended between "from" and "to", both of which
 * must outlive the plan.  span->singles is palloc'd.
 */
void
batch_plan_span(const TickSnapshot *from, const TickSnapshot *to,
				BatchSpan *span)
{
	span->from = from;
	span->to = to;
	span->low = from->xmax;
	span->high = to->xmax;
	span->nsingles = 0;
	span->singles = palloc(sizeof(uint64) * Max(from->nxip, 1));

	for (int i = (int) from->nxip - 1; i >= 0; i--)
	{
		uint64 txid = from->xip[i];

		if (!snapshot_sees(to, txid))
			continue;
		if (span->nsingles == 0 && span->low - txid <= MAX_STRETCH)
			span->low = txid;
		else
			span->singles[span->nsingles++] = txid;
	}
}

/*
 * In which event tables are events that ended between "from" and "to"?
 *
 * Puts their numbers into "tables", the older one first, and returns how many
 * there are.  A writer that began before the rotation's second step may have
 * used the previous table, one that began after its first step the current.
 */
int
batch_list_tables(const Queue *queue, const TickSnapshot *from,
				  const TickSnapshot *to, int *tables)
{
	int current = queue->cur_table;
	int previous = (current + queue->ntables - 1) % queue->ntables;
	int n = 0;

	if (previous == current)
	{
		tables[n++] = current;
		return n;
	}
	if (queue->switch_step2 < 0 || from->xmin <= (uint64) queue->switch_step2)
		tables[n++] = previous;
	if (to->xmax >= (uint64) queue->switch_step1)
		tables[n++] = current;
	return n;
}

/*
 * The index that finds rows by ev_txid.  Without one, if somebody dropped it,
 * the whole table is scanned.
 */
static Oid
find_txid_index(Relation rel)
{
	List *indexes = RelationGetIndexList(rel);
	Oid found = InvalidOid;
	ListCell *lc;

	foreach(lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			form->indkey.values[0] == EV_TXID + 1 &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			found = lfirst_oid(lc);
		index_close(index, AccessShareLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

static SysScanDesc
scan_ids(Relation rel, Oid index, Snapshot snapshot, uint64 low, uint64 high)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], EV_TXID + 1, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum((int64) low));
	ScanKeyInit(&keys[1], EV_TXID + 1, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum((int64) high));
	return systable_beginscan(rel, index, OidIsValid(index), snapshot, 2, keys);
}

/* From now on collect events for sorting; take over those stored already. */
static void
begin_sort(EventSink *sink)
{
	AttrNumber column = 1;
	Oid op = Int8LessOperator;
	Oid collation = InvalidOid;
	bool nulls_first = false;
	TupleTableSlot *slot = sink->slot;

	sink->sort = tuplesort_begin_heap(sink->result->tupdesc, 1, &column, &op,
									  &collation, &nulls_first, work_mem, NULL,
									  0);
	while (tuplestore_gettupleslot(sink->result->store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplesort_puttupleslot(sink->sort, slot);
	}
	tuplestore_clear(sink->result->store);
}

/* BatchVisitor: add an event to the result. */
static void
put_event(const BatchEvent *event, void *arg)
{
	EventSink *sink = arg;
	TupleTableSlot *slot = sink->slot;
	const Datum *values = event->values;
	const bool *nulls = event->nulls;
	int64 id = DatumGetInt64(values[EV_ID]);
	int n = 0;

	if (sink->filter != NULL && !sink->filter(event, sink->filter_arg))
		return;
	ExecClearTuple(slot);
	for (int i = 0; i < EVENT_NCOLUMNS; i++)
	{
		if (i == EV_OWNER)
			continue;
		slot->tts_values[n] = values[i];
		slot->tts_isnull[n] = nulls[i];
		n++;
	}
	ExecStoreVirtualTuple(slot);

	if (sink->sort == NULL && id < sink->last_id)
	{
		TupleTableSlot *spare = MakeSingleTupleTableSlot(sink->result->tupdesc,
														 &TTSOpsMinimalTuple);

		sink->slot = spare;
		begin_sort(sink);
		sink->slot = slot;
		ExecDropSingleTupleTableSlot(spare);
	}
	if (sink->sort != NULL)
		tuplesort_puttupleslot(sink->sort, slot);
	else
		tuplestore_puttupleslot(sink->result->store, slot);
	sink->last_id = id;
}

/*
 * Does a row of an event table belong to a batch, and to the owner of it?
 * "values" and "nulls" are the row's columns.
 */
bool
batch_has_row(const Batch *batch, const Datum *values, const bool *nulls)
{
	uint64 txid = (uint64) DatumGetInt64(values[EV_TXID]);

	return !snapshot_sees(batch->from.snapshot, txid) &&
		   snapshot_sees(batch->to.snapshot, txid) &&
		   (nulls[EV_OWNER] ||
			DatumGetInt32(values[EV_OWNER]) == batch->sub_id);
}

/* Show the visitor those events of one scan that belong to the batch. */
static void
visit_scan(const Batch *batch, Relation rel, Oid index, Snapshot snapshot,
		   uint64 low, uint64 high, BatchVisitor visit, void *arg)
{
	SysScanDesc scan = scan_ids(rel, index, snapshot, low, high);
	TupleDesc tupdesc = RelationGetDescr(rel);
	Datum *values = palloc(tupdesc->natts * sizeof(Datum));
	bool *nulls = palloc(tupdesc->natts * sizeof(bool));
	BatchEvent event = {rel, NULL, values, nulls};
	HeapTuple tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tup, tupdesc, values, nulls);
		if (!batch_has_row(batch, values, nulls))
			continue;
		event.tid = &tup->t_self;
		visit(&event, arg);
	}
	systable_endscan(scan);
	pfree(values);
	pfree(nulls);
}

/*
 * Open an event table for reading, with the lock held to the end of the
 * transaction.  The caller must have the right to read it.
 */
static Relation
open_event_table(const Queue *queue, int table, bool check)
{
	Relation rel = table_open(queue_table(queue, table, NULL), AccessShareLock);

	if (check)
	{
		AclResult allowed = pg_class_aclcheck(RelationGetRelid(rel),
											  GetUserId(), ACL_SELECT);

		if (allowed != ACLCHECK_OK)
			aclcheck_error(allowed, OBJECT_TABLE, RelationGetRelationName(rel));
	}
	event_table_require_columns(rel);
	return rel;
}

/*
 * Show all events of a batch to "visit", in no particular order.
 *
 * "check" asks for the current user's right to read the event tables; raises
 * 42501 if he has not got it.  The tables stay locked against TRUNCATE until
 * the transaction ends.
 */
void
batch_visit_events(const Batch *batch, Snapshot snapshot, bool check,
				   BatchVisitor visit, void *arg)
{
	int tables[BATCH_MAX_TABLES];
	int ntables;
	BatchSpan span;

	batch_plan_span(batch->from.snapshot, batch->to.snapshot, &span);
	ntables = batch_list_tables(&batch->queue, span.from, span.to, tables);
	for (int t = 0; t < ntables; t++)
	{
		Relation rel = open_event_table(&batch->queue, tables[t], check);
		Oid index = find_txid_index(rel);

		for (int i = 0; i < span.nsingles; i++)
		{
			CHECK_FOR_INTERRUPTS();
			visit_scan(batch, rel, index, snapshot, span.singles[i],
					   span.singles[i] + 1, visit, arg);
		}
		visit_scan(batch, rel, index, snapshot, span.low, span.high, visit,
				   arg);
		table_close(rel, NoLock);
	}
}

/*
 * The events of a batch, in the order of their ids, as the result of the function
 * that is called, whose columns are those of pgq.get_batch_events(); those only
 * that "filter" wants, if there is one.
 */
void
batch_return_events(FunctionCallInfo fcinfo, const Batch *batch,
					Snapshot snapshot, BatchFilter filter, void *arg)
{
	TableResult result;
	EventSink sink;

	table_begin_result(fcinfo, &result);
	if (result.tupdesc->natts != RESULT_NCOLUMNS)
		elog(ERROR, "unexpected result type of pgq.get_batch_events()");

	sink.result = &result;
	sink.last_id = PG_INT64_MIN;
	sink.sort = NULL;
	sink.filter = filter;
	sink.filter_arg = arg;
	sink.slot = MakeSingleTupleTableSlot(result.tupdesc, &TTSOpsVirtual);
	batch_visit_events(batch, snapshot, true, put_event, &sink);

	if (sink.sort != NULL)
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(result.tupdesc,
														&TTSOpsMinimalTuple);

		tuplesort_performsort(sink.sort);
		while (tuplesort_gettupleslot(sink.sort, true, false, slot, NULL))
		{
			CHECK_FOR_INTERRUPTS();
			tuplestore_puttupleslot(result.store, slot);
		}
		ExecDropSingleTupleTableSlot(slot);
		tuplesort_end(sink.sort);
	}
	ExecDropSingleTupleTableSlot(sink.slot);
}

/* pgq.get_batch_events(x_batch_id) */
Datum
pgq_get_batch_events(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = table_transaction_snapshot();
	Batch batch;

	if (PG_ARGISNULL(0) || !batch_find(PG_GETARG_INT64(0), snapshot, &batch))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("batch not found"),
				 errhint("A batch can be read until it is finished.")));
	batch_return_events(fcinfo, &batch, snapshot, NULL, NULL);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/*
 * Does a scan find a row that ended after "span" began?
 *
 * Rows of a transaction that "snapshot" does not see are stepped over all at
 * once: a long transaction may have left very many.
 */
static bool
scan_has_events(Relation rel, Oid index, Snapshot snapshot,
				const BatchSpan *span, uint64 low, uint64 high)
{
	while (low < high)
	{
		SysScanDesc scan = scan_ids(rel, index, SnapshotAny, low, high);
		HeapTuple tup = systable_getnext(scan);
		uint64 txid;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (!HeapTupleIsValid(tup))
		{
			systable_endscan(scan);
			return false;
		}
		txid = (uint64) DatumGetInt64(
			heap_getattr(tup, EV_TXID + 1, RelationGetDescr(rel), &isnull));
		systable_endscan(scan);

		if (!snapshot_sees(span->from, txid) && snapshot_sees(span->to, txid))
		{
			/* It has ended; has it committed? */
			scan = scan_ids(rel, index, snapshot, txid, txid + 1);
			tup = systable_getnext(scan);
			systable_endscan(scan);
			if (HeapTupleIsValid(tup))
				return true;
		}
		low = txid + 1;
	}
	return false;
}

/*
 * Has the queue got events, committed by now, that "from" does not see?
 *
 * A table that is locked against readers counts as one with such events.  Looks
 * into the tables: the event sequence would not tell, since events may be
 * counted there long before their transaction commits.
 */
bool
batch_has_events(const Queue *queue, const TickSnapshot *from)
{
	TickSnapshot *now = snapshot_take();
	Snapshot snapshot = table_fresh_snapshot();
	int tables[BATCH_MAX_TABLES];
	int ntables;
	BatchSpan span;
	bool found = false;

	batch_plan_span(from, now, &span);
	ntables = batch_list_tables(queue, from, now, tables);
	for (int t = 0; t < ntables && !found; t++)
	{
		Oid table = queue_table(queue, tables[t], NULL);
		Relation rel;
		Oid index;

		/* Who asks has other queues too, and must not wait for this one. */
		found = !ConditionalLockRelationOid(table, AccessShareLock);
		if (found)
			break;
		rel = table_open(table, NoLock);
		event_table_require_columns(rel);
		index = find_txid_index(rel);

		/* Without an index to step through, assume that there are some. */
		found = !OidIsValid(index);
		for (int i = 0; i < span.nsingles && !found; i++)
			found = scan_has_events(rel, index, snapshot, &span,
									span.singles[i], span.singles[i] + 1);
		found = found || scan_has_events(rel, index, snapshot, &span, span.low,
										 span.high);
		table_close(rel, AccessShareLock);
	}
	UnregisterSnapshot(snapshot);
	return found;
}
