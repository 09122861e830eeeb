/*-------------------------------------------------------------------------
 *
 * plugin.c
 *		The output plugin "pgq": its callbacks.
 *
 * The server may load this into the session of any role with REPLICATION:
 * nothing here trusts that role, or what it writes to the WAL.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "replication/origin.h"
#include "utils/memutils.h"

#include "event/message.h"
#include "event/settings.h"

PGQ_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/* Changes between two signs of life to a waiting client. */
#define QUIET_CHANGES 100

/* Read the options, set up memory; no catalogue may be read here. */
static void
pgq_startup(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	DecoderState *state = palloc0(sizeof(DecoderState));
	bool hold_back;

	options_parse(ctx->output_plugin_options, &state->frames, &hold_back);
	state->change_cxt = AllocSetContextCreate(ctx->context, "pgq change",
											  ALLOCSET_DEFAULT_SIZES);
	state->txn_cxt = AllocSetContextCreate(ctx->context, "pgq transaction",
										   ALLOCSET_SMALL_SIZES);
	event_scratch_init(&state->scratch);
	initStringInfo(&state->open_queue);
	state->writer.buf = ctx->out;
	state->writer.start = -1;
	ctx->output_plugin_private = state;

	opt->output_type = state->frames ? OUTPUT_PLUGIN_BINARY_OUTPUT
									 : OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	opt->receive_rewrites = false;

	if (!is_init)
	{
		if (hold_back && state->frames)
			output_hold_back(ctx);
		state->settings_level = settings_pin();
		capture_cache_init();
	}
}

static void
pgq_shutdown(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	settings_unpin(state->settings_level);
}

/* A committed transaction begins; nothing is sent before its first event. */
static void
pgq_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old;

	MemoryContextReset(state->txn_cxt);
	state->txn_serial++;
	state->txn_events = 0;
	state->last_message = 0;
	state->ntouched = 0;
	state->maxtouched = 0;
	state->touched = NULL;
	state->boundaries = false;
	state->fed_queues = NIL;
	state->warnings = NIL;
	old = MemoryContextSwitchTo(state->txn_cxt);
	settings_pin_database();
	MemoryContextSwitchTo(old);
}

/*
 * Show a sign of life while changes pass that nobody wants, and let nothing wait
 * for the end of their transaction.
 */
static void
keep_alive(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	if (++state->quiet_changes < QUIET_CHANGES)
		return;
	state->quiet_changes = 0;
	output_flush(ctx);
	UPDATE_PROGRESS(ctx, false);
}

static void
pgq_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel,
		   ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

	change_decode(ctx, txn, rel, change);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
	keep_alive(ctx);
}

static void
pgq_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrels,
			 Relation rels[], ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

	change_decode_truncate(ctx, txn, nrels, rels, change);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_cxt);
	keep_alive(ctx);
}

static void
pgq_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
		   XLogRecPtr commit_lsn)
{
	DecoderState *state = ctx->output_plugin_private;

	MemoryContext old = MemoryContextSwitchTo(state->txn_cxt);

	boundary_commit(ctx, txn);
	MemoryContextSwitchTo(old);
	UPDATE_PROGRESS(ctx, !output_is_due(state));
	output_commit(ctx, txn);
	MemoryContextReset(state->txn_cxt);
}

/*
 * Logical messages: anybody may write them, with any prefix.  A marker does
 * no more than make the reader commit what it has; an event must prove that
 * it is ours.
 */
static void
pgq_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
			bool transactional, const char *prefix, Size size,
			const char *message)
{
	DecoderState *state = ctx->output_plugin_private;

	if (!transactional && strcmp(prefix, PGQ_MARKER_PREFIX) == 0)
		output_marker(ctx, lsn);
	else if (transactional && strcmp(prefix, EVENT_MESSAGE_PREFIX) == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(state->change_cxt);

		(void) message_decode(ctx, txn, size, message);
		MemoryContextSwitchTo(old);
		MemoryContextReset(state->change_cxt);
	}
	keep_alive(ctx);
}

/* Ingest tags its own writes, so that they don't come back as changes. */
static bool
pgq_filter_origin(LogicalDecodingContext *ctx, ReplOriginId origin)
{
	return origin == DoNotReplicateId;
}

/*
 * The entry point that the server looks up; fills in the callbacks.  Without
 * callbacks for two-phase commit and streaming, prepared and large
 * transactions come whole, at their commit.
 */
void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = pgq_startup;
	cb->begin_cb = pgq_begin;
	cb->change_cb = pgq_change;
	cb->truncate_cb = pgq_truncate;
	cb->commit_cb = pgq_commit;
	cb->message_cb = pgq_message;
	cb->filter_by_origin_cb = pgq_filter_origin;
	cb->shutdown_cb = pgq_shutdown;
}
