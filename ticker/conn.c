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

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/conn_internal.h"
#include "ticker/dial.h"
#include "ticker/timer.h"

/* Seconds that the first statements of a session may take. */
#define SETUP_PATIENCE 30.0

/* Seconds between looks whether a name server is silent. */
#define LOOKUP_PERIOD 1.0

/* First and longest pause between attempts, in seconds. */
#define BACK_OFF_FIRST 0.2
#define BACK_OFF_LONGEST 2.0

static void handle_timer(evutil_socket_t fd, short what, void *arg);

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
	Conn *conn = memory_make(sizeof(Conn));

	conn->base = base;
	conn->config = config;
	conn->dbname = text_copy(dbname);
	conn->job = text_copy(job);
	conn->replication = replication;
	conn->hooks = hooks;
	conn->arg = arg;
	conn->io_fd = -1;
	conn->timer = timer_make(base, 0, handle_timer, conn);
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
 * From the next opening on connect to the database that a libpq connect string
 * names, and not to one of our server's.  The strings are copied; job is that of
 * conn_create(): there sessions must not look like those of its own pgqd.
 */
void
conn_set_server(Conn *conn, const char *connstr, const char *job)
{
	free(conn->connstr);
	free(conn->job);
	conn->connstr = text_copy(connstr);
	conn->job = text_copy(job);
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
	free(conn->connstr);
	free(conn->job);
	free(conn);
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
		text_set(&conn->fatal, text);
}

/* The attempt to connect has ended. */
static void
handle_dialed(evutil_socket_t fd, short what, void *arg)
{
	Conn *conn = arg;
	char *error;

	conn_stop_io(conn);
	conn->pg = dial_finish(conn->dial, &error);
	conn->dial = NULL;
	if (conn->pg)
	{

		PQsetNoticeReceiver(conn->pg, receive_notice, conn);
		conn->want_read = true;
		timer_set(conn->timer, SETUP_PATIENCE);
		conn_start_session(conn);
	}
	else
		conn_fail(conn, error);
	free(error);
}

/* Start to connect; ready() or lost() will be called later. */
void
conn_open(Conn *conn)
{
	conn_close(conn);
	conn->dial = conn->connstr
					 ? dial_start(conn->connstr, NULL, conn->job,
								  conn->replication)
					 : dial_start(conn->config->base_connstr, conn->dbname,
								  conn->job, conn->replication);
	conn->lookup_logged = false;
	if (conn->dial == NULL)
	{
		/* the caller does not expect lost() yet */
		conn->start_error = text_copy(strerror(errno));
		timer_set(conn->timer, 0);
	}
	else
	{
		conn->state = CONN_CONNECTING;
		conn->io = event_new(conn->base, dial_get_fd(conn->dial), EV_READ,
							 handle_dialed, conn);
		if (conn->io == NULL || event_add(conn->io, NULL) < 0)
			abort();
		timer_set(conn->timer, LOOKUP_PERIOD);
	}
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
	conn_close(conn);
	timer_set(conn->timer, seconds);
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
	char *wait = dial_find_wait(conn->dial);

	if (wait && !conn->lookup_logged)
	{
		log_warning("[%s]: %s: %s", conn->dbname, conn->job, wait);
		conn->lookup_logged = true;
	}
	free(wait);
	timer_set(conn->timer, LOOKUP_PERIOD);
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

/* Can queries be sent?  Not in copy mode. */
bool
conn_is_ready(const Conn *conn)
{
	return conn->state == CONN_READY;
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
