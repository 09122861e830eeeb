/*-------------------------------------------------------------------------
 *
 * target.c
 *		Where a transaction's events of a queue go.
 *
 * An event is delivered only if readers look into the table that holds it.
 * They look into the table before the current one only for transactions that
 * began before the rotation's second step.  So a writer gets its transaction
 * id first, and then finds out the current table by a snapshot taken after
 * that: if a rotation is missed, its second step has a later id than ours.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "event/compat.h"
#include "queue/target.h"

/*
 * All targets of the transaction "targets_xid".  They live in
 * TopTransactionContext, so the pointers dangle in the next transaction, which
 * is told by its id.
 */
static FullTransactionId targets_xid;
static MemoryContext targets_context;
static HTAB *targets;

/* The key of a target is its name: pointer and length. */
typedef struct TargetKey
{
	const char *name;
	Size name_len;
} TargetKey;

static uint32
hash_key(const void *key, Size keysize)
{
	const TargetKey *k = key;

	return hash_bytes((const unsigned char *) k->name, k->name_len);
}

static int
compare_keys(const void *a, const void *b, Size keysize)
{
	const TargetKey *k = a;
	const TargetKey *l = b;

	if (k->name_len != l->name_len)
		return 1;
	return memcmp(k->name, l->name, k->name_len);
}

/* Start with an empty set of targets for transaction "xid". */
static void
begin_targets(FullTransactionId xid)
{
	HASHCTL ctl;

	targets_context = AllocSetContextCreate(
		TopTransactionContext, "pgq event targets", ALLOCSET_SMALL_SIZES);
	ctl.keysize = sizeof(TargetKey);
	ctl.entrysize = sizeof(Target);
	ctl.hash = hash_key;
	ctl.match = compare_keys;
	ctl.hcxt = targets_context;
	targets = hash_create("pgq event targets", 8, &ctl,
						  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
							  HASH_CONTEXT);
	targets_xid = xid;
}

/* Read the queue's row and lock its table; false if there is no such queue. */
static bool
load_target(const TargetKey *key, Queue *queue, Oid *table)
{
	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(targets_context);
		bool dropped = false;
		bool found;

		CHECK_FOR_INTERRUPTS();
		found = queue_find(key->name, key->name_len, NULL, queue);
		MemoryContextSwitchTo(old);
		if (!found)
			return false;

		*table = queue_table(queue, queue->cur_table, &dropped);
		if (dropped)
			continue;
		LockRelationOid(*table, RowExclusiveLock);

		/* Before we had the lock, it may have been rotated away and emptied. */
		if (queue_is_current(queue))
			return true;
	}
}

/*
 * The target for events of the queue whose name is the "len" bytes at "name".
 *
 * Assigns the transaction its id, if it has none yet.  The result stays valid
 * until the next call for the same queue; the table is locked.  Changes to the
 * queue's row are seen, those by earlier commands of this transaction too.
 * Returns NULL if there is no such queue.
 */
Target *
target_find(const char *name, int len)
{
	FullTransactionId xid = GetTopFullTransactionId();
	CommandId command = GetCurrentCommandId(false);
	SubTransactionId subxact = GetCurrentSubTransactionId();
	TargetKey key = {name, len};
	Target *target = NULL;
	Queue queue;
	Oid table;
	Oid sequence;

	if (!FullTransactionIdEquals(targets_xid, xid))
		begin_targets(xid);
	else
		target = hash_search(targets, &key, HASH_FIND, NULL);

	if (target != NULL)
	{
		/*
		 * A rolled back subtransaction may have taken the lock with it; the
		 * command counter does not show that, if nothing was written.
		 */
		if (target->command == command && target->subxact == subxact)
			return target;
		LockRelationOid(target->table, RowExclusiveLock);
		if (queue_is_current(&target->queue))
		{
			target->command = command;
			target->subxact = subxact;
			return target;
		}
	}

	if (!load_target(&key, &queue, &table))
		return NULL;
	sequence = queue_sequence(&queue, queue.event_seq, NULL);

	/* Nothing may fail from here on: an entry is whole or not there. */
	if (target == NULL)
	{
		key.name = MemoryContextAlloc(targets_context, len + 1);
		memcpy(unconstify(char *, key.name), name, len);
		target = hash_search(targets, &key, HASH_ENTER, NULL);
		target->inserted = 0;
		target->batch_call = 0;
	}
	target->queue = queue;
	target->table = table;
	target->sequence = sequence;
	target->command = command;
	target->subxact = subxact;
	return target;
}

/* The same, or an error. */
Target *
target_find_or_refuse(text *name)
{
	Target *target = target_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	if (target == NULL && queue_is_remote(text_to_cstring(name), false))
		queue_refuse_unknown(text_to_cstring(name));
	if (target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("No such queue"),
				 errdetail("There is no queue \"%s\".", text_to_cstring(name)),
				 errhint("Create it with pgq.create_queue(); "
						 "pgq.get_queue_info() lists the queues.")));
	return target;
}

/*
 * Whether ordinary sessions may not insert into the queue, and we are one.
 */
bool
target_is_disabled(const Target *target)
{
	return target->queue.disable_insert &&
		   SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
}

/* Raise an error if the queue is disabled for us. */
void
target_require_enabled(const Target *target)
{
	if (target_is_disabled(target))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("Insert into queue disallowed"),
				 errdetail("Queue \"%s\" is disabled.", target->queue.name)));
}

/*
 * Count events that the transaction inserts; an error if it may not insert so
 * many.
 */
void
target_count(Target *target, int64 nevents)
{
	if (target->queue.per_tx_limit >= 0 &&
		target->inserted + nevents > target->queue.per_tx_limit)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("Queue '%s' allows max %d events from one TX",
						target->queue.name, target->queue.per_tx_limit)));
	target->inserted += nevents;
}

/* Open the target's table to insert events; it must be locked already. */
void
target_open_writer(const Target *target, TableWriter *w)
{
	table_open_writer(w, target->table, NoLock);
	event_table_require(w->rel);
	for (int i = EVENT_NCOLUMNS; i < RelationGetDescr(w->rel)->natts; i++)
		w->slot->tts_isnull[i] = true;
}
