/*-------------------------------------------------------------------------
 *
 * connect.c
 *		pgqadm: a session of ours, or of a pooler's.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "admin/admin.h"
#include "common/session.h"

static void
drop_notice(void *arg, const PGresult *res)
{
	const Admin *a = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (a->verbose && text)
		admin_say(a, "notice: %s", text);
}

static PGconn *
open_connection(const Admin *a,
				PGconn *(*open)(const char *const *, const char *const *, int) )
{
	const char *keys[] = {"fallback_application_name", "dbname",
						  "client_encoding", NULL, NULL};
	const char *vals[] = {"pgqadm", a->conninfo, "UTF8", NULL, NULL};
	char *options = NULL;
	PGconn *conn;

	if (!a->pooled)
	{
		options = session_make_options(keys, vals, "");
		keys[3] = "options";
		vals[3] = options;
	}
	conn = open(keys, vals, 1);
	free(options);
	return conn;
}

/*
 * A connection that PQconnectPoll() goes on with, to what admin_connect() was
 * connected to; the caller's to finish.
 */
PGconn *
admin_begin_connect(const Admin *a)
{
	return open_connection(a, PQconnectStartParams);
}

/* Make the session ours, or find out that it is a pooler's. */
static void
set_up(Admin *a, PGconn *conn)
{
	char *sql = session_make_setup(conn, "");
	PGresult *res = PQexec(conn, sql);

	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 0)
		a->pooled = true;
	PQclear(res);
	free(sql);
}

/*
 * A connection, which may have failed; the caller's to finish.  Afterwards it
 * is known whether it leads through a pooler.
 */
PGconn *
admin_try_connect(Admin *a)
{
	PGconn *conn = open_connection(a, PQconnectdbParams);

	if (PQstatus(conn) != CONNECTION_OK && session_is_refused(conn))
	{
		a->pooled = true;
		PQfinish(conn);
		conn = open_connection(a, PQconnectdbParams);
	}
	if (PQstatus(conn) != CONNECTION_OK)
		return conn;
	PQsetNoticeReceiver(conn, drop_notice, a);
	if (!a->pooled)
		set_up(a, conn);
	if (a->begin == NULL)
		a->begin = session_make_begin(conn);
	return conn;
}
