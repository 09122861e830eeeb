/*-------------------------------------------------------------------------
 *
 * copy_rows.c
 *		Copy a captured table into a queue: read its rows, publish them.
 *
 * What pgqd does, on two connections:
 *
 *	control						work
 *	begin
 *	pgq._start_copy				locks the table, gives its mark a new copy's id
 *								begin isolation level repeatable read
 *								pgq._begin_copy, whose snapshot is that of the
 *								mark, since nobody can write the table now
 *	commit						the table is free again
 *								pgq.wait_ingest: older changes are in the queue
 *								pgq._copy_rows, step by step
 *								pgq._publish_copy
 *								commit
 *
 * From the mark on the plugin's frames name the copy, and pgq.ingest() puts
 * what they bring into pgq.held_event.  pgq._publish_copy() moves that behind
 * the rows and declares the copy done, in one transaction with the rows and
 * while pgq.ingest() is kept out.  So a consumer sees the rows, then their
 * changes; whoever dies before, nobody has seen anything, and the next try
 * begins with a new id.  What the old id held is in the new snapshot, and
 * thrown away; but where the table was captured before, all its changes are
 * promised: then the next try publishes them in front of its rows.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "event/event.h"
#include "event/relation.h"
#include "event/settings.h"
#include "capture/capture.h"
#include "capture/copy.h"
#include "capture/slot.h"

PG_FUNCTION_INFO_V1(pgq__begin_copy);
PG_FUNCTION_INFO_V1(pgq__copy_rows);
PG_FUNCTION_INFO_V1(pgq__publish_copy);

/* A step of pgq._copy_rows() ends after so many milliseconds. */
#define STEP_MS 200

/* Blocks that are read between two looks at the clock, at most. */
#define MAX_CHUNK 64

/* Held changes of a last look that may be moved while ingest is kept out. */
#define FEW_HELD 1000

/* A table with rows: the captured one, or one of its partitions. */
typedef struct CopyPart
{
	Oid relid;
	BlockNumber nblocks;
	int *attrmap; /* made when its turn comes */
} CopyPart;

/* The copy of this transaction; lives in its TopTransactionContext. */
typedef struct CopyRun
{
	MemoryContext context;
	int64 id;
	Oid relid;
	int nparts;
	CopyPart *parts;
	int part; /* the next block to read */
	BlockNumber block;
	BlockNumber chunk; /* how many at once */
	EventSource source;

	/* made by the first step */
	CopyRow *row; /* NULL until then */
	EventPlan *plan;
	EventScratch scratch;
	EventRow values;
	int natts;
	MemoryContext row_context;

	CopyCounts counts;
	int64 failed_rows;
	int64 large_events;
	int64 broken_rows;
	char *reason; /* of the last one, in this struct's context */
} CopyRun;

static CopyRun *run = NULL;

static void
forget_run(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		run = NULL;
}

static bool
is_done(void)
{
	return run->part >= run->nparts;
}

/*
 * Whether the changes of a partition come under a mark of its own, or of a
 * table between it and the captured one: then its rows do not belong here.
 */
static bool
has_nearer_mark(Oid partition, const char *queue, List *marks)
{
	List *tables = NIL;
	ListCell *lc;

	if (partition == run->relid)
		return false;
	tables = lcons_oid(partition, get_partition_ancestors(partition));
	foreach(lc, marks)
	{
		CaptureRow *mark = lfirst(lc);
		ListCell *lc2;

		if (strcmp(mark->queue, queue) != 0)
			continue;
		foreach(lc2, tables)
		{
			if (lfirst_oid(lc2) == run->relid)
				break;
			if (lfirst_oid(lc2) == mark->relid)
				return true;
		}
	}
	return false;
}

