/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *		The transaction snapshots of ticks; see snapshot.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/snapshot.h"

/*
 * A palloc'd copy of a value of type txid_snapshot.  Raises
 * ERRCODE_DATA_CORRUPTED if its length does not fit its contents.
 */
TickSnapshot *
snapshot_copy(Datum value)
{
	TickSnapshot *snapshot = (TickSnapshot *) PG_DETOAST_DATUM_COPY(value);

	if (VARSIZE(snapshot) < offsetof(TickSnapshot, xip) ||
		(VARSIZE(snapshot) - offsetof(TickSnapshot, xip)) / sizeof(uint64) <
			snapshot->nxip)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("malformed snapshot of a tick")));
	return snapshot;
}

/* The snapshot of this moment, whatever the isolation level says; palloc'd. */
TickSnapshot *
snapshot_take(void)
{
	Datum value;

	PushActiveSnapshot(GetLatestSnapshot());
	value = DirectFunctionCall1(pg_current_snapshot, (Datum) 0);
	PopActiveSnapshot();
	return snapshot_copy(value);
}

/* Had transaction "txid" ended when the snapshot was taken? */
bool
snapshot_sees(const TickSnapshot *snapshot, uint64 txid)
{
	uint32 low = 0;
	uint32 high = snapshot->nxip;

	if (txid < snapshot->xmin)
		return true;
	if (txid >= snapshot->xmax)
		return false;
	while (low < high)
	{
		uint32 mid = low + (high - low) / 2;

		if (snapshot->xip[mid] == txid)
			return false;
		if (snapshot->xip[mid] < txid)
			low = mid + 1;
		else
			high = mid;
	}
	return true;
}
