/*-------------------------------------------------------------------------
 *
 * dial.c
 *		Connect to a server in a thread of its own.
 *
 * The thread and its owner share a Dial, which whoever is last frees: an owner
 * that loses interest does not wait.  What the thread says is in the Dial
 * before the descriptor becomes readable.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/dial.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/session.h"
#include "common/thread.h"

/* Seconds until an attempt to connect to a host is given up by default. */
#define CONNECT_TIMEOUT 30.0

/* Seconds until looking a name up is remarkable. */
#define LOOKUP_PATIENCE 4.0

/* Milliseconds between looks whether the owner has lost interest. */
#define LOOK_PERIOD 1000

/*
 * Commits wait for neither disk nor standby: our own walsender may count as
 * one, and it would wait for us.  To open a batch is a commit that waits, and
 * comes later in the WAL than all that the batch depends on.
 */
static const char pgqd_options[] =
	" -c synchronous_commit=off -c plan_cache_mode=force_generic_plan";

#define MAX_PARAMS 10

struct Dial
{
	char *keywords[MAX_PARAMS + 1];
	char *values[MAX_PARAMS + 1];
	int fd; /* becomes readable at the end */

	/* set by the thread before the end */
	PGconn *pg;
	bool timed_out; /* a host did not answer in time */

	/* shared while it runs, see the functions below */
	int owners;
	int64_t called_at; /* ms: in a call of libpq since then; 0: in none */
};

static int64_t
read_clock(void)
{
	return (int64_t) (clock_seconds() * 1000);
}

