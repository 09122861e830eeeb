/*-------------------------------------------------------------------------
 *
 * ingest.h
 *		Write what the slot sends into the queues: exactly once, in order.
 *
 * ingest.c writes groups and confirms them; ingest_start.c finds slot and
 * position, opens the stream and deals with what can be wrong there.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_INGEST_H
#define PGQD_INGEST_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/confirm.h"
#include "ticker/conn.h"
#include "ticker/gather.h"
#include "ticker/stats.h"
#include "ticker/stream.h"
#include "ticker/tick.h"
#include "ticker/trouble.h"

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

typedef struct Ingest
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
	Trouble wait_trouble;
	double waiting_since; /* for source transactions; 0: it does not wait */
	double discard_logged_at;
	int64_t discarded; /* since that was logged */
} Ingest;

/* ingest.c */
extern Ingest *ingest_create(struct event_base *base, const Config *config,
							 const char *dbname, Tick *tick, Stats *stats);
extern void ingest_free(Ingest *ingest);
extern bool ingest_is_off(const Ingest *ingest);
extern bool ingest_is_busy(const Ingest *ingest);
extern const char *ingest_get_state(const Ingest *ingest);
extern const char *ingest_get_trouble(const Ingest *ingest);
extern const char *ingest_get_warning(const Ingest *ingest);
extern void ingest_drop_all(Ingest *ingest);
extern void ingest_pump(Ingest *ingest);
extern void ingest_ask_sync(Ingest *ingest);

/* ingest_start.c */
extern const ConnHooks ingest_conn_hooks;
extern void ingest_start(Ingest *ingest);
extern void ingest_stop(Ingest *ingest);
extern void ingest_pause(Ingest *ingest, double seconds);
extern void ingest_hurry(Ingest *ingest);
extern void ingest_end_pause(evutil_socket_t fd, short what, void *arg);
extern void ingest_restart(Ingest *ingest);
extern void ingest_check_slot(Ingest *ingest);
extern void ingest_handle_end(StreamEnd end, const char *sqlstate,
							  const char *why, void *arg);

#endif /* PGQD_INGEST_H */
