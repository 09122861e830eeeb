/*-------------------------------------------------------------------------
 *
 * wait.c
 *		Nothing waits mutely: for whom the server's session waits, and its end
 *		when the user stops waiting.
 *
 * A thread looks on by a session of its own, since ours is busy.  So it serves
 * any call that blocks, libpgq's too.  The program waits for one thing at a
 * time, so there is one of all this.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "admin/wait.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/memory.h"

/*
 * Milliseconds between two looks, once there was something to say; and before.
 * Captures wait for locks in turns of a tenth of a second, with pauses between: no
 * look may miss a turn, or all would, as long as both keep step.
 */
#define LOOK_PERIOD 1000
#define FIRST_LOOK_PERIOD 80

#define PGQD_SESSIONS                                                          \
	"a.application_name operator(pg_catalog.~) '^pgqd(/|$)'"                   \
	" and a.datname operator(pg_catalog.=) pg_catalog.current_database()"      \
	" and pg_catalog.pg_has_role(a.usesysid,"                                  \
	" pg_catalog.to_regrole('pgq_admin'), 'usage')"

#define AGE(since)                                                             \
	"pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()"             \
	" operator(pg_catalog.-) " since ")"

/*
 * One row for each whom process $1 waits for, or, for 0, pgqd: what he is known
 * by, who he is, how to end him.  pg_blocking_pids() gives 0 for a prepared
 * transaction: it is the one that has the lock that is waited for and, like all that
 * write, one on its own id.
 */
/* clang-format off */
static const char blockers_sql[] =
	"with waiter as (select a.pid, a.wait_event,"
	" pg_catalog.pg_blocking_pids(a.pid) as pids"
	" from pg_catalog.pg_stat_activity a where case"
	" when $1::pg_catalog.int4 operator(pg_catalog.<>) 0"
	" then a.pid operator(pg_catalog.=) $1::pg_catalog.int4"
	" else " PGQD_SESSIONS " end)"
	" select distinct a.pid::pg_catalog.text, pg_catalog.format("
	"'process %s (%s)', a.pid, pg_catalog.concat_ws(', ',"
	" coalesce('user ' operator(pg_catalog.||)"
	" pg_catalog.quote_ident(a.usename), a.backend_type),"
	" nullif(a.application_name, ''), case a.state when 'active' then"
	" 'its query runs for ' operator(pg_catalog.||) " AGE("a.query_start")
	" else a.state operator(pg_catalog.||) ' for ' operator(pg_catalog.||) "
	AGE("a.state_change") " end,"
	" 'its transaction is open for ' operator(pg_catalog.||) "
	AGE("a.xact_start") ")), pg_catalog.format("
	"'SELECT pg_terminate_backend(%s);', a.pid)"
	" from waiter w, pg_catalog.pg_stat_activity a"
	" where a.pid operator(pg_catalog.=) any (w.pids)"
	" union all select distinct x.gid, pg_catalog.format("
	"'prepared transaction %L (user %I, database %I, prepared %s ago)', x.gid,"
	" x.owner, x.database, " AGE("x.prepared") "), pg_catalog.format("
	"'COMMIT PREPARED %L; or ROLLBACK PREPARED %1$L;', x.gid)"
	" from waiter w, pg_catalog.pg_locks l, pg_catalog.pg_locks h,"
	" pg_catalog.pg_locks t,"
	" pg_catalog.pg_prepared_xacts x"
	" where 0 operator(pg_catalog.=) any (w.pids)"
	" and l.pid operator(pg_catalog.=) w.pid and not l.granted"
	" and h.pid is null and h.granted"
	" and h.locktype operator(pg_catalog.=) l.locktype"
	" and h.database is not distinct from l.database"
	" and h.relation is not distinct from l.relation"
	" and h.page is not distinct from l.page"
	" and h.tuple is not distinct from l.tuple"
	" and h.transactionid is not distinct from l.transactionid"
	" and h.classid is not distinct from l.classid"
	" and h.objid is not distinct from l.objid"
	" and h.objsubid is not distinct from l.objsubid"
	" and t.pid is null"
	" and t.virtualtransaction operator(pg_catalog.=) h.virtualtransaction"
	" and t.transactionid operator(pg_catalog.=) x.transaction"
	" union all select 'sync', 'a synchronous standby (synchronous_standby_names"
	" is ' operator(pg_catalog.||) pg_catalog.current_setting("
	"'synchronous_standby_names') operator(pg_catalog.||) ')',"
	" 'change synchronous_standby_names.'"
	" from waiter w where w.wait_event operator(pg_catalog.=) 'SyncRep'"
	" order by 1 limit 5";
