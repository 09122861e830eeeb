/*-------------------------------------------------------------------------
 *
 * conn.c
 *		One connection to a database, driven by the event loop.
 *
 *	state		event					next		then
 *	CLOSED		conn_open, timer		CONNECTING
 *	CONNECTING	dial.c is done			SETUP		send session settings
 *	SETUP		settings answered, and	READY		ready()
 *				trust if it is needed
 *	READY		COPY BOTH answered		COPY		readable() from now on
 *	any			error, end of stream	CLOSED		lost()
 *	any			conn_close				CLOSED
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "ticker/conn_internal.h"
#include "ticker/dial.h"

/* Seconds that the first statements of a session may take. */
#define SETUP_PATIENCE 30.0

/* Seconds between looks whether a name server is silent. */
#define LOOKUP_PERIOD 1.0

/* First and longest pause between attempts, in seconds. */
#define BACK_OFF_FIRST 0.2
#define BACK_OFF_LONGEST 5.0

static void handle_timer(evutil_socket_t fd, short what, void *arg);
static void handle_io(evutil_socket_t fd, short what, void *arg);

/* Seconds as libevent wants them. */
struct timeval
conn_timeval(double seconds)
{
	struct timeval tv;

	if (seconds < 0)
		seconds = 0;
	tv.tv_sec = (time_t) seconds;
	tv.tv_usec = (suseconds_t) ((seconds - (double) tv.tv_sec) * 1e6);
	return tv;
}

/*
 * Make a closed connection object for database "dbname".
 *
 * job is the last part of the session's application_name.  hooks must outlive
 * the object; arg is handed to them.  The strings are copied.
 */
Conn *
conn_create(struct event_base *base, const Config *config, const char *dbname,
			const char *job, bool replication, const ConnHooks *hooks,
			void *arg)
{
	Conn *conn = calloc(1, sizeof(Conn));

	if (conn == NULL)
		abort();
	conn->base = base;
	conn->config = config;
	conn->dbname = strdup(dbname);
	conn->job = strdup(job);
	conn->replication = replication;
	conn->hooks = hooks;
	conn->arg = arg;
	conn->io_fd = -1;
	conn->timer = event_new(base, -1, 0, handle_timer, conn);
	if (conn->dbname == NULL || conn->job == NULL || conn->timer == NULL)
		abort();
	return conn;
}

/*
 * From the next opening on the connection is ready only in a database whose PgQ
 * can be trusted, and lost in others; or no longer (on false).
 */
void
conn_require_trust(Conn *conn, bool on)
{
	conn->trust_needed = on;
}

/*
 * Close and free.  Must not be called from a hook or an answer of this
 * connection.
 */
void
conn_free(Conn *conn)
{
	if (conn == NULL)
		return;
	conn_close(conn);
	event_free(conn->timer);
	free(conn->dbname);
	free(conn->job);
	free(conn);
}

static void
stop_io(Conn *conn)
{
	if (conn->io)
		event_free(conn->io);
	conn->io = NULL;
	conn->io_what = 0;
	conn->io_fd = -1;
}

/* Wait for the socket, or what dials, to be readable or writable. */
static void
set_io(Conn *conn, short what)
{
	int fd = conn->dial ? dial_get_fd(conn->dial) : PQsocket(conn->pg);

	if (conn->io && fd == conn->io_fd && what == conn->io_what)
		return;
	stop_io(conn);
	if (what == 0)
		return;
	conn->io = event_new(conn->base, fd, what | EV_PERSIST, handle_io, conn);
	if (conn->io == NULL || event_add(conn->io, NULL) < 0)
		abort();
	conn->io_fd = fd;
	conn->io_what = what;
}

/*
 * Close at once and forget all queries; no hook is called.  A closed
 * connection that waits to be opened is no longer opened.
 */
void
conn_close(Conn *conn)
{
	conn->serial++;
	conn->state = CONN_CLOSED;
	event_del(conn->timer);
	stop_io(conn);
	while (conn->first)
	{
		Query *query = conn->first;

		conn->first = query->next;
		PQclear(query->res);
		free(query);
	}
	conn->last = NULL;
	conn->nprepared = 0;
	if (conn->dial)
		dial_drop(conn->dial);
	conn->dial = NULL;
	if (conn->pg)
		PQfinish(conn->pg);
	conn->pg = NULL;
	free(conn->fatal);
	conn->fatal = NULL;
	free(conn->start_error);
	conn->start_error = NULL;
}

