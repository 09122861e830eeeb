/*-------------------------------------------------------------------------
 *
 * queue.c
 *		The extension's own relations and the rows of pgq.queue; see queue.h.
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
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/queue.h"
#include "queue/table.h"

static const char *const relation_names[QUEUE_NRELATIONS] = {
	[QUEUE_TABLE] = "queue",
	[QUEUE_PKEY] = "queue_pkey",
	[QUEUE_NAME_INDEX] = "queue_name_uq",
	[QUEUE_TICK_TABLE] = "tick",
	[QUEUE_TICK_PKEY] = "tick_pkey",
	[QUEUE_CONSUMER_TABLE] = "consumer",
	[QUEUE_CONSUMER_PKEY] = "consumer_pkey",
	[QUEUE_CONSUMER_NAME_INDEX] = "consumer_name_uq",
	[QUEUE_SUBSCRIPTION_TABLE] = "subscription",
	[QUEUE_SUBSCRIPTION_PKEY] = "subscription_pkey",
	[QUEUE_SUBSCRIPTION_BATCH_INDEX] = "subscription_batch_idx",
	[QUEUE_BATCH_SEQUENCE] = "batch_id_seq",
	[QUEUE_POSITION_TABLE] = "position",
	[QUEUE_SECRET_TABLE] = "secret",
	[QUEUE_COPY_TABLE] = "copy",
	[QUEUE_COPY_PKEY] = "copy_pkey",
	[QUEUE_HELD_TABLE] = "held_event",
	[QUEUE_HELD_INDEX] = "held_event_pkey",
	[QUEUE_HELD_SEQUENCE] = "held_event_ev_id_seq"};

/* InvalidOid where not looked up since the last invalidation */
static Oid relation_oids[QUEUE_NRELATIONS];

/*
 * The columns of pgq.queue are found by name: a database that came all the way
 * from PgQ 2 has them in another order.
 */
typedef enum QueueColumn
{
	COL_ID,
	COL_NAME,
	COL_NTABLES,
	COL_CUR_TABLE,
	COL_SWITCH_STEP1,
	COL_SWITCH_STEP2,
	COL_EXTERNAL_TICKER,
	COL_DISABLE_INSERT,
	COL_TICKER_PAUSED,
	COL_TICKER_MAX_COUNT,
	COL_TICKER_MAX_LAG,
	COL_TICKER_IDLE_PERIOD,
	COL_PER_TX_LIMIT,
	COL_DATA_PFX,
	COL_EVENT_SEQ,
	COL_TICK_SEQ,
	COL_ORIGIN, /* PgQ 3 has not got this, nor the next */
	COL_CREATED_LSN
} QueueColumn;

#define QUEUE_NCOLUMNS (COL_CREATED_LSN + 1)

static const char *const column_names[QUEUE_NCOLUMNS] = {
	[COL_ID] = "queue_id",
	[COL_NAME] = "queue_name",
	[COL_NTABLES] = "queue_ntables",
	[COL_CUR_TABLE] = "queue_cur_table",
	[COL_SWITCH_STEP1] = "queue_switch_step1",
	[COL_SWITCH_STEP2] = "queue_switch_step2",
	[COL_EXTERNAL_TICKER] = "queue_external_ticker",
	[COL_DISABLE_INSERT] = "queue_disable_insert",
	[COL_TICKER_PAUSED] = "queue_ticker_paused",
	[COL_TICKER_MAX_COUNT] = "queue_ticker_max_count",
	[COL_TICKER_MAX_LAG] = "queue_ticker_max_lag",
	[COL_TICKER_IDLE_PERIOD] = "queue_ticker_idle_period",
	[COL_PER_TX_LIMIT] = "queue_per_tx_limit",
	[COL_DATA_PFX] = "queue_data_pfx",
	[COL_EVENT_SEQ] = "queue_event_seq",
	[COL_TICK_SEQ] = "queue_tick_seq",
	[COL_ORIGIN] = "queue_origin",
	[COL_CREATED_LSN] = "queue_created_lsn"};

