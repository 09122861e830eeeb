/*-------------------------------------------------------------------------
 *
 * own.c
 *		The extension's own tables and their rows; see own.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "event/relation.h"
#include "queue/own.h"

static const char *const relation_names[OWN_NRELATIONS] = {
	[OWN_QUEUE] = "queue",
	[OWN_TICK] = "tick",
	[OWN_CONSUMER] = "consumer",
	[OWN_SUBSCRIPTION] = "subscription",
	[OWN_CAPTURE] = "capture",
	[OWN_CAPTURE_SCHEMA] = "capture_schema",
	[OWN_CAPTURE_TROUBLE] = "capture_trouble",
	[OWN_SLOT] = "slot",
	[OWN_POSITION] = "position",
	[OWN_COPY] = "copy",
	[OWN_HELD_EVENT] = "held_event",
	[OWN_SECRET] = "secret",
	[OWN_SHARE] = "share",
	[OWN_REMOTE_QUEUE] = "remote_queue",
	[OWN_SOURCE] = "source",
	[OWN_SOURCE_QUEUE] = "source_queue",
	[OWN_QUEUE_PKEY] = "queue_pkey",
	[OWN_QUEUE_NAME] = "queue_name_uq",
	[OWN_TICK_PKEY] = "tick_pkey",
	[OWN_CONSUMER_PKEY] = "consumer_pkey",
	[OWN_CONSUMER_NAME] = "consumer_name_uq",
	[OWN_SUBSCRIPTION_ACTIVE] = "subscription_active_idx",
	[OWN_SUBSCRIPTION_BATCH] = "subscription_batch_idx",
	[OWN_BATCH_SEQUENCE] = "batch_id_seq",
	[OWN_CAPTURE_PKEY] = "capture_pkey",
	[OWN_CAPTURE_SCHEMA_PKEY] = "capture_schema_pkey",
	[OWN_CAPTURE_TROUBLE_PKEY] = "capture_trouble_pkey",
	[OWN_POSITION_PKEY] = "position_pkey",
	[OWN_COPY_PKEY] = "copy_pkey",
	[OWN_COPY_ACTIVE] = "copy_active_idx",
	[OWN_COPY_SEQUENCE] = "copy_copy_id_seq",
	[OWN_HELD_PKEY] = "held_event_pkey",
	[OWN_HELD_SEQUENCE] = "held_event_ev_id_seq",
	[OWN_SHARE_ID] = "share_id_uq",
	[OWN_SHARE_SEQUENCE] = "share_id_seq",
	[OWN_REMOTE_QUEUE_PKEY] = "remote_queue_pkey",
	[OWN_SOURCE_KEY] = "source_key_uq",
	[OWN_SOURCE_QUEUE_PKEY] = "source_queue_pkey"};

/* In the order of the columns' enums. */
static const char *const column_names[OWN_NTABLES][OWN_MAX_COLUMNS] = {
	[OWN_QUEUE] = {"queue_id", "queue_name", "queue_ntables", "queue_cur_table",
				   "queue_switch_step1", "queue_switch_step2",
				   "queue_external_ticker", "queue_disable_insert",
				   "queue_ticker_paused", "queue_ticker_max_count",
				   "queue_ticker_max_lag", "queue_ticker_idle_period",
				   "queue_per_tx_limit", "queue_data_pfx", "queue_event_seq",
				   "queue_tick_seq", "queue_origin", "queue_created_lsn"},
	[OWN_TICK] = {"tick_queue", "tick_id", "tick_time", "tick_snapshot",
				  "tick_event_seq"},
	[OWN_CONSUMER] = {"co_id", "co_name"},
	[OWN_SUBSCRIPTION] = {"sub_id", "sub_queue", "sub_consumer",
						  "sub_last_tick", "sub_active", "sub_batch",
						  "sub_next_tick", "sub_lost_time", "sub_lost_tick"},
	[OWN_CAPTURE] = {"cap_relid", "cap_queue", "cap_args", "cap_copy"},
	[OWN_CAPTURE_SCHEMA] = {"cps_schema", "cps_queue", "cps_args"},
	[OWN_CAPTURE_TROUBLE] = {"ctr_queue", "ctr_table", "ctr_kind", "ctr_count",
							 "ctr_last", "ctr_reason"},
	[OWN_SLOT] = {"slot_name", "slot_created", "slot_sysid", "slot_problem",
				  "slot_problem_lsn", "slot_timeline", "slot_remote"},
	[OWN_POSITION] = {"pos_slot", "pos_lsn", "pos_time", "pos_events"},
	[OWN_COPY] = {"copy_id", "copy_queue", "copy_relid", "copy_args",
				  "copy_state", "copy_truncate", "copy_discard",
				  "copy_requested", "copy_started", "copy_finished",
				  "copy_tried", "copy_rows", "copy_bytes", "copy_blocks",
				  "copy_blocks_done", "copy_error"},
	[OWN_SECRET] = {"secret"},
	[OWN_SHARE] = {"sh_batch", "sh_no", "sh_count", "sh_key", "sh_id",
				   "sh_done"},
	[OWN_REMOTE_QUEUE] = {"rq_queue"},
	[OWN_SOURCE] = {"src_name", "src_key", "src_encoding"},
	[OWN_SOURCE_QUEUE] = {"sq_source", "sq_queue", "sq_extra"},
	[OWN_HELD_EVENT] = {"ev_id", "ev_time", "ev_txid", "ev_owner", "ev_retry",
						"ev_type", "ev_data", "ev_extra1", "ev_extra2",
						"ev_extra3", "ev_extra4", "held_copy"}};

