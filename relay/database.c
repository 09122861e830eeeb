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
#include "consumer/statement.h"

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
	/* a server that is gone without a word is waited for as libpgq does */
	static const char *const keys[] = {
		"fallback_application_name", "connect_timeout",
		"target_session_attrs",      "keepalives_idle",
		"keepalives_interval",       "keepalives_count",
		"tcp_user_timeout",          "dbname",
		NULL};
	const char *const values[] = {"pgqrelay", "10",     "primary",
								  "60",       "10",     "6",
								  "120000",   config->db, NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	/* what the role has set, and whose the session is, does not matter */
	char *begin = session_make_begin(conn);
	PGresult *res = NULL;
	bool ok;

	/* a statement would hide why there is no connection */
	if (PQstatus(conn) == CONNECTION_OK)
		res = libpgq_run_statement(conn, begin, sql, nparams, NULL, params);
	ok = libpgq_is_good(res);
	if (!ok)
	{
		/* the connection forgets its error with the rollback that follows */
		snprintf(error, size, "%s",
				 res ? PQresultErrorMessage(res) : PQerrorMessage(conn));
		error[strcspn(error, "\n")] = '\0';
	}
	PQclear(res);
	free(begin);
	PQfinish(conn);
	return ok;
}
