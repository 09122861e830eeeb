/*-------------------------------------------------------------------------
 *
 * slot_wait.c
 *		pgq.wait_ingest: wait until changes up to an LSN are in the queues.
 *
 * A marker in the WAL makes pgqd write what it has at once, and moves the
 * position past the marker on an idle database, too.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/message.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "event/compat.h"
#include "event/frame_format.h"
#include "capture/slot.h"

PG_FUNCTION_INFO_V1(pgq_wait_ingest);

/* Milliseconds between two looks at the position: doubles up to the last. */
#define FIRST_NAP 1
#define LAST_NAP 16

/*
 * What a queue host has confirmed of our slot, which is in its queues; 0 if there
 * is no such slot.
 */
static XLogRecPtr
read_confirmed(const char *name)
{
	ReplicationSlot *slot;
	XLogRecPtr lsn = InvalidXLogRecPtr;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot)
	{
		SpinLockAcquire(&slot->mutex);
		lsn = slot->data.confirmed_flush;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return lsn;
}

/*
 * The newest position that is committed now, whatever the transaction's own
 * snapshot sees.  Raises if there is no slot, or ingest stands still.
 */
static XLogRecPtr
read_position(void)
{
	SlotRow *row = slot_require_row();
	XLogRecPtr lsn = InvalidXLogRecPtr;

	if (row->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ingest of slot \"%s\" stands still", row->name),
				 errdetail("%s", row->problem),
				 errhint("See pgq.get_slot_info().")));
	if (row->remote)
		return read_confirmed(row->name);
	slot_read_position(row->name, &lsn, NULL);
	return lsn;
}

static void
put_marker(void)
{
	XLogRecPtr end;

	end = LOG_MARKER_MESSAGE(PGQ_MARKER_PREFIX, "", 0);
	/* a walsender sends what is flushed, and nobody else may flush it soon */
	XLogFlush(end);
}

/*
 * pgq.wait_ingest(i_lsn pg_lsn, i_timeout interval) returns bool
 *
 * True once all that committed before i_lsn is in the queues, false if that
 * takes longer than i_timeout.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE without a slot or while ingest
 * stands still.
 */
Datum
pgq_wait_ingest(PG_FUNCTION_ARGS)
{
	XLogRecPtr target;
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz deadline;
	XLogRecPtr marker = InvalidXLogRecPtr;
	long nap = FIRST_NAP;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext look = AllocSetContextCreate(caller, "pgq.wait_ingest",
											   ALLOCSET_SMALL_SIZES);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("LSN and timeout of pgq.wait_ingest() must not be "
						"null")));
	target = PG_GETARG_LSN(0);
	deadline = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(start),
							PG_GETARG_DATUM(1)));

	for (;;)
	{
		XLogRecPtr position;
		long left;

		/* the wait may be long: each look starts with no memory taken */
		MemoryContextReset(look);
		MemoryContextSwitchTo(look);
		position = read_position();
		MemoryContextSwitchTo(caller);

		if (position >= target)
			PG_RETURN_BOOL(true);

		/*
		 * One marker is enough, unless the target is ahead of the WAL: then
		 * another one each time the last has come through.
		 */
		if (marker == InvalidXLogRecPtr ||
			(position >= marker && GetXLogInsertRecPtr() >= target))
		{
			PreventCommandDuringRecovery("pgq.wait_ingest()");
			marker = GetXLogInsertRecPtr();
			put_marker();
		}

		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0)
			PG_RETURN_BOOL(false);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(nap, left), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		nap = Min(nap * 2, LAST_NAP);
	}
}