/* clang-format on */

/* What the thread and the program share; all but "cancel" under the mutex. */
static struct
{
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool running;    /* the thread is there */
	unsigned serial; /* of the wait: odd while there is one */
	Admin admin;
	int pid;
} watch = {.mutex = PTHREAD_MUTEX_INITIALIZER,
		   .changed = PTHREAD_COND_INITIALIZER};

/* ---- saying it ---- */

/*
 * Asks for whom process pid waits, 0: pgqd.  Says so if they are others than
 * *said, which is malloc'd or NULL.  still: is it waited for yet?
 */
static void
tell_blockers(Admin *a, int pid, char **said, unsigned serial)
{
	char text[16];
	const char *params[1] = {text};
	char *names;
	PQExpBuffer out = text_begin();
	PGresult *res;

	snprintf(text, sizeof(text), "%d", pid);
	res = PQexecParams(a->conn, blockers_sql, 1, NULL, params, NULL, NULL, 0);
	for (int row = 0; row < PQntuples(res); row++)
		appendPQExpBuffer(out, "%s\n", PQgetvalue(res, row, 0));
	names = text_end(out);

	pthread_mutex_lock(&watch.mutex);
	if ((serial == 0 || watch.serial == serial) &&
		(*said == NULL || strcmp(names, *said) != 0))
	{
		for (int row = 0; row < PQntuples(res); row++)
			admin_say(a, "pgqadm: %s %s\nhint: If it is forgotten: %s",
					  pid != 0 ? "waiting for" : "pgqd waits for",
					  PQgetvalue(res, row, 1), PQgetvalue(res, row, 2));
		if (PQntuples(res) > 0)
		{
			free(*said);
			*said = names;
			names = NULL;
		}
	}
	pthread_mutex_unlock(&watch.mutex);
	free(names);
	PQclear(res);
}

/* ---- the thread ---- */

/* Waits, under the mutex, until the wait of that serial is over: true; or ms. */
static bool
is_over(unsigned serial, int ms)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (watch.serial == serial && rc == 0)
		rc = pthread_cond_timedwait(&watch.changed, &watch.mutex, &until);
	return watch.serial != serial;
}

/* Looks on at one wait until it is over; under the mutex, but while it asks. */
static void
look_on(unsigned serial)
{
	Admin a = watch.admin;
	int pid = watch.pid;
	char *said = NULL;

	a.conn = NULL;
	a.begin = NULL;
	if (is_over(serial, (int) (WAIT_PATIENCE * 1000)))
		return;
	do
	{
		pthread_mutex_unlock(&watch.mutex);
		if (a.conn == NULL)
			a.conn = admin_try_connect(&a);
		if (PQstatus(a.conn) == CONNECTION_OK)
			tell_blockers(&a, pid, &said, serial);
		pthread_mutex_lock(&watch.mutex);
	} while (!is_over(serial, said != NULL ? LOOK_PERIOD : FIRST_LOOK_PERIOD));
	PQfinish(a.conn);
	free(a.begin);
	free(said);
}

static void *
run_thread(void *arg)
{
	pthread_mutex_lock(&watch.mutex);
	for (;;)
	{
		while (watch.serial % 2 == 0)
			pthread_cond_wait(&watch.changed, &watch.mutex);
		look_on(watch.serial);
	}
	return NULL;
}