static AttrNumber columns[QUEUE_NCOLUMNS];
static bool columns_valid = false;

/* Relcache callback: forget what it may have changed. */
static void
forget_relation(Datum arg, Oid relid)
{
	for (int i = 0; i < QUEUE_NRELATIONS; i++)
	{
		if (OidIsValid(relid) && relation_oids[i] != relid)
			continue;
		relation_oids[i] = InvalidOid;
		if (i == QUEUE_TABLE)
			columns_valid = false;
	}
}

/*
 * The oid of one of the extension's own relations.  Raises 42P01 when it is
 * missing, as in a database that has not been updated to version 4.
 */
Oid
queue_relation(QueueRelation which)
{
	static bool registered = false;
	Oid oid = relation_oids[which];

	if (OidIsValid(oid))
		return oid;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		registered = true;
	}
	oid = get_relname_relid(relation_names[which],
							get_namespace_oid("pgq", false));
	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"pgq.%s\" does not exist",
						relation_names[which]),
				 errhint("Update the extension with ALTER EXTENSION pgq "
						 "UPDATE.")));
	relation_oids[which] = oid;
	return oid;
}

static void
find_columns(TupleDesc tupdesc)
{
	for (int c = 0; c < QUEUE_NCOLUMNS; c++)
	{
		int i = 0;

		while (i < tupdesc->natts &&
			   (TupleDescAttr(tupdesc, i)->attisdropped ||
				namestrcmp(&TupleDescAttr(tupdesc, i)->attname,
						   column_names[c]) != 0))
			i++;
		if (i == tupdesc->natts && c >= COL_ORIGIN)
			i = -1;
		else if (i == tupdesc->natts)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of pgq.queue does not exist",
							column_names[c])));
		columns[c] = i + 1;
	}
	columns_valid = true;
}

/* Copy a row into *queue; texts go to the current memory context. */
static void
read_row(Relation rel, HeapTuple tup, Queue *queue)
{
	TupleDesc tupdesc = RelationGetDescr(rel);
	Datum *row = palloc(tupdesc->natts * sizeof(Datum));
	bool *row_nulls = palloc(tupdesc->natts * sizeof(bool));
	Datum values[QUEUE_NCOLUMNS];
	bool nulls[QUEUE_NCOLUMNS];

	if (!columns_valid)
		find_columns(tupdesc);
	heap_deform_tuple(tup, tupdesc, row, row_nulls);
	for (int c = 0; c < QUEUE_NCOLUMNS; c++)
	{
		nulls[c] = columns[c] == InvalidAttrNumber || row_nulls[columns[c] - 1];
		if (!nulls[c])
			values[c] = row[columns[c] - 1];
	}
	pfree(row);
	pfree(row_nulls);

	queue->id = DatumGetInt32(values[COL_ID]);
	queue->name = TextDatumGetCString(values[COL_NAME]);
	queue->ntables = Max(DatumGetInt32(values[COL_NTABLES]), 1);
	queue->cur_table = DatumGetInt32(values[COL_CUR_TABLE]);
	queue->switch_step1 = DatumGetInt64(values[COL_SWITCH_STEP1]);
	queue->switch_step2 = nulls[COL_SWITCH_STEP2]
							  ? -1
							  : DatumGetInt64(values[COL_SWITCH_STEP2]);
	queue->external_ticker = DatumGetBool(values[COL_EXTERNAL_TICKER]);
	queue->disable_insert = DatumGetBool(values[COL_DISABLE_INSERT]);
	queue->ticker_paused = DatumGetBool(values[COL_TICKER_PAUSED]);
	queue->ticker_max_count = DatumGetInt32(values[COL_TICKER_MAX_COUNT]);
	queue->ticker_max_lag = *DatumGetIntervalP(values[COL_TICKER_MAX_LAG]);
	queue->ticker_idle_period = *DatumGetIntervalP(
		values[COL_TICKER_IDLE_PERIOD]);
	queue->per_tx_limit = nulls[COL_PER_TX_LIMIT]
							  ? -1
							  : DatumGetInt32(values[COL_PER_TX_LIMIT]);
	queue->data_pfx = TextDatumGetCString(values[COL_DATA_PFX]);
	queue->event_seq = TextDatumGetCString(values[COL_EVENT_SEQ]);
	queue->tick_seq = TextDatumGetCString(values[COL_TICK_SEQ]);
	queue->origin = nulls[COL_ORIGIN] ? 0 : DatumGetInt64(values[COL_ORIGIN]);
	queue->created_lsn = nulls[COL_CREATED_LSN]
							 ? InvalidXLogRecPtr
							 : DatumGetLSN(values[COL_CREATED_LSN]);
	queue->tid = tup->t_self;
	queue->xmin = HeapTupleHeaderGetRawXmin(tup->t_data);
}

