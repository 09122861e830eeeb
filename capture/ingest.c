/*-------------------------------------------------------------------------
 *
 * ingest.c
 *		Writing events that were read from the WAL: pgq.ingest().
 *
 * The events and the position up to which the WAL has been read are written in
 * one transaction, and only if the position is where the caller saw it last:
 * so every event is written exactly once, whatever becomes of the caller, and
 * a second caller is fenced off.
 *
 * The transaction is tagged with the origin "do not replicate", so that the
 * slot does not decode what it brought itself.
 *
 * The slot is this database's, or one of another server: then the position is
 * named by its source, which may feed some queues and no others.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

#include "event/frame.h"
#include "capture/capture.h"
#include "capture/copy.h"
#include "queue/row_batch.h"
#include "capture/slot.h"
#include "capture/source.h"
#include "queue/target.h"
#include "queue/tick.h"

PG_FUNCTION_INFO_V1(pgq_ingest);

/* What becomes of changes that name a copy. */
typedef struct KnownFate
{
	int64 copy;
	CopyFate fate;
} KnownFate;

/* Events that this transaction has written since the position. */
static int64 ingest_pending;

/* Where in the WAL the events of the next E frame come from, if that is told. */
static XLogRecPtr ingest_place;

/* The number of the call, by which targets know their batch in it. */
static uint64 ingest_call;

/* Whose frames these are in this call; NULL: of this database's own slot. */
static Source *ingest_source;

/* A frame whose end comes with a later call of the transaction, or NULL. */
static StringInfo ingest_rest;

/* Does that slot feed the queues of its own database? */
static bool
is_own_slot(const char *slot)
{
	SlotRow *row = slot_read_row();

	return row && strcmp(row->name, slot) == 0 && !row->remote;
}

/*
 * Lock the slot's position against other callers and check that it is "from".
 * Returns the total of events at that position.
 */
static int64
check_position(const char *slot, XLogRecPtr from)
{
	XLogRecPtr lsn;
	int64 events;

	ingest_source = source_is_key(slot) ? source_open(slot) : NULL;
	if (source_is_key(slot) && ingest_source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no source has position \"%s\"", slot),
				 errhint("pgq.get_source_info() lists the sources; was it reset "
						 "or dropped?")));
	/* by the name that it has here: it chooses the others itself */
	slot_lock_position(
		ingest_source ? psprintf("source/%s", ingest_source->name) : slot);
	if ((ingest_source == NULL && !is_own_slot(slot)) ||
		!slot_read_position(slot, &lsn, &events))
		slot_refuse_unknown(slot);

	if (lsn != from)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("position of slot \"%s\" is %X/%X, not %X/%X", slot,
						LSN_FORMAT_ARGS(lsn), LSN_FORMAT_ARGS(from)),
				 errdetail("Somebody else has ingested meanwhile."),
				 errhint("Read the position again and start from there.")));
	return events;
}

/*
 * Is the queue younger than the events that are read?  Then they are of another
 * one that had its name, and go where that one went.  A source's WAL is not ours
 * to compare; it lost the queue when that was dropped.
 */
static bool
is_younger(const Queue *queue)
{
	return ingest_source == NULL && ingest_place != InvalidXLogRecPtr &&
		   ingest_place < queue->created_lsn && tick_queue_is_ours(queue);
}

/* The batch for a queue; NULL, if there is no such queue. */
static RowBatch *
find_batch(List **batches, const EventField *queue)
{
	Target *target = target_find(queue->str, queue->len);

	if (target == NULL || is_younger(&target->queue))
		return NULL;
	if (target->batch_call != ingest_call)
	{
		*batches = lappend(*batches, row_batch_open(target));
		target->batch = list_length(*batches) - 1;
		target->batch_call = ingest_call;
	}
	return list_nth(*batches, target->batch);
}

/* The batch for changes that are held for a copy. */
static RowBatch *
find_held_batch(List **batches, int64 copy)
{
	ListCell *lc;
	RowBatch *batch;

	foreach(lc, *batches)
	{
		batch = lfirst(lc);
		if (batch->copy == copy)
			return batch;
	}
	batch = row_batch_open_held(copy);
	*batches = lappend(*batches, batch);
	return batch;
}

/* What becomes of changes that name a copy; asked once in a call. */
static CopyFate
find_fate(List **fates, int64 copy)
{
	ListCell *lc;
	KnownFate *known;

	foreach(lc, *fates)
	{
		known = lfirst(lc);
		if (known->copy == copy)
			return known->fate;
	}
	known = palloc(sizeof(KnownFate));
	known->copy = copy;
	/* who ends a copy has the lock on the position, which we have now */
	known->fate = copy_read_fate(copy);
	*fates = lappend(*fates, known);
	return known->fate;
}

