/*-------------------------------------------------------------------------
 *
 * capture.h
 *		Marks of captured tables: what the files of the capture API share.
 *
 * capture.c takes the calls, capture_lock.c waits for writers,
 * capture_check.c knows what can be captured, capture_marks.c reads and
 * writes pgq.capture, capture_ddl.c keeps marks true when tables change,
 * capture_info.c tells about them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_CAPTURE_H
#define PGQ_CAPTURE_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/relcache.h"

#include "event/args.h"
#include "event/compat.h"
#include "event/frame.h"

/*
 * Longest queue name and arguments, in bytes: a mark has to stay in its page,
 * since the historic snapshot does not reach into a TOAST table.
 */
#define CAPTURE_MARK_MAX_SIZE 7000

/* A row of pgq.capture */
typedef struct CaptureRow
{
	Oid relid;
	char *queue;
	ArrayType *args;
} CaptureRow;

/* Why a table can't be captured; strings are sentences for ereport. */
typedef struct CaptureProblem
{
	int sqlerrcode;
	char *message;
	char *detail; /* may be NULL */
	char *hint;
} CaptureProblem;

/* capture.c */
extern void capture_require_writer(const char *what);
extern void capture_require_queue(const char *queue);
extern void capture_require_size(const char *queue, const ArrayType *args);
extern void capture_require_rights(Oid relid);
extern void capture_require_fit(Oid relid, const EventArgs *args);
extern Datum pgq_capture_table(PG_FUNCTION_ARGS);

/* capture_check.c */
extern char *capture_table_name(Oid relid);
extern CaptureProblem *capture_check_kind(Oid relid);
extern CaptureProblem *capture_check_table(Relation rel, const EventArgs *args);
extern CaptureProblem *capture_check_copy(const EventArgs *args);
extern CaptureProblem *capture_check_expressions(Relation rel,
												 const EventArgs *args);
pg_noreturn extern void capture_raise(const CaptureProblem *problem);
extern List *capture_tree_of(Oid relid, LOCKMODE lockmode);
extern List *capture_needed_columns(Relation rel, const EventArgs *args);

/* capture_lock.c */
extern void capture_refuse_written(Oid relid);
extern void capture_lock_tree(Oid relid, LOCKMODE mode);
extern void capture_lock_schema(Oid schema);

/* capture_marks.c */
extern List *capture_marks_read(void);
extern bool capture_mark_write(Oid relid, const char *queue, ArrayType *args);
extern int capture_mark_delete(Oid relid, const char *queue);
extern void capture_mark_end_copy(Oid relid, const char *queue, int64 copy);
extern void capture_invalidate(void);

/* capture_trouble.c */
extern void capture_trouble_add(const FrameWarning *warning);
extern void capture_trouble_clear(Oid relid, const char *queue);

#endif /* PGQ_CAPTURE_H */
