/*-------------------------------------------------------------------------
 *
 * conn_start.c
 *		The first statements of a session: settings, a pooler noticed, trust.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/session.h"
#include "common/trust.h"
#include "ticker/conn_internal.h"

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

static void
ask_trust(Conn *conn, const char *schema, ConnAnswer answer, void *arg)
{
	const char *values[2] = {conn->config->database_owners, schema};

	conn_send_query(conn, TRUST_SQL, 2, values, answer, arg);
}

/*
 * Send TRUST_SQL (common/trust.h) for the schema; as conn_send().
 */
bool
conn_ask_trust(Conn *conn, const char *schema, ConnAnswer answer, void *arg)
{
	if (conn->state != CONN_READY)
		return false;
	ask_trust(conn, schema, answer, arg);
	return true;
}

static void
become_ready(Conn *conn)
{
	event_del(conn->timer);
	conn->state = CONN_READY;
	conn->opened_at = clock_seconds();
	conn->hooks->ready(conn, conn->arg);
}

static void
finish_trust(Conn *conn, const PGresult *res, void *arg)
{
	if (conn_failed(res))
		conn_fail(conn, PQresultErrorMessage(res));
	else if (!PQgetisnull(res, 0, 1))
		conn_fail(conn, PQgetvalue(res, 0, 1));
	else if (PQgetisnull(res, 0, 0))
		conn_fail(conn, "no extension pgq");
	else
		become_ready(conn);
}

static void
finish_setup(Conn *conn, const PGresult *res, void *arg)
{
	if (conn_failed(res))
		conn_fail(conn, PQresultErrorMessage(res));
	else if (PQntuples(res) == 0)
		conn_fail(conn, "connected to a pooler, not to the server itself");
	else if (!conn->replication && !PQenterPipelineMode(conn->pg))
		conn_fail(conn, PQerrorMessage(conn->pg));
	else if (conn->trust_needed)
		ask_trust(conn, "pgq", finish_trust, NULL);
	else
		become_ready(conn);
}

/*
 * Connected: make sure of whom we talk to, and set what is left to set.  Ends in
 * ready() or lost().
 */
void
conn_start_session(Conn *conn)
{
	char *sql = session_make_setup(conn->pg, conn->replication
												 ? ENCODING_ROW WALSENDER_ROW
												 : ENCODING_ROW);

	conn->state = CONN_SETUP;
	if (PQsetnonblocking(conn->pg, 1) != 0)
		conn_fail(conn, PQerrorMessage(conn->pg));
	else
		conn_note_query(conn, PQsendQuery(conn->pg, sql), false, finish_setup,
						NULL);
	free(sql);
}
