/*-------------------------------------------------------------------------
 *
 * output.c
 *		Send events: as frames, or as JSON text.
 *
 * Frames are written into the server's own output buffer, which is sent when
 * it has FLUSH_SIZE bytes, and at the end of the transaction: a small
 * transaction is one message.  Events larger than that are cut over several
 * messages, so that no reader needs a buffer of their size for the message.
 *
 * To send a message costs more than to decode a row.  So a reader may ask that
 * small transactions are held back: those of a page of WAL are one message then.
 * It is sent before the server reads the next page, for which it may have to
 * wait; at that time it has decoded all that it has read.  What the server says
 * by itself of where it is may come before that.  So where there is nothing to
 * send for a while, an R frame tells how far the stream is.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "port/pg_bswap.h"
#include "replication/walsender_private.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#define FLUSH_SIZE (64 * 1024)

/*
 * Bytes of WAL between R frames, unless commits wait for the reader: with more to
 * read, and at the end, where each would be followed by a wait.
 */
#define REACHED_BYTES (1024 * 1024)
#define REACHED_BYTES_AT_END (16 * 1024)

static void
begin_message(LogicalDecodingContext *ctx, DecoderState *state)
{
	if (state->writing)
		return;
	OutputPluginPrepareWrite(ctx, false);
	state->writing = true;
}

static void
send_message(LogicalDecodingContext *ctx, DecoderState *state, bool last)
{
	frame_close_events(&state->writer);
	resetStringInfo(&state->open_queue);
	OutputPluginWrite(ctx, last);
	state->writing = state->held = false;
	state->quiet_changes = 0;
}

/* Append bytes of a frame that may be cut over messages. */
static void
put_bytes(LogicalDecodingContext *ctx, DecoderState *state, const void *data,
		  Size len)
{
	const char *ptr = data;

	while (len > 0)
	{
		Size part;

		if (ctx->out->len >= FLUSH_SIZE)
			send_message(ctx, state, false);
		begin_message(ctx, state);
		part = Min(len, FLUSH_SIZE);
		appendBinaryStringInfo(ctx->out, ptr, part);
		ptr += part;
		len -= part;
	}
}

static void
put_int32(LogicalDecodingContext *ctx, DecoderState *state, int32 value)
{
	uint32 net = pg_hton32((uint32) value);

	put_bytes(ctx, state, &net, sizeof(net));
}

/* An E or H frame of one large event. */
static void
send_large_event(LogicalDecodingContext *ctx, DecoderState *state,
				 const char *queue, int64 copy, const Event *event)
{
	char tag = copy ? FRAME_HELD : FRAME_EVENTS;
	uint64 net_copy = pg_hton64((uint64) copy);
	int queue_len = strlen(queue);
	Size body = 4 + queue_len + (copy ? sizeof(net_copy) : 0) + 4 +
				frame_event_size(event);
	uint64 net_time = pg_hton64((uint64) event->time);

	if (state->writing)
		send_message(ctx, state, false);
	begin_message(ctx, state);
	if (!copy)
		(void) frame_put_place(ctx->out, ctx->write_location);

	put_bytes(ctx, state, &tag, 1);
	put_int32(ctx, state, (int32) body);
	put_int32(ctx, state, queue_len);
	put_bytes(ctx, state, queue, queue_len);
	if (copy)
		put_bytes(ctx, state, &net_copy, sizeof(net_copy));
	put_int32(ctx, state, 1);
	put_bytes(ctx, state, &net_time, sizeof(net_time));
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
	{
		const EventField *f = &event->field[i];

		put_int32(ctx, state, f->len);
		if (f->len > 0)
			put_bytes(ctx, state, f->str, f->len);
	}
	send_message(ctx, state, false);
}

static void
put_event_frame(LogicalDecodingContext *ctx, DecoderState *state,
				const char *queue, int64 copy, const Event *event)
{
	if (frame_event_size(event) > FLUSH_SIZE)
	{
		send_large_event(ctx, state, queue, copy, event);
		return;
	}
	begin_message(ctx, state);
	if (strcmp(state->open_queue.data, queue) != 0 ||
		state->open_copy != copy || state->writer.start < 0)
	{
		frame_close_events(&state->writer);
		if (!copy)
			state->open_place = frame_put_place(ctx->out, ctx->write_location);
		frame_open_events(&state->writer, queue, copy);
		state->open_copy = copy;
		resetStringInfo(&state->open_queue);
		appendStringInfoString(&state->open_queue, queue);
	}
	else if (!copy)
		frame_move_place(ctx->out, state->open_place, ctx->write_location);
	frame_put_event(&state->writer, event);
	if (ctx->out->len >= FLUSH_SIZE)
		send_message(ctx, state, false);
}

static void
put_json_field(StringInfo buf, const char *name, const char *str, int len)
{
	appendStringInfo(buf, ",\"%s\":", name);
	if (len < 0)
		appendStringInfoString(buf, "null");
	else
		event_json_string(buf, str, len);
}

