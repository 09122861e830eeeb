/*-------------------------------------------------------------------------
 *
 * change.c
 *		Turn a decoded change into events for each queue that wants it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/partition.h"
#include "replication/origin.h"
#include "utils/rel.h"

#include "event/guard.h"

/* the changed table's own columns, and the marked table's */
#define ROW_OLD 0
#define ROW_NEW 1
#define ROW_MAPPED_OLD 2
#define ROW_MAPPED_NEW 3

/* Make the rows wide enough. */
static void
size_rows(LogicalDecodingContext *ctx, DecoderState *state, int natts)
{
	if (natts <= state->row_size)
		return;
	for (int i = 0; i < DECODER_ROWS; i++)
	{
		EventRow *row = &state->rows[i];

		if (row->values)
		{
			pfree(row->values);
			pfree(row->isnull);
			pfree(row->absent);
		}
		row->values = MemoryContextAlloc(ctx->context, natts * sizeof(Datum));
		row->isnull = MemoryContextAlloc(ctx->context, natts * sizeof(bool));
		row->absent = MemoryContextAlloc(ctx->context, natts * sizeof(bool));
	}
	state->row_size = natts;
}

/*
 * Take the new row apart.  A TOAST value that the update left alone is only a
 * pointer there; the old row has it if the identity is FULL.
 */
static EventRow *
unpack_new(DecoderState *state, TupleDesc desc, HeapTuple tuple,
		   const EventRow *oldrow)
{
	EventRow *row = &state->rows[ROW_NEW];

	heap_deform_tuple(tuple, desc, row->values, row->isnull);
	memset(row->absent, 0, desc->natts * sizeof(bool));
	row->complete = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attlen != -1 || row->isnull[i] || att->attisdropped ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(row->values[i])))
			continue;
		if (oldrow && !oldrow->absent[i] && !oldrow->isnull[i] &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(oldrow->values[i])))
			row->values[i] = oldrow->values[i];
		else
		{
			row->absent[i] = true;
			row->complete = false;
		}
	}
	return row;
}

/* Take the old row apart: the identity's columns, or all if it is FULL. */
static EventRow *
unpack_old(DecoderState *state, TupleDesc desc, HeapTuple tuple,
		   const CaptureEntry *entry)
{
	EventRow *row = &state->rows[ROW_OLD];

	heap_deform_tuple(tuple, desc, row->values, row->isnull);
	row->complete = entry->identity_full;
	for (int i = 0; i < desc->natts; i++)
		row->absent[i] = !entry->identity_full &&
						 !bms_is_member(i + 1 -
											FirstLowInvalidHeapAttributeNumber,
										entry->identity);
	return row;
}

/* Put a row into the column order of the marked table. */
static EventRow *
map_row(const CaptureMark *mark, const EventRow *row, EventRow *mapped)
{
	if (!row)
		return NULL;
	mapped->complete = row->complete;
	for (int i = 0; i < mark->natts; i++)
	{
		int from = mark->attrmap[i];

		mapped->values[i] = from < 0 ? (Datum) 0 : row->values[from];
		mapped->isnull[i] = from < 0 ? true : row->isnull[from];
		mapped->absent[i] = from < 0 ? false : row->absent[from];
	}
	return mapped;
}

/* Count an event table's queue among those that the transaction fed. */
static void
note_touched(DecoderState *state, CaptureEntry *entry)
{
	if (entry->touched_in == state->txn_serial)
		return;
	entry->touched_in = state->txn_serial;
	for (int i = 0; i < state->ntouched; i++)
		if (strcmp(state->touched[i], entry->touched_queue) == 0)
			return;
	if (state->ntouched == state->maxtouched)
	{
		int max = Max(8, state->maxtouched * 2);

		state->touched = state->touched
							 ? repalloc(state->touched, max * sizeof(char *))
							 : MemoryContextAlloc(state->txn_cxt,
												  max * sizeof(char *));
		state->maxtouched = max;
	}
	state->touched[state->ntouched++] = MemoryContextStrdup(
		state->txn_cxt, entry->touched_queue);
}