/* Gather an event of a source. */
static void
add_foreign_event(RowBatch *batch, const SourceQueue *queue, Event *event)
{
	static MemoryContext converted;
	MemoryContext old;

	if (converted == NULL)
		converted = AllocSetContextCreate(
			TopMemoryContext, "pgq converted event", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(converted);
	source_convert_event(ingest_source, queue, event);
	MemoryContextSwitchTo(old);
	row_batch_add(batch, event);
	MemoryContextReset(converted);
}

/*
 * Write the events of one E or H frame; returns how many.  Those that a later
 * copy has count, too: they are not lost.
 */
static int64
write_events(FrameReader *reader, List **batches, List **fates)
{
	EventField queue;
	Event event;
	RowBatch *batch = NULL;
	CopyFate fate = COPY_DONE;
	const SourceQueue *given = NULL;
	int64 copy;
	int64 written = 0;

	frame_read_queue(reader, &queue, &copy);
	if (ingest_source)
	{
		queue = source_convert_field(ingest_source, &queue);
		given = source_find_queue(ingest_source, &queue);
		/* it knows nothing of the copies here */
		if (given == NULL || copy != 0)
			fate = COPY_GONE;
	}
	else if (copy != 0)
		fate = find_fate(fates, copy);
	if (fate == COPY_HOLDS)
		batch = find_held_batch(batches, copy);
	else if (fate == COPY_DONE)
		batch = find_batch(batches, &queue);
	while (frame_next_event(reader, &event))
	{
		CHECK_FOR_INTERRUPTS();
		if (batch && given)
			add_foreign_event(batch, given, &event);
		else if (batch)
			row_batch_add(batch, &event);
		/* Events of a queue that has been dropped go nowhere. */
		if (batch || (fate == COPY_GONE && ingest_source == NULL))
			written++;
	}
	return written;
}

/* Write what all frames hold; returns the number of events. */
static int64
write_frames(const char *frames, Size len)
{
	FrameReader reader;
	FrameWarning warning;
	List *batches = NIL;
	List *fates = NIL;
	ListCell *lc;
	int64 written = 0;
	char tag;

	ingest_call++;
	frame_read_init(&reader, frames, len);
	while ((tag = frame_next(&reader)) != 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (tag == FRAME_EVENTS || tag == FRAME_HELD)
			written += write_events(&reader, &batches, &fates);
		else if (tag == FRAME_PLACE)
			ingest_place = frame_read_place(&reader);
		else if (tag == FRAME_WARNING)
		{
			frame_read_warning(&reader, &warning);
			if (ingest_source == NULL ||
				source_convert_warning(ingest_source, &warning))
				capture_trouble_add(&warning);
		}
	}
	foreach(lc, batches)
		row_batch_close(lfirst(lc));
	return written;
}

/* How many of the bytes are whole frames. */
static Size
count_whole(const char *data, Size len)
{
	Size whole = 0;
	Size size;

	while (whole < len &&
		   (size = frame_size(data + whole, len - whole)) <= len - whole)
		whole += size;
	return whole;
}

/* Keep the beginning of a frame for the next call. */
static void
keep_rest(const char *data, Size len)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	ingest_rest = makeStringInfo();
	enlargeStringInfo(ingest_rest, (int) frame_size(data, len));
	appendBinaryStringInfo(ingest_rest, data, (int) len);
	MemoryContextSwitchTo(old);
}

/* Forget the frame that was kept, which may be a large one. */
static void
free_rest(void)
{
	pfree(ingest_rest->data);
	pfree(ingest_rest);
	ingest_rest = NULL;
}

/*
 * Write what the frames hold.  A part of a transaction may end inside a frame,
 * and the next one begins with what follows.
 */
static int64
write_part(const char *data, Size len, bool is_last)
{
	Size whole;
	int64 written = 0;

	while (ingest_rest && len > 0)
	{
		Size size = frame_size(ingest_rest->data, ingest_rest->len);
		Size n = Min(len, size - ingest_rest->len);

		appendBinaryStringInfo(ingest_rest, data, (int) n);
		data += n;
		len -= n;
		if (frame_size(ingest_rest->data, ingest_rest->len) ==
			(Size) ingest_rest->len)
		{
			written = write_frames(ingest_rest->data, ingest_rest->len);
			free_rest();
		}
	}

	/* what is not whole at the end is left to write_frames() to complain of */
	if (is_last && ingest_rest)
		written += write_frames(ingest_rest->data, ingest_rest->len);
	whole = is_last ? len : count_whole(data, len);
	written += write_frames(data, whole);
	if (whole < len)
		keep_rest(data + whole, len - whole);
	return written;
}

/* pgq.ingest(i_slot, i_from, i_to, i_frames) */
Datum
pgq_ingest(PG_FUNCTION_ARGS)
{
	char *slot;
	XLogRecPtr from;
	XLogRecPtr to;
	bytea *frames;
	int64 total;
	int64 written;

	table_refuse_nulls(fcinfo, "pgq.ingest()");
	slot = text_to_cstring(PG_GETARG_TEXT_PP(0));
	from = PG_GETARG_LSN(1);
	to = PG_GETARG_LSN(2);
	frames = PG_GETARG_BYTEA_PP(3);

	PreventCommandIfReadOnly("pgq.ingest()");
	if (to < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position of slot \"%s\" cannot go back from %X/%X "
						"to %X/%X", slot, LSN_FORMAT_ARGS(from),
						LSN_FORMAT_ARGS(to))));

	if (row_batch_tag_transaction("pgq.ingest()"))
	{
		ingest_pending = 0;
		ingest_rest = NULL;
		ingest_place = InvalidXLogRecPtr;
	}
	total = check_position(slot, from);
	if (ingest_source)
		source_lock_queues(ingest_source, true);
	written = write_part(VARDATA_ANY(frames), VARSIZE_ANY_EXHDR(frames),
						 to > from);
	if (ingest_source)
		source_lock_queues(ingest_source, false);

	/* Parts of a transaction that come before its end don't move it. */
	ingest_pending += written;
	if (to > from)
	{
		slot_add_position(slot, to, total + ingest_pending);
		ingest_pending = 0;
	}
	PG_RETURN_INT64(written);
}