/*
 * Close because of an error, and tell the owner.  The server's last words,
 * if it had any, explain more than the error that follows from them.
 */
void
conn_fail(Conn *conn, const char *why)
{
	char *copy = strdup(conn->fatal ? conn->fatal : why);

	if (copy == NULL)
		abort();
	conn_close(conn);
	conn->hooks->lost(conn, copy, conn->arg);
	free(copy);
}

/* Notices are swallowed, but for the one that ends the session. */
static void
receive_notice(void *arg, const PGresult *res)
{
	Conn *conn = arg;
	const char *severity = PQresultErrorField(res,
											  PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	log_debug("[%s]: %s: %s", conn->dbname, conn->job, text ? text : "");
	if (severity && text &&
		(strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
	{
		free(conn->fatal);
		conn->fatal = strdup(text);
	}
}

/* Start to connect; ready() or lost() will be called later. */
void
conn_open(Conn *conn)
{
	struct timeval tv;

	conn_close(conn);
	conn->dial = dial_start(conn->config->base_connstr, conn->dbname, conn->job,
							conn->replication);
	conn->lookup_logged = false;
	if (conn->dial == NULL)
	{
		/* the caller does not expect lost() yet */
		conn->start_error = strdup(strerror(errno));
		tv = conn_timeval(0);
	}
	else
	{
		conn->state = CONN_CONNECTING;
		set_io(conn, EV_READ);
		tv = conn_timeval(LOOKUP_PERIOD);
	}
	event_add(conn->timer, &tv);
}

/* From now on call these; the argument stays. */
void
conn_set_hooks(Conn *conn, const ConnHooks *hooks)
{
	conn->hooks = hooks;
}

/* Close, and open after so many seconds. */
void
conn_open_later(Conn *conn, double seconds)
{
	struct timeval tv = conn_timeval(seconds);

	conn_close(conn);
	event_add(conn->timer, &tv);
}

/*
 * How many seconds to pause before the next attempt: half as long again as the
 * last time, up to a limit, which is how late one may be when a server is back.
 */
double
conn_back_off(Conn *conn)
{
	conn->pause = conn->pause == 0 ? BACK_OFF_FIRST : conn->pause * 1.5;
	if (conn->pause > BACK_OFF_LONGEST)
		conn->pause = BACK_OFF_LONGEST;
	return conn->pause;
}

/* The connection has been of use: the next pause is the shortest again. */
void
conn_reset_back_off(Conn *conn)
{
	conn->pause = 0;
}

static void
look_at_dial(Conn *conn)
{
	struct timeval tv = conn_timeval(LOOKUP_PERIOD);
	char *wait = dial_find_wait(conn->dial);

	if (wait && !conn->lookup_logged)
	{
		log_warning("[%s]: %s: %s", conn->dbname, conn->job, wait);
		conn->lookup_logged = true;
	}
	free(wait);
	event_add(conn->timer, &tv);
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Conn *conn = arg;

	if (conn->start_error)
		conn_fail(conn, conn->start_error);
	else if (conn->state == CONN_CLOSED)
		conn_open(conn);
	else if (conn->state == CONN_CONNECTING)
		look_at_dial(conn);
	else
		conn_fail(conn, "timeout while connecting");
}

/* Wait for what there is to wait for. */
static void
update_io(Conn *conn, bool want_write)
{
	set_io(conn, (conn->want_read ? EV_READ : 0) | (want_write ? EV_WRITE : 0));
}

/* Send what libpq holds, and go on when the socket takes more. */
void
conn_flush(Conn *conn)
{
	int left = PQflush(conn->pg);

	/*
	 * A failure to send is left for the next read to report: the server's
	 * reason for closing may be there still.
	 */
	update_io(conn, left == 1);
	if (left < 0)
	{
		conn->want_read = true;
		update_io(conn, false);
		event_active(conn->io, EV_READ, 0);
	}
}

/*
 * Listen to the socket or not; only for copy mode.  When on, what has been read
 * already is looked at, too.
 */
void
conn_want_read(Conn *conn, bool on)
{
	if (conn->state != CONN_COPY)
		return;
	if (conn->want_read != on)
	{
		conn->want_read = on;
		update_io(conn, PQflush(conn->pg) == 1);
	}
	/* a TLS library may hold data that the socket knows nothing of */
	if (on)
		event_active(conn->io, EV_READ, 0);
}

/*
 * A query has been handed to libpq, or not ("ok"); its answer will come.
 * prepared: it is one that conn_send_often() sent.
 */
void
conn_note_query(Conn *conn, bool ok, bool prepared, ConnAnswer answer,
				void *arg)
{
	Query *query;

	if (!ok)
	{
		/* out of memory, or broken: reported by the next read */
		log_debug("[%s]: %s: could not send: %s", conn->dbname, conn->job,
				  PQerrorMessage(conn->pg));
		if (PQstatus(conn->pg) != CONNECTION_BAD)
		{
			free(conn->fatal);
			conn->fatal = strdup(PQerrorMessage(conn->pg));
			shutdown(PQsocket(conn->pg), SHUT_RDWR);
		}
	}
	query = calloc(1, sizeof(Query));
	if (query == NULL)
		abort();
	query->answer = answer;
	query->arg = arg;
	query->prepared = prepared;
	if (conn->last)
		conn->last->next = query;
	else
		conn->first = query;
	conn->last = query;
	conn_flush(conn);
}

/* As conn_send(), in whatever state. */
void
conn_send_query(Conn *conn, const char *sql, int nparams,
				const char *const *values, const int *lengths,
				const int *formats, ConnAnswer answer, void *arg)
{
	bool ok;

	if (conn->replication)
		ok = PQsendQuery(conn->pg, sql);
	else
		ok = PQsendQueryParams(conn->pg, sql, nparams, NULL, values, lengths,
							   formats, 0) &&
			 PQpipelineSync(conn->pg);
	conn_note_query(conn, ok, false, answer, arg);
}

/*
 * Send one statement.
 *
 * Parameters are as PQsendQueryParams() takes them, of unknown types, and may
 * be freed on return; a replication connection takes none and one statement
 * at a time.  answer may be NULL, for a statement whose fate does not matter.
 *
 * Returns false if the connection is not ready; then nothing is sent and
 * nothing answered.
 */
bool
conn_send(Conn *conn, const char *sql, int nparams, const char *const *values,
		  const int *lengths, const int *formats, ConnAnswer answer, void *arg)
{
	if (conn->state != CONN_READY)
		return false;
	conn_send_query(conn, sql, nparams, values, lengths, formats, answer, arg);
	return true;
}

/*
 * The same for a statement that is sent again and again: parsed and planned
 * once in a session.  sql is a constant, known by its address.
 */
bool
conn_send_often(Conn *conn, const char *sql, int nparams,
				const char *const *values, const int *lengths,
				const int *formats, ConnAnswer answer, void *arg)
{
	char name[16];
	bool ok = true;
	int i = 0;

	if (conn->state != CONN_READY)
		return false;
	while (i < conn->nprepared && conn->prepared[i] != sql)
		i++;
	if (i == MAX_PREPARED)
		abort();
	snprintf(name, sizeof(name), "pgqd%d", i);
	if (i == conn->nprepared)
	{
		conn->prepared[conn->nprepared++] = sql;
		ok = PQsendPrepare(conn->pg, name, sql, nparams, NULL);
	}
	ok = ok &&
		 PQsendQueryPrepared(conn->pg, name, nparams, values, lengths, formats,
							 0) &&
		 PQpipelineSync(conn->pg);
	conn_note_query(conn, ok, true, answer, arg);
	return true;
}

/* The attempt to connect has ended. */
static void
take_dialed(Conn *conn)
{
	char *error;

	stop_io(conn);
	conn->pg = dial_finish(conn->dial, &error);
	conn->dial = NULL;
	if (conn->pg)
	{
		struct timeval tv = conn_timeval(SETUP_PATIENCE);

		PQsetNoticeReceiver(conn->pg, receive_notice, conn);
		conn->want_read = true;
		event_add(conn->timer, &tv);
		conn_start_session(conn);
	}
	else
		conn_fail(conn, error);
	free(error);
}

/*
 * A prepared statement has failed.  It may not have come to be, or its result
 * may be another by now: begin anew.
 */
static void
forget_prepared(Conn *conn)
{
	conn->nprepared = 0;
	conn_send_query(conn, "deallocate all", 0, NULL, NULL, NULL, NULL, NULL);
}

/* The oldest query is answered: hand its result over. */
static void
finish_query(Conn *conn)
{
	Query *query = conn->first;
	unsigned serial = conn->serial;

	conn->first = query->next;
	if (conn->first == NULL)
		conn->last = NULL;
	if (query->res == NULL)
		query->res = PQmakeEmptyPGresult(conn->pg, PGRES_FATAL_ERROR);
	if (query->prepared && conn_failed(query->res))
		forget_prepared(conn);
	if (PQresultStatus(query->res) == PGRES_COPY_BOTH)
		conn->state = CONN_COPY;
	if (query->answer)
		query->answer(conn, query->res, query->arg);
	PQclear(query->res);
	free(query);

	/* what came with the answer of START_REPLICATION is read already */
	if (serial == conn->serial && conn->state == CONN_COPY && conn->io)
		event_active(conn->io, EV_READ, 0);
}

static void
read_results(Conn *conn)
{
	unsigned serial = conn->serial;
	bool null_before = false;

	if (!PQconsumeInput(conn->pg))
	{
		conn_fail(conn, PQerrorMessage(conn->pg));
		return;
	}
	while (!PQisBusy(conn->pg))
	{
		PGresult *res = PQgetResult(conn->pg);
		Query *query = conn->first;
		ExecStatusType status = PQresultStatus(res);
		bool done;

		if (query == NULL)
		{
			PQclear(res);
			if (res == NULL)
				break;
			continue;
		}
		/* a query ends with the sync behind it, or without pipeline with NULL */
		if (res == NULL &&
			(null_before || PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF))
		{
			if (null_before)
				break;
			null_before = true;
			continue;
		}
		null_before = false;
		done = res == NULL || status == PGRES_PIPELINE_SYNC;
		if (done)
			PQclear(res);
		else if (query->res == NULL || !conn_failed(query->res))
		{
			PQclear(query->res);
			query->res = res;
			done = status == PGRES_COPY_BOTH;
		}
		else
			PQclear(res);
		if (done)
		{
			finish_query(conn);
			if (serial != conn->serial || conn->state == CONN_COPY)
				return;
		}
	}
	if (PQstatus(conn->pg) == CONNECTION_BAD)
		conn_fail(conn, PQerrorMessage(conn->pg));
}

static void
handle_io(evutil_socket_t fd, short what, void *arg)
{
	Conn *conn = arg;
	unsigned serial = conn->serial;

	if (conn->state == CONN_CONNECTING)
	{
		take_dialed(conn);
		return;
	}
	if (what & EV_WRITE)
		conn_flush(conn);
	if (!(what & EV_READ) || serial != conn->serial)
		return;
	if (conn->state == CONN_COPY)
		conn->hooks->readable(conn, conn->arg);
	else
		read_results(conn);
}

/* Can queries be sent?  Not in copy mode. */
bool
conn_is_ready(const Conn *conn)
{
	return conn->state == CONN_READY;
}

/* Is a query unanswered? */
bool
conn_is_busy(const Conn *conn)
{
	return conn->first != NULL;
}

/* Seconds since the connection became ready. */
double
conn_age(const Conn *conn)
{
	return clock_seconds() - conn->opened_at;
}

/* What keeps it from being connected, malloc'd; NULL: nothing remarkable. */
char *
conn_find_wait(const Conn *conn)
{
	return conn->dial ? dial_find_wait(conn->dial) : NULL;
}

/* libpq's object, NULL when closed; for quoting, copy mode and its like. */
PGconn *
conn_get_pg(const Conn *conn)
{
	return conn->pg;
}

/* Is this result an error? */
bool
conn_failed(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK &&
		   status != PGRES_COPY_BOTH;
}

/* SQLSTATE of an error, "" if it has none. */
const char *
conn_sqlstate(const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	return state ? state : "";
}