/* What is known since the last invalidation. */
typedef struct OwnKnown
{
	Oid oid; /* InvalidOid: not looked up */
	bool columns_known;
	AttrNumber columns[OWN_MAX_COLUMNS]; /* InvalidAttrNumber: there is none */
} OwnKnown;

static OwnKnown known[OWN_NRELATIONS];

/* Relcache callback: forget what it may have changed. */
static void
forget_relation(Datum arg, Oid relid)
{
	for (int i = 0; i < OWN_NRELATIONS; i++)
	{
		if (OidIsValid(relid) && known[i].oid != relid)
			continue;
		known[i].oid = InvalidOid;
		known[i].columns_known = false;
	}
}

static Oid
find_relation(OwnRelation which)
{
	static bool registered = false;
	Oid schema;

	if (OidIsValid(known[which].oid))
		return known[which].oid;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		registered = true;
	}
	schema = get_namespace_oid("pgq", true);
	if (OidIsValid(schema))
		known[which].oid = get_relname_relid(relation_names[which], schema);
	return known[which].oid;
}

/*
 * The oid of one of the extension's own relations.  Raises 42P01 when it is
 * missing, as in a database that has not been updated to version 4.
 */
Oid
own_oid(OwnRelation which)
{
	Oid oid = find_relation(which);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"pgq.%s\" does not exist",
						relation_names[which]),
				 errhint("Update the extension with ALTER EXTENSION pgq "
						 "UPDATE.")));
	return oid;
}

/* Whether it is there; it is not while the extension is made or dropped. */
bool
own_exists(OwnRelation which)
{
	return OidIsValid(find_relation(which));
}

static void
find_columns(OwnRelation table, TupleDesc tupdesc)
{
	const char *const *names = column_names[table];

	for (int c = 0; c < OWN_MAX_COLUMNS && names[c] != NULL; c++)
	{
		AttrNumber attno = event_relation_find_column(tupdesc, names[c]);

		if (attno == InvalidAttrNumber &&
			!(table == OWN_QUEUE && c >= QUEUE_ORIGIN) &&
			!(table == OWN_SLOT && c >= SLOT_REMOTE))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of pgq.%s does not exist", names[c],
							relation_names[table]),
					 errhint("Update the extension with ALTER EXTENSION pgq "
							 "UPDATE.")));
		known[table].columns[c] = attno;
	}
	known[table].columns_known = true;
}

/* The number of a column of a table that is open. */
AttrNumber
own_column(Relation rel, OwnRelation table, int column)
{
	if (!known[table].columns_known)
		find_columns(table, RelationGetDescr(rel));
	return known[table].columns[column];
}

/*
 * Open a table.  AccessShareLock is given back by own_close(), others are held
 * to the end of the transaction.
 */
