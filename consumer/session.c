/*-------------------------------------------------------------------------
 *
 * session.c
 *		The session: what is set in it, or in each transaction of a pooler's;
 *		its statements, their outcomes, its loss.
 *
 * A pooler, such as PgBouncer, lends its session for a transaction: what is set
 * for longer would stay there for others.  It is known by the process id that it
 * told us, which is not the server's.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer/internal.h"
#include "consumer/statement.h"

/* The longest pause between tries to connect, in ms. */
#define BACKOFF_MAX_MS 15000

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

/* ---- outcomes ---- */

/* Copies text without its trailing newlines; NULL stays NULL. */
static char *
copy_message(const char *text)
{
	size_t len;

	if (text == NULL)
		return NULL;
	len = strlen(text);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	return strndup(text, len);
}

PgqResult
libpgq_fail(PgqConsumer *c, PgqResult rc, const char *sqlstate,
			const char *message, const char *hint)
{
	char *errmsg = copy_message(message);
	char *errhint = copy_message(hint);

	free(c->errmsg);
	free(c->hint);
	c->errmsg = errmsg;
	c->hint = errhint;
	snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", sqlstate ? sqlstate : "");
	c->status = rc;
	return rc;
}

PgqResult
libpgq_done(PgqConsumer *c, PgqResult rc)
{
	c->status = PGQ_OK;
	return rc;
}

PgqResult
pgq_status(const PgqConsumer *c)
{
	return c->status;
}

const char *
pgq_error(const PgqConsumer *c)
{
	if (c->errmsg != NULL)
		return c->errmsg;
	return c->status == PGQ_OK ? "" : "out of memory";
}

const char *
pgq_hint(const PgqConsumer *c)
{
	return c->hint;
}

const char *
pgq_sqlstate(const PgqConsumer *c)
{
	return c->sqlstate;
}

/* ---- its loss ---- */

void
libpgq_forget_rows(PgqConsumer *c)
{
	PQclear(c->row);
	c->row = NULL;
	while (c->kept_next < c->kept_count)
		PQclear(c->kept[c->kept_next++]);
	free(c->kept);
	c->kept = NULL;
	c->kept_next = c->kept_count = 0;
	c->in_page = false;
}

void
libpgq_forget_batch(PgqConsumer *c)
{
	libpgq_forget_rows(c);
	c->batch_id = 0;
	c->share_id = 0;
	c->detached = false;
	c->finish_sent = false;
}

void
libpgq_set_retry_time(PgqConsumer *c)
{
	c->retry_at = libpgq_now_ms() + c->backoff_ms / 2 +
				  rand_r(&c->seed) % (c->backoff_ms / 2 + 1);
	c->backoff_ms *= 2;
	if (c->backoff_ms > BACKOFF_MAX_MS)
		c->backoff_ms = BACKOFF_MAX_MS;
}

void
libpgq_disconnect(PgqConsumer *c)
{
	if (c->detached)
		libpgq_forget_rows(c);
	else
		libpgq_forget_batch(c);
	if (c->conn == NULL)
		return;
	PQfinish(c->conn);
	c->conn = NULL;
	c->listening = false;
	c->notified = false;
	libpgq_set_retry_time(c);
}

PgqResult
libpgq_note_failure(PgqConsumer *c, PGresult *res)
{
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	/*
	 * A statement that could not be sent any more gets an error that is not the
	 * server's, and libpq notes the loss with the next one only.
	 */
	if (PQstatus(c->conn) == CONNECTION_BAD ||
		(res != NULL && sqlstate == NULL))
	{
		libpgq_fail(c, PGQ_LOST, sqlstate, PQerrorMessage(c->conn), NULL);
		libpgq_disconnect(c);
	}
	else
	{
		const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		/* read only: a pooler has led us to a standby, and may do better */
		bool lost = sqlstate != NULL && strcmp(sqlstate, "25006") == 0;

		libpgq_fail(c, lost ? PGQ_LOST : PGQ_ERROR, sqlstate,
					primary ? primary : PQerrorMessage(c->conn),
					PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
		if (lost)
			libpgq_disconnect(c);
	}
	PQclear(res);
	return c->status;
}

/* ---- statements ---- */

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

PGresult *
libpgq_query(PgqConsumer *c, const char *sql, int nparams,
			 const char *const *params)
{
	PGresult *res = libpgq_run_statement(c->conn,
										 c->pooled ? libpgq_begin_sql(c) : NULL,
										 sql, nparams, NULL, params);

	if (libpgq_is_good(res))
		return res;
	libpgq_note_failure(c, res);
	return NULL;
}

PgqResult
libpgq_set_up_session(PgqConsumer *c, bool *has_channel)
{
	bool is_17 = PQserverVersion(c->conn) >= VERSION_17;
	char sql[768];
	PGresult *res;

	snprintf(
		sql, sizeof(sql),
		"%s" SETTINGS(
			"set local ") "select "
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
