/*-------------------------------------------------------------------------
 *
 * session.c
 *		What libpgq sets in its session, or in each transaction of a pooler's.
 *
 * A pooler, such as PgBouncer, lends its session for a transaction: what is set
 * for longer would stay there for others.  It is known by the process id that it
 * told us, which is not the server's.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "consumer/internal.h"

/*
 * Settings that guard a transaction against defaults of the role, the database
 * or the server that would break it, above all limits on its time, in which the
 * caller works on the events.
 */
#define SETTINGS(set)                                                          \
	set "statement_timeout=0;" set "lock_timeout=0;" set                       \
		"idle_in_transaction_session_timeout=0;" set "exit_on_error=off;" set  \
		"datestyle=ISO;" set "jit=off;"
#define SETTINGS_17(set) set "transaction_timeout=0;"
#define VERSION_17 170000

/*
 * What a session of our own has for good besides, while it waits for a tick.
 * Not all servers have all of these.
 */
static const char session_settings[] =
	"select pg_catalog.set_config(s.name, v.value, false) "
	"from pg_catalog.pg_settings s, "
	"(values ('default_transaction_isolation', 'read committed'), "
	"('default_transaction_read_only', 'off'), "
	"('default_transaction_deferrable', 'off'), "
	"('idle_session_timeout', '0'), "
	"('client_connection_check_interval', '2s'), "
	"('tcp_user_timeout', '120s'), ('tcp_keepalives_idle', '60'), "
	"('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6')) "
	"v(name, value) where s.name operator(pg_catalog.=) v.name";

#define BEGIN "begin isolation level read committed read write;"

const char *
libpgq_begin_sql(const PgqConsumer *c)
{
	if (!c->pooled)
		return BEGIN;
	return PQserverVersion(c->conn) >= VERSION_17
			   ? BEGIN SETTINGS_17("set local ") SETTINGS("set local ")
			   : BEGIN SETTINGS("set local ");
}

static bool
is_good(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

PGresult *
libpgq_exec(PgqConsumer *c, const char *sql, int nparams,
			const char *const *params)
{
	bool alone = c->pooled && PQtransactionStatus(c->conn) == PQTRANS_IDLE;
	PGresult *res;
	PGresult *end;

	if (alone)
	{
		res = PQexec(c->conn, libpgq_begin_sql(c));
		if (!is_good(res))
		{
			PQclear(PQexec(c->conn, "rollback"));
			return res;
		}
		PQclear(res);
	}
	res = PQexecParams(c->conn, sql, nparams, NULL, params, NULL, NULL, 0);
	if (!alone)
		return res;
	end = PQexec(c->conn, is_good(res) ? "commit" : "rollback");
	if (!is_good(res) || is_good(end))
	{
		PQclear(end);
		return res;
	}
	PQclear(res);
	return end;
}

PgqResult
libpgq_set_up_session(PgqConsumer *c, bool *has_channel)
{
	bool is_17 = PQserverVersion(c->conn) >= VERSION_17;
	char sql[768];
	PGresult *res;

	snprintf(sql, sizeof(sql),
			 "%s" SETTINGS("set local ") "select "
			 "pg_catalog.pg_backend_pid() operator(pg_catalog.=) %d, "
			 "pg_catalog.to_regprocedure('pgq.tick_channel(pg_catalog.text)') is not null",
			 is_17 ? SETTINGS_17("set local ") : "", PQbackendPID(c->conn));
	res = PQexec(c->conn, sql);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		return libpgq_note_failure(c, res);
	c->pooled = PQgetvalue(res, 0, 0)[0] != 't';
	*has_channel = PQgetvalue(res, 0, 1)[0] == 't';
	PQclear(res);
	if (c->pooled)
		return PGQ_OK;
	PQclear(PQexec(c->conn, is_17 ? SETTINGS_17("set ") SETTINGS("set ")
								  : SETTINGS("set ")));
	res = PQexec(c->conn, session_settings);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		return libpgq_note_failure(c, res);
	PQclear(res);
	return PGQ_OK;
}
