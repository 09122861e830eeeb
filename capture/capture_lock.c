/*-------------------------------------------------------------------------
 *
 * capture_lock.c
 *		Keep writers off a table and its partitions while its mark changes, and
 *		new tables out of a schema while its rule does.
 *
 * A transaction is captured whole or not at all, so a mark changes only while
 * no transaction that wrote the table is open.  SHARE ROW EXCLUSIVE waits for
 * such writers, and new ones queue up behind it.  So that a long transaction
 * does not stop all others, each try waits only for ROUND_MS, then gives way
 * and lets the queue pass before the next one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "event/guard.h"
#include "event/compat.h"
#include "capture/capture.h"

/* Milliseconds in which all tries must succeed, unless lock_timeout is set. */
#define DEFAULT_PATIENCE_MS 10000
/* How long one try may hold up writers. */
#define ROUND_MS 100
/* How long writers may go on between two tries: doubles up to the last. */
#define FIRST_PAUSE_MS 50
#define LAST_PAUSE_MS 400

static bool
holds_lock(Oid relid, LOCKMODE mode)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return LOCK_HELD_BY_ME(&tag, mode);
}

/* Whether this transaction holds a lock on the table, of any mode. */
bool
capture_holds_lock(Oid relid)
{
	for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; mode++)
		if (holds_lock(relid, mode))
			return true;
	return false;
}

/*
 * Whether this transaction wrote rows of one table.  Every statement that
 * writes keeps ROW EXCLUSIVE until the end, but not TRUNCATE and CREATE TABLE
 * AS: these show in the table's storage.
 */
static bool
wrote_table(Oid relid, bool has_xid, bool captured)
{
	Relation rel;
	bool wrote;

	if (!has_xid)
		return false;
	if (holds_lock(relid, RowExclusiveLock))
		return true;
	if (captured || get_rel_relkind(relid) != RELKIND_RELATION)
		return false;

	/* somebody else's lock on it is none of ours, so ask before opening */
	if (!holds_lock(relid, AccessExclusiveLock))
		return false;
	rel = table_open(relid, NoLock);
	if (rel->rd_createSubid != InvalidSubTransactionId)
		wrote = RelationGetNumberOfBlocks(rel) > 0;
	else
		wrote = REL_HAS_NEW_STORAGE(rel);
	table_close(rel, NoLock);
	return wrote;
}

/*
 * Raise ERRCODE_ACTIVE_SQL_TRANSACTION if this transaction has written the
 * table or a partition of it: what it wrote before the mark would be missing.
 *
 * captured: whether there is a mark already.  Then a TRUNCATE is not missing, and
 * new storage may be that of a table that was altered.
 */
void
capture_refuse_written(Oid relid, bool captured)
{
	bool has_xid = TransactionIdIsValid(GetTopTransactionIdIfAny());
	ListCell *lc;

	foreach(lc, capture_tree_of(relid, NoLock))
	{
		if (wrote_table(lfirst_oid(lc), has_xid, captured))
			ereport(ERROR,
					(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					 errmsg("this transaction has already written table \"%s\"",
							capture_table_name(lfirst_oid(lc))),
					 errdetail("A transaction is captured whole or not at all."),
					 errhint("Commit first, then call this in a transaction of its own; "
							 "pgq.alter_captured() changes a captured table.")));
	}
}

static int
milliseconds_until(TimestampTz then)
{
	return (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), then);
}

/* A lock that is tried for, again and again. */
typedef struct LockAttempt
{
	void (*take)(struct LockAttempt *lock);
	Oid object; /* a table or a schema */
	LOCKMODE mode;
	TimestampTz end; /* of one try */
	Oid busy;        /* what was waited for last */
} LockAttempt;

/*
 * Lock the table, then what is below it, until nothing new turns up there.
 */
static void
take_tree(LockAttempt *lock)
{
	bool again = true;

	while (again)
	{
		ListCell *lc;

		again = false;
		foreach(lc, capture_tree_of(lock->object, NoLock))
		{
			Oid oid = lfirst_oid(lc);

			if (holds_lock(oid, lock->mode))
				continue;
			lock->busy = oid;
			LockTimeout = Max(1, milliseconds_until(lock->end));
			LockRelationOid(oid, lock->mode);
			again = true;
		}
	}
}

static void
take_schema(LockAttempt *lock)
{
	lock->busy = lock->object;
	LockTimeout = Max(1, milliseconds_until(lock->end));
	LockDatabaseObject(NamespaceRelationId, lock->object, 0, lock->mode);
}

static void
take_lock(void *arg)
{
	LockAttempt *lock = arg;

	lock->take(lock);
}

/*
 * One try, in a subtransaction, so that a failed one gives back the locks
 * that it got.
 */
static bool
try_lock(LockAttempt *lock, int wait_ms)
{
	int saved_timeout = LockTimeout;
	ErrorData *error;

	lock->end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	PG_TRY();
	{
		error = guard_run(take_lock, lock);
	}
	PG_FINALLY();
	{
		LockTimeout = saved_timeout;
	}
	PG_END_TRY();
	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/*
 * Try for a lock until it is there, or until the patience is over: lock_timeout if
 * that is set, else 10 seconds.  Returns 0, or the milliseconds that were in vain;
 * then no lock is held.
 */
static int
lock_in_turns(LockAttempt *lock)
{
	int patience = LockTimeout > 0 ? LockTimeout : DEFAULT_PATIENCE_MS;
	int pause = FIRST_PAUSE_MS;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   patience);

	for (;;)
	{
		int left = milliseconds_until(deadline);

		if (try_lock(lock, Min(ROUND_MS, left)))
			return 0;
		left = milliseconds_until(deadline);
		if (left <= 0)
			return patience;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(pause, left), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pause = Min(pause * 2, LAST_PAUSE_MS);
	}
}

/*
 * Lock a table and all its partitions against writers until the end of the
 * transaction; mode is SHARE ROW EXCLUSIVE or stronger.  A weaker one only keeps
 * them as they are.
 *
 * Waits for lock_timeout if that is set, else 10 seconds, and raises
 * ERRCODE_LOCK_NOT_AVAILABLE then, holding no lock.
 */
void
capture_lock_tree(Oid relid, LOCKMODE mode)
{
	LockAttempt lock = {take_tree, relid, mode};
	int waited = lock_in_turns(&lock);

	if (waited > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\" against writers in %d ms",
						capture_table_name(lock.busy), waited),
				 errdetail("Transactions that wrote it are still open."),
				 errhint("Look for long transactions in pg_stat_activity; "
						 "set lock_timeout to wait longer.")));
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u was dropped", relid)));
}

/*
 * Keep others from making tables in a schema, or moving them there, until the end
 * of the transaction: who does holds ACCESS SHARE on the schema.  Waits and raises
 * as capture_lock_tree() does.
 */
void
capture_lock_schema(Oid schema)
{
	LockAttempt lock = {take_schema, schema, AccessExclusiveLock};
	int waited = lock_in_turns(&lock);

	if (waited > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock schema \"%s\" against new tables in %d "
						"ms",
						get_namespace_name(schema), waited),
				 errdetail("Transactions that made something in it are still "
						   "open."),
				 errhint("Look for long transactions in pg_stat_activity; "
						 "set lock_timeout to wait longer.")));
	if (get_namespace_name(schema) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
						errmsg("schema with OID %u was dropped", schema)));
}
