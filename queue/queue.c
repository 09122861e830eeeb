/*-------------------------------------------------------------------------
 *
 * queue.c
 *		The rows of pgq.queue; see queue.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/own.h"
#include "queue/queue.h"
#include "queue/table.h"

/* Copy a row into *queue; texts go to the current memory context. */
static void
read_row(const OwnScan *scan, Queue *queue)
{
	const Datum *values = scan->values;
	const bool *nulls = scan->nulls;

	queue->id = DatumGetInt32(values[QUEUE_ID]);
	queue->name = TextDatumGetCString(values[QUEUE_NAME]);
	queue->ntables = Max(DatumGetInt32(values[QUEUE_NTABLES]), 1);
	queue->cur_table = DatumGetInt32(values[QUEUE_CUR_TABLE]);
	queue->switch_step1 = DatumGetInt64(values[QUEUE_SWITCH_STEP1]);
	queue->switch_step2 = nulls[QUEUE_SWITCH_STEP2]
							  ? -1
							  : DatumGetInt64(values[QUEUE_SWITCH_STEP2]);
	queue->external_ticker = DatumGetBool(values[QUEUE_EXTERNAL_TICKER]);
	queue->disable_insert = DatumGetBool(values[QUEUE_DISABLE_INSERT]);
	queue->ticker_paused = DatumGetBool(values[QUEUE_TICKER_PAUSED]);
	queue->ticker_max_count = DatumGetInt32(values[QUEUE_TICKER_MAX_COUNT]);
	queue->ticker_max_lag = *DatumGetIntervalP(values[QUEUE_TICKER_MAX_LAG]);
	queue->ticker_idle_period = *DatumGetIntervalP(
		values[QUEUE_TICKER_IDLE_PERIOD]);
	queue->per_tx_limit = nulls[QUEUE_PER_TX_LIMIT]
							  ? -1
							  : DatumGetInt32(values[QUEUE_PER_TX_LIMIT]);
	queue->data_pfx = TextDatumGetCString(values[QUEUE_DATA_PFX]);
	queue->event_seq = TextDatumGetCString(values[QUEUE_EVENT_SEQ]);
	queue->tick_seq = TextDatumGetCString(values[QUEUE_TICK_SEQ]);
	queue->origin = nulls[QUEUE_ORIGIN] ? 0
										: DatumGetInt64(values[QUEUE_ORIGIN]);
	queue->created_lsn = nulls[QUEUE_CREATED_LSN]
							 ? InvalidXLogRecPtr
							 : DatumGetLSN(values[QUEUE_CREATED_LSN]);
	queue->tid = scan->tup->t_self;
	queue->xmin = HeapTupleHeaderGetRawXmin(scan->tup->t_data);
}

static bool
find_row(QueueColumn column, Datum key, OwnRelation index, Snapshot snapshot,
		 Queue *queue)
{
	OwnScan scan;
	bool found;

	own_open(&scan, OWN_QUEUE, AccessShareLock);
	own_match(&scan, column, key);
	own_begin(&scan, index, snapshot);
	found = own_next(&scan);
	if (found)
		read_row(&scan, queue);
	own_close(&scan);
	return found;
}

/*
 * Look up the queue whose name is the "len" bytes at "name" by "snapshot", or as
 * it is at this moment for NULL.
 *
 * Returns false if there is none.  Strings of *queue are allocated in the
 * current memory context.
 */
bool
queue_find(const char *name, int len, Snapshot snapshot, Queue *queue)
{
	text *key = cstring_to_text_with_len(name, len);

	return find_row(QUEUE_NAME, PointerGetDatum(key), OWN_QUEUE_NAME, snapshot,
					queue);
}

/* The same for the queue with the given id. */
bool
queue_find_id(int32 id, Snapshot snapshot, Queue *queue)
{
	return find_row(QUEUE_ID, Int32GetDatum(id), OWN_QUEUE_PKEY, snapshot,
					queue);
}

/*
 * Is that a queue of another server, which this database feeds?  "lock" keeps it
 * declared until what names it is committed and seen.
 */