/* Of a broken mark nobody knows what it wants: all that it may have missed. */
static bool
mark_wants(const CaptureMark *mark, EventOp op, ReorderBufferTXN *txn)
{
	return (!mark->plan || (mark->plan->ops & op) != 0) &&
		   !(mark->origin_none && txn->origin_id != InvalidReplOriginId);
}

/*
 * Count rows that got less than their event, to be told at the commit.  reason
 * may be NULL; the last one is kept.
 */
static void
note_warning(DecoderState *state, const CaptureMark *mark, char kind,
			 int64 count, const char *reason)
{
	MemoryContext old;
	DecoderWarning *w = NULL;
	ListCell *lc;

	if (count == 0)
		return;
	old = MemoryContextSwitchTo(state->txn_cxt);
	foreach(lc, state->warnings)
	{
		w = lfirst(lc);
		if (w->kind == kind && strcmp(w->queue, mark->queue) == 0 &&
			strcmp(w->table, mark->table) == 0)
			break;
		w = NULL;
	}
	if (w == NULL)
	{
		w = palloc0(sizeof(DecoderWarning));
		w->queue = pstrdup(mark->queue);
		w->table = pstrdup(mark->table);
		w->kind = kind;
		state->warnings = lappend(state->warnings, w);
	}
	w->count += count;
	if (reason && !(w->reason && strcmp(w->reason, reason) == 0))
	{
		if (w->reason)
			pfree(w->reason);
		w->reason = pstrdup(reason);
	}
	MemoryContextSwitchTo(old);
}

/* Where the events that come next come from. */
static void
set_source(DecoderState *state, ReorderBufferTXN *txn,
		   const ReorderBufferChange *change)
{
	EventSource *source = &state->scratch.source;

	source->lsn = change->lsn;
	source->commit_lsn = txn->final_lsn;
	source->xid = txn->xid;
	source->commit_time = TXN_COMMIT_TIME(txn);
}

static void
decode_for_mark(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				const CaptureMark *mark, EventOp op, const EventRow *oldrow,
				const EventRow *newrow)
{
	DecoderState *state = ctx->output_plugin_private;
	Event events[EVENT_BUILD_MAX];
	EventPlan *plan = mark->plan;
	int n;

	if (unlikely(!plan))
	{
		note_warning(state, mark, FRAME_WARN_BROKEN, 1, mark->broken);
		return;
	}
	plan->failed_row = false;
	plan->large_events = 0;
	plan->broken_rows = 0;
	n = event_build(plan, &state->scratch, op,
					map_row(mark, oldrow, &state->rows[ROW_MAPPED_OLD]),
					map_row(mark, newrow, &state->rows[ROW_MAPPED_NEW]),
					events);
	for (int i = 0; i < n; i++)
		boundary_send_event(ctx, txn, mark->queue, mark->copy, &events[i]);
	note_warning(state, mark, FRAME_WARN_FAILED_ROW, plan->failed_row, NULL);
	note_warning(state, mark, FRAME_WARN_LARGE_EVENT, plan->large_events, NULL);
	note_warning(state, mark, FRAME_WARN_BROKEN_ROW, plan->broken_rows,
				 plan->reason);
}

/*
 * Decode an INSERT, UPDATE or DELETE; called in the per-change context, in
 * the order of the statements.
 */
