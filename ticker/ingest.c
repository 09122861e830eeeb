/*-------------------------------------------------------------------------
 *
 * ingest.c
 *		One database's ingest, as the rest of pgqd sees it: what comes from the
 *		stream is gathered, and what the timers do.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/timer.h"

/*
 * Bytes of WAL that are nobody's work: our own ticks, checkpoints and
 * snapshots of running transactions.  A position is not moved for less, or
 * the move itself would be a reason to move again, for ever.
 */
#define IDLE_WAL 16384

static bool
take_data(const char *data, size_t len, void *arg)
{
	Ingest *ingest = arg;
	const char *error;

	ingest->stats->heard_at = clock_seconds();
	if (gather_put(&ingest->gather, data, len, &error))
		return true;
	trouble_report(&ingest->trouble, ingest->dbname,
				   "slot \"%s\" sent what is not understood: %s; is the "
				   "server's library pgq of another version than pgqd?",
				   ingest->slot, error);
	ingest_pause(ingest, ingest->config->check_period);
	return false;
}

static void
note_passed(uint64_t lsn, void *arg)
{
	Ingest *ingest = arg;

	ingest->stats->heard_at = clock_seconds();
	gather_pass(&ingest->gather, lsn);
}

static void
handle_drained(void *arg)
{
	ingest_pump(arg);
}

static void
note_started(void *arg)
{
	ingest_check_slot(arg);
}

/* Rows came into queues straight from SQL: nothing to write, only to tick. */
static void
note_touched(Names *queues, uint32_t xid, void *arg)
{
	Ingest *ingest = arg;
	Xids xids = {0};

	/* those of a source are there, and ticked there */
	if (queues->count == 0 || ingest->source)
		return;
	xids_add(&xids, xid);
	tick_feed(ingest->tick, queues, &xids);
}

/* When is the position to follow the WAL next? */
void
ingest_plan_idle(Ingest *ingest)
{
	bool hasty = ingest->synchronous || ingest->write_trouble.text;

	timer_set(ingest->idle, hasty ? HASTY_PERIOD : IDLE_PERIOD);
}

/* Let the position follow the WAL, so that the server may forget it. */
static void
handle_idle(evutil_socket_t fd, short what, void *arg)
{
	Ingest *ingest = arg;
	const Gather *g = &ingest->gather;
	uint64_t own_end;
	bool failed = ingest->write_trouble.text != NULL;

	ingest_plan_idle(ingest);
	if (ingest->state != INGEST_RUNNING)
		return;
	if (ingest->waiting_since > 0)
	{
		if (clock_seconds() - ingest->waiting_since > IDLE_PERIOD / 2)
			trouble_report(&ingest->wait_trouble, ingest->dbname,
						   "ingest waits until the transactions that it read "
						   "are visible to others: is a synchronous standby "
						   "away?");
		return;
	}
	ingest_ask_sync(ingest);
	if (ingest->group || !gather_is_idle(g) || g->reached <= ingest->position)
		return;
	/* a source's WAL has nothing of ours */
	own_end = ingest->source ? ingest->position : ingest->own_wal_end;
	/* after a failure whatever can be written shows whether it is over */
	if (!ingest->synchronous && !failed &&
		g->reached_by_commit <= ingest->position &&
		g->reached < own_end + IDLE_WAL)
		return;
	gather_mark(&ingest->gather, g->reached);
	ingest_pump(ingest);
}

static const StreamHooks stream_hooks = {note_started, take_data, note_passed,
										 handle_drained, ingest_handle_end};

/*
 * Make the ingest of one database, switched off.  source is the database of
 * another server that has the slot, and is copied; or NULL.  tick gets to know
 * which queues were fed.
 */
Ingest *
ingest_create(struct event_base *base, const Config *config, const char *dbname,
			  const SourceConfig *source, Tick *tick, Stats *stats)
{
	Ingest *ingest = memory_make(sizeof(Ingest));

	ingest->config = config;
	ingest->dbname = source ? text_format("%s: source %s", dbname, source->name)
							: text_copy(dbname);
	ingest->stats = stats;
	ingest->tick = tick;
	ingest->gather.touched = note_touched;
	ingest->gather.arg = ingest;
	ingest->conn = conn_create(base, config, dbname, "ingest", false,
							   &ingest_conn_hooks, ingest);
	conn_require_trust(ingest->conn, true);
	ingest->stream = stream_create(base, config, dbname, &stream_hooks, ingest);
	if (source)
	{
		ingest->source = ingest_source_create(base, config, source,
											  &ingest_source_hooks, ingest);
		stream_set_server(ingest->stream, source->connstr);
		/* it could make up any number of names */
		ingest->gather.nameless = true;
		ingest->who = text_format("source %s", source->name);
		ingest->trouble.who = ingest->write_trouble.who =
			ingest->wait_trouble.who = ingest->who;
	}
	ingest->confirm = confirm_create(base, config, ingest->dbname, ingest->who,
									 ingest->conn, ingest->stream);
	ingest->timer = timer_make(base, 0, ingest_end_pause, ingest);
	ingest->more = timer_make(base, 0, ingest_end_gathering, ingest);
	ingest->idle = timer_make(base, 0, handle_idle, ingest);
	ingest_plan_idle(ingest);
	return ingest;
}

/* Stop and free. */
void
ingest_free(Ingest *ingest)
{
	if (ingest == NULL)
		return;
	ingest_stop(ingest);
	confirm_free(ingest->confirm);
	event_free(ingest->timer);
	event_free(ingest->more);
	event_free(ingest->idle);
	conn_free(ingest->conn);
	ingest_source_free(ingest->source);
	stream_free(ingest->stream);
	trouble_clear(&ingest->trouble, ingest->dbname, NULL);
	trouble_clear(&ingest->write_trouble, ingest->dbname, NULL);
	trouble_clear(&ingest->wait_trouble, ingest->dbname, NULL);
	free(ingest->slot);
	free(ingest->key);
	free(ingest->who);
	free(ingest->recorded_problem);
	free(ingest->dbname);
	free(ingest);
}

/* Is it switched off: not started, or no slot found? */
bool
ingest_is_off(const Ingest *ingest)
{
	return ingest->state == INGEST_OFF;
}

/* Does it read the stream and write? */
bool
ingest_is_running(const Ingest *ingest)
{
	return ingest->state == INGEST_RUNNING;
}

/* Does another session read the slot? */
bool
ingest_is_standing_by(const Ingest *ingest)
{
	return ingest->standing_by;
}

/* Is a group being written? */
bool
ingest_is_busy(const Ingest *ingest)
{
	return ingest->group != NULL;
}

/* A word for the status line. */
const char *
ingest_get_state(const Ingest *ingest)
{
	switch (ingest->state)
	{
		case INGEST_OFF:
			return "ticks";
		case INGEST_RUNNING:
			return "ingest runs";
		default:
			return ingest->standing_by        ? "ingest stands by"
				   : ingest->recorded_problem ? "ingest stands still"
											  : "ingest starts";
	}
}

/* What is wrong with it, NULL: nothing.  The text is the object's. */
const Trouble *
ingest_get_trouble(const Ingest *ingest)
{
	return ingest->trouble.text         ? &ingest->trouble
		   : ingest->write_trouble.text ? &ingest->write_trouble
										: &ingest->wait_trouble;
}

/* What keeps the server from forgetting WAL, NULL: nothing.  The object's. */
const Trouble *
ingest_get_warning(const Ingest *ingest)
{
	return confirm_get_trouble(ingest->confirm);
}
