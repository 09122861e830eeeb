/*-------------------------------------------------------------------------
 *
 * ingest_source.c
 *		What ingest asks a source on another server: its slot, and whether its
 *		transactions are visible there.
 *
 * The server there belongs to somebody: nothing but PostgreSQL's own functions
 * is called, which need no rights but to log in; and what it answers counts for its
 * own queues alone.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/utf8.h"
#include "common/wal_level.h"
#include "ticker/timer.h"

/* Seconds between looks whether transactions are visible: the first, the last. */
#define FIRST_NAP 0.001
#define LAST_NAP 0.05

/* The slot that is named, or else the only one of ours; how many there are. */
static const char slot_sql[] =
	"select r.slot_name, r.active_pid, r.wal_status, r.confirmed_flush_lsn,"
	" (r.plugin operator(pg_catalog.=) 'pgq' and r.database"
	" operator(pg_catalog.=) pg_catalog.current_database()) is true,"
	" c.system_identifier, pg_catalog.current_database(),"
	" pg_catalog.getdatabaseencoding(), pg_catalog.pg_is_in_recovery(),"
	" " WAL_LEVEL_SUFFICES ","
	" (select a.rolreplication or a.rolsuper from pg_catalog.pg_roles a"
	" where a.rolname operator(pg_catalog.=) current_user)"
	" from pg_catalog.pg_control_system() c"
	" left join pg_catalog.pg_replication_slots r on case when $1::text is null"
	" then r.plugin operator(pg_catalog.=) 'pgq' and not r.temporary"
	" and r.database operator(pg_catalog.=) pg_catalog.current_database()"
	" else r.slot_name operator(pg_catalog.=) $1::pg_catalog.name end";

enum
{
	SLOT_NAME,
	SLOT_ACTIVE_PID,
	SLOT_WAL_STATUS,
	SLOT_CONFIRMED,
	SLOT_OURS,
	SLOT_SYSID,
	SLOT_DATABASE,
	SLOT_ENCODING,
	SLOT_IN_RECOVERY,
	SLOT_DECODES,
	SLOT_MAY_REPLICATE,
	SLOT_COLUMNS
};

/* On the queue host. */
static const char meet_sql[] =
	"select key, \"position\", timeline, problem, foreign_reason"
	" from pgq._meet_source($1, $2::int8, $3, $4, $5, $6::pg_lsn)";

enum
{
	MEET_KEY,
	MEET_POSITION,
	MEET_TIMELINE,
	MEET_PROBLEM,
	MEET_FOREIGN
};

static const char confirmed_sql[] =
	"select r.confirmed_flush_lsn from pg_catalog.pg_replication_slots r"
	" where r.slot_name operator(pg_catalog.=) $1::pg_catalog.name";

/*
 * Frames have the lower half of a transaction's id.  It is visible when a snapshot
 * has it neither as running nor as one to come.
 */
static const char visible_sql[] =
	"with s as materialized (select"
	" pg_catalog.pg_snapshot_xmax(c)::text::int8 as xmax, array(select"
	" x::text::int8 operator(pg_catalog.&) 4294967295"
	" from pg_catalog.pg_snapshot_xip(c) x) as xip"
	" from pg_catalog.pg_current_snapshot() c)"
	" select not exists (select from pg_catalog.unnest($1::int8[]) x, s"
	" where ((x operator(pg_catalog.-) s.xmax) operator(pg_catalog.&)"
	" 4294967295) operator(pg_catalog.<) 2147483648"
	" or x operator(pg_catalog.=) any (s.xip))";

struct IngestSource
{
	char *name;
	char *slot; /* that is wanted; NULL: the only one */
	Ingest *ingest;
	const IngestSourceHooks *hooks;
	Conn *conn;

	IngestFound found;
	IngestLook look; /* texts point into the next, and the answer */
	PGresult *slot_row;

	void (*waited)(Ingest *ingest);
	char *xids; /* that are waited for */
	double nap;
	struct event *timer;
};

static void
source_became_ready(Conn *conn, void *arg)
{
	IngestSource *source = arg;

	/* names go to the queues' database, which should be UTF8 */
	conn_use_utf8(conn);
	source->hooks->ready(source->ingest);
}

