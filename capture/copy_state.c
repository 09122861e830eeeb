/*-------------------------------------------------------------------------
 *
 * copy_state.c
 *		Read and write pgq.copy, whatever the transaction's own snapshot sees.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "capture/copy.h"
#include "queue/queue.h"
#include "queue/table.h"

/* Columns of pgq.copy: see sql/tables_4.sql. */
enum
{
	COPY_ID = 1,
	COPY_QUEUE,
	COPY_RELID,
	COPY_ARGS,
	COPY_STATE,
	COPY_TRUNCATE,
	COPY_DISCARD,
	COPY_REQUESTED,
	COPY_STARTED,
	COPY_FINISHED,
	COPY_TRIED,
	COPY_ROWS,
	COPY_BYTES,
	COPY_BLOCKS,
	COPY_BLOCKS_DONE,
	COPY_ERROR,
	COPY_NCOLUMNS = COPY_ERROR
};

static SysScanDesc
begin_scan(Relation rel, int64 id, Snapshot snapshot)
{
	ScanKeyData key;

	table_key_int8(&key, COPY_ID, BTEqualStrategyNumber, F_INT8EQ, id);
	return systable_beginscan(rel, queue_relation(QUEUE_COPY_PKEY), true,
							  snapshot, 1, &key);
}

static CopyRow *
make_row(Relation rel, HeapTuple tup)
{
	Datum values[COPY_NCOLUMNS];
	bool nulls[COPY_NCOLUMNS];
	CopyRow *row = palloc(sizeof(CopyRow));

	heap_deform_tuple(tup, RelationGetDescr(rel), values, nulls);
	row->id = DatumGetInt64(values[COPY_ID - 1]);
	row->queue = TextDatumGetCString(values[COPY_QUEUE - 1]);
	row->relid = DatumGetObjectId(values[COPY_RELID - 1]);
	row->args = DatumGetArrayTypePCopy(values[COPY_ARGS - 1]);
	row->state = TextDatumGetCString(values[COPY_STATE - 1]);
	row->truncate = DatumGetBool(values[COPY_TRUNCATE - 1]);
	return row;
}

/* The row of a copy as it is now, palloc'd; NULL if there is none. */
CopyRow *
copy_read_row(int64 id)
{
	Relation rel = table_open(queue_relation(QUEUE_COPY_TABLE),
							  AccessShareLock);
	Snapshot snapshot = table_fresh_snapshot();
	SysScanDesc scan = begin_scan(rel, id, snapshot);
	HeapTuple tup = systable_getnext(scan);
	CopyRow *row = HeapTupleIsValid(tup) ? make_row(rel, tup) : NULL;

	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return row;
}

/*
 * Earlier runs of a copy whose held changes it has to publish first: a List of
 * CopyRow in the order of their ids.
 */
List *
copy_read_superseded(const CopyRow *copy)
{
	Relation rel = table_open(queue_relation(QUEUE_COPY_TABLE),
							  AccessShareLock);
	Relation index = index_open(queue_relation(QUEUE_COPY_PKEY),
								AccessShareLock);
	Snapshot snapshot = table_fresh_snapshot();
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0,
												  NULL);
	List *rows = NIL;
	HeapTuple tup;

	while (HeapTupleIsValid(
		tup = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CopyRow *row = make_row(rel, tup);

		if (strcmp(row->state, "superseded") == 0 &&
			row->relid == copy->relid && row->id < copy->id &&
			strcmp(row->queue, copy->queue) == 0)
			rows = lappend(rows, row);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return rows;
}

/* What to do with changes that name this copy. */
CopyFate
copy_read_fate(int64 id, Snapshot snapshot)
{
	Relation rel = table_open(queue_relation(QUEUE_COPY_TABLE),
							  AccessShareLock);
	SysScanDesc scan = begin_scan(rel, id, snapshot);
	HeapTuple tup = systable_getnext(scan);
	CopyFate fate = COPY_GONE;

	if (HeapTupleIsValid(tup))
		fate = strcmp(make_row(rel, tup)->state, "done") == 0 ? COPY_DONE
															  : COPY_HOLDS;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return fate;
}

/* Lock the newest version of a row for its update. */
static void
lock_row(TableWriter *w, int64 id)
{
	Snapshot snapshot = table_fresh_snapshot();
	SysScanDesc scan = begin_scan(w->rel, id, snapshot);
	HeapTuple tup = systable_getnext(scan);

	if (!HeapTupleIsValid(tup) || !table_lock_row(w, &tup->t_self, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("copy " INT64_FORMAT " was given up", id)));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
}

/*
 * A copy is done: changes that name it go to the queue from now on.  counts is
 * what it has copied, NULL if nothing.  Raises an error if somebody else has
 * changed its row meanwhile.
 */
void
copy_write_done(int64 id, const CopyCounts *counts)
{
	TableWriter w;
	Datum *values;
	bool *nulls;

	table_open_writer(&w, queue_relation(QUEUE_COPY_TABLE), RowExclusiveLock);
	lock_row(&w, id);
	values = w.slot->tts_values;
	nulls = w.slot->tts_isnull;
	values[COPY_STATE - 1] = CStringGetTextDatum("done");
	values[COPY_FINISHED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[COPY_FINISHED - 1] = false;
	nulls[COPY_ERROR - 1] = true;
	if (counts)
	{
		values[COPY_ROWS - 1] = Int64GetDatum(counts->rows);
		values[COPY_BYTES - 1] = Int64GetDatum(counts->bytes);
		values[COPY_BLOCKS_DONE - 1] = Int64GetDatum(counts->blocks);
	}
	table_update_row(&w);
	table_close_writer(&w);
}
