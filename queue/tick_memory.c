/*-------------------------------------------------------------------------
 *
 * tick_memory.c
 *		What a session remembers of queues' ticks, to see without looking into
 *		pgq.tick that a queue has no cause to tick.
 *
 * The period ticker looks at every queue every second, and most have nothing to
 * do.  While the queue's row is the same, only the event sequence and the clock
 * can change that.  Ticks of others that are missed here can but put off when
 * the queue is due: so memory may lead to a needless closer look, never to a
 * missing one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "utils/hsearch.h"

#include "queue/sequence.h"
#include "queue/table.h"
#include "queue/tick.h"

/* Lives as long as the session. */
typedef struct Memory
{
	int32 queue_id; /* the key */

	/* the version of the queue's row */
	ItemPointerData tid;
	TransactionId xmin;

	/* holds only if this transaction has committed; invalid: holds */
	FullTransactionId xid;

	Oid sequence; /* of events */
	Oid tick_sequence;
	int nticks;
	int64 newest_id;
	TimestampTz newest_time;
	int64 newest_event_seq;
	TimestampTz before_time;
} Memory;

static HTAB *memories;

/* Are the newest tick's transaction ids ones that this server has given? */
static bool
is_of_this_server(const TickState *state)
{
	return state->nticks == 0 ||
		   state->newest.snapshot->xmax <=
			   U64FromFullTransactionId(ReadNextFullTransactionId());
}

/*
 * Remember ticks and sequences of state->queue; not from within a
 * subtransaction, which may be rolled back alone, nor a tick that
 * tick_check_state() complains of.
 */
void
tick_remember(const TickState *state)
{
	const Queue *queue = &state->queue;
	Memory *memory;

	if (memories == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(int32), .entrysize = sizeof(Memory)};

		memories = hash_create("pgq tick memory", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS);
	}
	if (GetCurrentTransactionNestLevel() > 1 || !is_of_this_server(state))
	{
		hash_search(memories, &queue->id, HASH_REMOVE, NULL);
		return;
	}
	memory = hash_search(memories, &queue->id, HASH_ENTER, NULL);
	memory->tid = queue->tid;
	memory->xmin = queue->xmin;
	memory->xid = GetTopFullTransactionIdIfAny();
	memory->sequence = state->sequence;
	memory->tick_sequence = state->tick_sequence;
	memory->nticks = state->nticks;
	memory->newest_id = state->newest.id;
	memory->newest_time = state->newest.time;
	memory->newest_event_seq = state->newest.event_seq;
	memory->before_time = state->before.time;
}

/* Has what the memory is of happened? */
static bool
is_certain(Memory *memory)
{
	if (!FullTransactionIdIsValid(memory->xid))
		return true;
	if (FullTransactionIdEquals(memory->xid, GetTopFullTransactionIdIfAny()) ||
		!TransactionIdDidCommit(XidFromFullTransactionId(memory->xid)))
		return false;
	memory->xid = InvalidFullTransactionId;
	return true;
}

/*
 * Fill the state's sequences, event_seq as it is now, nticks and the ticks, but
 * for snapshots, as remembered for this version of the queue's row.  Returns
 * false if there is no memory that holds.
 */
bool
tick_recall(const Queue *queue, TickState *state)
{
	Memory *memory = NULL;

	if (memories != NULL)
		memory = hash_search(memories, &queue->id, HASH_FIND, NULL);
	if (memory == NULL)
		return false;
	if (memory->xmin != queue->xmin ||
		!ItemPointerEquals(&memory->tid,
						   unconstify(ItemPointerData *, &queue->tid)) ||
		!is_certain(memory) || !OidIsValid(memory->tick_sequence) ||
		!sequence_read(memory->sequence, &state->event_seq) ||
		!sequence_read_called(memory->tick_sequence, &state->tick_seq,
							  &state->tick_called))
	{
		hash_search(memories, &queue->id, HASH_REMOVE, NULL);
		return false;
	}
	state->sequence = memory->sequence;
	state->tick_sequence = memory->tick_sequence;
	state->nticks = memory->nticks;
	state->newest.id = memory->newest_id;
	state->newest.snapshot = NULL;
	state->newest.time = memory->newest_time;
	state->newest.event_seq = memory->newest_event_seq;
	state->before.time = memory->before_time;
	return true;
}
