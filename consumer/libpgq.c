/*-------------------------------------------------------------------------
 *
 * libpgq.c
 *		The consumer's handle: connecting, waiting for a tick, errors.
 *
 * A session that listens before it first asks for a batch cannot miss a tick:
 * a notice that comes between the question and the wait is in the socket when
 * the wait begins, or in libpq's list if it came with the answer, so the wait
 * looks there before it sleeps.  A notice may still be lost on the server's side (they are
 * sent after the tick, in a transaction of their own), so a wait always ends
 * after a while and the caller looks for himself.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "consumer/internal.h"
#include "common/trust.h"

/* Pauses between tries to connect: the first, and the longest, in ms. */
#define BACKOFF_MIN_MS 200
#define BACKOFF_MAX_MS 15000

/* The longest wait on a server that sends notices, and on one that doesn't. */
#define WAIT_NOTIFIED_MS 10000
#define WAIT_POLL_MS 1000

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Server notices go nowhere: a library does not print. */
static void
drop_notice(void *arg, const PGresult *res)
{
	(void) arg;
	(void) res;
}

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

static PgqResult
note(PgqConsumer *c, PgqResult rc, const char *sqlstate, const char *message,
	 const char *hint)
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
libpgq_fail(PgqConsumer *c, PgqResult rc, const char *sqlstate,
			const char *message)
{
	return note(c, rc, sqlstate, message, NULL);
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

/* ---- statements ---- */

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
	c->detached = false;
	c->finish_sent = false;
}

/* Many consumers lose a server at once, and must not come back at once. */
static void
set_retry_time(PgqConsumer *c)
{
	c->retry_at = now_ms() + c->backoff_ms / 2 +
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
	set_retry_time(c);
}

/* A standby that a failover will make the primary, or has made of it. */
static bool
is_standby(PgqConsumer *c)
{
	const char *standby = PQparameterStatus(c->conn, "in_hot_standby");

	return standby != NULL && strcmp(standby, "on") == 0;
}

PgqResult
libpgq_note_failure(PgqConsumer *c, PGresult *res)
{
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (PQstatus(c->conn) == CONNECTION_BAD)
	{
		note(c, PGQ_LOST, sqlstate, PQerrorMessage(c->conn), NULL);
		libpgq_disconnect(c);
	}
	else
	{
		const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		/* read only: a pooler has led us to a standby, and may do better */
		bool lost = sqlstate != NULL && strcmp(sqlstate, "25006") == 0;

		note(c, lost ? PGQ_LOST : PGQ_ERROR, sqlstate,
			 primary ? primary : PQerrorMessage(c->conn),
			 PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
		if (lost)
			libpgq_disconnect(c);
	}
	PQclear(res);
	return c->status;
}

PGresult *
libpgq_query(PgqConsumer *c, const char *sql, int nparams,
			 const char *const *params)
{
	PGresult *res = libpgq_exec(c, sql, nparams, params);
	ExecStatusType st = PQresultStatus(res);

	if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK)
		return res;
	libpgq_note_failure(c, res);
	return NULL;
}

/* ---- connecting ---- */

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
		note(c, PGQ_ERROR, "42501", PQgetvalue(res, 0, 1),
			 "A superuser must own the extension pgq and all in its schema, "
			 "or a role that environment variable " TRUST_VARIABLE " names.");
	else if (PQgetisnull(res, 0, 0))
		note(c, PGQ_ERROR, "3F000", "schema \"pgq\" does not exist",
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
				c->conn ? PQerrorMessage(c->conn) : "out of memory");
	if (c->conn == NULL)
		set_retry_time(c);
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
	if (now_ms() < c->retry_at)
		return c->status = PGQ_LOST;

	snprintf(appname, sizeof(appname), "pgq consumer %s", c->consumer);
	list_parameters(c, appname, keys, vals);
	c->conn = PQconnectdbParams(keys, vals, 1);
	if (PQstatus(c->conn) != CONNECTION_OK)
		return note_no_connection(c, keys, vals);
	PQsetNoticeReceiver(c->conn, drop_notice, NULL);

	if (is_standby(c))
	{
		libpgq_fail(c, PGQ_LOST, "25006", "the server is a standby");
		libpgq_disconnect(c);
		return PGQ_LOST;
	}
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

