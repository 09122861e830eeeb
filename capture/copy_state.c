/*-------------------------------------------------------------------------
 *
 * copy_state.c
 *		The rows of pgq.copy: asking for copies, giving them up, their states.
 *
 * A row is locked before it is changed.  What is over is deleted by
 * pgq._clean_copies().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "capture/copy.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq__end_copy);
PG_FUNCTION_INFO_V1(pgq__note_copy);
PG_FUNCTION_INFO_V1(pgq__fail_copy);

/* Open the row of a copy. */
static void
open_copy(OwnScan *scan, int64 id, LOCKMODE lockmode)
{
	own_open(scan, OWN_COPY, lockmode);
	own_match(scan, COPY_ID, Int64GetDatum(id));
	own_begin(scan, OWN_COPY_PKEY, NULL);
}

static bool
has_state(const OwnScan *scan, const char *state)
{
	return strcmp(TextDatumGetCString(scan->values[COPY_STATE]), state) == 0;
}

static bool
is_active(const OwnScan *scan)
{
	return has_state(scan, "waiting") || has_state(scan, "copying");
}

/*
 * Open the row of a copy and lock it, the caller closes it in any case; false if
 * it is gone.
 */
static bool
open_locked(OwnScan *scan, int64 id)
{
	open_copy(scan, id, RowExclusiveLock);
	return own_next(scan) && own_lock(scan, LockTupleExclusive);
}

/* The same for the copy of a table that waits or is under way, if any. */
static bool
open_active(OwnScan *scan, const char *queue, Oid relid)
{
	for (;;)
	{
		own_open(scan, OWN_COPY, RowExclusiveLock);
		own_match_text(scan, COPY_QUEUE, queue);
		own_match(scan, COPY_RELID, ObjectIdGetDatum(relid));
		own_begin(scan, OWN_COPY_ACTIVE, NULL);
		if (!own_next(scan))
			return false;
		if (own_lock(scan, LockTupleExclusive) && is_active(scan))
			return true;
		/* it has ended, or has begun with another id */
		own_close(scan);
	}
}

/* Write what was put into the scan as a new copy, and return its id. */
static int64
write_new(OwnScan *scan)
{
	int64 id = nextval_internal(own_oid(OWN_COPY_SEQUENCE), false);

	scan->tup = NULL;
	own_put(scan, COPY_ID, Int64GetDatum(id));
	scan->nulls[COPY_FINISHED] = scan->nulls[COPY_BLOCKS] = true;
	own_put(scan, COPY_ROWS, Int64GetDatum(0));
	own_put(scan, COPY_BYTES, Int64GetDatum(0));
	own_put(scan, COPY_BLOCKS_DONE, Int64GetDatum(0));
	scan->nulls[COPY_ERROR] = true;
	(void) own_write(scan);
	return id;
}

static CopyRow *
make_row(const OwnScan *scan)
{
	CopyRow *row = palloc(sizeof(CopyRow));

	row->id = DatumGetInt64(scan->values[COPY_ID]);
	row->queue = TextDatumGetCString(scan->values[COPY_QUEUE]);
	row->relid = DatumGetObjectId(scan->values[COPY_RELID]);
	row->args = DatumGetArrayTypePCopy(scan->values[COPY_ARGS]);
	row->state = TextDatumGetCString(scan->values[COPY_STATE]);
	row->truncate = DatumGetBool(scan->values[COPY_TRUNCATE]);
	return row;
}

/* The row of a copy as it is now, palloc'd; NULL if there is none. */
CopyRow *
copy_read_row(int64 id)
{
	OwnScan scan;
	CopyRow *row;

	open_copy(&scan, id, AccessShareLock);
	row = own_next(&scan) ? make_row(&scan) : NULL;
	own_close(&scan);
	return row;
}

/*
 * Earlier runs of a copy whose held changes it has to publish first: a List of
 * CopyRow in the order of their ids.
 */
List *
copy_read_superseded(const CopyRow *copy)
{
	OwnScan scan;
	List *rows = NIL;

	own_open(&scan, OWN_COPY, AccessShareLock);
	own_begin_ordered(&scan, OWN_COPY_PKEY, ForwardScanDirection, NULL);
	while (own_next(&scan))
	{
		CopyRow *row;

		if (!has_state(&scan, "superseded"))
			continue;
		row = make_row(&scan);
		if (row->relid == copy->relid && row->id < copy->id &&
			strcmp(row->queue, copy->queue) == 0)
			rows = lappend(rows, row);
	}
	own_close(&scan);
	return rows;
}

