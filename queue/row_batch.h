/*-------------------------------------------------------------------------
 *
 * row_batch.h
 *		Many events into one event table, or into the table of held ones, a
 *		page at a time; and the tag that keeps them from being decoded.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_ROW_BATCH_H
#define PGQ_ROW_BATCH_H

#include "access/heapam.h"

#include "event/frame.h"
#include "queue/table.h"
#include "queue/target.h"

/* pgq.held_event has the columns of an event table, and the copy behind them. */
#define HELD_COPY EVENT_NCOLUMNS

/* What has been gathered for one table. */
typedef struct RowBatch
{
	const Target *target; /* NULL: the table of held events */
	int64 copy;           /* that holds them, 0: none */
	Oid sequence;         /* of event ids */
	Datum *ids;           /* where these go, in order; NULL: nowhere */
	TableWriter writer;
	BulkInsertState bulk;
	TupleTableSlot **slots; /* made when needed */
	int nmade;
	int nrows;
	Size bytes;
	int64 txid;
	MemoryContext context; /* of the values in the slots */
} RowBatch;

extern RowBatch *row_batch_open(const Target *target);
extern RowBatch *row_batch_open_held(int64 copy);
extern void row_batch_add(RowBatch *batch, const Event *event);
extern void row_batch_close(RowBatch *batch);
extern Datum row_batch_text(const EventField *field);

extern bool row_batch_tag_transaction(const char *function);

#endif /* PGQ_ROW_BATCH_H */