static AttrNumber
key_column(Relation rel, QueueColumn column)
{
	if (!columns_valid)
		find_columns(RelationGetDescr(rel));
	return columns[column];
}

static bool
find_row(Relation rel, QueueRelation index, ScanKey key, Snapshot snapshot,
		 Queue *queue)
{
	SysScanDesc scan;
	HeapTuple tup;

	scan = systable_beginscan(rel, queue_relation(index), true, snapshot, 1,
							  key);
	tup = systable_getnext(scan);
	if (HeapTupleIsValid(tup))
		read_row(rel, tup, queue);
	systable_endscan(scan);
	return HeapTupleIsValid(tup);
}

/*
 * Look up the queue whose name is the "len" bytes at "name" by "snapshot".
 *
 * Returns false if there is none.  Strings of *queue are allocated in the
 * current memory context.
 */
bool
queue_find(const char *name, int len, Snapshot snapshot, Queue *queue)
{
	Relation rel = table_open(queue_relation(QUEUE_TABLE), AccessShareLock);
	ScanKeyData key;
	bool found;

	table_key_text(&key, key_column(rel, COL_NAME), name, len);
	found = find_row(rel, QUEUE_NAME_INDEX, &key, snapshot, queue);
	table_close(rel, AccessShareLock);
	return found;
}

/* The same for the queue with the given id. */
bool
queue_find_id(int32 id, Snapshot snapshot, Queue *queue)
{
	Relation rel = table_open(queue_relation(QUEUE_TABLE), AccessShareLock);
	ScanKeyData key;
	bool found;

	table_key_int4(&key, key_column(rel, COL_ID), id);
	found = find_row(rel, QUEUE_PKEY, &key, snapshot, queue);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * All queues that "snapshot" sees, palloc'd, in rising order of their ids: the
 * order in which everybody locks queues.
 */
List *
queue_list(Snapshot snapshot)
{
	Relation rel = table_open(queue_relation(QUEUE_TABLE), AccessShareLock);
	SysScanDesc scan;
	HeapTuple tup;
	List *queues = NIL;

	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Queue *queue = palloc(sizeof(Queue));

		read_row(rel, tup, queue);
		queues = lappend(queues, queue);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
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
	Relation rel = table_open(queue_relation(QUEUE_TABLE), AccessShareLock);
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
 * Look up a relation that the queue's row names.  A missing one is an error,
 * unless the row is not current either and the caller can cope with that.
 */
static Oid
find_relation(const Queue *queue, const char *name, bool *dropped)
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

/*
 * The oid of event table number "table".
 *
 * Raises 42P01 when it is missing.  But if the queue has just been dropped, and
 * "dropped" is not NULL, sets *dropped and returns InvalidOid.
 */
Oid
queue_table(const Queue *queue, int table, bool *dropped)
{
	char *name = queue_table_name(queue, table);
	Oid oid = find_relation(queue, name, dropped);

	pfree(name);
	return oid;
}

/* The same for a sequence, queue->event_seq or queue->tick_seq. */
Oid
queue_sequence(const Queue *queue, const char *name, bool *dropped)
{
	return find_relation(queue, name, dropped);
}