/* What to do with changes that name this copy. */
CopyFate
copy_read_fate(int64 id)
{
	OwnScan scan;
	CopyFate fate = COPY_GONE;

	open_copy(&scan, id, AccessShareLock);
	if (own_next(&scan))
		fate = has_state(&scan, "done") ? COPY_DONE : COPY_HOLDS;
	own_close(&scan);
	return fate;
}

/*
 * A copy is done: changes that name it go to the queue from now on.  counts is
 * what it has copied, NULL if nothing.  Raises an error if it is gone.
 */
void
copy_write_done(int64 id, const CopyCounts *counts)
{
	OwnScan scan;

	if (!open_locked(&scan, id))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("copy " INT64_FORMAT " was given up", id)));
	own_put_text(&scan, COPY_STATE, "done");
	own_put(&scan, COPY_FINISHED, TimestampTzGetDatum(GetCurrentTimestamp()));
	scan.nulls[COPY_ERROR] = true;
	if (counts)
	{
		own_put(&scan, COPY_ROWS, Int64GetDatum(counts->rows));
		own_put(&scan, COPY_BYTES, Int64GetDatum(counts->bytes));
		own_put(&scan, COPY_BLOCKS_DONE, Int64GetDatum(counts->blocks));
	}
	(void) own_write(&scan);
	own_close(&scan);
}

pg_noreturn static void
refuse_copied(const char *queue, const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("table %s is being copied into queue \"%s\"", table, queue),
			 errhint("Wait until pgq.get_copy_info() says that it is done, or "
					 "give the copy up with pgq.cancel_copy().")));
}

/*
 * Ask pgqd for a copy of a table, which may be captured into the queue already.
 * The caller has checked rights, table and arguments; table is its name for
 * messages.  Returns true if neither capture nor copy was there.
 */
bool
copy_request(const char *queue, Oid relid, const char *table, ArrayType *args,
			 bool captured)
{
	Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	OwnScan scan;
	bool waits = open_active(&scan, queue, relid);

	if (waits && !scan.nulls[COPY_STARTED])
		refuse_copied(queue, table);
	own_put(&scan, COPY_ARGS, PointerGetDatum(args));
	if (waits)
	{
		scan.nulls[COPY_ERROR] = true;
		(void) own_write(&scan);
	}
	else
	{
		own_put_text(&scan, COPY_QUEUE, queue);
		own_put(&scan, COPY_RELID, ObjectIdGetDatum(relid));
		own_put_text(&scan, COPY_STATE, "waiting");
		own_put(&scan, COPY_TRUNCATE, BoolGetDatum(captured));
		own_put(&scan, COPY_DISCARD, BoolGetDatum(!captured));
		own_put(&scan, COPY_REQUESTED, now);
		(void) write_new(&scan);
	}
	own_close(&scan);
	return !waits && !captured;
}

/*
 * Raise an error if the table waits for a copy, or is being copied, or if changes
 * are held for one that was given up: those that a new capture sends at once would
 * come before them.  named is the copy that its mark names, 0 for none.
 */
void
copy_require_none(const char *queue, Oid relid, const char *table, int64 named)
{
	OwnScan scan;

	own_open(&scan, OWN_COPY, AccessShareLock);
	own_match_text(&scan, COPY_QUEUE, queue);
	own_match(&scan, COPY_RELID, ObjectIdGetDatum(relid));
	own_begin(&scan, OWN_NO_INDEX, NULL);
	while (own_next(&scan))
	{
		if (is_active(&scan))
			refuse_copied(queue, table);
		if (has_state(&scan, "cancelled") &&
			DatumGetInt64(scan.values[COPY_ID]) != named)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("changes of table %s are still held for a copy into "
							"queue \"%s\" that was given up",
							table, queue),
					 errhint("pgqd puts them into the queue: try again when "
							 "pgq.get_copy_info() says that the copy is "
							 "done.")));
	}
	own_close(&scan);
}

/*
 * A copy begins, or begins anew: it gets an id and is under way from now on.
 * args are those of its mark, or NULL if that does not name it.  Returns the copy
 * as it is now, palloc'd; NULL if it was given up.
 *
 * What an earlier try held is in this one's snapshot.
 */