/* The program's signals are not for the thread.  Without it, we wait mutely. */
static void
start_thread(void)
{
	pthread_t thread;
	sigset_t all;
	sigset_t before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	watch.running = pthread_create(&thread, NULL, run_thread, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (watch.running)
		pthread_detach(thread);
}

void
wait_begin(const Admin *a, int pid)
{
	if (a->quiet || a->pooled || pid == 0)
		return;
	pthread_mutex_lock(&watch.mutex);
	if (!watch.running)
		start_thread();
	watch.admin = *a;
	watch.pid = pid;
	watch.serial++;
	pthread_cond_signal(&watch.changed);
	pthread_mutex_unlock(&watch.mutex);
}

void
wait_end(void)
{
	pthread_mutex_lock(&watch.mutex);
	if (watch.serial % 2 == 1)
	{
		watch.serial++;
		pthread_cond_signal(&watch.changed);
	}
	pthread_mutex_unlock(&watch.mutex);
}

/* ---- the end ---- */

static const int stop_signals[] = {SIGINT, SIGTERM};

#define N_STOP_SIGNALS ((int) (sizeof(stop_signals) / sizeof(stop_signals[0])))

static PGcancel *cancel; /* of the statement that runs */
static volatile sig_atomic_t stop_signal;

/* The server ends the statement at once; a second signal ends us. */
static void
handle_stop(int signo)
{
	char error[256];

	if (stop_signal != 0)
	{
		signal(signo, SIG_DFL);
		raise(signo);
		return;
	}
	stop_signal = signo;
	PQcancel(cancel, error, sizeof(error));
}

/* Changes a handler "from" to "to", and leaves another alone. */
static void
replace_handlers(void (*from)(int), void (*to)(int))
{
	for (int i = 0; i < N_STOP_SIGNALS; i++)
	{
		struct sigaction now;
		struct sigaction wanted = {.sa_handler = to, .sa_flags = SA_RESTART};

		if (sigaction(stop_signals[i], NULL, &now) == 0 &&
			now.sa_handler == from)
			sigaction(stop_signals[i], &wanted, NULL);
	}
}

void
wait_begin_statement(const Admin *a, PGconn *conn)
{
	cancel = PQgetCancel(conn);
	if (cancel != NULL)
		replace_handlers(SIG_DFL, handle_stop);
	wait_begin(a, PQbackendPID(conn));
}

void
wait_end_statement(PGconn *conn)
{
	wait_end();
	replace_handlers(handle_stop, SIG_DFL);
	PQfreeCancel(cancel);
	cancel = NULL;
	if (stop_signal == 0)
		return;
	/* the session ends, and what it did not commit */
	PQfinish(conn);
	admin_warn("stopped");
	raise(stop_signal);
}

/* ---- pgqd ---- */

void
wait_for_pgqd(const Admin *a, double *since)
{
	static char *said;
	double now = clock_seconds();
	Admin look = *a;
	PGresult *res;

	if (*since == 0)
		*since = now;
	if (now - *since < WAIT_PATIENCE || a->quiet)
		return;
	*since = now;
	res = PQexec(
		a->conn,
		"select a.pid from pg_catalog.pg_stat_activity a where " PGQD_SESSIONS
		" order by a.backend_start limit 1");
	/* what is wrong with the connection the caller finds, too */
	if (said == NULL && PQresultStatus(res) == PGRES_TUPLES_OK)
	{
		if (PQntuples(res) == 0)
			admin_warn("waiting for pgqd, which does not look after this "
					   "database\nhint: Start it; command \"doctor\" tells "
					   "more.");
		else
			admin_warn("waiting for pgqd (process %s)", PQgetvalue(res, 0, 0));
		said = text_copy("");
	}
	PQclear(res);
	/* in a pooler's session the names in the query might be others' */
	if (!a->pooled)
		tell_blockers(&look, 0, &said, 0);
}
