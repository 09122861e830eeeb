/*-------------------------------------------------------------------------
 *
 * ingest_internal.h
 *		The ingest of one database as its own files see it.
 *
 * Calls go one way: ingest.c -> ingest_start.c (slot and position, the stream's
 * opening, what can be wrong there) -> ingest_check.c (the open stream) ->
 * ingest_write.c (groups) -> ingest_problem.c (what is wrong, written down) ->
 * ingest_pause.c -> ingest_source.c (the server of a source).
 *
 * The slot is that of the queues' database, or of a source on another server;
 * then there is an IngestSource, which has a connection to it.
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

/* The same where commits wait for it, or after a write that failed. */
#define HASTY_PERIOD 1.0

/* What the source's server says of the slot, and the queues' of its position. */
typedef struct IngestLook
{
	const char *error; /* NULL: the rest is there */
	const char *slot;
	const char *key; /* of its position: the slot's name, or a source's */
	const char *sysid;
	const char *problem; /* that is recorded, NULL: none */
	const char *position;
	const char *timeline;
	const char *foreign; /* why the position is not this slot's; NULL: it is */
	const char *active_pid; /* NULL: nobody reads it */
	bool exists;
	bool ours; /* by database and plugin */
	bool lost;
	bool may_replicate;
	bool decodes;
	bool holds_back; /* its plugin can, as since 4.1 */
	int max_queues;  /* that a transaction may feed; 0: nobody counts them */
} IngestLook;

typedef void (*IngestFound)(Ingest *ingest, const IngestLook *look);

typedef struct IngestSource IngestSource;

typedef struct IngestSourceHooks
{
	/* connected */
	void (*ready)(Ingest *ingest);
	/* the connection was lost, or is of no use */
	void (*failed)(Ingest *ingest, const char *what, const char *why);
} IngestSourceHooks;

/* The newest position of a slot: its name, or its source's key, stands between. */
#define POSITION_SQL                                                           \
	"(select p.pos_lsn from pgq.position p"                                    \
	" where p.pos_slot operator(pg_catalog.=) "

#define POSITION_SQL_END " order by p.pos_lsn desc limit 1)"

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
	char *dbname; /* for the log: that of the queues, and the source's name */
	char *who;    /* the source, for troubles; NULL: none */
	Stats *stats;
	Tick *tick;
	Conn *conn;           /* to the queues */
	IngestSource *source; /* NULL: the slot is that database's own */
	Stream *stream;
	Confirm *confirm;
	IngestState state;
	struct event *timer; /* ends INGEST_PAUSED */
	struct event *idle;  /* time to let the position follow */
	bool synchronous;    /* commits of the server wait for us */

	char *slot;
	char *key;              /* what pgq.position has it under */
	uint64_t position;      /* as pgq.position has it */
	uint64_t confirmed;     /* as the slot had it when the stream was opened */
	unsigned timeline;      /* that it is on; 0: unknown */
	bool may_replicate;     /* our role has the right */
	char *recorded_problem; /* what pgq.slot says, NULL: none */
	bool standing_by;       /* someone else reads the slot */

	Gather gather;
	struct event *more;  /* set: a group waits for more to come */
	bool waited;         /* it has */
	Group *group;        /* being written, NULL: none */
	bool in_transaction; /* BEGIN was sent, COMMIT not yet */
	Names queues;        /* fed by the transaction so far */
	int64_t events;      /* written by it */
	bool fed;            /* some queue of a source, not ticked yet */

	/* where our last commit's WAL ended, in the WAL of the queues' server */
	uint64_t own_wal_end;

	Trouble trouble;
	Trouble write_trouble; /* until a group is written again */
	Trouble wait_trouble;
	double waiting_since; /* for source transactions; 0: it does not wait */
	double discard_logged_at;
	int64_t discarded; /* since that was logged */
};

/* ingest_start.c */
extern const ConnHooks ingest_conn_hooks;
extern const IngestSourceHooks ingest_source_hooks;
extern void ingest_end_pause(evutil_socket_t fd, short what, void *arg);
extern void ingest_handle_end(StreamEnd end, const char *sqlstate,
							  const char *why, void *arg);

/* ingest.c */
extern void ingest_plan_idle(Ingest *ingest);

/* ingest_check.c */
extern void ingest_check_slot(Ingest *ingest);
extern void ingest_ask_sync(Ingest *ingest);

/* ingest_problem.c */
extern void ingest_rest(Ingest *ingest);
extern void ingest_stand_still(Ingest *ingest, bool missing,
							   const char *problem);
extern void ingest_clear_problem(Ingest *ingest);
extern void ingest_record_timeline(Ingest *ingest);

/* ingest_write.c */
extern void ingest_pump(Ingest *ingest);
extern void ingest_end_gathering(evutil_socket_t fd, short what, void *arg);

/* ingest_source.c */
extern IngestSource *ingest_source_create(struct event_base *base,
										  const Config *config,
										  const SourceConfig *source_config,
										  const IngestSourceHooks *hooks,
										  Ingest *ingest);
extern void ingest_source_free(IngestSource *source);
extern void ingest_source_close(IngestSource *source);
extern const char *ingest_source_get_name(const IngestSource *source);
extern Conn *ingest_source_get_conn(const IngestSource *source);
extern bool ingest_source_connect(IngestSource *source);
extern void ingest_source_look(IngestSource *source, IngestFound found);
extern bool ingest_source_ask_confirmed(IngestSource *source, const char *slot,
										ConnAnswer answer);
extern void ingest_source_wait(IngestSource *source, const Xids *xids,
							   void (*waited)(Ingest *ingest));

/* ingest_pause.c */
extern void ingest_drop_group(Ingest *ingest);
extern void ingest_drop_all(Ingest *ingest);
extern void ingest_sleep(Ingest *ingest, double seconds);
extern void ingest_pause(Ingest *ingest, double seconds);
extern void ingest_restart(Ingest *ingest);
extern void ingest_forget_troubles(Ingest *ingest);
extern Conn *ingest_get_slot_conn(Ingest *ingest);

#endif /* PGQD_INGEST_INTERNAL_H */
