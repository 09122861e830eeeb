/*-------------------------------------------------------------------------
 *
 * subscription.h
 *		Who reads a queue, and where he stands.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SUBSCRIPTION_H
#define PGQ_SUBSCRIPTION_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/snapshot.h"

#include "queue/queue.h"

/* A row of pgq.subscription, as a snapshot saw it. */
typedef struct Subscription
{
	int32 id;
	int32 queue;
	int32 consumer;
	int64 last_tick; /* -1: NULL, as in the next two */
	int64 batch;
	int64 next_tick;
	TimestampTz lost_time; /* 0: it has its position */
	int64 lost_tick;
	ItemPointerData tid;
} Subscription;

extern void subscription_find(const NullableDatum *names, Snapshot snapshot,
							  Queue *queue, Subscription *sub);
extern bool subscription_find_ids(int32 queue_id, int32 consumer,
								  Snapshot snapshot, Subscription *sub);
extern bool subscription_find_batch(int64 batch, Snapshot snapshot,
									Subscription *sub);
extern void subscription_require_position(const Subscription *sub,
										  Snapshot snapshot);
extern bool subscription_waits(int32 queue_id, int64 tick_id, Snapshot snapshot,
							   bool *consumers);
extern int32 subscription_main_consumer(const Subscription *sub,
										Snapshot snapshot);
extern char *subscription_consumer_name(int32 id, Snapshot snapshot);

#endif /* PGQ_SUBSCRIPTION_H */
