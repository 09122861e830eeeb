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

#include "common/advice.h"
#include "admin/admin.h"
#include "admin/progress.h"

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

static PGconn *
open_connection(const Admin *a,
				PGconn *(*open)(const char *const *, const char *const *, int) )
{
	const char *keys[] = {"fallback_application_name", "dbname",
						  "client_encoding", NULL};
	const char *vals[] = {"pgqadm", a->conninfo, "UTF8", NULL};

	return open(keys, vals, 1);
}

/* A connection that PQconnectPoll() goes on with; the caller's to finish. */
PGconn *
admin_begin_connect(const Admin *a)
{
	return open_connection(a, PQconnectStartParams);
}

/* Connects a->conn, or fails. */
void
admin_connect(Admin *a)
{
	if (a->conn != NULL)
		return;
	a->conn = open_connection(a, PQconnectdbParams);
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
	PQsetNoticeReceiver(a->conn, drop_notice, a);
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
	ExecStatusType st;
	const char *primary;
	const char *detail;
	const char *server_hint;

	admin_connect(a);
	res = PQexecParams(a->conn, sql, nparams, NULL, params, NULL, NULL, 0);
	st = PQresultStatus(res);
	if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK)
		return res;

	primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	server_hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
	if (primary == NULL)
		primary = PQerrorMessage(a->conn);
	if (server_hint != NULL)
		hint = server_hint;
	if (detail != NULL)
		admin_fail(hint, "%.*s\ndetail: %s", admin_message_length(primary),
				   primary, detail);
	admin_fail(hint, "%.*s", admin_message_length(primary), primary);
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
