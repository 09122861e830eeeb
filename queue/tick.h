/*-------------------------------------------------------------------------
 *
 * tick.h
 *		Rows of pgq.tick, and what makes a queue tick.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_TICK_H
#define PGQ_TICK_H

#include "datatype/timestamp.h"
#include "portability/instr_time.h"
#include "utils/array.h"

#include "queue/queue.h"
#include "queue/snapshot.h"

typedef struct Tick
{
	int64 id;
	TimestampTz time;
	TickSnapshot *snapshot;
	int64 event_seq;
} Tick;

/* A queue and its newest ticks, as one snapshot saw them. */
typedef struct TickState
{
	Queue queue;       /* must be first */
	Oid sequence;      /* of events; InvalidOid: not looked up yet */
	Oid tick_sequence; /* the same */
	int64 event_seq;   /* last_value of the first, now */
	int64 tick_seq;    /* of the second; 0: there is none */
	bool tick_called;  /* is that one given? */
	int nticks;        /* 0, 1 or 2: how many of these are there */
	Tick newest;       /* without a snapshot: as remembered */
	Tick before;
} TickState;

/* tick.c */
extern int tick_find_newest(int32 queue_id, Snapshot snapshot, Tick *ticks,
							int max);
extern bool tick_find_id(int32 queue_id, int64 id, Snapshot snapshot,
						 Tick *tick);
extern bool tick_find_next(int32 queue_id, int64 id, Snapshot snapshot,
						   Tick *tick);

extern void tick_lock_queue(int32 queue_id);
extern bool tick_try_lock_queue(int32 queue_id);
extern bool tick_try_lock(TickState *state);
extern void tick_unlock_queue(int32 queue_id);
extern bool tick_read_state(TickState *state, bool skip_locked);
extern bool tick_read_again(TickState *state);
extern bool tick_check_state(const TickState *state, int elevel);
extern double tick_span(const Interval *i);
extern bool tick_is_due(const TickState *state);
extern bool tick_is_forced(const TickState *state);
extern void tick_insert(TickState **states, int n, int64 *ids);
extern bool tick_insert_row(TickState *state, int64 id, TimestampTz time,
							int64 event_seq);

/* tick_wait.c */
extern bool tick_wait_for(ArrayType *xids, bool patiently);
extern void tick_sleep(long pause);
extern int64 tick_time_since(instr_time start);

/* adopt.c */
extern bool tick_queue_is_ours(const Queue *queue);
extern bool tick_adopt_queue(Queue *queue);

/* tick_memory.c */
extern void tick_remember(const TickState *state);
extern bool tick_recall(const Queue *queue, TickState *state);

#endif /* PGQ_TICK_H */
