/*-------------------------------------------------------------------------
 *
 * conn.c
 *		One connection to a database, driven by the event loop.
 *
 *	state		event					next		then
 *	CLOSED		conn_open, timer		CONNECTING
 *	CONNECTING	PQconnectPoll is done	SETUP		send session settings
 *	SETUP		settings answered		READY		ready()
 *	READY		COPY BOTH answered		COPY		readable() from now on
 *	any			error, end of stream	CLOSED		lost()
 *	any			conn_close				CLOSED
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/session.h"

/* Seconds until an attempt to connect to a host is given up by default. */
#define CONNECT_TIMEOUT 30.0

/* First and longest pause between attempts, in seconds. */
#define BACK_OFF_FIRST 0.2
#define BACK_OFF_LONGEST 15.0

/*
 * Commits wait for neither disk nor standby: our own walsender may count as
 * one, and it would wait for us.  To open a batch is a commit that waits, and
 * comes later in the WAL than all that the batch depends on.
 */
static const char pgqd_options[] =
	" -c synchronous_commit=off -c plan_cache_mode=force_generic_plan";

#define ENCODING_ROW                                                           \
	", ('client_encoding',"                                                    \
	" pg_catalog.getdatabaseencoding()::pg_catalog.text)"

/* The server's administrator sets it, not the owner of a database. */
#define WALSENDER_ROW                                                          \
	", ('wal_sender_timeout', (select case when"                               \
	" w.source operator(pg_catalog.~) '^(database|user)' then '60s'"           \
	" else w.setting operator(pg_catalog.||) 'ms' end"                         \
	" from pg_catalog.pg_settings w"                                           \
	" where w.name operator(pg_catalog.=) 'wal_sender_timeout'))"

typedef enum ConnState
{
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_SETUP,
	CONN_READY,
	CONN_COPY
} ConnState;

/* Statements that one connection prepares, at most. */
#define MAX_PREPARED 8

typedef struct Query
{
	struct Query *next;
	ConnAnswer answer;
	void *arg;
	bool prepared;
	PGresult *res; /* last result, or the first error */
} Query;

struct Conn
{
	struct event_base *base;
	const Config *config;
	char *dbname;
	char *job; /* names the session: pgqd/<job> */
	bool replication;
	const ConnHooks *hooks;
	void *arg;

	ConnState state;
	PGconn *pg;
	struct event *io;
	short io_what;
	int io_fd;
	bool want_read;
	struct event *timer; /* time to open, or to give up connecting */
	double patience;     /* seconds for each host */
	bool timed_out;      /* a host did not answer in this time */
	double opened_at;
	double pause;      /* last pause of conn_back_off() */
	char *fatal;       /* the server's last words */
	char *start_error; /* connecting failed before it began */

	Query *first; /* unanswered, oldest first */
	Query *last;

	/* what the session has prepared; named by its number */
	const char *prepared[MAX_PREPARED];
	int nprepared;

	/*
	 * Goes up with every close: any hook or answer may close the connection,
	 * after which the caller must not touch what it held of it.
	 */
	unsigned serial;
};

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

