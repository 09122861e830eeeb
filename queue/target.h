/*-------------------------------------------------------------------------
 *
 * target.h
 *		Where a transaction's events of a queue go: the event table that is
 *		written now, locked, and the queue's settings.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_TARGET_H
#define PGQ_TARGET_H

#include "queue/event_table.h"
#include "queue/queue.h"
#include "queue/table.h"

/*
 * Lives as long as the top transaction.  The table is locked in RowExclusive
 * mode to the end of the (sub)transaction.
 */
typedef struct Target
{
	const char *name; /* the key: not terminated by a zero */
	Size name_len;

	Queue queue;
	Oid table;
	Oid sequence;   /* of event ids */
	int64 inserted; /* events counted against per_tx_limit */

	/* where its batch is in a list, and which call of pgq.ingest() has that */
	int batch;
	uint64 batch_call;

	/* when "queue" was last known to be current, and the table locked */
	CommandId command;
	SubTransactionId subxact;
} Target;

extern Target *target_find(const char *name, int len);
extern Target *target_find_or_refuse(text *name);
extern void target_count(Target *target, int64 nevents);
extern bool target_is_disabled(const Target *target);
extern void target_require_enabled(const Target *target);
extern void target_open_writer(const Target *target, TableWriter *w);

#endif /* PGQ_TARGET_H */
