/*-------------------------------------------------------------------------
 *
 * tick_wait.c
 *		Waiting for transactions, so that a tick has what they have written.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/wait_event.h"

#include "event/compat.h"
#include "queue/tick.h"

/* How long to wait for transactions, in microseconds. */
#define MAX_WAIT 1000000

/* Microseconds since a time that INSTR_TIME_SET_CURRENT() took. */
int64
tick_time_since(instr_time start)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/*
 * Do commits wait, or might they soon, for a walsender that reads a logical
 * slot, such as pgqd's?  What the walsenders say counts, not our settings,
 * which stay as they are while a statement runs: the server's own functions go
 * by these, and its views tell priorities to monitoring roles only.
 */
static bool
commits_wait_for_slot(void)
{
	bool found = false;

	for (int i = 0; i < max_wal_senders && !found; i++)
	{
		WalSnd *walsnd = &WalSndCtl->walsnds[i];
		pid_t pid;
		int priority;

		SpinLockAcquire(&walsnd->mutex);
		pid = walsnd->pid;
		priority = walsnd->sync_standby_priority;
		SpinLockRelease(&walsnd->mutex);
		if (pid == 0 || priority == 0)
			continue;

		LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
		for (int j = 0; j < max_replication_slots && !found; j++)
		{
			ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[j];

			found = slot->in_use && SlotIsLogical(slot) &&
					SLOT_ACTIVE_PID(slot) == pid;
		}
		LWLockRelease(ReplicationSlotControlLock);
	}
	return found;
}

/*
 * Sleep so many microseconds, or until the session is told something.  Latches
 * count milliseconds: what is shorter is slept through.
 */
void
tick_sleep(long pause)
{
	if (pause < 1000)
		pg_usleep(pause);
	else
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 pause / 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	CHECK_FOR_INTERRUPTS();
}

/*
 * Wait until none of the transactions runs any more: the WAL shows a commit
 * before other sessions see it.  Returns false when that takes too long.
 *
 * With "patiently" it never does, as a commit may wait for a standby that is
 * away, unless it might wait for ourselves.
 */
bool
tick_wait_for(ArrayType *xids, bool patiently)
{
	Datum *values;
	bool *nulls;
	int n;
	long pause = 50; /* microseconds */
	instr_time start;

	deconstruct_array(xids, XIDOID, sizeof(TransactionId), true, TYPALIGN_INT,
					  &values, &nulls, &n);
	INSTR_TIME_SET_CURRENT(start);
	for (int i = 0; i < n; i++)
	{
		while (!nulls[i] &&
			   TransactionIdIsNormal(DatumGetTransactionId(values[i])) &&
			   TransactionIdIsInProgress(DatumGetTransactionId(values[i])))
		{
			if (tick_time_since(start) >= MAX_WAIT)
			{
				if (!patiently || commits_wait_for_slot())
					return false;
				INSTR_TIME_SET_CURRENT(start);
			}
			tick_sleep(pause);
			pause = Min(pause * 2, 2000);
		}
	}
	return true;
}
