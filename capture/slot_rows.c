/*-------------------------------------------------------------------------
 *
 * slot_rows.c
 *		Read and write pgq.slot and pgq.position.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "capture/slot.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq_ingest_problem);
PG_FUNCTION_INFO_V1(pgq_ingest_timeline);

/* The row of pgq.slot, palloc'd, or NULL if capture was not started. */
SlotRow *
slot_read_row(void)
{
	OwnScan scan;
	SlotRow *row = NULL;

	own_open(&scan, OWN_SLOT, AccessShareLock);
	own_begin(&scan, OWN_NO_INDEX, NULL);
	if (own_next(&scan))
	{
		row = palloc0(sizeof(SlotRow));
		row->name = TextDatumGetCString(scan.values[SLOT_NAME]);
		row->sysid = DatumGetInt64(scan.values[SLOT_SYSID]);
		if (!scan.nulls[SLOT_PROBLEM])
			row->problem = TextDatumGetCString(scan.values[SLOT_PROBLEM]);
		if (!scan.nulls[SLOT_PROBLEM_LSN])
			row->problem_lsn = DatumGetLSN(scan.values[SLOT_PROBLEM_LSN]);
		row->remote = !scan.nulls[SLOT_REMOTE] &&
					  DatumGetBool(scan.values[SLOT_REMOTE]);
	}
	own_close(&scan);
	return row;
}

/* The same; raises 55000 if capture was not started. */
SlotRow *
slot_require_row(void)
{
	SlotRow *row = slot_read_row();

	if (row == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no capture slot in this database"),
				 errhint("Call pgq.start_capture() first, as a member of "
						 "pgq_admin with REPLICATION.")));
	return row;
}

/*
 * The newest position of a slot, and its total of events (events may be NULL).
 * Reads the index backwards, so that old rows that can't be vacuumed yet
 * cost nothing.  Returns false if there is none.
 */
bool
slot_read_position(const char *slot, XLogRecPtr *lsn, int64 *events)
{
	OwnScan scan;
	bool found;

	own_open(&scan, OWN_POSITION, AccessShareLock);
	own_match_text(&scan, POSITION_SLOT, slot);
	own_begin_ordered(&scan, OWN_POSITION_PKEY, BackwardScanDirection, NULL);
	found = own_next(&scan);
	if (found)
	{
		*lsn = DatumGetLSN(scan.values[POSITION_LSN]);
		if (events)
			*events = DatumGetInt64(scan.values[POSITION_EVENTS]);
	}
	own_close(&scan);
	return found;
}

/*
 * Keep others from moving the position of a slot, and so from writing events
 * that were read from it, to the end of the transaction.
 */
void
slot_lock_position(const char *slot)
{
	LockDatabaseObject(own_oid(OWN_POSITION),
					   hash_bytes((const unsigned char *) slot, strlen(slot)),
					   0, ExclusiveLock);
}

/*
 * Move the position of a slot: a new row, the old ones stay.  events is the
 * new total.  The caller keeps others from doing the same.
 */
void
slot_add_position(const char *slot, XLogRecPtr lsn, int64 events)
{
	OwnScan scan;

	own_open(&scan, OWN_POSITION, RowExclusiveLock);
	own_put_text(&scan, POSITION_SLOT, slot);
	own_put(&scan, POSITION_LSN, LSNGetDatum(lsn));
	own_put(&scan, POSITION_TIME, TimestampTzGetDatum(GetCurrentTimestamp()));
	own_put(&scan, POSITION_EVENTS, Int64GetDatum(events));
	(void) own_write(&scan);
	own_close(&scan);
}

/*
 * Write the row of a slot that was just made or adopted, and its first
 * position.  remote: it feeds another server, which has its positions.
 */
void
slot_write_rows(const char *slot, XLogRecPtr lsn, bool remote)
{
	OwnScan scan;

	own_open(&scan, OWN_SLOT, RowExclusiveLock);
	own_put_text(&scan, SLOT_NAME, slot);
	own_put(&scan, SLOT_CREATED, TimestampTzGetDatum(GetCurrentTimestamp()));
	own_put(&scan, SLOT_SYSID, Int64GetDatum((int64) GetSystemIdentifier()));
	own_put(&scan, SLOT_TIMELINE, Int32GetDatum((int32) WAL_TIMELINE()));
	own_put(&scan, SLOT_REMOTE, BoolGetDatum(remote));
	(void) own_write(&scan);
	own_close(&scan);

	slot_add_position(slot, lsn, 0);
}

/*
 * Delete a slot's row and its positions; waits for whoever writes these.  Returns
 * how many rows of pgq.slot there were, 0 or 1.
 */
int
slot_delete_rows(const char *slot)
{
	LockRelationOid(own_oid(OWN_POSITION), ShareRowExclusiveLock);
	(void) own_delete_all(OWN_POSITION, POSITION_SLOT, slot);
	LockRelationOid(own_oid(OWN_SLOT), ShareRowExclusiveLock);
	return own_delete_all(OWN_SLOT, SLOT_NAME, slot);
}

/* Raise 42704: the slot is not the one of this database. */
void
slot_refuse_unknown(const char *slot)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("slot \"%s\" does not feed queues of this database",
						   slot),
					errhint("Call pgq.start_capture() first.")));
}

/* Open the row of a slot and lock it; raises as slot_refuse_unknown(). */
static void
open_slot(OwnScan *scan, const char *slot)
{
	own_open(scan, OWN_SLOT, RowExclusiveLock);
	own_match_text(scan, SLOT_NAME, slot);
	own_begin(scan, OWN_NO_INDEX, NULL);
	if (!own_next(scan) || !own_lock(scan, LockTupleExclusive))
		slot_refuse_unknown(slot);
}

/* pgq.ingest_problem(i_slot text, i_problem text, i_lsn pg_lsn) returns void */
Datum
pgq_ingest_problem(PG_FUNCTION_ARGS)
{
	OwnScan scan;

	if (PG_ARGISNULL(0))
		slot_refuse_unknown("");
	open_slot(&scan, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	own_put(&scan, SLOT_PROBLEM, PG_GETARG_DATUM(1));
	scan.nulls[SLOT_PROBLEM] = PG_ARGISNULL(1);
	own_put(&scan, SLOT_PROBLEM_LSN, PG_GETARG_DATUM(2));
	scan.nulls[SLOT_PROBLEM_LSN] = PG_ARGISNULL(2);
	(void) own_write(&scan);
	own_close(&scan);
	PG_RETURN_VOID();
}

/* pgq.ingest_timeline(i_slot text, i_timeline int4) returns void */
Datum
pgq_ingest_timeline(PG_FUNCTION_ARGS)
{
	OwnScan scan;

	open_slot(&scan, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	own_put(&scan, SLOT_TIMELINE, PG_GETARG_DATUM(1));
	(void) own_write(&scan);
	own_close(&scan);
	PG_RETURN_VOID();
}