void
change_decode(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel,
			  ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	CaptureEntry *entry = capture_cache_get(rel);
	TupleDesc desc = RelationGetDescr(rel);
	HeapTuple oldtuple = NULL;
	HeapTuple newtuple = NULL;
	EventRow *oldrow = NULL;
	EventRow *newrow = NULL;
	EventOp op;
	int width = desc->natts;
	bool wanted = false;

	if (entry->touched_queue && change->action == REORDER_BUFFER_CHANGE_INSERT)
		note_touched(state, entry);

	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			op = EVENT_OP_INSERT;
			newtuple = CHANGE_NEW_TUPLE(change);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			op = EVENT_OP_UPDATE;
			newtuple = CHANGE_NEW_TUPLE(change);
			oldtuple = CHANGE_OLD_TUPLE(change);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			op = EVENT_OP_DELETE;
			oldtuple = CHANGE_OLD_TUPLE(change);
			break;
		default:
			return;
	}

	for (int i = 0; i < entry->nmarks; i++)
	{
		wanted |= mark_wants(&entry->marks[i], op, txn);
		width = Max(width, entry->marks[i].natts);
	}
	if (!wanted)
		return;

	/*
	 * Marks are refused and DDL is stopped where the WAL would lack the key;
	 * a change without it must not slip through in silence.
	 */
	if (op == EVENT_OP_DELETE ? !oldtuple : !newtuple)
	{
		for (int i = 0; i < entry->nmarks; i++)
			if (mark_wants(&entry->marks[i], op, txn))
				note_warning(state, &entry->marks[i], FRAME_WARN_BROKEN, 1,
							 "the WAL does not name the row: that is how the "
							 "table's replica identity is");
		return;
	}

	set_source(state, txn, change);
	size_rows(ctx, state, width);
	if (oldtuple)
		oldrow = unpack_old(state, desc, oldtuple, entry);
	if (newtuple)
		newrow = unpack_new(state, desc, newtuple, oldrow);

	for (int i = 0; i < entry->nmarks; i++)
		if (mark_wants(&entry->marks[i], op, txn))
			decode_for_mark(ctx, txn, &entry->marks[i], op, oldrow, newrow);
}

static bool
is_among(Oid relid, int nrels, Relation rels[])
{
	for (int i = 0; i < nrels; i++)
		if (RelationGetRelid(rels[i]) == relid)
			return true;
	return false;
}

/*
 * Whether a mark's event for this TRUNCATE is that of an ancestor of the table,
 * which the same statement truncates: one that is the marked table, or below
 * it.  An ancestor further up is not the mark's, and stands for others only.
 */
static bool
is_covered(const CaptureMark *mark, Relation rel, int nrels, Relation rels[])
{
	ListCell *lc;

	if (mark->marked_relid == RelationGetRelid(rel))
		return false;
	foreach(lc, get_partition_ancestors(RelationGetRelid(rel)))
	{
		if (is_among(lfirst_oid(lc), nrels, rels))
			return true;
		if (lfirst_oid(lc) == mark->marked_relid)
			break;
	}
	return false;
}

/* What may fail when a TRUNCATE becomes an event. */
typedef struct TruncateCall
{
	const CaptureMark *mark;
	Relation rel;
	EventScratch *scratch;
	Event *event;
} TruncateCall;

/*
 * Build the event.  For a part of the marked table it carries the part's name,
 * since the rest of the table is still there.
 */
static void
build_truncate(void *arg)
{
	static const char flag[] = "partition";
	TruncateCall *call = arg;
	EventArgs args = {.format = call->mark->plan->format, .ops = EVENT_OPS_ALL};
	EventPlan *plan;

	if (call->mark->marked_relid == RelationGetRelid(call->rel))
	{
		event_build_truncate(call->mark->plan, call->scratch, call->event);
		return;
	}
	plan = event_plan_make(call->rel, &args);
	event_build_truncate(plan, call->scratch, call->event);
	call->event->field[EVENT_EXTRA3].str = flag;
	call->event->field[EVENT_EXTRA3].len = strlen(flag);
}

/*
 * Decode a TRUNCATE of one or more tables: one event for each mark and table,
 * unless an ancestor's event stands for it.
 */
void
change_decode_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					   int nrels, Relation rels[], ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;

	set_source(state, txn, change);
	for (int i = 0; i < nrels; i++)
	{
		CaptureEntry *entry = capture_cache_get(rels[i]);

		for (int j = 0; j < entry->nmarks; j++)
		{
			CaptureMark *mark = &entry->marks[j];
			Event event;
			TruncateCall call = {mark, rels[i], &state->scratch, &event};
			ErrorData *error = NULL;

			if (!mark_wants(mark, EVENT_OP_TRUNCATE, txn) ||
				is_covered(mark, rels[i], nrels, rels))
				continue;
			if (mark->plan)
				error = guard_run(build_truncate, &call);
			if (mark->plan && !error)
				boundary_send_event(ctx, txn, mark->queue, mark->copy, &event);
			else
				note_warning(state, mark, FRAME_WARN_BROKEN, 1,
							 error ? guard_reason(error) : mark->broken);
		}
	}
}
