/*-------------------------------------------------------------------------
 *
 * libpgq.c
 *		The consumer's handle: open, close, wait for a tick.
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
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumer/internal.h"

/* The longest wait on a server that sends notices, and on one that doesn't. */
#define WAIT_NOTIFIED_MS 10000
#define WAIT_POLL_MS 1000

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
	c->with_bookmark = (flags & PGQ_BOOKMARK) != 0;
	c->backoff_ms = BACKOFF_MIN_MS;
	c->seed = (unsigned) libpgq_now_ms() ^ (unsigned) getpid() << 16;
	c->wake_pipe[0] = c->wake_pipe[1] = -1;
	if (c->conninfo == NULL || c->queue == NULL || c->consumer == NULL)
	{
		pgq_close(c);
		return NULL;
	}
	if (pipe2(c->wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
		libpgq_fail(c, PGQ_ERROR, NULL, strerror(errno), NULL);
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
	free(c->worker);
	free(c->share_key);
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
	int64_t left = until - libpgq_now_ms();
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
		until = libpgq_now_ms() + timeout_ms;
	if (c->batch_id != 0 && !c->detached)
		return libpgq_fail(c, PGQ_ERROR, "55000",
						   "a batch is open: finish or abandon it first", NULL);

	if (c->conn == NULL)
	{
		sleep_until(c, -1, c->retry_at < until ? c->retry_at : until, &woken);
		return woken ? (c->status = PGQ_LOST) : libpgq_connect(c);
	}

	/* nobody says when the others are done */
	longest = libpgq_now_ms() + (c->others_work ? c->share_pause_ms
								 : c->listening && c->notified
									 ? WAIT_NOTIFIED_MS
									 : WAIT_POLL_MS);
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
			libpgq_fail(c, PGQ_LOST, NULL, PQerrorMessage(c->conn), NULL);
			libpgq_disconnect(c);
			return PGQ_LOST;
		}
		if (woken || libpgq_now_ms() >= until)
			return libpgq_done(c, take_notices(c) ? PGQ_OK : PGQ_NONE);
	}
}
