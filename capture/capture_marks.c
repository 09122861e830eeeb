/*-------------------------------------------------------------------------
 *
 * capture_marks.c
 *		Read and write the marks in pgq.capture.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "capture/capture.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq__invalidate_capture);

/* Open the marks of a table, for one queue or, if queue is NULL, for all. */
static void
open_marks(OwnScan *scan, Oid relid, const char *queue, LOCKMODE lockmode)
{
	own_open(scan, OWN_CAPTURE, lockmode);
	own_match(scan, CAPTURE_RELID, ObjectIdGetDatum(relid));
	if (queue)
		own_match_text(scan, CAPTURE_QUEUE, queue);
	own_begin(scan, OWN_CAPTURE_PKEY, NULL);
}

/* The marks that a scan finds, and its end. */
static List *
read_marks(OwnScan *scan)
{
	List *marks = NIL;

	while (own_next(scan))
	{
		CaptureRow *mark;

		/* only a superuser could have done that; the decoder tells of it */
		if (scan->nulls[CAPTURE_RELID] || scan->nulls[CAPTURE_QUEUE] ||
			scan->nulls[CAPTURE_ARGS])
			continue;
		mark = palloc(sizeof(CaptureRow));
		mark->relid = DatumGetObjectId(scan->values[CAPTURE_RELID]);
		mark->queue = TextDatumGetCString(scan->values[CAPTURE_QUEUE]);
		mark->args = DatumGetArrayTypePCopy(scan->values[CAPTURE_ARGS]);
		mark->copy = scan->nulls[CAPTURE_COPY]
						 ? 0
						 : DatumGetInt64(scan->values[CAPTURE_COPY]);
		marks = lappend(marks, mark);
	}
	own_close(scan);
	return marks;
}

/*
 * All marks that are there now, a palloc'd List of CaptureRow.  NIL also while
 * the extension has no table of marks: it may be dropped at this moment.
 */
List *
capture_marks_read(void)
{
	OwnScan scan;

	if (!own_exists(OWN_CAPTURE))
		return NIL;
	own_open(&scan, OWN_CAPTURE, AccessShareLock);
	own_begin(&scan, OWN_NO_INDEX, NULL);
	return read_marks(&scan);
}

/*
 * The marks of one table that are there now, as capture_marks_read() gives them.
 */
List *
capture_marks_of(Oid relid)
{
	OwnScan scan;

	if (!own_exists(OWN_CAPTURE))
		return NIL;
	open_marks(&scan, relid, NULL, AccessShareLock);
	return read_marks(&scan);
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
 * Write a mark, or replace its arguments, and name the copy that begins; with 0
 * the one that is under way stays, if any is.  The caller holds locks on the
 * table and on the queue's row, so nobody else changes this mark.  Returns true
 * if it is new.
 */
bool
capture_mark_write(Oid relid, const char *queue, ArrayType *args, int64 copy)
{
	OwnScan scan;
	bool is_new;

	open_marks(&scan, relid, queue, RowExclusiveLock);
	(void) own_next(&scan);
	own_put(&scan, CAPTURE_RELID, ObjectIdGetDatum(relid));
	own_put_text(&scan, CAPTURE_QUEUE, queue);
	own_put(&scan, CAPTURE_ARGS, PointerGetDatum(args));
	if (copy != 0)
		own_put(&scan, CAPTURE_COPY, Int64GetDatum(copy));
	is_new = own_write(&scan);
	own_close(&scan);

	capture_invalidate();
	CacheInvalidateRelcacheByRelid(relid);
	return is_new;
}

/*
 * Let a mark name another copy, so that the plugin does: "to" instead of "from".
 * From 0 means whatever it names now, to 0 none.  Returns false if the mark is
 * gone, or names another one.
 */
bool
capture_mark_name_copy(Oid relid, const char *queue, int64 from, int64 to)
{
	OwnScan scan;
	bool found;

	open_marks(&scan, relid, queue, RowExclusiveLock);
	found = own_next(&scan) && own_lock(&scan, LockTupleExclusive) &&
			(from == 0 || (!scan.nulls[CAPTURE_COPY] &&
						   DatumGetInt64(scan.values[CAPTURE_COPY]) == from));
	if (found)
	{
		own_put(&scan, CAPTURE_COPY, Int64GetDatum(to));
		scan.nulls[CAPTURE_COPY] = to == 0;
		(void) own_write(&scan);
		capture_invalidate();
	}
	own_close(&scan);
	return found;
}

/*
 * Delete a table's mark for one queue or, if queue is NULL, all its marks.
 * Returns how many there were.
 */
int
capture_mark_delete(Oid relid, const char *queue)
{
	OwnScan scan;
	int n = 0;

	open_marks(&scan, relid, queue, RowExclusiveLock);
	/* a drop_queue may delete the same mark: no reason to fail */
	while (own_next(&scan))
		n += own_lock(&scan, LockTupleExclusive) && own_delete(&scan);
	own_close(&scan);
	if (n > 0)
	{
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
	CacheInvalidateRelcacheByRelid(own_oid(OWN_CAPTURE));
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
