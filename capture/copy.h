/*-------------------------------------------------------------------------
 *
 * copy.h
 *		Copies of captured tables: what the files of the copy share.
 *
 * copy_state.c has the rows of pgq.copy, copy_rows.c reads those of the table and
 * publishes them, copy_held.c moves held changes.  How it all goes is said in
 * copy_rows.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_COPY_H
#define PGQ_COPY_H

#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/snapshot.h"

#include "queue/row_batch.h"

/* What becomes of changes that name a copy. */
typedef enum CopyFate
{
	COPY_GONE,  /* thrown away: a later copy has them, or the queue is gone */
	COPY_HOLDS, /* held until the copy is done */
	COPY_DONE   /* to the queue */
} CopyFate;

/* A row of pgq.copy, as far as C needs it. */
typedef struct CopyRow
{
	int64 id;
	char *queue;
	Oid relid;
	ArrayType *args;
	char *state;
	bool truncate; /* an event of TRUNCATE comes first */
} CopyRow;

/* How much has been copied. */
typedef struct CopyCounts
{
	int64 rows;
	int64 bytes;  /* of events */
	int64 blocks; /* of the table */
} CopyCounts;

/* copy_state.c */
extern bool copy_request(const char *queue, Oid relid, const char *table,
						 ArrayType *args, bool captured);
extern void copy_require_none(const char *queue, Oid relid, const char *table,
							  int64 named);
extern CopyRow *copy_begin(int64 id, ArrayType *args);
extern int64 copy_restart(const char *queue, Oid relid, ArrayType *args);
extern bool copy_cancel(const char *queue, Oid relid, bool capture_ends);
extern CopyFate copy_read_fate(int64 id);
extern CopyRow *copy_read_row(int64 id);
extern List *copy_read_superseded(const CopyRow *copy);
extern void copy_write_done(int64 id, const CopyCounts *counts);

/* copy_held.c */
extern int64 copy_move_held(int64 id, int64 *last, RowBatch *batch);

#endif /* PGQ_COPY_H */