PgqConsumer *
pgq_open(const char *conninfo, const char *queue, const char *consumer,
		 int flags)
{
	PgqConsumer *c = calloc(1, sizeof(PgqConsumer));

	if (c == NULL)
		return NULL;
	c->conninfo = strdup(conninfo);
	c->queue = strdup(queue);
	c->consumer = strdup(consumer);
	c->must_register = (flags & PGQ_REGISTER) != 0;
	c->backoff_ms = BACKOFF_MIN_MS;
	c->seed = (unsigned) now_ms() ^ (unsigned) getpid() << 16;
	c->wake_pipe[0] = c->wake_pipe[1] = -1;
	if (c->conninfo == NULL || c->queue == NULL || c->consumer == NULL)
	{
		pgq_close(c);
		return NULL;
	}
	if (pipe2(c->wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
		libpgq_fail(c, PGQ_ERROR, NULL, strerror(errno));
	else
		libpgq_connect(c);
	return c;
}

void
pgq_close(PgqConsumer *c)
{
	if (c == NULL)
		return;
	pgq_abandon(c);
	libpgq_disconnect(c);
	if (c->wake_pipe[0] >= 0)
		close(c->wake_pipe[0]);
	if (c->wake_pipe[1] >= 0)
		close(c->wake_pipe[1]);
	free(c->conninfo);
	free(c->queue);
	free(c->consumer);
	free(c->bookmark);
	free(c->errmsg);
	free(c->hint);
	free(c);
}

bool
pgq_is_pooled(const PgqConsumer *c)
{
	return c->pooled;
}

PGconn *
pgq_connection(PgqConsumer *c)
{
	c->borrowed = true;
	return libpgq_keep_page(c) ? c->conn : NULL;
}

int
pgq_backend_pid(const PgqConsumer *c)
{
	return c->conn && !c->pooled ? PQbackendPID(c->conn) : 0;
}

const char *
pgq_database(const PgqConsumer *c)
{
	return c->conn ? PQdb(c->conn) : NULL;
}

/* ---- waiting ---- */

void
pgq_wake(PgqConsumer *c)
{
	int save_errno = errno;
	ssize_t n;

	/* A full pipe wakes as well as one byte does. */
	n = write(c->wake_pipe[1], "", 1);
	(void) n;
	errno = save_errno;
}

/*
 * Sleeps until something is to be read from sock (-1 = none), pgq_wake() was
 * called, a signal came, or the clock shows until.  True: sock is readable.
 */
static bool
sleep_until(PgqConsumer *c, int sock, int64_t until, bool *woken)
{
	struct pollfd fds[2];
	int64_t left = until - now_ms();
	int n;

	if (left < 0)
		left = 0;
	if (left > INT_MAX)
		left = INT_MAX;
	fds[0].fd = c->wake_pipe[0];
	fds[0].events = POLLIN;
	fds[1].fd = sock;
	fds[1].events = POLLIN;
	n = poll(fds, sock >= 0 ? 2 : 1, (int) left);

	*woken = n < 0;
	if (n <= 0)
		return false;
	if (fds[0].revents != 0)
	{
		char buf[64];

		while (read(c->wake_pipe[0], buf, sizeof(buf)) > 0)
			;
		*woken = true;
	}
	return sock >= 0 && fds[1].revents != 0;
}

/* Takes all notices that have arrived.  True if there was one. */
static bool
take_notices(PgqConsumer *c)
{
	PGnotify *notice;
	bool found = false;

	while ((notice = PQnotifies(c->conn)) != NULL)
	{
		PQfreemem(notice);
		found = true;
	}
	if (found)
		c->notified = true;
	return found;
}

PgqResult
pgq_wait(PgqConsumer *c, int timeout_ms)
{
	int64_t until = INT64_MAX;
	int64_t longest;
	bool woken = false;

	if (timeout_ms >= 0)
		until = now_ms() + timeout_ms;
	if (c->batch_id != 0 && !c->detached)
		return libpgq_fail(c, PGQ_ERROR, "55000",
						   "a batch is open: finish or abandon it first");

	if (c->conn == NULL)
	{
		sleep_until(c, -1, c->retry_at < until ? c->retry_at : until, &woken);
		return woken ? (c->status = PGQ_LOST) : libpgq_connect(c);
	}

	longest = now_ms() +
			  (c->listening && c->notified ? WAIT_NOTIFIED_MS : WAIT_POLL_MS);
	if (longest < until)
		until = longest;
	for (;;)
	{
		bool readable;

		if (take_notices(c))
			return libpgq_done(c, PGQ_OK);
		readable = sleep_until(c, PQsocket(c->conn), until, &woken);
		if (readable && (PQconsumeInput(c->conn) == 0 ||
						 PQstatus(c->conn) == CONNECTION_BAD))
		{
			libpgq_fail(c, PGQ_LOST, NULL, PQerrorMessage(c->conn));
			libpgq_disconnect(c);
			return PGQ_LOST;
		}
		if (woken || now_ms() >= until)
			return libpgq_done(c, take_notices(c) ? PGQ_OK : PGQ_NONE);
	}
}
