/*-------------------------------------------------------------------------
 *
 * copy_state.c
 *		The rows of pgq.copy: asking for copies, giving them up, their states.
 *
 * Users have no rights on the table.  Once C has checked theirs, functions of
 * sql/copy.sql that nobody may call ask for copies and give them up.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "capture/copy.h"
#include "queue/own.h"
#include "queue/table.h"

/* Open the row of a copy. */
static void
open_copy(OwnScan *scan, int64 id, Snapshot snapshot)
{
	own_open(scan, OWN_COPY, AccessShareLock);
	own_match(scan, COPY_ID, Int64GetDatum(id));
	own_begin(scan, OWN_COPY_PKEY, snapshot);
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

	open_copy(&scan, id, NULL);
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
		CopyRow *row = make_row(&scan);

		if (strcmp(row->state, "superseded") == 0 &&
			row->relid == copy->relid && row->id < copy->id &&
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

	open_copy(&scan, id, NULL);
	if (own_next(&scan))
		fate = strcmp(make_row(&scan)->state, "done") == 0 ? COPY_DONE
														   : COPY_HOLDS;
	own_close(&scan);
	return fate;
}

/* Lock the newest version of a row for its update. */
static void
lock_row(TableWriter *w, int64 id)
{
	Snapshot snapshot = table_fresh_snapshot();
	OwnScan scan;

	open_copy(&scan, id, snapshot);
	if (!own_next(&scan) || !table_lock_row(w, &scan.tup->t_self, snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("copy " INT64_FORMAT " was given up", id)));
	own_close(&scan);
	UnregisterSnapshot(snapshot);
}

/*
 * A copy is done: changes that name it go to the queue from now on.  counts is
 * what it has copied, NULL if nothing.  Raises an error if somebody else has
 * changed its row meanwhile.
 */
void
copy_write_done(int64 id, const CopyCounts *counts)
{
	TableWriter w;

	table_open_writer(&w, own_oid(OWN_COPY), RowExclusiveLock);
	lock_row(&w, id);
	own_set(&w, OWN_COPY, COPY_STATE, CStringGetTextDatum("done"), false);
	own_set(&w, OWN_COPY, COPY_FINISHED,
			TimestampTzGetDatum(GetCurrentTimestamp()), false);
	own_set(&w, OWN_COPY, COPY_ERROR, (Datum) 0, true);
	if (counts)
	{
		own_set(&w, OWN_COPY, COPY_ROWS, Int64GetDatum(counts->rows), false);
		own_set(&w, OWN_COPY, COPY_BYTES, Int64GetDatum(counts->bytes), false);
		own_set(&w, OWN_COPY, COPY_BLOCKS_DONE, Int64GetDatum(counts->blocks),
				false);
	}
	table_update_row(&w);
	table_close_writer(&w);
}

/* A function pgq.NAME(text, regclass [, third]). */
static Oid
find_function(const char *name, Oid third)
{
	const Oid types[3] = {TEXTOID, REGCLASSOID, third};
	List *words = list_make2(makeString("pgq"),
							 makeString(unconstify(char *, name)));

	return LookupFuncName(words, OidIsValid(third) ? 3 : 2, types, false);
}

/*
 * Ask pgqd for a copy.  The caller has checked rights, table and arguments.
 * Returns true if the table was not captured into that queue.
 */
bool
copy_request(const char *queue, Oid relid, ArrayType *args)
{
	return DatumGetInt32(OidFunctionCall3(
			   find_function("_request_copy", TEXTARRAYOID),
			   CStringGetTextDatum(queue), ObjectIdGetDatum(relid),
			   PointerGetDatum(args))) > 0;
}

/* Raise an error if the table waits for a copy, or is being copied. */
void
copy_require_none(const char *queue, Oid relid)
{
	(void) OidFunctionCall2(find_function("_require_no_copy", InvalidOid),
							CStringGetTextDatum(queue),
							ObjectIdGetDatum(relid));
}

/*
 * Give up a copy; what is held goes to the queue, unless the capture ends and
 * came with this copy.  Returns false if there is none.
 */
bool
copy_cancel(const char *queue, Oid relid, bool capture_ends)
{
	return DatumGetInt32(OidFunctionCall3(
			   find_function("_cancel_copy", BOOLOID),
			   CStringGetTextDatum(queue), ObjectIdGetDatum(relid),
			   BoolGetDatum(capture_ends))) > 0;
}
