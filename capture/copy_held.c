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

#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "capture/copy.h"
#include "queue/own.h"

static void
read_event(const OwnScan *scan, Event *event)
{
	event->time = DatumGetTimestampTz(scan->values[EV_TIME]);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
	{
		text *value;

		event->field[i].str = NULL;
		event->field[i].len = -1;
		if (scan->nulls[EV_TYPE + i])
			continue;
		value = DatumGetTextPP(scan->values[EV_TYPE + i]);
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
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pgq held event", ALLOCSET_DEFAULT_SIZES);
	OwnScan scan;
	int64 n = 0;

	own_open(&scan, OWN_HELD_EVENT, AccessShareLock);
	own_match(&scan, HELD_COPY, Int64GetDatum(id));
	own_compare(&scan, EV_ID, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(*last));
	own_begin_ordered(&scan, OWN_HELD_PKEY, ForwardScanDirection, NULL);
	while (own_next(&scan))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Event event;

		read_event(&scan, &event);
		*last = DatumGetInt64(scan.values[EV_ID]);
		MemoryContextSwitchTo(old);
		row_batch_add(batch, &event);
		MemoryContextReset(context);
		n++;
	}
	own_close(&scan);
	MemoryContextDelete(context);
	return n;
}
