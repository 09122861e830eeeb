/*-------------------------------------------------------------------------
 *
 * connect.c
 *		Connecting: parameters, trust, registration, LISTEN.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/trust.h"
#include "consumer/internal.h"

/* Server notices go nowhere: a library does not print. */
static void
drop_notice(void *arg, const PGresult *res)
{
	(void) arg;
	(void) res;
}

/* A standby that a failover will make the primary, or has made of it. */
static bool
is_standby(PgqConsumer *c)
{
	const char *standby = PQparameterStatus(c->conn, "in_hot_standby");

	return standby != NULL && strcmp(standby, "on") == 0;
}

/*
 * A database in SQL_ASCII may have bytes that are no UTF-8, and its server would
 * refuse to send them as that: the batch would never pass.
 */
static void
use_own_encoding(PgqConsumer *c)
{
	const char *encoding = PQparameterStatus(c->conn, "server_encoding");

	if (encoding != NULL && strcmp(encoding, "SQL_ASCII") == 0)
		PQsetClientEncoding(c->conn, encoding);
}

/* TRUST_SQL, whatever makes queries slow or ends them there. */
static PGresult *
ask_trust(PgqConsumer *c)
{
	const char *params[2] = {getenv(TRUST_VARIABLE), "pgq"};
	PGresult *res;

	PQclear(PQexec(c->conn, "begin read only; set local jit = off; "
							"set local statement_timeout = 0"));
	res = libpgq_query(c, TRUST_SQL, 2, params);
	if (c->conn)
		PQclear(PQexec(c->conn, "rollback"));
	return res;
}

/*
 * Is the extension pgq a trusted role's?  Whoever may create a schema could
 * have made up one, whose functions would run with our rights.
 */
static PgqResult
require_trust(PgqConsumer *c)
{
	PGresult *res = ask_trust(c);

	if (res == NULL)
		return c->status;
	if (!PQgetisnull(res, 0, 1))
		libpgq_fail(
			c, PGQ_ERROR, "42501", PQgetvalue(res, 0, 1),
			"A superuser must own the extension pgq and all in its schema, "
			"or a role that environment variable " TRUST_VARIABLE " names.");
	else if (PQgetisnull(res, 0, 0))
		libpgq_fail(c, PGQ_ERROR, "3F000", "schema \"pgq\" does not exist",
					"Create it as a superuser: CREATE EXTENSION pgq.");
	else
		libpgq_done(c, PGQ_OK);
	PQclear(res);
	return c->status;
}

/* Prepares a fresh session: settings, registration, LISTEN. */
static PgqResult
prepare_session(PgqConsumer *c)
{
	const char *names[2] = {c->queue, c->consumer};
	PGresult *res;
	bool has_channel = false;

	if (libpgq_set_up_session(c, &has_channel) != PGQ_OK)
		return c->status;
	if (require_trust(c) != PGQ_OK)
		return c->status;

	if (c->must_register)
	{
		res = libpgq_query(c,
						   "select pgq.register_consumer($1::pg_catalog.text, "
						   "$2::pg_catalog.text)",
						   2, names);
		if (res == NULL)
			return c->status;
		PQclear(res);
		c->must_register = false;
	}

	/* a pooler would give the notices to whoever has the session next */
	if (has_channel && !c->pooled)
	{
		res = libpgq_query(c,
						   "select pg_catalog.quote_ident("
						   "pgq.tick_channel($1::pg_catalog.text))",
						   1, names);
		if (res == NULL)
			return c->status;
		if (PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
		{
			char sql[256];
			PGresult *done;

			/* A channel is an identifier: 63 bytes, quoted 128 at most. */
			snprintf(sql, sizeof(sql), "listen %s", PQgetvalue(res, 0, 0));
			done = libpgq_query(c, sql, 0, NULL);
			if (done == NULL)
			{
				PQclear(res);
				return c->status;
			}
			PQclear(done);
			c->listening = true;
		}
		PQclear(res);
	}
	return libpgq_done(c, PGQ_OK);
}

/*
 * Puts the parameters of the connection, at most CONNECT_KEYS with the NULL at
 * their end, into keys and vals.  Later ones win: what conninfo says beats those
 * before it.
 */
#define CONNECT_KEYS 10

static void
list_parameters(PgqConsumer *c, const char *appname, const char **keys,
				const char **vals)
{
	int n = 0;

	keys[n] = "fallback_application_name";
	vals[n++] = appname;

	/*
	 * A server that is gone without a word would be waited for a quarter of
	 * an hour.  Keepalives are not sent while there is unanswered data: then
	 * the last one counts.
	 */
	keys[n] = "keepalives_idle";
	vals[n++] = "60";
	keys[n] = "keepalives_interval";
	vals[n++] = "10";
	keys[n] = "keepalives_count";
	vals[n++] = "6";
	keys[n] = "tcp_user_timeout";
	vals[n++] = "120000";
	if (getenv("PGCONNECT_TIMEOUT") == NULL)
	{
		keys[n] = "connect_timeout";
		vals[n++] = "10";
	}
	if (getenv("PGTARGETSESSIONATTRS") == NULL)
	{
		keys[n] = "target_session_attrs";
		vals[n++] = "primary";
	}
	keys[n] = "dbname";
	vals[n++] = c->conninfo;
	keys[n] = "client_encoding";
	vals[n++] = "UTF8";
	keys[n] = NULL;
	vals[n] = NULL;
}

/*
 * Notes why connecting has failed.  Whoever was connected before goes on trying,
 * whatever the reason: the server may be in the middle of a failover.
 */
static PgqResult
note_no_connection(PgqConsumer *c, const char *const *keys,
				   const char *const *vals)
{
	char sqlstate[6] = "";
	bool refused = !c->was_connected && c->conn != NULL &&
				   libpgq_is_refused(keys, vals, sqlstate);

	libpgq_fail(c, refused ? PGQ_ERROR : PGQ_LOST, sqlstate,
				c->conn ? PQerrorMessage(c->conn) : "out of memory", NULL);
	if (c->conn == NULL)
		libpgq_set_retry_time(c);
	libpgq_disconnect(c);
	return c->status;
}

PgqResult
libpgq_connect(PgqConsumer *c)
{
	const char *keys[CONNECT_KEYS];
	const char *vals[CONNECT_KEYS];
	char appname[64];
	PgqResult rc;

	if (c->conn != NULL)
		return PGQ_OK;
	if (libpgq_now_ms() < c->retry_at)
		return c->status = PGQ_LOST;

	snprintf(appname, sizeof(appname), "pgq consumer %s", c->consumer);
	list_parameters(c, appname, keys, vals);
	c->conn = PQconnectdbParams(keys, vals, 1);
	if (PQstatus(c->conn) != CONNECTION_OK)
		return note_no_connection(c, keys, vals);
	PQsetNoticeReceiver(c->conn, drop_notice, NULL);

	if (is_standby(c))
	{
		libpgq_fail(c, PGQ_LOST, "25006", "the server is a standby", NULL);
		libpgq_disconnect(c);
		return PGQ_LOST;
	}
	use_own_encoding(c);
	rc = prepare_session(c);
	if (rc == PGQ_OK)
	{
		c->backoff_ms = BACKOFF_MIN_MS;
		c->was_connected = true;
	}
	else
	{
		/* Nothing was lost: the caller may mend it and try again at once. */
		libpgq_disconnect(c);
		if (rc == PGQ_ERROR)
			c->retry_at = 0;
	}
	return rc;
}