static void
source_was_lost(Conn *conn, const char *why, void *arg)
{
	IngestSource *source = arg;

	source->hooks->failed(source->ingest, "connection to the source", why);
}

static const ConnHooks conn_hooks = {source_became_ready, source_was_lost,
									 NULL};

static void handle_nap(evutil_socket_t fd, short what, void *arg);

/*
 * The source side of an ingest, not connected.  source_config is copied; hooks must
 * outlive it.
 */
IngestSource *
ingest_source_create(struct event_base *base, const Config *config,
					 const SourceConfig *source_config,
					 const IngestSourceHooks *hooks, Ingest *ingest)
{
	IngestSource *source = memory_make(sizeof(IngestSource));

	source->name = text_copy(source_config->name);
	source->slot = source_config->slot ? text_copy(source_config->slot) : NULL;
	source->ingest = ingest;
	source->hooks = hooks;
	source->conn = conn_create(base, config, ingest->dbname, "source", false,
							   &conn_hooks, source);
	conn_set_server(source->conn, source_config->connstr, "source");
	source->timer = timer_make(base, 0, handle_nap, source);
	return source;
}

static void
forget_look(IngestSource *source)
{
	PQclear(source->slot_row);
	source->slot_row = NULL;
}

/* Close and free; NULL is nothing. */
void
ingest_source_free(IngestSource *source)
{
	if (source == NULL)
		return;
	ingest_source_close(source);
	event_free(source->timer);
	conn_free(source->conn);
	free(source->name);
	free(source->slot);
	free(source);
}

/* Close the connection, and forget what was asked. */
void
ingest_source_close(IngestSource *source)
{
	event_del(source->timer);
	conn_close(source->conn);
	forget_look(source);
	free(source->xids);
	source->xids = NULL;
}

/* Its name, and the connection to it; both belong to the object. */
const char *
ingest_source_get_name(const IngestSource *source)
{
	return source->name;
}

Conn *
ingest_source_get_conn(const IngestSource *source)
{
	return source->conn;
}

/*
 * Did it work, with so many columns?  A server that means ill may send others, and
 * libpq gives no text for one that is not there.
 */
static bool
is_whole(const PGresult *res, int columns)
{
	return !conn_failed(res) && PQnfields(res) == columns;
}

static const char *
get_value(const PGresult *res, int column)
{
	return PQgetisnull(res, 0, column) ? NULL : PQgetvalue(res, 0, column);
}

/* The queue host has told where to go on. */
static void
take_meeting(Conn *conn, const PGresult *res, void *arg)
{
	IngestSource *source = arg;
	const PGresult *row = source->slot_row;
	IngestLook *look = &source->look;

	memset(look, 0, sizeof(*look));
	if (conn_failed(res) || PQntuples(res) != 1)
		look->error = PQresultErrorMessage(res);
	else
	{
		/* the answer goes when we return, and so does the look */
		look->slot = source->slot ? source->slot : get_value(row, SLOT_NAME);
		look->key = get_value(res, MEET_KEY);
		look->position = PQgetvalue(res, 0, MEET_POSITION);
		look->timeline = PQgetvalue(res, 0, MEET_TIMELINE);
		look->problem = get_value(res, MEET_PROBLEM);
		look->foreign = get_value(res, MEET_FOREIGN);
		look->sysid = PQgetvalue(row, 0, SLOT_SYSID);
		look->exists = !PQgetisnull(row, 0, SLOT_NAME);
		look->ours = conn_is_true(row, SLOT_OURS);
		look->active_pid = get_value(row, SLOT_ACTIVE_PID);
		look->lost = strcmp(PQgetvalue(row, 0, SLOT_WAL_STATUS), "lost") == 0;
		look->decodes = conn_is_true(row, SLOT_DECODES);
		look->holds_back = true; /* no source is older */
		look->may_replicate = conn_is_true(row, SLOT_MAY_REPLICATE);
	}
	source->found(source->ingest, look);
}

static void
meet(IngestSource *source)
{
	const PGresult *row = source->slot_row;
	const char *values[6] = {source->name,
							 PQgetvalue(row, 0, SLOT_SYSID),
							 PQgetvalue(row, 0, SLOT_DATABASE),
							 source->slot ? source->slot
										  : PQgetvalue(row, 0, SLOT_NAME),
							 PQgetvalue(row, 0, SLOT_ENCODING),
							 get_value(row, SLOT_CONFIRMED)};

	conn_send(source->ingest->conn, meet_sql, 6, values, take_meeting, source);
}

