/*-------------------------------------------------------------------------
 *
 * query.c
 *		pgqadm: the commands' statements.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "admin/admin.h"
#include "admin/wait.h"
#include "common/trust.h"
#include "common/utf8.h"
#include "consumer/statement.h"

/*
 * Asks whose PgQ the database has, with TRUST_SQL.  Returns why nothing of it
 * may be called, which belongs to *res, or NULL.
 */
const char *
admin_find_distrust(Admin *a, PGresult **res)
{
	const char *params[2] = {getenv(TRUST_VARIABLE), "pgq"};

	*res = admin_query(a, NULL, TRUST_SQL, 2, params);
	return PQgetisnull(*res, 0, 1) ? NULL : PQgetvalue(*res, 0, 1);
}

/*
 * Connects a->conn, or fails; also where somebody may have made up a PgQ, since
 * its functions would run with the rights of who calls them.
 */
void
admin_connect(Admin *a)
{
	if (a->conn != NULL)
		return;
	a->conn = admin_try_connect(a);
	if (PQstatus(a->conn) != CONNECTION_OK)
	{
		const char *text = PQerrorMessage(a->conn);

		if (a->no_connect != 0)
		{
			admin_warn("%.*s", admin_message_length(text), text);
			exit(a->no_connect);
		}
		admin_fail(NULL, "%.*s", admin_message_length(text), text);
	}
	if (!a->looks_itself)
	{
		PGresult *res;
		const char *why = admin_find_distrust(a, &res);

		if (why)
			admin_fail(NULL, "PgQ of database \"%s\" is left alone: %s",
					   PQdb(a->conn), why);
		PQclear(res);
	}
}

/*
 * Runs one statement with text parameters; types may be NULL.  Returns its
 * result, or the error, which the caller clears.  Says for whom it waits.  A
 * pooler's session is ours for a transaction only, which gets the settings that a
 * session of our own started with.
 */
PGresult *
admin_exec(Admin *a, const char *sql, int nparams, const Oid *types,
		   const char *const *params)
{
	PGresult *res;

	wait_begin_statement(a, a->conn);
	res = libpgq_run_statement(a->conn, a->pooled ? a->begin : NULL, sql,
							   nparams, types, params);
	wait_end_statement(a->conn);
	return res;
}

/* Ends the program with the server's message; hint: if the server sent none. */
static void ADMIN_NORETURN
fail_with_result(const Admin *a, const char *hint, const PGresult *res)
{
	const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	const char *server_hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);

	if (primary == NULL)
		primary = PQerrorMessage(a->conn);
	if (server_hint != NULL)
		hint = server_hint;
	if (detail != NULL)
		admin_fail(hint, "%.*s\ndetail: %s", admin_message_length(primary),
				   primary, detail);
	admin_fail(hint, "%.*s", admin_message_length(primary), primary);
}

/*
 * Runs one statement with text parameters.  Returns its result, which the
 * caller clears.  Fails with the server's message otherwise; hint is shown if
 * the server sent none, and may be NULL.
 */
PGresult *
admin_query(Admin *a, const char *hint, const char *sql, int nparams,
			const char *const *params)
{
	PGresult *res;

	admin_connect(a);
	res = admin_exec(a, sql, nparams, NULL, params);
	if (!libpgq_is_good(res))
		fail_with_result(a, hint, res);
	return res;
}

/*
 * A field for people to read, "" for NULL: as it is, but on one line and with blanks
 * for control characters, which names may have.  Belongs to the result.
 */
const char *
admin_get_text(PGresult *res, int row, int column)
{
	char *text = text_copy(PQgetvalue(res, row, column));

	utf8_make_printable(text);
	if (strcmp(text, PQgetvalue(res, row, column)) != 0)
		PQsetvalue(res, row, column, text, (int) strlen(text));
	free(text);
	return PQgetvalue(res, row, column);
}

/* Begins a transaction, which statement "commit" or "rollback" ends. */
void
admin_begin(Admin *a)
{
	PGresult *res;

	admin_connect(a);
	res = PQexec(a->conn, a->begin);
	if (!libpgq_is_good(res))
		fail_with_result(a, NULL, res);
	PQclear(res);
}

/*
 * Sets what holds from now on, in a->conn or, through a pooler, in each of its
 * transactions; name and value are words of ours.
 */
void
admin_set(Admin *a, const char *name, const char *value)
{
	char *sql;

	admin_connect(a);
	sql = text_format(a->pooled ? "%s;set local %s=%s" : "%.0sset %s=%s",
					  a->begin, name, value);
	if (a->pooled)
	{
		free(a->begin);
		a->begin = sql;
		return;
	}
	PQclear(admin_query(a, NULL, sql, 0, NULL));
	free(sql);
}

/* As admin_query; returns the integer in the first column, 0 for NULL. */
int
admin_query_int(Admin *a, const char *hint, const char *sql, int nparams,
				const char *const *params)
{
	PGresult *res = admin_query(a, hint, sql, nparams, params);
	int value = PQntuples(res) > 0 ? atoi(PQgetvalue(res, 0, 0)) : 0;

	PQclear(res);
	return value;
}

/* Does the server have this function?  Older extensions lack some. */
bool
admin_has_function(Admin *a, const char *signature)
{
	return admin_query_int(a, NULL,
						   "select (pg_catalog.to_regprocedure($1) "
						   "is not null)::int",
						   1, &signature) == 1;
}