/* Lock and list the tables with rows; false if somebody is in the way. */
static bool
find_parts(const char *queue)
{
	List *tree = capture_tree_of(run->relid, NoLock);
	List *marks;
	ListCell *lc;

	foreach(lc, tree)
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			return false;

	marks = capture_marks_read();
	run->parts = palloc0(list_length(tree) * sizeof(CopyPart));
	foreach(lc, tree)
	{
		Relation rel = table_open(lfirst_oid(lc), NoLock);
		CopyPart *part = &run->parts[run->nparts];

		if (rel->rd_rel->relkind == RELKIND_RELATION &&
			!has_nearer_mark(lfirst_oid(lc), queue, marks))
		{
			if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("table \"%s\" cannot be copied",
								capture_table_name(lfirst_oid(lc))),
						 errdetail("Its access method is not heap.")));
			part->relid = lfirst_oid(lc);
			part->nblocks = RelationGetNumberOfBlocks(rel);
			run->nparts++;
		}
		table_close(rel, NoLock);
	}
	return true;
}

/*
 * pgq._begin_copy(i_copy int8, i_queue text, i_table oid) returns int8
 *
 * Take the transaction's snapshot and the locks that keep the table as it is,
 * without waiting: pgqd holds up writers meanwhile.  Returns how many blocks
 * there are to copy, NULL if the locks could not be had.
 */
Datum
pgq__begin_copy(PG_FUNCTION_ARGS)
{
	static bool registered = false;
	MemoryContext old;
	int64 blocks = 0;
	bool locked;

	if (!IsolationUsesXactSnapshot() || GetCurrentTransactionNestLevel() > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("pgq._begin_copy() must be called in REPEATABLE READ, "
						"and not in a subtransaction")));
	if (!registered)
	{
		RegisterXactCallback(forget_run, NULL);
		registered = true;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	run = palloc0(sizeof(CopyRun));
	run->context = AllocSetContextCreate(TopTransactionContext, "pgq copy",
										 ALLOCSET_DEFAULT_SIZES);
	run->id = PG_GETARG_INT64(0);
	run->relid = PG_GETARG_OID(2);

	/* nobody writes the table now: all its changes have larger LSNs */
	run->source.lsn = run->source.commit_lsn = GetXLogInsertRecPtr();
	run->source.commit_time = GetCurrentTimestamp();
	run->source.is_copy = true;
	MemoryContextSwitchTo(run->context);
	locked = find_parts(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	MemoryContextSwitchTo(old);
	if (!locked)
		PG_RETURN_NULL();
	for (int i = 0; i < run->nparts; i++)
		blocks += run->parts[i].nblocks;
	PG_RETURN_INT64(blocks);
}

/* Make an event ready to be written: it is one of a copy. */
static void
finish_event(Event *event, bool has_flag)
{
	static const char flag[] = "copy";

	event->time = GetCurrentTransactionStartTimestamp();
	if (has_flag)
		return;
	event->field[EVENT_EXTRA3].str = flag;
	event->field[EVENT_EXTRA3].len = strlen(flag);
}

/* The queue of the copy. */
static Target *
find_target(const CopyRow *row)
{
	Target *target = target_find(row->queue, strlen(row->queue));

	if (target == NULL)
		queue_refuse_unknown(row->queue);
	return target;
}

/*
 * Before the first row: changes that earlier tries left, then the news that
 * the rows come anew.
 */
static void
put_first_events(RowBatch *batch)
{
	ListCell *lc;
	Event event;

	foreach(lc, copy_read_superseded(run->row))
	{
		int64 last = 0;

		(void) copy_move_held(((CopyRow *) lfirst(lc))->id, &last, batch);
	}
	if (!run->row->truncate || (run->plan->ops & EVENT_OP_TRUNCATE) == 0)
		return;
	event_build_truncate(run->plan, &run->scratch, &event);
	finish_event(&event, false);
	row_batch_add(batch, &event);
}

/* What is the same for all rows, once the copy's row can be seen. */
static void
prepare_run(void)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	CopyRow *row = copy_read_row(run->id);
	Relation rel;

	if (row == NULL || strcmp(row->state, "copying") != 0 ||
		row->relid != run->relid)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("copy " INT64_FORMAT " was given up", run->id)));
	rel = table_open(run->relid, NoLock);
	run->plan = event_plan_make(rel, event_args_parse(row->args));
	run->natts = RelationGetDescr(rel)->natts;
	table_close(rel, NoLock);
	event_scratch_init(&run->scratch);
	run->scratch.source = run->source;
	run->values.values = palloc(run->natts * sizeof(Datum) + 1);
	run->values.isnull = palloc(run->natts * sizeof(bool) + 1);
	run->values.absent = palloc0(run->natts * sizeof(bool) + 1);
	run->values.complete = true;
	run->row_context = AllocSetContextCreate(run->context, "pgq copied row",
											 ALLOCSET_DEFAULT_SIZES);
	run->chunk = 1;
	run->row = row;
	MemoryContextSwitchTo(old);
}

