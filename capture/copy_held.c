/*-------------------------------------------------------------------------
 *
 * copy_held.c
 *		Move changes that were held for a copy into the queue.
 *
 * They stay where they are; pgq._clean_copies() removes what no copy needs.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "capture/copy.h"

/* Columns of pgq.held_event: those of an event table, then the copy. */
#define HELD_NCOLUMNS (EVENT_NCOLUMNS + 1)

static void
read_event(Relation rel, HeapTuple tup, Event *event, int64 *id)
{
	Datum values[HELD_NCOLUMNS];
	bool nulls[HELD_NCOLUMNS];

	heap_deform_tuple(tup, RelationGetDescr(rel), values, nulls);
	*id = DatumGetInt64(values[EV_ID]);
	event->time = DatumGetTimestampTz(values[EV_TIME]);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
	{
		text *value;

		event->field[i].str = NULL;
		event->field[i].len = -1;
		if (nulls[EV_TYPE + i])
			continue;
		value = DatumGetTextPP(values[EV_TYPE + i]);
		event->field[i].str = VARDATA_ANY(value);
		event->field[i].len = VARSIZE_ANY_EXHDR(value);
	}
}

/*
 * Put what is held for a copy now, behind the event "*last", into a queue, in
 * its order.  *last is where the next call goes on; 0 at the first.  Returns
 * how many there were.
 */
int64
copy_move_held(int64 id, int64 *last, RowBatch *batch)
{
	Relation rel = table_open(queue_relation(QUEUE_HELD_TABLE),
							  AccessShareLock);
	Relation index = index_open(queue_relation(QUEUE_HELD_INDEX),
								AccessShareLock);
	Snapshot snapshot = table_fresh_snapshot();
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pgq held event", ALLOCSET_DEFAULT_SIZES);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tup;
	int64 n = 0;

	table_key_int8(&keys[0], HELD_NCOLUMNS, BTEqualStrategyNumber, F_INT8EQ,
				   id);
	table_key_int8(&keys[1], EV_ID + 1, BTGreaterStrategyNumber, F_INT8GT,
				   *last);
	scan = systable_beginscan_ordered(rel, index, snapshot, 2, keys);
	while (HeapTupleIsValid(
		tup = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Event event;

		CHECK_FOR_INTERRUPTS();
		read_event(rel, tup, &event, last);
		MemoryContextSwitchTo(old);
		row_batch_add(batch, &event);
		MemoryContextReset(context);
		n++;
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(context);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return n;
}