/*
 * Are the names fit for logs, and for the key of the position?  That is made of them
 * with a / between: PostgreSQL allows none in a slot's.
 */
static bool
has_good_names(const PGresult *row)
{
	static const char slot_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *slot = PQgetvalue(row, 0, SLOT_NAME);
	bool good = slot[strspn(slot, slot_letters)] == '\0';

	for (int i = 0; i < SLOT_COLUMNS && good; i++)
	{
		char *text = text_copy(PQgetvalue(row, 0, i));

		utf8_make_printable(text);
		good = strcmp(text, PQgetvalue(row, 0, i)) == 0;
		free(text);
	}
	return good;
}

static void
take_slot(Conn *conn, const PGresult *res, void *arg)
{
	IngestSource *source = arg;
	IngestLook look = {0};

	if (!is_whole(res, SLOT_COLUMNS) || PQntuples(res) == 0)
		look.error = conn_failed(res) ? PQresultErrorMessage(res)
									  : "the source does not answer as "
										"PostgreSQL does";
	else if (conn_is_true(res, SLOT_IN_RECOVERY))
		look.error = "the source is a standby: waits for its promotion";
	else if (PQntuples(res) > 1)
		look.error =
			"the source has several capture slots: name one by \"slot\" "
			"in its section";
	else if (source->slot == NULL && PQgetisnull(res, 0, SLOT_NAME))
		look.error =
			"the source has no capture slot: pgq.start_capture() there "
			"makes it";
	else if (!has_good_names(res))
		look.error =
			"the source's database or slot has control characters in its "
			"name, or others that it can't have";
	else
	{
		forget_look(source);
		source->slot_row = PQcopyResult(res, PG_COPYRES_TUPLES);
		if (source->slot_row == NULL)
			abort();
		meet(source);
		return;
	}
	source->found(source->ingest, &look);
}

/*
 * Connect to the source if it is not connected; hooks->ready() follows.
 * Returns whether it is.
 */
bool
ingest_source_connect(IngestSource *source)
{
	if (conn_is_ready(source->conn))
		return true;
	conn_open(source->conn);
	return false;
}

/*
 * Find the slot there, and the position here.  The look is good while found() runs;
 * it is not called when a connection is lost meanwhile.
 */
void
ingest_source_look(IngestSource *source, IngestFound found)
{
	const char *values[1] = {source->slot};

	source->found = found;
	conn_send(source->conn, slot_sql, 1, values, take_slot, source);
}

/* Up to where the slot is confirmed there; answer() gets one row. */
bool
ingest_source_ask_confirmed(IngestSource *source, const char *slot,
							ConnAnswer answer)
{
	const char *values[1] = {slot};

	return conn_send(source->conn, confirmed_sql, 1, values, answer,
					 source->ingest);
}

static void
take_visible(Conn *conn, const PGresult *res, void *arg)
{
	IngestSource *source = arg;
	Ingest *ingest = source->ingest;

	if (!is_whole(res, 1) || PQntuples(res) != 1)
	{
		source->hooks->failed(ingest,
							  "could not ask whether transactions are visible",
							  PQresultErrorMessage(res));
		return;
	}
	if (conn_is_true(res, 0))
	{
		free(source->xids);
		source->xids = NULL;
		source->waited(ingest);
		return;
	}
	timer_set(source->timer, source->nap);
	source->nap = source->nap * 2 < LAST_NAP ? source->nap * 2 : LAST_NAP;
}

static void
handle_nap(evutil_socket_t fd, short what, void *arg)
{
	IngestSource *source = arg;
	const char *values[1] = {source->xids};

	conn_send_often(source->conn, visible_sql, 1, values, NULL, NULL,
					take_visible, source);
}

/*
 * Call waited() when these transactions, which have committed, are visible to
 * others at the source; not when a connection is lost meanwhile.
 */
void
ingest_source_wait(IngestSource *source, const Xids *xids,
				   void (*waited)(Ingest *ingest))
{
	free(source->xids);
	source->xids = xids_to_array(xids);
	source->waited = waited;
	source->nap = FIRST_NAP;
	handle_nap(-1, 0, source);
}
