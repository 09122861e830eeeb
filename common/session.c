/*-------------------------------------------------------------------------
 *
 * session.c
 *		How the sessions of pgqd and pgqadm start: with settings of ours,
 *		whatever those of role, database and server are.
 *
 * Where the server is asked directly, the settings are in the startup packet:
 * they hold before anything runs in the session, and none of another's names
 * can be found.  A pooler does not take them, or drops them; what is set in its
 * session by SET would stay there for others.  So through a pooler each
 * transaction has the settings for itself.  It is known by the process id: that
 * of the session that it gave us is not the server's.
 *
 * doc/settings.md has a table of all settings and what becomes of them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

#define MAX_KEYS 24

/* transaction_timeout came with this version */
#define VERSION_TRANSACTION_TIMEOUT 170000

/*
 * All servers from 14 on have these, and every role may set them.  The values
 * are words without quotes, for SET and for the startup packet alike.
 */
static const struct
{
	const char *name;
	const char *value;
} settings[] = {
	/* names mean the system's, or have a schema */
	{"search_path", "pg_catalog,pg_temp"},
	/* to wait as long as it takes */
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	/* an error ends a statement, not the session */
	{"exit_on_error", "off"},
	/* text that programs read, and write */
	{"datestyle", "ISO,MDY"},
	{"intervalstyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"standard_conforming_strings", "on"},
	{"quote_all_identifiers", "off"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"client_min_messages", "notice"},
	/* short statements are not worth it */
	{"jit", "off"},
};

/*
 * What a session of our own has besides, a pooler's must not: how it waits
 * between transactions, sees that we are gone without a word, and begins
 * transactions.
 */
static const char direct_options[] =
	" -c idle_session_timeout=0 -c tcp_user_timeout=120000"
	" -c tcp_keepalives_idle=60 -c tcp_keepalives_interval=10"
	" -c tcp_keepalives_count=6"
	" -c default_transaction_isolation=read\\ committed"
	" -c default_transaction_read_only=off"
	" -c default_transaction_deferrable=off";

static const char begin_sql[] =
	"begin isolation level read committed not deferrable";

/*
 * The options that the user's connection would have, malloc'd; NULL: none.
 *
 * They may be in the connect string, a service file or the environment, which
 * libpq knows best: a connection whose sslmode is wrong is never begun, but has
 * read them all.
 */
static char *
read_options(const char *const *keys, const char *const *values)
{
	const char *k[MAX_KEYS + 2];
	const char *v[MAX_KEYS + 2];
	PQconninfoOption *opts;
	PGconn *conn;
	char *found = NULL;
	int n = 0;

	for (; keys[n] && n < MAX_KEYS; n++)
	{
		k[n] = keys[n];
		v[n] = values[n];
	}
	k[n] = "sslmode";
	v[n++] = "none of these";
	k[n] = v[n] = NULL;
	conn = PQconnectStartParams(k, v, 1);
	opts = PQconninfo(conn);
	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (strcmp(o->keyword, "options") == 0 && o->val)
			found = text_copy(o->val);
	PQconninfoFree(opts);
	PQfinish(conn);
	return found;
}

/*
 * The value of "options" that a session is to start with: the user's own, then
 * ours, which win.
 *
 * keys, values: all else, as PQconnectdbParams() takes them with expand_dbname.
 * more: options after these, beginning with a space, or "".  The result is
 * malloc'd.
 */
char *
session_make_options(const char *const *keys, const char *const *values,
					 const char *more)
{
	char *own = read_options(keys, values);
	PQExpBuffer out = text_begin();

	appendPQExpBufferStr(out, own ? own : "");
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		appendPQExpBuffer(out, " -c %s=%s", settings[i].name,
						  settings[i].value);
	appendPQExpBuffer(out, "%s%s", direct_options, more);
	free(own);
	return text_end(out);
}

/*
 * SQL that sets what the startup packet could not, since not all servers have
 * it: to be sent, as a simple query, before all else.
 *
 * Its last result has no row if this is not the session of a server process but
 * of a pooler; then nothing is set.  more: rows of names and values that are set
 * besides, each after a comma, or "".  The result is malloc'd.
 *
 * A session that waits for a lock would stay when its client is gone: it looks
 * each second, on systems where the server can do that.
 */
char *
session_make_setup(const PGconn *conn, const char *more)
{
	char *sql;

	sql = text_format(
		"%s"
		"select pg_catalog.set_config(s.name, v.value, false)"
		" from pg_catalog.pg_settings s,"
		" (values ('transaction_timeout', '0'),"
		" ('client_connection_check_interval',"
		" case when pg_catalog.version()"
		" operator(pg_catalog.~) 'linux|bsd|darwin' then '1s'"
		" else '0' end)%s) v (name, value)"
		" where s.name operator(pg_catalog.=) v.name"
		" and pg_catalog.pg_backend_pid() operator(pg_catalog.=) %d",
		PQserverVersion(conn) >= VERSION_TRANSACTION_TIMEOUT
			? "set local transaction_timeout = 0;"
			: "",
		more, PQbackendPID(conn));
	return sql;
}

/*
 * SQL that begins a transaction with the settings, for a session that is not
 * ours; malloc'd, without a semicolon at its end.
 */
char *
session_make_begin(const PGconn *conn)
{
	PQExpBuffer out = text_begin();
	const char *standby = PQparameterStatus(conn, "in_hot_standby");

	appendPQExpBufferStr(out, begin_sql);
	/* a standby refuses to be asked for what it can not do */
	if (standby == NULL || strcmp(standby, "on") != 0)
		appendPQExpBufferStr(out, " read write");
	if (PQserverVersion(conn) >= VERSION_TRANSACTION_TIMEOUT)
		appendPQExpBufferStr(out, ";set local transaction_timeout=0");
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		appendPQExpBuffer(out, ";set local %s=%s", settings[i].name,
						  settings[i].value);
	return text_end(out);
}

/* Has connecting failed because a pooler does not take options? */
bool
session_is_refused(const PGconn *conn)
{
	return strstr(PQerrorMessage(conn), "unsupported startup parameter") &&
		   strstr(PQerrorMessage(conn), "options");
}