void
own_open(OwnScan *scan, OwnRelation table, LOCKMODE lockmode)
{
	memset(scan, 0, sizeof(OwnScan));
	memset(scan->nulls, true, sizeof(scan->nulls));
	scan->table = table;
	scan->lockmode = lockmode;
	scan->rel = table_open(own_oid(table), lockmode);
}

/*
 * Walk over those rows only whose column compares with a value, which the
 * caller keeps until own_close(); "proc" fits "strategy" and the column's type.
 */
void
own_compare(OwnScan *scan, int column, StrategyNumber strategy,
			RegProcedure proc, Datum value)
{
	AttrNumber attno = own_column(scan->rel, scan->table, column);

	Assert(scan->nkeys < lengthof(scan->keys));
	ScanKeyEntryInitialize(
		&scan->keys[scan->nkeys++], 0, attno, strategy, InvalidOid,
		TupleDescAttr(RelationGetDescr(scan->rel), attno - 1)->attcollation,
		proc, value);
}

/* The same for: column = value. */
void
own_match(OwnScan *scan, int column, Datum value)
{
	AttrNumber attno = own_column(scan->rel, scan->table, column);
	RegProcedure proc;

	switch (TupleDescAttr(RelationGetDescr(scan->rel), attno - 1)->atttypid)
	{
		case INT4OID:
			proc = F_INT4EQ;
			break;
		case INT8OID:
			proc = F_INT8EQ;
			break;
		case NAMEOID:
			proc = F_NAMEEQ;
			break;
		case REGCLASSOID:
			proc = F_OIDEQ;
			break;
		default:
			proc = F_TEXTEQ;
			break;
	}
	own_compare(scan, column, BTEqualStrategyNumber, proc, value);
}

/* The same for a text column and a string. */
void
own_match_text(OwnScan *scan, int column, const char *value)
{
	own_match(scan, column, CStringGetTextDatum(value));
}

/*
 * Begin the walk, by an index if there is one for the keys.  A snapshot of NULL
 * is one of this moment, whatever the isolation level says.
 */
void
own_begin(OwnScan *scan, OwnRelation index, Snapshot snapshot)
{
	Oid index_oid = index == OWN_NO_INDEX ? InvalidOid : own_oid(index);

	scan->scan = systable_beginscan(scan->rel, index_oid, OidIsValid(index_oid),
									snapshot, scan->nkeys, scan->keys);
}

/* The same in the order of the index, or backwards. */
void
own_begin_ordered(OwnScan *scan, OwnRelation index, ScanDirection direction,
				  Snapshot snapshot)
{
	scan->direction = direction;
	scan->index = index_open(own_oid(index), AccessShareLock);
	scan->scan = systable_beginscan_ordered(scan->rel, scan->index, snapshot,
											scan->nkeys, scan->keys);
}

/* Put the columns of the row that was found into scan->values. */
static void
read_values(OwnScan *scan)
{
	Datum row[MaxTupleAttributeNumber];
	bool row_nulls[MaxTupleAttributeNumber];

	heap_deform_tuple(scan->tup, RelationGetDescr(scan->rel), row, row_nulls);
	for (int c = 0; c < OWN_MAX_COLUMNS && column_names[scan->table][c]; c++)
	{
		AttrNumber attno = own_column(scan->rel, scan->table, c);

		scan->nulls[c] = attno == InvalidAttrNumber || row_nulls[attno - 1];
		scan->values[c] = scan->nulls[c] ? (Datum) 0 : row[attno - 1];
	}
}

/* Go to the next row, which is good until the next call; false at the end. */
bool
own_next(OwnScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	scan->tup = scan->index
					? systable_getnext_ordered(scan->scan, scan->direction)
					: systable_getnext(scan->scan);
	if (!HeapTupleIsValid(scan->tup))
		return false;
	read_values(scan);
	return true;
}

/*
 * Lock the row that own_next() has found, to the end of the transaction, and go
 * on to its newest version; waits for others who hold it.  Returns false if it
 * is gone.
 */
