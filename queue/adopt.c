/*-------------------------------------------------------------------------
 *
 * adopt.c
 *		Queues that a dump brought from another server.
 *
 * Transaction ids mean nothing outside the server that gave them.  A restored
 * queue has those of the old server in its ticks and events: next to lower ids
 * of its own, new events would seem to be older than the last tick and never be
 * delivered.  So each queue names its origin, a number that is another one
 * after a restore, and whoever ticks the queue first adopts it: then a function
 * in SQL gives it ids of this server.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/table.h"
#include "queue/tick.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq_origin);

/*
 * The number for this server and this installation in it.  The table's oid is
 * in it because copies of a server have its system identifier.
 */
static int64
local_origin(void)
{
	uint64 key[2];

	key[0] = GetSystemIdentifier();
	key[1] = own_oid(OWN_QUEUE);
	return (int64) hash_bytes_extended((unsigned char *) key, sizeof(key), 0);
}

/* pgq._origin() */
Datum
pgq_origin(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(local_origin());
}

/* Has the queue transaction ids of this server? */
bool
tick_queue_is_ours(const Queue *queue)
{
	return queue->origin == local_origin();
}

/* What came of it; as pgq._adopt_queue() returns it. */
typedef enum Adoption
{
	ADOPT_NOT_NOW,
	ADOPT_OURS,
	ADOPT_RENUMBERED
} Adoption;

static Adoption
call_function(int32 id)
{
	static const Oid argtypes[] = {INT4OID, INT8OID};
	List *name = list_make2(makeString("pgq"), makeString("_adopt_queue"));
	Oid function = LookupFuncName(name, 2, argtypes, false);
	Adoption result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = DatumGetInt32(OidFunctionCall2(function, Int32GetDatum(id),
											Int64GetDatum(local_origin())));
	PopActiveSnapshot();
	return result;
}

/*
 * Make the queue ours if it is not; *queue is read anew then.
 *
 * Holds the queue's tick lock to the end of the transaction if it did
 * something.  Returns false if the queue is not to be ticked now: it is
 * gone, somebody else is at it, or, with a warning, it could not be done.  So it
 * is if it has got new ids, which a tick of this transaction would not see.
 */
bool
tick_adopt_queue(Queue *queue)
{
	Adoption result = ADOPT_NOT_NOW;

	if (tick_queue_is_ours(queue))
		return true;
	if (!tick_try_lock_queue(queue->id) ||
		!queue_find_id(queue->id, NULL, queue))
		return false;
	if (tick_queue_is_ours(queue))
		return true;

	/* An old snapshot would not do: it has to see what is committed now. */
	if (!IsolationUsesXactSnapshot())
		result = call_function(queue->id);
	if (result == ADOPT_NOT_NOW)
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" cannot be ticked now", queue->name),
				 errdetail("It seems to come from another server, and others "
						   "are at work on it."),
				 errhint("The next ticker run tries it again.")));
		tick_unlock_queue(queue->id);
		return false;
	}
	return queue_find_id(queue->id, NULL, queue) &&
		   (result == ADOPT_OURS || queue->external_ticker);
}
