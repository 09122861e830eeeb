/*-------------------------------------------------------------------------
 *
 * slot_rows.c
 *		Read and write pgq.slot and pgq.position.
 *
 * The tables are opened and changed directly, not through SQL: the callers
 * run with the invoker's rights, because creating a slot must, while nobody
 * has grants to write here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "capture/slot.h"

/* Columns of pgq.slot */
#define SLOT_NAME 1
#define SLOT_CREATED 2
#define SLOT_SYSID 3
#define SLOT_PROBLEM 4
#define SLOT_PROBLEM_LSN 5
#define SLOT_TIMELINE 6
#define SLOT_NATTS 6

/* Columns of pgq.position, and of its primary key */
#define POSITION_SLOT 1
#define POSITION_LSN 2
#define POSITION_TIME 3
#define POSITION_EVENTS 4
#define POSITION_NATTS 4

/*
 * The OID of table pgq.NAME.  Raises ERRCODE_UNDEFINED_TABLE.
 */
Oid
slot_table_oid(const char *name)
{
	Oid relid = get_relname_relid(name, get_namespace_oid("pgq", false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"pgq.%s\" does not exist", name),
				 errhint("Install or update the extension pgq.")));
	return relid;
}

/*
 * The row of pgq.slot, palloc'd, or NULL if capture was not started.
 *
 * snapshot: NULL for what is committed now.
 */
SlotRow *
slot_read_row(Snapshot snapshot)
{
	Relation rel = table_open(slot_table_oid("slot"), AccessShareLock);
	SysScanDesc scan;
	HeapTuple tup;
	SlotRow *row = NULL;

	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
	{
		Datum values[SLOT_NATTS];
		bool nulls[SLOT_NATTS];

		heap_deform_tuple(tup, RelationGetDescr(rel), values, nulls);
		row = palloc0(sizeof(SlotRow));
		row->name = TextDatumGetCString(values[SLOT_NAME - 1]);
		row->sysid = DatumGetInt64(values[SLOT_SYSID - 1]);
		if (!nulls[SLOT_PROBLEM - 1])
			row->problem = TextDatumGetCString(values[SLOT_PROBLEM - 1]);
		if (!nulls[SLOT_PROBLEM_LSN - 1])
			row->problem_lsn = DatumGetLSN(values[SLOT_PROBLEM_LSN - 1]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return row;
}

static SysScanDesc
begin_position_scan(Relation rel, Relation index, const char *slot,
					Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, POSITION_SLOT, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(slot));
	key.sk_collation =
		TupleDescAttr(RelationGetDescr(rel), POSITION_SLOT - 1)->attcollation;
	return systable_beginscan_ordered(rel, index, snapshot, 1, &key);
}

/*
 * The newest position of a slot, and its total of events (events may be NULL).
 *
 * Reads the index backwards, so that old rows that can't be vacuumed yet
 * cost nothing.  snapshot: NULL for what is committed now.  Returns false if
 * there is none.
 */
bool
slot_read_position(const char *slot, Snapshot snapshot, XLogRecPtr *lsn,
				   int64 *events)
{
	Oid relid = slot_table_oid("position");
	Relation rel = table_open(relid, AccessShareLock);
	Relation index = index_open(slot_table_oid("position_pkey"),
								AccessShareLock);
	SysScanDesc scan = begin_position_scan(rel, index, slot, snapshot);
	HeapTuple tup = systable_getnext_ordered(scan, BackwardScanDirection);
	bool found = HeapTupleIsValid(tup);

	if (found)
	{
		bool isnull;

		*lsn = DatumGetLSN(
			heap_getattr(tup, POSITION_LSN, RelationGetDescr(rel), &isnull));
		if (events)
			*events = DatumGetInt64(heap_getattr(
				tup, POSITION_EVENTS, RelationGetDescr(rel), &isnull));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Keep others from moving the position of a slot, and so from writing events
 * that were read from it, to the end of the transaction.
 */
void
slot_lock_position(const char *slot)
{
	LockDatabaseObject(slot_table_oid("position"),
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
	Relation rel = table_open(slot_table_oid("position"), RowExclusiveLock);
	Datum pos[POSITION_NATTS];
	bool pos_nulls[POSITION_NATTS] = {false, false, false, false};

	pos[POSITION_SLOT - 1] = CStringGetTextDatum(slot);
	pos[POSITION_LSN - 1] = LSNGetDatum(lsn);
	pos[POSITION_TIME - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	pos[POSITION_EVENTS - 1] = Int64GetDatum(events);
	CatalogTupleInsert(rel,
					   heap_form_tuple(RelationGetDescr(rel), pos, pos_nulls));
	table_close(rel, NoLock);
}

/*
 * Write the row of a slot that was just made or adopted, and its first
 * position.
 */
void
slot_write_rows(const char *slot, XLogRecPtr lsn)
{
	Relation rel;
	Datum row[SLOT_NATTS] = {0};
	bool row_nulls[SLOT_NATTS] = {false, false, false, true, true, false};

	row[SLOT_NAME - 1] = CStringGetTextDatum(slot);
	row[SLOT_CREATED - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	row[SLOT_SYSID - 1] = Int64GetDatum((int64) GetSystemIdentifier());
	row[SLOT_TIMELINE - 1] = Int32GetDatum((int32) WAL_TIMELINE());
	rel = table_open(slot_table_oid("slot"), RowExclusiveLock);
	CatalogTupleInsert(rel,
					   heap_form_tuple(RelationGetDescr(rel), row, row_nulls));
	table_close(rel, NoLock);

	slot_add_position(slot, lsn, 0);
}

static int
delete_rows_of(const char *table, const char *slot)
{
	/* waits for whoever writes, so that no row changes under the scan */
	Relation rel = table_open(slot_table_oid(table), ShareRowExclusiveLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tup;
	int n = 0;

	/* both tables have the slot's name in front */
	ScanKeyInit(&key, SLOT_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(slot));
	key.sk_collation =
		TupleDescAttr(RelationGetDescr(rel), SLOT_NAME - 1)->attcollation;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		CatalogTupleDelete(rel, &tup->t_self);
		n++;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return n;
}

/*
 * Delete a slot's row and its positions.  Returns how many rows of pgq.slot
 * there were, 0 or 1.
 */
int
slot_delete_rows(const char *slot)
{
	delete_rows_of("position", slot);
	return delete_rows_of("slot", slot);
}
