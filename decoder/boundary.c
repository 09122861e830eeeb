/*-------------------------------------------------------------------------
 *
 * boundary.c
 *		Events that tell where a source transaction begins and ends, for
 *		queues that asked for them with pgq.capture_transactions().
 *
 * A consumer that replays changes atomically needs them, since a batch holds
 * many transactions.  In a queue that asked, the events of a transaction
 * stand between one of type "pgq.begin" and one of type "pgq.commit".  Those
 * that are held for a copy have a begin and commit of their own.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "catalog/pg_type.h"
#include "utils/datetime.h"
#include "utils/json.h"

/* A queue that is between begin and commit now; in the txn context. */
typedef struct OpenQueue
{
	char *name;
	int64 copy; /* that its events are held for, 0: none */
	int64 nevents;
} OpenQueue;

static OpenQueue *
find_open(DecoderState *state, const char *queue, int64 copy)
{
	ListCell *lc;

	foreach(lc, state->open_queues)
	{
		OpenQueue *open = lfirst(lc);

		if (open->copy == copy && strcmp(open->name, queue) == 0)
			return open;
	}
	return NULL;
}

/*
 * {"xid":..,"lsn":"..","commit_time":".."[,"events":n]}, the LSN being that
 * behind the commit; palloc'd.
 */
static char *
describe(ReorderBufferTXN *txn, int64 nevents)
{
	StringInfoData buf;
	char time[MAXDATELEN + 1];

	JsonEncodeDateTime(time, TimestampTzGetDatum(TXN_COMMIT_TIME(txn)),
					   TIMESTAMPTZOID, NULL);
	initStringInfo(&buf);
	appendStringInfo(&buf,
					 "{\"xid\":%u,\"lsn\":\"%X/%X\",\"commit_time\":\"%s\"",
					 txn->xid, LSN_FORMAT_ARGS(txn->end_lsn), time);
	if (nevents >= 0)
		appendStringInfo(&buf, ",\"events\":" INT64_FORMAT, nevents);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

static void
send_boundary(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  const OpenQueue *open, const char *type, int64 nevents)
{
	Event event = {0};

	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		event.field[i].len = -1;
	event.field[EVENT_TYPE].str = type;
	event.field[EVENT_TYPE].len = strlen(type);
	event.field[EVENT_DATA].str = describe(txn, nevents);
	event.field[EVENT_DATA].len = strlen(event.field[EVENT_DATA].str);
	output_event(ctx, txn, open->name, open->copy, &event);
}

static OpenQueue *
open_queue(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
		   const char *queue, int64 copy)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);
	OpenQueue *open = palloc0(sizeof(OpenQueue));

	open->name = pstrdup(queue);
	open->copy = copy;
	state->open_queues = lappend(state->open_queues, open);
	MemoryContextSwitchTo(old);
	send_boundary(ctx, txn, open, "pgq.begin", -1);
	return open;
}

/*
 * Send an event of the current transaction to a queue, behind its begin where
 * the queue wants one.  copy is what it is held for, 0: nothing.
 */
void
boundary_send_event(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					const char *queue, int64 copy, const Event *event)
{
	DecoderState *state = ctx->output_plugin_private;
	OpenQueue *open = NULL;

	if (capture_cache_has_boundaries() || state->open_queues != NIL)
	{
		open = find_open(state, queue, copy);
		if (!open && capture_cache_wants_boundaries(queue))
			open = open_queue(ctx, txn, queue, copy);
		if (open)
			open->nevents++;
	}
	output_event(ctx, txn, queue, copy, event);
}

/* Send the end of the transaction to the queues that saw its begin. */
void
boundary_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DecoderState *state = ctx->output_plugin_private;
	ListCell *lc;

	foreach(lc, state->open_queues)
	{
		OpenQueue *open = lfirst(lc);

		send_boundary(ctx, txn, open, "pgq.commit", open->nevents);
	}
	state->open_queues = NIL;
}
