/*-------------------------------------------------------------------------
 *
 * capture.h
 *		Marks of captured tables: what the files of the capture API share.
 *
 * capture.c takes the calls, capture_lock.c waits for writers,
 * capture_check.c knows what can be captured, capture_marks.c reads and
 * writes pgq.capture, capture_ddl.c notices changes of tables,
 * capture_change.c keeps marks true then, capture_schema.c has the rules of whole
 * schemas, capture_info.c tells about marks.
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
	int64 copy; /* that is under way, 0: none */
} CaptureRow;

/* How a table can be changed that its capture does not fit then. */
typedef enum CaptureWay
{
	CAPTURE_WAY_UNCAPTURE, /* only if the capture ends */
	CAPTURE_WAY_ARGUMENTS, /* if the capture gets other arguments before */
	CAPTURE_WAY_TOGETHER,  /* together with other changes: alter_captured() */
	CAPTURE_WAY_ANYHOW     /* if alter_captured() says that it is meant */
} CaptureWay;

/* How a table has come into its schema. */
typedef enum CaptureArrival
{
	CAPTURE_TABLE_MADE,
	CAPTURE_TABLE_FILLED, /* made with rows in it */
	CAPTURE_TABLE_MOVED
} CaptureArrival;

/* Why a table can't be captured; strings are sentences for ereport. */
typedef struct CaptureProblem
{
	CaptureWay way;
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
extern Datum pgq_capture_table(PG_FUNCTION_ARGS);

/* capture_check.c */
extern char *capture_table_name(Oid relid);
extern CaptureProblem *capture_check_kind(Oid relid);
extern CaptureProblem *capture_check_table(Relation rel, const EventArgs *args);
extern CaptureProblem *capture_check_columns(Relation rel,
											 const EventArgs *args);
extern CaptureProblem *capture_check_leaves(Relation rel, const EventArgs *args,
											List *leaves);
extern CaptureProblem *capture_check_copy(const EventArgs *args);
extern CaptureProblem *capture_check_expressions(Relation rel,
												 const EventArgs *args);
pg_noreturn extern void capture_raise(const CaptureProblem *problem);
extern List *capture_tree_of(Oid relid, LOCKMODE lockmode);
extern List *capture_needed_columns(Relation rel, const EventArgs *args);

/* capture_change.c */
extern void capture_change_check(CaptureRow *mark, List *leaves, bool itself,
								 List *retyped);
extern void capture_change_rename(CaptureRow *mark, const char *renamed,
								  const char *now);

/* capture_schema.c */
extern void capture_schema_arrived(Oid relid, CaptureArrival arrival);
extern void capture_schema_renamed(Oid schema, const char *from,
								   const char *to);
extern void capture_schema_dropped(const char *schema);

/* capture_lock.c */
extern void capture_refuse_written(Oid relid, bool captured);
extern bool capture_holds_lock(Oid relid);
extern void capture_lock_tree(Oid relid, LOCKMODE mode);
extern void capture_lock_schema(Oid schema);

/* capture_marks.c */
extern List *capture_marks_read(void);
extern List *capture_marks_of(Oid relid);
extern CaptureRow *capture_mark_find(Oid relid, const char *queue);
extern bool capture_mark_write(Oid relid, const char *queue, ArrayType *args,
							   int64 copy);
extern int capture_mark_delete(Oid relid, const char *queue);
extern bool capture_mark_name_copy(Oid relid, const char *queue, int64 from,
								   int64 to);
extern void capture_invalidate(void);

/* capture_trouble.c */
extern void capture_trouble_add(const FrameWarning *warning);
extern void capture_trouble_clear(Oid relid, const char *queue);

#endif /* PGQ_CAPTURE_H */
