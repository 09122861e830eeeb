/*-------------------------------------------------------------------------
 *
 * conn_query.c
 *		What goes over a connection: queries, their answers, its socket, and its
 *		end.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/memory.h"
#include "ticker/conn_internal.h"

void
conn_stop_io(Conn *conn)
{
	if (conn->io)
		event_free(conn->io);
	conn->io = NULL;
	conn->io_what = 0;
	conn->io_fd = -1;
}

static void handle_io(evutil_socket_t fd, short what, void *arg);

/* Wait for the socket to be readable or writable. */
static void
set_io(Conn *conn, short what)
{
	int fd = PQsocket(conn->pg);

	if (conn->io && fd == conn->io_fd && what == conn->io_what)
		return;
	conn_stop_io(conn);
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
	conn_stop_io(conn);
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
	text_set(&conn->fatal, NULL);
	text_set(&conn->start_error, NULL);
}

/*
 * Close because of an error, and tell the owner.  The server's last words,
 * if it had any, explain more than the error that follows from them.
 */
void
conn_fail(Conn *conn, const char *why)
{
	char *copy = text_copy(conn->fatal ? conn->fatal : why);

	conn_close(conn);
	conn->hooks->lost(conn, copy, conn->arg);
	free(copy);
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
			text_set(&conn->fatal, PQerrorMessage(conn->pg));
			shutdown(PQsocket(conn->pg), SHUT_RDWR);
		}
	}
	query = memory_make(sizeof(Query));
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
				const char *const *values, ConnAnswer answer, void *arg)
{
	bool ok;

	if (conn->replication)
		ok = PQsendQuery(conn->pg, sql);
	else
		ok = PQsendQueryParams(conn->pg, sql, nparams, NULL, values, NULL, NULL,
							   0) &&
			 PQpipelineSync(conn->pg);
	conn_note_query(conn, ok, false, answer, arg);
}

/*
 * Send one statement.
 *
 * Parameters are texts of unknown types, and may
 * be freed on return; a replication connection takes none and one statement
 * at a time.  answer may be NULL, for a statement whose fate does not matter.
 *
 * Returns false if the connection is not ready; then nothing is sent and
 * nothing answered.
 */
bool
conn_send(Conn *conn, const char *sql, int nparams, const char *const *values,
		  ConnAnswer answer, void *arg)
{
	if (conn->state != CONN_READY)
		return false;
	conn_send_query(conn, sql, nparams, values, answer, arg);
	return true;
}

/* What is served is UTF-8; of SQL_ASCII nobody knows what it is. */
void
conn_use_utf8(Conn *conn)
{
	conn_send(conn,
			  "select pg_catalog.set_config('client_encoding',"
			  " case when pg_catalog.getdatabaseencoding()"
			  " operator(pg_catalog.=) 'SQL_ASCII' then 'SQL_ASCII'"
			  " else 'UTF8' end, false)",
			  0, NULL, NULL, NULL);
}

/*
 * The same for a statement that is sent again and again: parsed and planned
 * once in a session.  sql is a constant, known by its address; lengths and
 * formats are as PQsendQueryPrepared() takes them.
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

/* Is a query unanswered? */
bool
conn_is_busy(const Conn *conn)
{
	return conn->first != NULL;
}

/*
 * A prepared statement has failed.  It may not have come to be, or its result
 * may be another by now: begin anew.
 */
static void
forget_prepared(Conn *conn)
{
	conn->nprepared = 0;
	conn_send_query(conn, "deallocate all", 0, NULL, NULL, NULL);
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

	if (what & EV_WRITE)
		conn_flush(conn);
	if (!(what & EV_READ) || serial != conn->serial)
		return;
	if (conn->state == CONN_COPY)
		conn->hooks->readable(conn, conn->arg);
	else
		read_results(conn);
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

/* Has the first row a true value there?  No, if either is missing. */
bool
conn_is_true(const PGresult *res, int col)
{
	return PQntuples(res) > 0 && col < PQnfields(res) &&
		   PQgetvalue(res, 0, col)[0] == 't';
}
