/*-------------------------------------------------------------------------
 *
 * table.h
 *		Direct access to tables: fresh snapshots, writing with all indexes, and
 *		results of functions.
 *
 * The functions of the queue work below SQL: no plans, no search_path and no
 * rights of the caller are in their way.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_TABLE_H
#define PGQ_TABLE_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "nodes/lockoptions.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

/* A table open for writing, with what index insertion needs. */
typedef struct TableWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot; /* fill tts_values and tts_isnull */
} TableWriter;

/* The result of a set-returning function that is made at once. */
typedef struct TableResult
{
	TupleDesc tupdesc;
	Tuplestorestate *store;
} TableResult;

extern Snapshot table_fresh_snapshot(void);
extern Snapshot table_transaction_snapshot(void);

extern void table_open_writer(TableWriter *w, Oid relid, LOCKMODE lockmode);
extern void table_insert_row(TableWriter *w);
extern bool table_lock_row(TableWriter *w, ItemPointer tid, Snapshot snapshot);
extern void table_update_row(TableWriter *w);
extern void table_close_writer(TableWriter *w);

extern Oid table_find_name(const char *name);

extern void table_refuse_nulls(FunctionCallInfo fcinfo, const char *function);
extern void table_begin_result(FunctionCallInfo fcinfo, TableResult *result);
extern Datum table_make_record(FunctionCallInfo fcinfo, Datum *values,
							   bool *nulls);

#endif /* PGQ_TABLE_H */
