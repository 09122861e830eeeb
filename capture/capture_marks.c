/*-------------------------------------------------------------------------
 *
 * capture_marks.c
 *		Read and write the marks in pgq.capture.
 *
 * Written directly, not through SQL: callers run with the invoker's rights,
 * and nobody has grants on the table.
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
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "capture/capture.h"
#include "capture/slot.h"

PG_FUNCTION_INFO_V1(pgq__invalidate_capture);

/* Columns of pgq.capture */
#define CAPTURE_RELID 1
#define CAPTURE_QUEUE 2
#define CAPTURE_ARGS 3
#define CAPTURE_COPY 4
#define CAPTURE_NATTS 4

static Relation
open_capture(LOCKMODE lockmode)
{
	return table_open(slot_table_oid("capture"), lockmode);
}

static List *
add_mark(List *marks, Relation rel, HeapTuple tup)
{
	CaptureRow *mark;
	Datum values[CAPTURE_NATTS];
	bool nulls[CAPTURE_NATTS];

	heap_deform_tuple(tup, RelationGetDescr(rel), values, nulls);
	/* only a superuser could have done that; the decoder tells of it */
	if (nulls[CAPTURE_RELID - 1] || nulls[CAPTURE_QUEUE - 1] ||
		nulls[CAPTURE_ARGS - 1])
		return marks;
	mark = palloc(sizeof(CaptureRow));
	mark->relid = DatumGetObjectId(values[CAPTURE_RELID - 1]);
	mark->queue = TextDatumGetCString(values[CAPTURE_QUEUE - 1]);
	mark->args = DatumGetArrayTypePCopy(values[CAPTURE_ARGS - 1]);
	return lappend(marks, mark);
}

/*
 * All marks that are there now, a palloc'd List of CaptureRow.  NIL also while
 * the extension has no table of marks: it may be dropped at this moment.
 */
List *
capture_marks_read(void)
{
	List *marks = NIL;
	Oid schema = get_namespace_oid("pgq", true);
	Oid relid = InvalidOid;
	Relation rel;
	SysScanDesc scan;
	HeapTuple tup;

	if (OidIsValid(schema))
		relid = get_relname_relid("capture", schema);
	if (!OidIsValid(relid))
		return NIL;

	rel = table_open(relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		marks = add_mark(marks, rel, tup);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return marks;
}

/* Marks of a table, for one queue or, if queue is NULL, for all. */
static SysScanDesc
begin_scan(Relation rel, Oid relid, const char *queue)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], CAPTURE_RELID, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	if (queue)
	{
		ScanKeyInit(&keys[1], CAPTURE_QUEUE, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(queue));
		keys[1].sk_collation = TupleDescAttr(RelationGetDescr(rel),
											 CAPTURE_QUEUE - 1)
								   ->attcollation;
	}
	return systable_beginscan(rel, slot_table_oid("capture_pkey"), true, NULL,
							  queue ? 2 : 1, keys);
}

/*
 * The marks of one table that are there now, as capture_marks_read() gives them.
 */
