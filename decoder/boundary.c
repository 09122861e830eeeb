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

/* A queue that got events of the transaction; in the txn context. */
typedef struct FedQueue
{
	char *name;
	int64 copy;  /* that its events are held for, 0: none */
	bool wanted; /* it has got the begin, and gets the commit */
	int64 nevents;
} FedQueue;

static FedQueue *
find_fed(DecoderState *state, const char *queue, int64 copy)
{
	ListCell *lc;

	foreach(lc, state->fed_queues)
	{
		FedQueue *fed = lfirst(lc);

		if (fed->copy == copy && strcmp(fed->name, queue) == 0)
			return fed;
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
			  const FedQueue *fed, const char *type, int64 nevents)
{
	Event event = {0};

	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		event.field[i].len = -1;
	event.field[EVENT_TYPE].str = type;
	event.field[EVENT_TYPE].len = strlen(type);
	event.field[EVENT_DATA].str = describe(txn, nevents);
	event.field[EVENT_DATA].len = strlen(event.field[EVENT_DATA].str);
	output_event(ctx, txn, fed->name, fed->copy, &event);
}

static FedQueue *
add_fed(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, const char *queue,
		int64 copy)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);
	FedQueue *fed = palloc0(sizeof(FedQueue));

	fed->name = pstrdup(queue);
	fed->copy = copy;
	fed->wanted = own_tables_wants_boundaries(queue);
	state->fed_queues = lappend(state->fed_queues, fed);
	MemoryContextSwitchTo(old);
	if (fed->wanted)
		send_boundary(ctx, txn, fed, "pgq.begin", -1);
	return fed;
}

/*
 * Send an event of the current transaction to a queue, behind its begin where
 * the queue wants one.  copy is what it is held for, 0: nothing.
 *
 * What the queue wants may change while the transaction runs: what holds at the
 * first event holds for all, so that no begin comes in their midst.
 */
void
boundary_send_event(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					const char *queue, int64 copy, const Event *event)
{
	DecoderState *state = ctx->output_plugin_private;

	if (state->txn_events == 0)
		state->boundaries = own_tables_has_boundaries();
	if (state->boundaries)
	{
		FedQueue *fed = find_fed(state, queue, copy);

		if (!fed)
			fed = add_fed(ctx, txn, queue, copy);
		fed->nevents++;
	}
	output_event(ctx, txn, queue, copy, event);
}

/* Send the end of the transaction to the queues that saw its begin. */
void
boundary_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DecoderState *state = ctx->output_plugin_private;
	ListCell *lc;

	foreach(lc, state->fed_queues)
	{
		FedQueue *fed = lfirst(lc);

		if (fed->wanted)
			send_boundary(ctx, txn, fed, "pgq.commit", fed->nevents);
	}
	state->fed_queues = NIL;
}