/* Turn a row into an event, if the arguments want it. */
static void
copy_row(const CopyPart *part, TupleTableSlot *slot, RowBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(run->row_context);
	EventPlan *plan = run->plan;
	Event events[EVENT_BUILD_MAX];
	int n;

	slot_getallattrs(slot);
	for (int i = 0; i < run->natts; i++)
	{
		int from = part->attrmap[i];

		run->values.values[i] = from < 0 ? (Datum) 0 : slot->tts_values[from];
		run->values.isnull[i] = from < 0 ? true : slot->tts_isnull[from];
	}
	plan->failed_row = false;
	plan->large_events = plan->broken_rows = 0;
	n = event_build(plan, &run->scratch, EVENT_OP_INSERT, NULL, &run->values,
					events);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < n; i++)
	{
		finish_event(&events[i], plan->large_events + plan->broken_rows > 0);
		row_batch_add(batch, &events[i]);
		run->counts.bytes += frame_event_size(&events[i]);
	}
	if (plan->broken_rows > 0)
	{
		if (run->reason)
			pfree(run->reason);
		run->reason = MemoryContextStrdup(run->context, plan->reason);
	}
	MemoryContextReset(run->row_context);
	run->counts.rows++;
	run->failed_rows += plan->failed_row;
	run->large_events += plan->large_events;
	run->broken_rows += plan->broken_rows;
}

static void
map_part(CopyPart *part, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	Relation captured = table_open(run->relid, NoLock);

	part->attrmap = event_relation_map_columns(RelationGetDescr(captured),
											   RelationGetDescr(rel));
	table_close(captured, NoLock);
	MemoryContextSwitchTo(old);
}

/* Copy the next blocks of a table, and go on to the next one at its end. */
static void
copy_chunk(RowBatch *batch)
{
	CopyPart *part = &run->parts[run->part];
	BlockNumber n = Min(run->chunk, part->nblocks - run->block);

	if (n > 0)
	{
		Relation rel = table_open(part->relid, NoLock);
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		TableScanDesc scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0,
												   NULL, true, false);

		if (part->attrmap == NULL)
			map_part(part, rel);
		heap_setscanlimits(scan, run->block, n);
		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			CHECK_FOR_INTERRUPTS();
			copy_row(part, slot, batch);
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
		run->block += n;
		run->counts.blocks += n;
	}
	if (run->block >= part->nblocks)
	{
		run->part++;
		run->block = 0;
	}
}

/*
 * Copy until it is time.  Rows may be of any size, so chunks grow only while
 * they are quickly done.
 */
static void
copy_for(int milliseconds, RowBatch *batch)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz end = TimestampTzPlusMilliseconds(start, milliseconds);

	while (!is_done() && start < end)
	{
		TimestampTz now;

		copy_chunk(batch);
		now = GetCurrentTimestamp();
		if (now - start < (end - start) / 8)
			run->chunk = Min(run->chunk * 2, MAX_CHUNK);
		else
			run->chunk = Max(run->chunk / 2, 1);
		start = now;
	}
}

static void
require_run(const char *function)
{
	if (run == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs pgq._begin_copy() in the same transaction",
						function)));
}

/*
 * pgq._copy_rows(OUT copied int8, OUT bytes int8, OUT blocks int8, OUT done bool)
 *
 * Copy some rows; all counts are since the beginning.
 */
