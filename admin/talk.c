/*-------------------------------------------------------------------------
 *
 * talk.c
 *		pgqadm: the commands' way to the user and to the server.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/progress.h"
#include "admin/wait.h"
#include "common/advice.h"
#include "common/session.h"
#include "common/trust.h"

/* ---- the user ---- */

/*
 * Ends the program with exit status 1 and one message.  hint NULL: the one
 * that advice.c has, if any.
 */
void
admin_fail(const char *hint, const char *fmt, ...)
{
	va_list args;
	char *text;

	fflush(stdout);
	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = strdup(fmt);
	va_end(args);
	if (hint == NULL)
		hint = advice_find(text);
	fprintf(stderr, "%s\n", text);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
	exit(1);
}

/* A message that -q does not silence. */
void
admin_warn(const char *fmt, ...)
{
	va_list args;

	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* What was done; silent under -q. */
void
admin_say(const Admin *a, const char *fmt, ...)
{
	va_list args;

	if (a->quiet)
		return;
	progress_clear();
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Prints text and blanks up to width characters of UTF-8. */
void
admin_print_padded(const char *text, int width)
{
	int len = 0;

	for (const char *p = text; *p; p++)
		if (((unsigned char) *p & 0xC0) != 0x80)
			len++;
	fputs(text, stdout);
	if (len < width)
		printf("%*s", width - len, "");
}

/* Fails if what was printed did not all arrive, say on a full disk. */
void
admin_close_stdout(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		admin_fail(NULL, "could not write output: %s", strerror(errno));
}

/* ---- the server ---- */

static void
drop_notice(void *arg, const PGresult *res)
{
	const Admin *a = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (a->verbose && text)
		fprintf(stderr, "notice: %s\n", text);
}

/* Bytes of a message of libpq without the newline that ends it. */
int
admin_message_length(const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n')
		len--;
	return (int) len;
}

static bool
is_good(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

static PGconn *
open_connection(const Admin *a,
				PGconn *(*open)(const char *const *, const char *const *, int) )
{
	const char *keys[] = {"fallback_application_name",
						  "dbname",
						  "client_encoding",
						  NULL,
						  NULL};
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
 * A pooler's session is ours for a transaction only, which gets the settings
 * that a session of our own started with.
 */
static PGresult *
run_statement(Admin *a, const char *sql, int nparams, const Oid *types,
			  const char *const *params)
{
	bool alone = a->pooled && PQtransactionStatus(a->conn) == PQTRANS_IDLE;
	PGresult *res;
	PGresult *end;

	if (alone)
	{
		res = PQexec(a->conn, a->begin);
		if (!is_good(res))
			return res;
		PQclear(res);
	}
	res = PQexecParams(a->conn, sql, nparams, types, params, NULL, NULL, 0);
	if (!alone)
		return res;
	end = PQexec(a->conn, is_good(res) ? "commit" : "rollback");
	if (!is_good(res) || is_good(end))
	{
		PQclear(end);
		return res;
	}
	PQclear(res);
	return end;
}

/*
 * Runs one statement with text parameters; types may be NULL.  Returns its
 * result, or the error, which the caller clears.  Says for whom it waits.
 */
PGresult *
admin_exec(Admin *a, const char *sql, int nparams, const Oid *types,
		   const char *const *params)
{
	PGresult *res;

	wait_begin_statement(a, a->conn);
	res = run_statement(a, sql, nparams, types, params);
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
	if (!is_good(res))
		fail_with_result(a, hint, res);
	return res;
}

/* Begins a transaction, which statement "commit" or "rollback" ends. */
void
admin_begin(Admin *a)
{
	PGresult *res;

	admin_connect(a);
	res = PQexec(a->conn, a->begin);
	if (!is_good(res))
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
	if (asprintf(&sql, a->pooled ? "%s;set local %s=%s" : "%.0sset %s=%s",
				 a->begin, name, value) < 0)
		admin_fail(NULL, "out of memory");
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