bool
queue_is_remote(const char *name, bool lock)
{
	OwnScan scan;
	bool found;

	/* a database that is not updated yet has none */
	if (!own_exists(OWN_REMOTE_QUEUE))
		return false;
	own_open(&scan, OWN_REMOTE_QUEUE, lock ? RowShareLock : AccessShareLock);
	own_match_text(&scan, REMOTE_QUEUE_NAME, name);
	own_begin(&scan, OWN_REMOTE_QUEUE_PKEY, NULL);
	found = own_next(&scan) && (!lock || own_lock(&scan, LockTupleKeyShare));
	own_close(&scan);
	return found;
}

/*
 * Raise 42704: there is no queue with that name; or 55000: it is on another
 * server, where events get through the WAL alone.
 */
void
queue_refuse_unknown(const char *name)
{
	if (queue_is_remote(name, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" is on another server", name),
				 errdetail("This database feeds it by captured tables and "
						   "pgq.emit_event()."),
				 errhint("Use pgq.emit_event(), or connect to the server that "
						 "has the queue.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("queue \"%s\" does not exist", name),
			 errhint("Create it with pgq.create_queue(); "
					 "pgq.get_queue_info() lists the queues.")));
}

/*
 * Lock a queue's row as a foreign key would, so that the queue is not dropped
 * before what names it is committed and seen.  Returns false if there is none.
 */
bool
queue_lock(const char *name)
{
	OwnScan scan;
	bool found;

	own_open(&scan, OWN_QUEUE, RowShareLock);
	own_match_text(&scan, QUEUE_NAME, name);
	own_begin(&scan, OWN_QUEUE_NAME, NULL);
	found = own_next(&scan) && own_lock(&scan, LockTupleKeyShare);
	own_close(&scan);
	return found;
}

/*
 * All queues that "snapshot" sees, palloc'd, in rising order of their ids: the
 * order in which everybody locks queues.
 */
List *
queue_list(Snapshot snapshot)
{
	OwnScan scan;
	List *queues = NIL;

	own_open(&scan, OWN_QUEUE, AccessShareLock);
	own_begin(&scan, OWN_NO_INDEX, snapshot);
	while (own_next(&scan))
	{
		Queue *queue = palloc(sizeof(Queue));

		read_row(&scan, queue);
		queues = lappend(queues, queue);
	}
	own_close(&scan);
	queue_sort(queues);
	return queues;
}

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	int32 i = ((const Queue *) lfirst(a))->id;
	int32 j = ((const Queue *) lfirst(b))->id;

	return (i > j) - (i < j);
}

/* Bring a list of queues into rising order of their ids. */
void
queue_sort(List *queues)
{
	list_sort(queues, compare_ids);
}

/*
 * Is this version of the row still the newest one?  Far cheaper than to look
 * it up again.
 *
 * SnapshotSelf sees a version exactly while nobody, this transaction
 * included, has replaced it.  xmin tells it from another row that vacuum put
 * in its place.
 */
bool
queue_is_current(const Queue *queue)
{
	Relation rel = table_open(own_oid(OWN_QUEUE), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = queue->tid;
	bool current = false;

	if (table_tuple_fetch_row_version(rel, &tid, SnapshotSelf, slot))
	{
		bool isnull;
		Datum xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber,
									 &isnull);

		current = TransactionIdEquals(DatumGetTransactionId(xmin), queue->xmin);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	return current;
}

/* The unquoted name of event table number "table", palloc'd. */
char *
queue_table_name(const Queue *queue, int table)
{
	return psprintf("%s_%d", queue->data_pfx, table);
}

/*
 * The oid of a sequence, queue->event_seq or queue->tick_seq, or of another
 * relation that the queue's row names.
 *
 * Raises 42P01 when it is missing.  But if the queue has just been dropped, and
 * "dropped" is not NULL, sets *dropped and returns InvalidOid.
 */
Oid
queue_sequence(const Queue *queue, const char *name, bool *dropped)
{
	Oid oid = table_find_name(name);

	if (OidIsValid(oid))
		return oid;
	if (dropped != NULL && !queue_is_current(queue))
	{
		*dropped = true;
		return InvalidOid;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation \"%s\" of queue \"%s\" does not exist", name,
					queue->name)));
	return InvalidOid;
}

/* The same for event table number "table". */
Oid
queue_table(const Queue *queue, int table, bool *dropped)
{
	char *name = queue_table_name(queue, table);
	Oid oid = queue_sequence(queue, name, dropped);

	pfree(name);
	return oid;
}