Datum
pgq__copy_rows(PG_FUNCTION_ARGS)
{
	Datum values[4];
	bool nulls[4] = {false, false, false, false};
	RowBatch *batch;
	bool is_first;
	int level;

	require_run("pgq._copy_rows()");
	(void) row_batch_tag_transaction("pgq._copy_rows()");
	level = settings_pin();
	is_first = run->row == NULL;
	if (is_first)
		prepare_run();
	batch = row_batch_open(find_target(run->row));
	if (is_first)
		put_first_events(batch);
	copy_for(STEP_MS, batch);
	row_batch_close(batch);
	settings_unpin(level);

	values[0] = Int64GetDatum(run->counts.rows);
	values[1] = Int64GetDatum(run->counts.bytes);
	values[2] = Int64GetDatum(run->counts.blocks);
	values[3] = BoolGetDatum(is_done());
	PG_RETURN_DATUM(table_make_record(fcinfo, values, nulls));
}

static void
note_trouble(char kind, int64 count, const char *reason)
{
	FrameWarning warning;

	if (count == 0)
		return;
	warning.queue.str = run->row->queue;
	warning.queue.len = strlen(run->row->queue);
	warning.table = run->plan->table;
	warning.kind = kind;
	warning.count = count;
	warning.reason.str = reason;
	warning.reason.len = reason ? (int) strlen(reason) : -1;
	capture_trouble_add(&warning);
}

/* Count rows whose events lack something, as pgq.ingest() does. */
static void
note_troubles(void)
{
	note_trouble(FRAME_WARN_FAILED_ROW, run->failed_rows, NULL);
	note_trouble(FRAME_WARN_LARGE_EVENT, run->large_events, NULL);
	note_trouble(FRAME_WARN_BROKEN_ROW, run->broken_rows, run->reason);
}

static void
lock_position(void)
{
	SlotRow *slot = slot_read_row();

	if (slot != NULL)
		slot_lock_position(slot->name);
}

/* The row of a copy that may be published now. */
static CopyRow *
read_publishable(int64 id)
{
	bool copied = run != NULL && run->id == id && run->row != NULL && is_done();
	CopyRow *row = copy_read_row(id);

	if (row == NULL ||
		strcmp(row->state, copied ? "copying" : "cancelled") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("copy " INT64_FORMAT " was given up, or is not complete",
						id)));
	return row;
}

/*
 * pgq._publish_copy(i_copy int8) returns text
 *
 * End a copy whose rows have all been copied in this transaction, or one that
 * was cancelled: what is held goes to the queue, whose name is returned, and
 * what comes now goes there at once.
 */
Datum
pgq__publish_copy(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	CopyRow *row;
	List *earlier;
	RowBatch *batch;
	ListCell *lc;
	bool copied;
	int64 last = 0;

	(void) row_batch_tag_transaction("pgq._publish_copy()");
	row = read_publishable(id);
	copied = strcmp(row->state, "copying") == 0;
	earlier = copy_read_superseded(row);
	batch = row_batch_open(find_target(row));
	if (!copied)
		foreach(lc, earlier)
		{
			int64 last_earlier = 0;

			(void) copy_move_held(((CopyRow *) lfirst(lc))->id, &last_earlier,
								  batch);
		}

	/* ingest is kept out for the last few only */
	while (copy_move_held(id, &last, batch) > FEW_HELD)
		CHECK_FOR_INTERRUPTS();
	lock_position();
	(void) read_publishable(id);
	(void) copy_move_held(id, &last, batch);
	row_batch_close(batch);

	foreach(lc, earlier)
		copy_write_done(((CopyRow *) lfirst(lc))->id, NULL);
	copy_write_done(id, copied ? &run->counts : NULL);
	(void) capture_mark_name_copy(row->relid, row->queue, id, 0);
	if (copied)
		note_troubles();
	PG_RETURN_TEXT_P(cstring_to_text(row->queue));
}