/* One of the owners is done with it. */
static void
release(Dial *dial)
{
	if (__atomic_sub_fetch(&dial->owners, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (int i = 0; i < MAX_PARAMS; i++)
	{
		free(dial->keywords[i]);
		free(dial->values[i]);
	}
	PQfinish(dial->pg);
	close(dial->fd);
	free(dial);
}

static bool
is_wanted(const Dial *dial)
{
	return __atomic_load_n(&dial->owners, __ATOMIC_ACQUIRE) > 1;
}

static void
begin_call(Dial *dial)
{
	__atomic_store_n(&dial->called_at, read_clock(), __ATOMIC_RELAXED);
}

/* Returns how many seconds the call took. */
static double
end_call(Dial *dial)
{
	double took = (read_clock() - dial->called_at) / 1000.0;

	__atomic_store_n(&dial->called_at, 0, __ATOMIC_RELAXED);
	return took;
}

static void
ignore_notice(void *arg, const PGresult *res)
{
}

/* Seconds that connect_timeout gives to each host, read as libpq does. */
static double
get_connect_timeout(PGconn *pg)
{
	PQconninfoOption *opts = PQconninfo(pg);
	int seconds = 0;

	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (strcmp(o->keyword, "connect_timeout") == 0 && o->val)
			seconds = atoi(o->val);
	PQconninfoFree(opts);
	if (seconds <= 0)
		return CONNECT_TIMEOUT;
	return seconds < 2 ? 2 : seconds;
}

/* Go on until it is connected, no host is left, or nobody wants it. */
static void
poll_until_done(Dial *dial)
{
	PGconn *pg = dial->pg;
	double patience = get_connect_timeout(pg);
	double give_up_at = clock_seconds() + patience;
	PostgresPollingStatusType wants = PGRES_POLLING_WRITING;

	while (is_wanted(dial) &&
		   (wants == PGRES_POLLING_READING || wants == PGRES_POLLING_WRITING))
	{
		struct pollfd p = {.fd = PQsocket(pg),
						   .events = wants == PGRES_POLLING_READING ? POLLIN
																	: POLLOUT};
		double left = give_up_at - clock_seconds();

		if (left <= 0)
		{
			/*
			 * libpq goes on with the next host only when connecting to this
			 * one fails, which can take minutes: so make it fail now.
			 */
			dial->timed_out = true;
			if (shutdown(p.fd, SHUT_RDWR) < 0)
				return;
			give_up_at += patience;
			continue;
		}
		if (poll(&p, 1,
				 left * 1000 < LOOK_PERIOD ? (int) (left * 1000) + 1
										   : LOOK_PERIOD) == 0)
			continue;
		begin_call(dial);
		wants = PQconnectPoll(pg);
		/* looking a name up is not the host's fault */
		give_up_at += end_call(dial);
	}
}

/* libpq's first step; what it has for defaults the user database may know. */
static PGconn *
start_connection(const Dial *dial)
{
	const char *keywords[MAX_PARAMS + 2] = {0};
	const char *values[MAX_PARAMS + 2] = {0};
	char *options;
	PGconn *pg;
	int n = 0;

	for (; dial->keywords[n]; n++)
	{
		keywords[n] = dial->keywords[n];
		values[n] = dial->values[n];
	}
	options = session_make_options(keywords, values, pgqd_options);
	keywords[n] = "options";
	values[n] = options;
	pg = PQconnectStartParams(keywords, values, 1);
	free(options);
	return pg;
}

static void
run(void *arg)
{
	Dial *dial = arg;
	static const uint64_t one = 1;

	begin_call(dial);
	dial->pg = start_connection(dial);
	end_call(dial);
	if (dial->pg == NULL)
		abort();
	PQsetNoticeReceiver(dial->pg, ignore_notice, NULL);
	if (PQstatus(dial->pg) != CONNECTION_BAD)
		poll_until_done(dial);
	if (write(dial->fd, &one, sizeof(one)) < 0)
		abort();
	release(dial);
}

static void
add_param(Dial *dial, int *n, const char *keyword, const char *value)
{
	if (*n == MAX_PARAMS)
		abort();
	dial->keywords[*n] = text_copy(keyword);
	dial->values[*n] = text_copy(value);
	++*n;
}

/*
 * Begin to connect: base is a libpq connect string or NULL, which dbname
 * overrides unless it is NULL; job is the last part of the session's
 * application_name.  The strings are copied.
 *
 * Returns what dial_finish() or dial_drop() is to be called with, or NULL with
 * errno set if there is no room for more.
 */
Dial *
dial_start(const char *base, const char *dbname, const char *job,
		   bool replication)
{
	Dial *dial = memory_make(sizeof(Dial));
	char name[64];
	int n = 0;
	int rc;

	/*
	 * The first four give way to the same keys in base.  Keepalives are not
	 * sent while there is unanswered data: then the last one counts.
	 */
	add_param(dial, &n, "keepalives_idle", "60");
	add_param(dial, &n, "keepalives_interval", "10");
	add_param(dial, &n, "keepalives_count", "6");
	add_param(dial, &n, "tcp_user_timeout", "120000");
	add_param(dial, &n, "dbname", base ? base : "");
	if (dbname)
		add_param(dial, &n, "dbname", dbname);
	snprintf(name, sizeof(name), "pgqd/%s", job);
	add_param(dial, &n, "application_name", name);
	if (replication)
		add_param(dial, &n, "replication", "database");
	dial->owners = 2;
	dial->fd = eventfd(0, EFD_CLOEXEC);
	rc = dial->fd < 0 ? errno : thread_start(run, dial);
	if (rc == 0)
		return dial;
	dial->owners = 1;
	release(dial);
	errno = rc;
	return NULL;
}

/* A descriptor that becomes readable when the attempt has ended. */
int
dial_get_fd(const Dial *dial)
{
	return dial->fd;
}

/* The hosts that are connected to, malloc'd; not those of service files. */
static char *
find_hosts(const Dial *dial)
{
	PQconninfoOption *opts = NULL;
	const char *hosts = getenv("PGHOST");
	char *copy;

	for (int i = 0; dial->keywords[i] && !opts; i++)
		if (strcmp(dial->keywords[i], "dbname") == 0)
			opts = PQconninfoParse(dial->values[i], NULL);
	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (strcmp(o->keyword, "host") == 0 && o->val)
			hosts = o->val;
	copy = text_copy(hosts ? hosts : "");
	PQconninfoFree(opts);
	return copy;
}

/* What keeps the thread, malloc'd; NULL: nothing remarkable. */
char *
dial_find_wait(const Dial *dial)
{
	int64_t since = __atomic_load_n(&dial->called_at, __ATOMIC_RELAXED);
	char *hosts;
	char *text;

	if (since == 0 || read_clock() - since < LOOKUP_PATIENCE * 1000)
		return NULL;
	hosts = find_hosts(dial);
	text = text_format(
		"the address of host \"%s\" is being looked up: does the name "
		"server answer?",
		hosts);
	free(hosts);
	return text;
}

/*
 * Take the connection of an attempt that has ended, and free the rest.  NULL
 * with a malloc'd text in *error if there is none.
 */
PGconn *
dial_finish(Dial *dial, char **error)
{
	PGconn *pg = NULL;

	*error = NULL;
	if (PQstatus(dial->pg) == CONNECTION_OK)
	{
		pg = dial->pg;
		dial->pg = NULL;
	}
	else
		*error = text_format(
			"%s%s", dial->timed_out ? "timeout while connecting: " : "",
			PQerrorMessage(dial->pg));
	release(dial);
	return pg;
}

/* Lose interest; the thread ends when it can. */
void
dial_drop(Dial *dial)
{
	release(dial);
}