CopyRow *
copy_begin(int64 id, ArrayType *args)
{
	OwnScan scan;
	CopyRow *row = NULL;

	if (open_locked(&scan, id) && is_active(&scan))
	{
		if (scan.nulls[COPY_STARTED] || DatumGetBool(scan.values[COPY_DISCARD]))
			(void) own_delete(&scan);
		else
		{
			own_put_text(&scan, COPY_STATE, "superseded");
			(void) own_write(&scan);
		}
		if (args)
			own_put(&scan, COPY_ARGS, PointerGetDatum(args));
		own_put_text(&scan, COPY_STATE, "copying");
		own_put(&scan, COPY_STARTED,
				TimestampTzGetDatum(GetCurrentTimestamp()));
		own_put(&scan, COPY_TRIED,
				TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
		(void) write_new(&scan);
		row = make_row(&scan);
	}
	own_close(&scan);
	return row;
}

/*
 * Changes of a table were lost.  A copy that is under way starts over.  With args,
 * those of its mark, there is a copy in any case: its changes are held from now
 * on, and thrown away when it starts, which has them.  Returns its id; 0 if there
 * is none.
 */
int64
copy_restart(const char *queue, Oid relid, ArrayType *args)
{
	Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	OwnScan scan;
	bool found = open_active(&scan, queue, relid);
	int64 id = found ? DatumGetInt64(scan.values[COPY_ID]) : 0;

	own_put_text(&scan, COPY_STATE, "waiting");
	scan.nulls[COPY_TRIED] = true;
	if (args)
	{
		own_put(&scan, COPY_DISCARD, BoolGetDatum(true));
		if (scan.nulls[COPY_STARTED])
			own_put(&scan, COPY_STARTED, now);
		scan.nulls[COPY_ERROR] = true;
	}
	if (found)
		(void) own_write(&scan);
	else if (args)
	{
		own_put_text(&scan, COPY_QUEUE, queue);
		own_put(&scan, COPY_RELID, ObjectIdGetDatum(relid));
		own_put(&scan, COPY_ARGS, PointerGetDatum(args));
		own_put(&scan, COPY_TRUNCATE, BoolGetDatum(true));
		own_put(&scan, COPY_REQUESTED, now);
		id = write_new(&scan);
	}
	own_close(&scan);
	return id;
}

/*
 * Give up the copy that is locked.  One that has begun holds changes, which pgqd
 * then publishes; unless they are those of a capture that came with the copy and
 * ends with it.
 */
static void
end_copy(OwnScan *scan, bool capture_ends)
{
	if (scan->nulls[COPY_STARTED] ||
		(capture_ends && !DatumGetBool(scan->values[COPY_TRUNCATE])))
	{
		(void) own_delete(scan);
		return;
	}
	own_put_text(scan, COPY_STATE, "cancelled");
	scan->nulls[COPY_TRIED] = true;
	(void) own_write(scan);
}

/*
 * Give up the copy of a table, whose capture may end with it.  Returns false if
 * there is none.
 */
bool
copy_cancel(const char *queue, Oid relid, bool capture_ends)
{
	OwnScan scan;
	bool found = open_active(&scan, queue, relid);

	if (found)
		end_copy(&scan, capture_ends);
	own_close(&scan);
	return found;
}

/* pgq._end_copy(i_copy int8) returns void */
Datum
pgq__end_copy(PG_FUNCTION_ARGS)
{
	OwnScan scan;

	if (open_locked(&scan, PG_GETARG_INT64(0)) && is_active(&scan))
		end_copy(&scan, true);
	own_close(&scan);
	PG_RETURN_VOID();
}

/*
 * pgq._note_copy(i_copy int8, i_rows int8, i_bytes int8, i_blocks int8,
 * i_blocks_done int8) returns void
 */
Datum
pgq__note_copy(PG_FUNCTION_ARGS)
{
	OwnScan scan;

	if (open_locked(&scan, PG_GETARG_INT64(0)) && has_state(&scan, "copying"))
	{
		own_put(&scan, COPY_ROWS, PG_GETARG_DATUM(1));
		own_put(&scan, COPY_BYTES, PG_GETARG_DATUM(2));
		own_put(&scan, COPY_BLOCKS, PG_GETARG_DATUM(3));
		own_put(&scan, COPY_BLOCKS_DONE, PG_GETARG_DATUM(4));
		(void) own_write(&scan);
	}
	own_close(&scan);
	PG_RETURN_VOID();
}

/* pgq._fail_copy(i_copy int8, i_error text) returns void */
Datum
pgq__fail_copy(PG_FUNCTION_ARGS)
{
	OwnScan scan;

	if (open_locked(&scan, PG_GETARG_INT64(0)) &&
		(is_active(&scan) || has_state(&scan, "cancelled")))
	{
		own_put(&scan, COPY_ERROR, PG_GETARG_DATUM(1));
		own_put(&scan, COPY_TRIED,
				TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
		(void) own_write(&scan);
	}
	own_close(&scan);
	PG_RETURN_VOID();
}
