/*-------------------------------------------------------------------------
 *
 * database.c
 *		A statement in the queue's database, beside a batch's transaction.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/database.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/session.h"

/*
 * Run a query with text parameters in a session, and a transaction, of its own.
 * Waits ten seconds at most for a connection.
 *
 * Returns false, with a message of one line in "error", which has room for
 * "size" bytes, if it failed.
 */
bool
database_run(const RelayConfig *config, const char *sql, int nparams,
			 const char *const *params, char *error, size_t size)
{
	static const char *const keys[] = {"fallback_application_name",
									   "connect_timeout",
									   "target_session_attrs", "dbname", NULL};
	const char *const values[] = {"pgqrelay", "10", "primary", config->db,
								  NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	/* what the role has set, and whose the session is, does not matter */
	char *begin = session_make_begin(conn);
	PGresult *res = NULL;
	bool ok = PQstatus(conn) == CONNECTION_OK;

	/* a statement would hide why there is no connection */
	if (ok)
	{
		res = PQexec(conn, begin);
		ok = PQresultStatus(res) == PGRES_COMMAND_OK;
	}
	if (ok)
	{
		PQclear(res);
		res = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);
		ok = PQresultStatus(res) == PGRES_TUPLES_OK;
	}
	if (ok)
	{
		PQclear(res);
		res = PQexec(conn, "commit");
		ok = PQresultStatus(res) == PGRES_COMMAND_OK;
	}
	if (!ok)
	{
		snprintf(error, size, "%s", PQerrorMessage(conn));
		error[strcspn(error, "\n")] = '\0';
	}
	PQclear(res);
	free(begin);
	PQfinish(conn);
	return ok;
}