bool
own_lock(OwnScan *scan, LockTupleMode mode)
{
	TupleTableSlot *slot = table_slot_create(scan->rel, NULL);
	TM_FailureData failure;
	TM_Result result = table_tuple_lock(
		scan->rel, &scan->tup->t_self, SnapshotSelf, slot,
		GetCurrentCommandId(false), mode, LockWaitBlock,
		TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);

	if (result == TM_Ok)
	{
		scan->tup = ExecCopySlotHeapTuple(slot);
		read_values(scan);
	}
	else if (result != TM_Deleted)
		elog(ERROR, "could not lock a row of pgq.%s: result %d",
			 relation_names[scan->table], result);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/* End the walk, if it was begun, and close the table. */
void
own_close(OwnScan *scan)
{
	if (scan->index)
	{
		systable_endscan_ordered(scan->scan);
		index_close(scan->index, AccessShareLock);
	}
	else if (scan->scan)
		systable_endscan(scan->scan);
	table_close(scan->rel,
				scan->lockmode == AccessShareLock ? AccessShareLock : NoLock);
}

/* Put a value into a row that own_write() is going to write. */
void
own_put(OwnScan *scan, int column, Datum value)
{
	scan->values[column] = value;
	scan->nulls[column] = false;
}

/* The same for a text column and a string; NULL for NULL. */
void
own_put_text(OwnScan *scan, int column, const char *value)
{
	scan->nulls[column] = value == NULL;
	if (value)
		scan->values[column] = CStringGetTextDatum(value);
}

/*
 * Write the values: over the row that was found, else as a new one, where
 * columns that C does not know are NULL.  The primary key stays.  Nobody else may
 * change the row meanwhile: it is locked, or the caller sees to that otherwise.
 * Commands that follow see it.  Returns true if it is new.
 */
bool
own_write(OwnScan *scan)
{
	bool is_new = !HeapTupleIsValid(scan->tup);
	TableWriter w;

	table_open_writer(&w, RelationGetRelid(scan->rel), NoLock);
	if (is_new)
		memset(w.slot->tts_isnull, true,
			   RelationGetDescr(scan->rel)->natts * sizeof(bool));
	else
		heap_deform_tuple(scan->tup, RelationGetDescr(scan->rel),
						  w.slot->tts_values, w.slot->tts_isnull);
	for (int c = 0; c < OWN_MAX_COLUMNS && column_names[scan->table][c]; c++)
		if (own_column(scan->rel, scan->table, c) != InvalidAttrNumber)
			own_set(&w, scan->table, c, scan->values[c], scan->nulls[c]);
	if (is_new)
		table_insert_row(&w);
	else
	{
		w.slot->tts_tid = scan->tup->t_self;
		table_update_row(&w);
	}
	table_close_writer(&w);
	CommandCounterIncrement();
	return is_new;
}

/*
 * Delete the row that was found; commands that follow see it gone.  Returns
 * false if another transaction has changed it meanwhile.
 */
bool
own_delete(OwnScan *scan)
{
	TM_FailureData failure;
	TM_Result result = TABLE_TUPLE_DELETE(scan->rel, &scan->tup->t_self,
										  &failure);

	CommandCounterIncrement();
	return result == TM_Ok;
}

/* Delete the rows whose column has that value; returns how many there were. */
int
own_delete_all(OwnRelation table, int column, const char *value)
{
	OwnScan scan;
	int n = 0;

	own_open(&scan, table, RowExclusiveLock);
	own_match_text(&scan, column, value);
	own_begin(&scan, OWN_NO_INDEX, NULL);
	while (own_next(&scan))
		n += own_lock(&scan, LockTupleExclusive) && own_delete(&scan);
	own_close(&scan);
	return n;
}

/* A column of the row that table_lock_row() has locked in "w". */
Datum
own_get(TableWriter *w, OwnRelation table, int column, bool *isnull)
{
	return slot_getattr(w->slot, own_column(w->rel, table, column), isnull);
}

/* Put a value there, for table_update_row(). */
void
own_set(TableWriter *w, OwnRelation table, int column, Datum value, bool isnull)
{
	int i = own_column(w->rel, table, column) - 1;

	w->slot->tts_values[i] = value;
	w->slot->tts_isnull[i] = isnull;
}