List *
capture_marks_of(Oid relid)
{
	Oid schema = get_namespace_oid("pgq", true);
	Oid capture = InvalidOid;
	List *marks = NIL;
	Relation rel;
	SysScanDesc scan;
	HeapTuple tup;

	if (OidIsValid(schema))
		capture = get_relname_relid("capture", schema);
	if (!OidIsValid(capture))
		return NIL;

	rel = table_open(capture, AccessShareLock);
	scan = begin_scan(rel, relid, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		marks = add_mark(marks, rel, tup);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return marks;
}

/*
 * The mark of a table for a queue, or NULL; as capture_marks_read() gives it.
 */
CaptureRow *
capture_mark_find(Oid relid, const char *queue)
{
	ListCell *lc;

	foreach(lc, capture_marks_of(relid))
		if (strcmp(((CaptureRow *) lfirst(lc))->queue, queue) == 0)
			return lfirst(lc);
	return NULL;
}

/*
 * Write a mark, or replace its arguments: a copy that is under way stays.  The
 * caller holds locks on the table and on the queue's row, so nobody else changes
 * this mark.  Returns true if it is new.
 */
bool
capture_mark_write(Oid relid, const char *queue, ArrayType *args)
{
	Relation rel = open_capture(RowExclusiveLock);
	SysScanDesc scan = begin_scan(rel, relid, queue);
	HeapTuple old = systable_getnext(scan);
	bool is_new = !HeapTupleIsValid(old);
	HeapTuple tup;
	Datum values[CAPTURE_NATTS];
	bool nulls[CAPTURE_NATTS] = {false, false, false, true};

	if (!is_new)
		values[CAPTURE_COPY - 1] = heap_getattr(
			old, CAPTURE_COPY, RelationGetDescr(rel), &nulls[CAPTURE_COPY - 1]);
	values[CAPTURE_RELID - 1] = ObjectIdGetDatum(relid);
	values[CAPTURE_QUEUE - 1] = CStringGetTextDatum(queue);
	values[CAPTURE_ARGS - 1] = PointerGetDatum(args);
	tup = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (is_new)
		CatalogTupleInsert(rel, tup);
	else
		CatalogTupleUpdate(rel, &old->t_self, tup);
	systable_endscan(scan);
	table_close(rel, NoLock);

	capture_invalidate();
	CacheInvalidateRelcacheByRelid(relid);
	return is_new;
}

/*
 * A copy is over: the plugin need not name it any more.  Nothing happens if the
 * mark is gone, or names another copy.
 */
void
capture_mark_end_copy(Oid relid, const char *queue, int64 copy)
{
	Relation rel = open_capture(RowExclusiveLock);
	SysScanDesc scan = begin_scan(rel, relid, queue);
	HeapTuple old = systable_getnext(scan);
	Datum values[CAPTURE_NATTS];
	bool nulls[CAPTURE_NATTS];

	if (HeapTupleIsValid(old))
	{
		heap_deform_tuple(old, RelationGetDescr(rel), values, nulls);
		if (!nulls[CAPTURE_COPY - 1] &&
			DatumGetInt64(values[CAPTURE_COPY - 1]) == copy)
		{
			nulls[CAPTURE_COPY - 1] = true;
			CatalogTupleUpdate(
				rel, &old->t_self,
				heap_form_tuple(RelationGetDescr(rel), values, nulls));
			capture_invalidate();
		}
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/*
 * Delete a table's mark for one queue or, if queue is NULL, all its marks.
 * Returns how many there were.
 */
int
capture_mark_delete(Oid relid, const char *queue)
{
	Relation rel = open_capture(RowExclusiveLock);
	SysScanDesc scan = begin_scan(rel, relid, queue);
	HeapTuple tup;
	int n = 0;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		TM_FailureData failure;
		TM_Result result;

		/* a drop_queue may delete the same mark: no reason to fail */
		result = TABLE_TUPLE_DELETE(rel, &tup->t_self, &failure);
		if (result == TM_Ok)
			n++;
		else if (result != TM_Deleted)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("mark of table %u was changed concurrently",
							relid)));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	if (n > 0)
	{
		CommandCounterIncrement();
		capture_invalidate();
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			CacheInvalidateRelcacheByRelid(relid);
	}
	return n;
}

/*
 * Tell all, and the WAL, that marks or event tables have changed: the plugin
 * drops what it knows when the relcache entry of pgq.capture goes.
 */
void
capture_invalidate(void)
{
	CacheInvalidateRelcacheByRelid(slot_table_oid("capture"));
}

/*
 * pgq._invalidate_capture() returns void: capture_invalidate() for SQL.
 */
Datum
pgq__invalidate_capture(PG_FUNCTION_ARGS)
{
	capture_invalidate();
	PG_RETURN_VOID();
}
