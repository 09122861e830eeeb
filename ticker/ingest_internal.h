/*-------------------------------------------------------------------------
 *
 * ingest_internal.h
 *		The ingest of one database as its own files see it.
 *
 * Calls go one way: ingest.c -> ingest_start.c (slot and position, the stream's
 * opening, what can be wrong there) -> ingest_write.c (groups) ->
 * ingest_pause.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_INGEST_INTERNAL_H
#define PGQD_INGEST_INTERNAL_H

#include <stdint.h>

#include "ticker/confirm.h"
#include "ticker/conn.h"
#include "ticker/gather.h"
#include "ticker/ingest.h"
#include "ticker/stream.h"
#include "ticker/trouble.h"

/* Seconds between moves of the position of a database without events. */
#define IDLE_PERIOD 10.0

/* The same where commits wait for it. */
#define SYNCHRONOUS_PERIOD 1.0

/* See the table in ingest_start.c. */
typedef enum IngestState
{
	INGEST_OFF,
	INGEST_PAUSED,
	INGEST_CONNECTING,
	INGEST_LOOKING,
	INGEST_OPENING,
	INGEST_CHECKING,
	INGEST_RUNNING
} IngestState;

struct Ingest
{
	const Config *config;
	char *dbname;
	Stats *stats;
	Tick *tick;
	Conn *conn;
	Stream *stream;
	Confirm *confirm;
	IngestState state;
	struct event *timer; /* ends INGEST_PAUSED */
	struct event *idle;  /* time to let the position follow */
	bool synchronous;    /* commits of the server wait for us */

	char *slot;
	uint64_t position;      /* as pgq.position has it */
	unsigned timeline;      /* that it is on; 0: unknown */
	bool may_replicate;     /* our role has the right */
	char *recorded_problem; /* what pgq.slot says, NULL: none */
	bool standing_by;       /* someone else reads the slot */

	Gather gather;
	Group *group;        /* being written, NULL: none */
	bool in_transaction; /* BEGIN was sent, COMMIT not yet */
	Names queues;        /* fed by the transaction so far */
	int64_t events;      /* written by it */

	uint64_t own_wal_end; /* where our last commit's WAL ended */

	Trouble trouble;
	Trouble write_trouble; /* until a group is written again */
	Trouble wait_trouble;
	double waiting_since; /* for source transactions; 0: it does not wait */
	double discard_logged_at;
	int64_t discarded; /* since that was logged */
};

/* ingest_start.c */
extern const ConnHooks ingest_conn_hooks;
extern void ingest_end_pause(evutil_socket_t fd, short what, void *arg);
extern void ingest_check_slot(Ingest *ingest);
extern void ingest_handle_end(StreamEnd end, const char *sqlstate,
							  const char *why, void *arg);
extern void ingest_ask_sync(Ingest *ingest);

/* ingest_write.c */
extern void ingest_pump(Ingest *ingest);

/* ingest_pause.c */
extern void ingest_drop_group(Ingest *ingest);
extern void ingest_drop_all(Ingest *ingest);
extern void ingest_sleep(Ingest *ingest, double seconds);
extern void ingest_pause(Ingest *ingest, double seconds);
extern void ingest_restart(Ingest *ingest);
extern void ingest_forget_troubles(Ingest *ingest);

#endif /* PGQD_INGEST_INTERNAL_H */