/* One row of text for people: a JSON object. */
static void
send_event_text(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				const char *queue, int64 copy, const Event *event)
{
	static const char *const names[FRAME_EVENT_FIELDS] = {
		"ev_type",   "ev_data",   "ev_extra1",
		"ev_extra2", "ev_extra3", "ev_extra4"};
	char time[MAXDATELEN + 1];

	OutputPluginPrepareWrite(ctx, true);
	appendStringInfoString(ctx->out, "{\"queue\":");
	event_json_string(ctx->out, queue, strlen(queue));
	JsonEncodeDateTime(time, TimestampTzGetDatum(event->time), TIMESTAMPTZOID,
					   NULL);
	appendStringInfo(ctx->out, ",\"xid\":%u,\"ev_time\":\"%s\"", txn->xid,
					 time);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		put_json_field(ctx->out, names[i], event->field[i].str,
					   event->field[i].len);
	if (copy)
		appendStringInfo(ctx->out, ",\"copy\":" INT64_FORMAT, copy);
	appendStringInfoChar(ctx->out, '}');
	OutputPluginWrite(ctx, true);
}

/*
 * Send an event of the current transaction to a queue; its strings are
 * copied.  copy is what it is held for, 0: nothing.  ev_time is set here: the
 * commit's.
 */
void
output_event(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			 const char *queue, int64 copy, const Event *event)
{
	DecoderState *state = ctx->output_plugin_private;
	Event timed = *event;

	timed.time = TXN_COMMIT_TIME(txn);
	state->txn_events++;
	if (state->frames)
		put_event_frame(ctx, state, queue, copy, &timed);
	else
		send_event_text(ctx, txn, queue, copy, &timed);
}

/*
 * Whether the transaction has something for us: events, queues that it fed, or
 * changes that should have become events.
 */
bool
output_is_due(const DecoderState *state)
{
	return state->txn_events > 0 || state->ntouched > 0 ||
		   state->warnings != NIL;
}

/*
 * End the transaction.  If it had nothing for us, nothing is sent.
 */
void
output_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DecoderState *state = ctx->output_plugin_private;
	ListCell *lc;

	if (!state->frames || !output_is_due(state))
		return;
	begin_message(ctx, state);
	frame_close_events(&state->writer);
	if (state->ntouched > 0)
		frame_put_touched(ctx->out, state->ntouched, state->touched);
	foreach(lc, state->warnings)
	{
		DecoderWarning *w = lfirst(lc);

		frame_put_warning(ctx->out, w->queue, w->table, w->kind, w->count,
						  w->reason);
	}
	frame_put_commit(ctx->out, txn->end_lsn, TXN_COMMIT_TIME(txn), txn->xid,
					 state->txn_events);
	state->told = txn->end_lsn;
	state->held = true;
	if (!state->read_page)
		send_message(ctx, state, true);
}

/* Send the transactions that are held back, if there are any. */
void
output_flush(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	if (state->held)
		send_message(ctx, state, false);
}

/*
 * Is it time to tell that all before "lsn" has been decoded?  WAL up to "end" is
 * to be read.
 */
static bool
reached_is_due(DecoderState *state, XLogRecPtr lsn, XLogRecPtr end)
{
	if (state->told == InvalidXLogRecPtr)
		state->told = lsn;
	if (lsn <= state->told)
		return false;
	return state->writing || MyWalSnd->sync_standby_priority > 0 ||
		   lsn - state->told >= REACHED_BYTES ||
		   (lsn - state->told >= REACHED_BYTES_AT_END && end > FLUSHED_WAL());
}

/*
 * Before WAL is read, which may have to be waited for.  All records before
 * EndRecPtr have been decoded: the walsender asks for one at a time.
 */
static int
read_page(XLogReaderState *reader, XLogRecPtr page, int needed,
		  XLogRecPtr record, char *buffer)
{
	LogicalDecodingContext *ctx = reader->private_data;
	DecoderState *state = ctx->output_plugin_private;

	if (reached_is_due(state, reader->EndRecPtr, page + needed))
	{
		/* as the server has it when it calls back */
		ctx->accept_writes = true;
		begin_message(ctx, state);
		frame_put_lsn(ctx->out, FRAME_REACHED, reader->EndRecPtr);
		state->told = reader->EndRecPtr;
	}
	if (state->writing)
		send_message(ctx, state, true);
	return state->read_page(reader, page, needed, record, buffer);
}

/*
 * From now on hold small transactions back.  Only a walsender does so, which has
 * a function for progress: an SQL function reads no further page behind the last
 * transaction, which would stay where it is.
 */
void
output_hold_back(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	if (ctx->update_progress == NULL || MyWalSnd == NULL)
		return;
	state->read_page = ctx->reader->routine.page_read;
	ctx->reader->routine.page_read = read_page;
}

/*
 * Send a marker: the reader shall commit what it has.  Nothing in text.
 */
void
output_marker(LogicalDecodingContext *ctx, XLogRecPtr lsn)
{
	DecoderState *state = ctx->output_plugin_private;

	if (!state->frames)
		return;
	begin_message(ctx, state);
	frame_put_lsn(ctx->out, FRAME_MARKER, lsn);
	send_message(ctx, state, true);
}
