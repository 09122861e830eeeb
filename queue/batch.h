/*-------------------------------------------------------------------------
 *
 * batch.h
 *		Batches: what lies between two ticks, for one subscription.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_BATCH_H
#define PGQ_BATCH_H

#include "fmgr.h"
#include "queue/tick.h"
#include "utils/relcache.h"

/* An open batch. */
typedef struct Batch
{
	int64 id;
	int32 sub_id; /* owner of the retried events in it */
	int32 consumer;
	Queue queue;
	Tick from; /* its snapshot saw what earlier batches had */
	Tick to;
} Batch;

/*
 * The transactions between two snapshots, as index scans: all ids from "low"
 * to below "high", and "singles".  Those that snapshot "from" sees or "to"
 * does not see must still be left out.
 */
typedef struct BatchSpan
{
	const TickSnapshot *from;
	const TickSnapshot *to;
	uint64 low;
	uint64 high;
	int nsingles;
	uint64 *singles;
} BatchSpan;

/* An event, as its table has it; valid while the visitor looks at it. */
typedef struct BatchEvent
{
	Relation rel;
	ItemPointer tid;
	const Datum *values; /* the table's columns, see EventTableColumn */
	const bool *nulls;
} BatchEvent;

typedef void (*BatchVisitor)(const BatchEvent *event, void *arg);

/* Is the event wanted? */
typedef bool (*BatchFilter)(const BatchEvent *event, void *arg);

/* A batch's events are in two tables at most. */
#define BATCH_MAX_TABLES 2

/* batch.c */
extern bool batch_find(int64 id, Snapshot snapshot, Batch *batch);

/* batch_read.c */
extern void batch_plan_span(const TickSnapshot *from, const TickSnapshot *to,
							BatchSpan *span);
extern int batch_list_tables(const Queue *queue, const TickSnapshot *from,
							 const TickSnapshot *to, int *tables);
extern void batch_visit_events(const Batch *batch, Snapshot snapshot,
							   bool check, BatchVisitor visit, void *arg);
extern void batch_return_events(FunctionCallInfo fcinfo, const Batch *batch,
								Snapshot snapshot, BatchFilter filter,
								void *arg);
extern bool batch_has_row(const Batch *batch, const Datum *values,
						  const bool *nulls);
extern bool batch_has_events(const Queue *queue, const TickSnapshot *from);

#endif /* PGQ_BATCH_H */
