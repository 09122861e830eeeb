/*-------------------------------------------------------------------------
 *
 * queue.h
 *		The rows of pgq.queue.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_QUEUE_H
#define PGQ_QUEUE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

#include "event/compat.h"

/* One version of a row of pgq.queue, without the prefix queue_ of columns. */
typedef struct Queue
{
	int32 id;
	char *name;
	int32 ntables;
	int32 cur_table;
	int64 switch_step1;
	int64 switch_step2; /* -1 for NULL: the rotation is half done */
	bool external_ticker;
	bool disable_insert;
	bool ticker_paused;
	int32 ticker_max_count;
	Interval ticker_max_lag;
	Interval ticker_idle_period;
	int32 per_tx_limit; /* -1: none */
	char *data_pfx;
	char *event_seq;
	char *tick_seq;
	int64 origin;           /* 0: not known */
	XLogRecPtr created_lsn; /* on the server of that origin; 0: not known */

	/* which version of the row this is, for queue_is_current() */
	ItemPointerData tid;
	TransactionId xmin;
} Queue;

extern bool queue_find(const char *name, int len, Snapshot snapshot,
					   Queue *queue);
extern bool queue_find_id(int32 id, Snapshot snapshot, Queue *queue);
pg_noreturn extern void queue_refuse_unknown(const char *name);
extern bool queue_lock(const char *name);
extern bool queue_is_remote(const char *name, bool lock);
extern List *queue_list(Snapshot snapshot);
extern void queue_sort(List *queues);
extern bool queue_is_current(const Queue *queue);

extern char *queue_table_name(const Queue *queue, int table);
extern Oid queue_table(const Queue *queue, int table, bool *dropped);
extern Oid queue_sequence(const Queue *queue, const char *name, bool *dropped);

#endif /* PGQ_QUEUE_H */