/* Wait for the socket to be readable or writable; libpq may change sockets. */
static void
set_io(Conn *conn, short what)
{
	int fd = PQsocket(conn->pg);

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

/* Seconds that connect_timeout gives to each host, read as libpq does. */
static double
get_connect_timeout(const PGconn *pg)
{
	PQconninfoOption *opts = PQconninfo((PGconn *) pg);
	int seconds = 0;

	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (strcmp(o->keyword, "connect_timeout") == 0 && o->val)
			seconds = atoi(o->val);
	PQconninfoFree(opts);
	if (seconds <= 0)
		return CONNECT_TIMEOUT;
	return seconds < 2 ? 2 : seconds;
}

/* Start to connect; ready() or lost() will be called later. */
void
conn_open(Conn *conn)
{
	char name[64];
	const char *base = conn->config->base_connstr;
	/*
	 * The first four give way to the same keys in base_connstr.  Keepalives
	 * are not sent while there is unanswered data: then the last one counts.
	 */
	const char *keywords[] = {"keepalives_idle",
							  "keepalives_interval",
							  "keepalives_count",
							  "tcp_user_timeout",
							  "dbname",
							  "dbname",
							  "application_name",
							  NULL,
							  NULL,
							  NULL};
	const char *values[] = {"60",         "10", "6",  "120000", base ? base : "",
							conn->dbname, name, NULL, NULL,     NULL};
	char *options;
	struct timeval tv;

	conn_close(conn);
	snprintf(name, sizeof(name), "pgqd/%s", conn->job);
	options = session_make_options(keywords, values, pgqd_options);
	keywords[7] = "options";
	values[7] = options;
	keywords[8] = conn->replication ? "replication" : NULL;
	values[8] = "database";
	conn->pg = PQconnectStartParams(keywords, values, 1);
	free(options);
	if (conn->pg == NULL)
		abort();
	if (PQstatus(conn->pg) == CONNECTION_BAD)
	{
		/* the caller does not expect lost() yet */
		conn->start_error = strdup(PQerrorMessage(conn->pg));
		tv = conn_timeval(0);
		event_add(conn->timer, &tv);
		return;
	}
	conn->state = CONN_CONNECTING;
	conn->want_read = true;
	PQsetNoticeReceiver(conn->pg, receive_notice, conn);
	conn->timed_out = false;
	conn->patience = get_connect_timeout(conn->pg);
	tv = conn_timeval(conn->patience);
	event_add(conn->timer, &tv);
	set_io(conn, EV_WRITE);
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
 * How many seconds to pause before the next attempt: twice as long as the
 * last time, up to a limit.
 */
double
conn_back_off(Conn *conn)
{
	conn->pause = conn->pause == 0 ? BACK_OFF_FIRST : conn->pause * 2;
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

/*
 * A host does not answer.  libpq goes on with the next one only when
 * connecting to it fails, which can take minutes: so make it fail now.
 */
static bool
give_up_host(Conn *conn)
{
	struct timeval tv = conn_timeval(conn->patience);

	if (shutdown(PQsocket(conn->pg), SHUT_RDWR) < 0)
		return false;
	conn->timed_out = true;
	event_add(conn->timer, &tv);
	return true;
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Conn *conn = arg;

	if (conn->start_error)
		conn_fail(conn, conn->start_error);
	else if (conn->state == CONN_CLOSED)
		conn_open(conn);
	else if (conn->state != CONN_CONNECTING || !give_up_host(conn))
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

/* A query has been handed to libpq, or not ("ok"); its answer will come. */
static void
sent_query(Conn *conn, bool ok, bool prepared, ConnAnswer answer, void *arg)
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

static void
send_query(Conn *conn, const char *sql, int nparams, const char *const *values,
		   const int *lengths, const int *formats, ConnAnswer answer, void *arg)
{
	bool ok;

	if (conn->replication)
		ok = PQsendQuery(conn->pg, sql);
	else
		ok = PQsendQueryParams(conn->pg, sql, nparams, NULL, values, lengths,
							   formats, 0) &&
			 PQpipelineSync(conn->pg);
	sent_query(conn, ok, false, answer, arg);
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
	send_query(conn, sql, nparams, values, lengths, formats, answer, arg);
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
	sent_query(conn, ok, true, answer, arg);
	return true;
}

static void
finish_setup(Conn *conn, const PGresult *res, void *arg)
{
	if (conn_failed(res))
	{
		conn_fail(conn, PQresultErrorMessage(res));
		return;
	}
	if (PQntuples(res) == 0)
	{
		conn_fail(conn, "connected to a pooler, not to the server itself");
		return;
	}
	if (!conn->replication && !PQenterPipelineMode(conn->pg))
	{
		conn_fail(conn, PQerrorMessage(conn->pg));
		return;
	}
	event_del(conn->timer);
	conn->state = CONN_READY;
	conn->opened_at = clock_seconds();
	conn->hooks->ready(conn, conn->arg);
}

/* Connected: make sure of whom we talk to, and set what is left to set. */
static void
send_setup(Conn *conn)
{
	char *sql = session_make_setup(
		conn->pg, conn->replication ? ENCODING_ROW WALSENDER_ROW : ENCODING_ROW);

	conn->state = CONN_SETUP;
	if (PQsetnonblocking(conn->pg, 1) != 0)
		conn_fail(conn, PQerrorMessage(conn->pg));
	else
		sent_query(conn, PQsendQuery(conn->pg, sql), false, finish_setup, NULL);
	free(sql);
}

/* No host could be connected to. */
static void
fail_to_connect(Conn *conn)
{
	char *why;

	if (asprintf(&why, "%s%s",
				 conn->timed_out ? "timeout while connecting: " : "",
				 PQerrorMessage(conn->pg)) < 0)
		abort();
	conn_fail(conn, why);
	free(why);
}

static void
poll_connecting(Conn *conn)
{
	/* the socket of the next host often gets the number of the last one's */
	stop_io(conn);
	switch (PQconnectPoll(conn->pg))
	{
		case PGRES_POLLING_READING:
			set_io(conn, EV_READ);
			break;
		case PGRES_POLLING_WRITING:
			set_io(conn, EV_WRITE);
			break;
		case PGRES_POLLING_OK:
			send_setup(conn);
			break;
		default:
			fail_to_connect(conn);
			break;
	}
}

/*
 * A prepared statement has failed.  It may not have come to be, or its result
 * may be another by now: begin anew.
 */
static void
forget_prepared(Conn *conn)
{
	conn->nprepared = 0;
	send_query(conn, "deallocate all", 0, NULL, NULL, NULL, NULL, NULL);
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
		poll_connecting(conn);
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
