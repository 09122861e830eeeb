/*-------------------------------------------------------------------------
 *
 * row_batch.c
 *		Many events into one event table, or into the table of held ones, a
 *		page at a time; and the tag that keeps them from being decoded.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "mb/pg_wchar.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "queue/own.h"
#include "queue/row_batch.h"

/* A table's rows are written when there are so many of them, or so many bytes. */
#define MAX_ROWS 1000
#define MAX_BYTES 65536

/* The function that has tagged this transaction, and the origin before. */
static const char *tagged_by = NULL;
static ReplOriginId old_origin;

/* Transaction callback: take the tag off again. */
static void
end_tag(XactEvent event, void *arg)
{
	if (!tagged_by)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			SESSION_ORIGIN = old_origin;
			tagged_by = NULL;
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has called %s",
							tagged_by)));
			break;
		default:
			break;
	}
}

/*
 * Tag the transaction with the origin "do not replicate", so that the slot
 * does not decode what it writes, and give it its id.
 *
 * What it wrote before would be tagged too and be lost to the slot, so it must
 * not have written anything.  function is for messages, and constant.  Returns
 * false if it was tagged before.
 */
bool
row_batch_tag_transaction(const char *function)
{
	static bool registered = false;

	if (GetCurrentTransactionNestLevel() > 1 ||
		(!tagged_by &&
		 FullTransactionIdIsValid(GetTopFullTransactionIdIfAny())))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s must not be called in a subtransaction or in a "
						"transaction that has written already",
						function)));
	if (tagged_by)
		return false;
	if (!registered)
	{
		RegisterXactCallback(end_tag, NULL);
		registered = true;
	}
	old_origin = SESSION_ORIGIN;
	tagged_by = function;
	SESSION_ORIGIN = DoNotReplicateId;
	(void) GetTopFullTransactionId();
	return true;
}

static RowBatch *
make_batch(void)
{
	RowBatch *batch = palloc0(sizeof(RowBatch));

	batch->bulk = GetBulkInsertState();
	batch->slots = palloc(MAX_ROWS * sizeof(TupleTableSlot *));
	batch->txid = (int64) U64FromFullTransactionId(GetTopFullTransactionId());
	batch->context = AllocSetContextCreate(
		CurrentMemoryContext, "pgq event rows", ALLOCSET_DEFAULT_SIZES);
	return batch;
}

/*
 * Begin to gather events for a queue, in the current memory context.  Must be
 * closed in the same statement.
 */
RowBatch *
row_batch_open(const Target *target)
{
	RowBatch *batch = make_batch();

	batch->target = target;
	batch->sequence = target->sequence;
	target_open_writer(target, &batch->writer);
	return batch;
}

/* The same for events that are held until a copy is done. */
RowBatch *
row_batch_open_held(int64 copy)
{
	RowBatch *batch = make_batch();

	batch->copy = copy;
	batch->sequence = own_oid(OWN_HELD_SEQUENCE);
	table_open_writer(&batch->writer, own_oid(OWN_HELD_EVENT),
					  RowExclusiveLock);
	/* columns as those of events, which are known by their place */
	Assert(own_column(batch->writer.rel, OWN_HELD_EVENT, HELD_COPY) ==
		   HELD_COPY + 1);
	return batch;
}

/*
 * Take ids for what has been gathered.  Not one by one as it comes: that of many
 * queues would look for another sequence each time.
 */
static void
take_ids(RowBatch *batch)
{
	for (int i = 0; i < batch->nrows; i++)
	{
		int64 id = nextval_internal(batch->sequence, false);

		batch->slots[i]->tts_values[EV_ID] = Int64GetDatum(id);
		if (batch->ids)
			*batch->ids++ = Int64GetDatum(id);
	}
}

/* Write what has been gathered. */
static void
flush_batch(RowBatch *batch)
{
	TableWriter *w = &batch->writer;
	MemoryContext old;

	if (batch->nrows == 0)
		return;
	take_ids(batch);

	/* Writing leaks memory: into what is reset below. */
	old = MemoryContextSwitchTo(batch->context);
	table_multi_insert(w->rel, batch->slots, batch->nrows,
					   GetCurrentCommandId(true), 0, batch->bulk);
	for (int i = 0; i < batch->nrows; i++)
	{
		if (w->target->ri_NumIndices > 0)
			compat_insert_index_entries(w->target, batch->slots[i], w->estate,
										false);
		ResetPerTupleExprContext(w->estate);
		ExecClearTuple(batch->slots[i]);
	}
	MemoryContextSwitchTo(old);
	batch->nrows = 0;
	batch->bytes = 0;
	MemoryContextReset(batch->context);
}

/* Write what is left, and free. */
void
row_batch_close(RowBatch *batch)
{
	flush_batch(batch);
	for (int i = 0; i < batch->nmade; i++)
		ExecDropSingleTupleTableSlot(batch->slots[i]);
	FreeBulkInsertState(batch->bulk);
	table_finish_bulk_insert(batch->writer.rel, 0);
	MemoryContextDelete(batch->context);
	table_close_writer(&batch->writer);
	pfree(batch->slots);
	pfree(batch);
}

/* A copy of a frame's text; refused if it is not in the database's encoding. */
Datum
row_batch_text(const EventField *field)
{
	if (!pg_verify_mbstr(GetDatabaseEncoding(), field->str, field->len, true))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("malformed frames: text is not valid in encoding %s",
						GetDatabaseEncodingName())));
	return PointerGetDatum(cstring_to_text_with_len(field->str, field->len));
}

/*
 * Gather one event, whose strings are copied; writes when enough have come
 * together.  Raises ERRCODE_DATA_CORRUPTED for what is no event.
 */
void
row_batch_add(RowBatch *batch, const Event *event)
{
	MemoryContext old;
	TupleTableSlot *slot;
	Datum *values;
	bool *nulls;

	if (!IS_VALID_TIMESTAMP(event->time))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("malformed frames: time out of range")));

	if (batch->nrows == batch->nmade)
		batch->slots[batch->nmade++] = table_slot_create(batch->writer.rel,
														 NULL);
	slot = batch->slots[batch->nrows];
	values = slot->tts_values;
	nulls = slot->tts_isnull;

	memset(nulls, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	values[EV_TIME] = TimestampTzGetDatum(event->time);
	values[EV_TXID] = Int64GetDatum(batch->txid);
	nulls[EV_ID] = nulls[EV_TIME] = nulls[EV_TXID] = false;
	if (batch->copy != 0)
	{
		values[HELD_COPY] = Int64GetDatum(batch->copy);
		nulls[HELD_COPY] = false;
	}

	old = MemoryContextSwitchTo(batch->context);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
	{
		if (event->field[i].len < 0)
			continue;
		values[EV_TYPE + i] = row_batch_text(&event->field[i]);
		nulls[EV_TYPE + i] = false;
		batch->bytes += event->field[i].len;
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
	batch->nrows++;

	if (batch->nrows == MAX_ROWS || batch->bytes >= MAX_BYTES)
		flush_batch(batch);
}
