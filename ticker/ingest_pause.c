/*-------------------------------------------------------------------------
 *
 * ingest_pause.c
 *		Close what is open, forget what is not committed, and pause or stop.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"
#include "ticker/timer.h"

/* A connection that lasted so long was a good one, in seconds. */
#define GOOD_AGE 30.0

/* The group is written, or given up. */
void
ingest_drop_group(Ingest *ingest)
{
	gather_free_group(ingest->group);
	ingest->group = NULL;
	ingest->stats->writing_since = 0;
}

/* Forget what came from the stream, and what is being written. */
void
ingest_drop_all(Ingest *ingest)
{
	gather_reset(&ingest->gather);
	event_del(ingest->more);
	ingest->waited = false;
	ingest_drop_group(ingest);
	ingest->in_transaction = false;
	ingest->waiting_since = 0;
	names_clear(&ingest->queues);
	ingest->events = 0;
	ingest->fed = false;
	confirm_reset(ingest->confirm);
}

/* Close stream and connection at once, and forget what is not committed. */
static void
close_all(Ingest *ingest)
{
	stream_close(ingest->stream);
	conn_close(ingest->conn);
	if (ingest->source)
		ingest_source_close(ingest->source);
	ingest_drop_all(ingest);
}

void
ingest_sleep(Ingest *ingest, double seconds)
{
	ingest->state = INGEST_PAUSED;
	timer_set(ingest->timer, seconds);
}

/* Close everything, and start again after so many seconds. */
void
ingest_pause(Ingest *ingest, double seconds)
{
	close_all(ingest);
	ingest_sleep(ingest, seconds);
}

/*
 * Close everything and start again: soon, if it has been going well.
 *
 * The stream must not stay open without us: a walsender whose client never
 * confirms holds up the server's shutdown.
 */
void
ingest_restart(Ingest *ingest)
{
	if (ingest->state == INGEST_RUNNING && conn_age(ingest->conn) > GOOD_AGE)
		conn_reset_back_off(ingest->conn);
	ingest_pause(ingest, conn_back_off(ingest->conn));
}

/* It is not for us to read the slot: nothing is wrong with that. */
void
ingest_forget_troubles(Ingest *ingest)
{
	trouble_clear(&ingest->trouble, ingest->dbname, NULL);
	trouble_clear(&ingest->write_trouble, ingest->dbname, NULL);
	trouble_clear(&ingest->wait_trouble, ingest->dbname, NULL);
}

/* Switch off at once. */
void
ingest_stop(Ingest *ingest)
{
	event_del(ingest->timer);
	close_all(ingest);
	ingest->state = INGEST_OFF;
	ingest->standing_by = false;
	ingest_forget_troubles(ingest);
}

/* The connection to the database that has the slot. */
Conn *
ingest_get_slot_conn(Ingest *ingest)
{
	return ingest->source ? ingest_source_get_conn(ingest->source)
						  : ingest->conn;
}
