/*-------------------------------------------------------------------------
 *
 * consume.c
 *		pgqadm consume: a consumer that prints events as JSON lines, or pipes
 *		each batch to a command.
 *
 * A batch is finished only when its lines were taken: written out without an
 * error, or read by a command that exited with status 0.  Whatever else
 * happens, the batch comes again with the next run.
 *
 * A first SIGINT or SIGTERM lets the batch at hand come to its end; a second
 * one ends the program on the spot.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consumer/libpgq.h"
#include "common/clock.h"
#include "admin/admin.h"

#define PAUSE_MIN_MS 1000
#define LOOK_DELAY 10 /* seconds without a batch, before pgqd is looked for */
#define PAUSE_MAX_MS 60000

static const char *const field_names[] = {
	"ev_id",   "ev_time",   "ev_txid",   "ev_retry",  "ev_type",
	"ev_data", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"};

#define N_FIELDS ((int) (sizeof(field_names) / sizeof(field_names[0])))

typedef enum BatchEnd
{
	BATCH_TAKEN,   /* finish it */
	BATCH_REFUSED, /* the command failed: again later */
	BATCH_BROKEN   /* the session failed: see pgq_status() */
} BatchEnd;

typedef struct Run
{
	Admin *admin;
	const char *queue;
	const char *consumer;
	PgqConsumer *c;
	int fields[N_FIELDS]; /* which ones to print, in this order */
	int nfields;
	long events;  /* finished so far */
	int pause_ms; /* after the next failure */
	bool offline; /* said so already */
	bool looked;  /* whether pgqd is there */
	double look_at;
} Run;

static PgqConsumer *wake_target; /* for the signal handler */
static volatile sig_atomic_t stopping;
static volatile sig_atomic_t command; /* --exec's process group, 0: none */

static void
handle_stop(int signo)
{
	struct sigaction again = {.sa_handler = SIG_DFL};

	if (stopping)
	{
		/* the end of its input is not the end of the batch */
		if (command > 0)
			kill(-command, SIGTERM);
		sigaction(signo, &again, NULL);
		raise(signo);
		return;
	}
	stopping = 1;
	if (wake_target != NULL)
		pgq_wake(wake_target);
}

static void
catch_signals(void)
{
	struct sigaction stop = {.sa_handler = handle_stop, .sa_flags = SA_RESTART};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);

	/* A closed pipe shall be a write error, which leaves the batch open. */
	sigaction(SIGPIPE, &ignore, NULL);
}

/* ---- JSON ---- */

static void
write_event(const Run *run, FILE *out, const PgqEvent *ev)
{
	const char *const texts[] = {ev->ev_type,   ev->ev_data,   ev->ev_extra1,
								 ev->ev_extra2, ev->ev_extra3, ev->ev_extra4};

	for (int i = 0; i < run->nfields; i++)
	{
		int f = run->fields[i];

		fprintf(out, "%s\"%s\":", i == 0 ? "{" : ",", field_names[f]);
		if (f == 0)
			fprintf(out, "%lld", (long long) ev->ev_id);
		else if (f == 1)
			admin_write_json(out, ev->ev_time);
		else if (f == 2)
			fprintf(out, "%lld", (long long) ev->ev_txid);
		else if (f == 3 && ev->ev_retry >= 0)
			fprintf(out, "%d", (int) ev->ev_retry);
		else
			admin_write_json(out, f == 3 ? NULL : texts[f - 4]);
	}
	fputs("}\n", out);
}

/* --fields A,B: notes which fields to print, all without the option. */
static void
choose_fields(Run *run, const char *list)
{
	while (list && *list)
	{
		size_t len = strcspn(list, ",");
		int f = 0;

		while (f < N_FIELDS && (strlen(field_names[f]) != len ||
								strncmp(field_names[f], list, len) != 0))
			f++;
		if (f == N_FIELDS || run->nfields == N_FIELDS)
			admin_fail("Fields are ev_id, ev_time, ev_txid, ev_retry, "
					   "ev_type, ev_data, ev_extra1 .. ev_extra4, separated "
					   "by commas, each once.",
					   "bad field: %.*s", (int) len, list);
		run->fields[run->nfields++] = f;
		list += len + (list[len] == ',');
	}
	if (run->nfields == 0)
		for (int f = 0; f < N_FIELDS; f++)
			run->fields[run->nfields++] = f;
}

/* ---- one batch ---- */

/* Writes all events of the batch to out, and counts them. */
static BatchEnd
write_batch(Run *run, FILE *out, const PgqEvent *first, long *n)
{
	PgqEvent ev = *first;
	PgqResult rc;

	do
	{
		write_event(run, out, &ev);
		(*n)++;

		/* Nobody reads any more: the rest of the batch can be spared. */
		if (ferror(out))
			return BATCH_TAKEN;
		rc = pgq_next_event(run->c, &ev);
	} while (rc == PGQ_OK);
	return rc == PGQ_NONE ? BATCH_TAKEN : BATCH_BROKEN;
}

/*
 * Starts sh -c CMD, in a process group of its own: so the whole of a pipeline
 * can be stopped, and ^C does not stop it in the middle of a batch.  Returns
 * its standard input, NULL on failure.
 */
static FILE *
start_command(const Run *run, pid_t *pid)
{
	char batch[32];
	int fds[2];

	if (pipe(fds) != 0)
		return NULL;
	snprintf(batch, sizeof(batch), "%lld", (long long) pgq_batch_id(run->c));
	fflush(stdout);
	*pid = fork();
	if (*pid == 0)
	{
		signal(SIGPIPE, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		setpgid(0, 0);
		dup2(fds[0], STDIN_FILENO);
		close(fds[0]);
		close(fds[1]);
		setenv("PGQ_QUEUE", run->queue, 1);
		setenv("PGQ_CONSUMER", run->consumer, 1);
		setenv("PGQ_BATCH", batch, 1);
		execl("/bin/sh", "sh", "-c", run->admin->exec, (char *) NULL);
		_exit(127);
	}
	close(fds[0]);
	if (*pid < 0)
	{
		close(fds[1]);
		return NULL;
	}
	setpgid(*pid, *pid); /* whoever comes first */
	command = *pid;
	return fdopen(fds[1], "w");
}

/* Pipes the batch to the command; its exit status decides. */
static BatchEnd
pipe_batch(Run *run, const PgqEvent *first, long *n)
{
	pid_t pid;
	FILE *out = start_command(run, &pid);
	BatchEnd end;
	int status;

	if (out == NULL)
	{
		admin_warn("could not start the command: %s", strerror(errno));
		return BATCH_REFUSED;
	}
	end = write_batch(run, out, first, n);

	/*
	 * A command that must not see the end of a batch cut short is stopped
	 * before its input ends.
	 */
	if (end == BATCH_BROKEN)
		kill(-pid, SIGTERM);
	fclose(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	command = 0;
	if (end != BATCH_TAKEN || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return end;
	if (WIFSIGNALED(status))
		admin_warn("command was ended by signal %d; batch %lld stays open",
				   WTERMSIG(status), (long long) pgq_batch_id(run->c));
	else
		admin_warn("command exited with status %d; batch %lld stays open",
				   WEXITSTATUS(status), (long long) pgq_batch_id(run->c));
	return BATCH_REFUSED;
}

/* Prints the batch.  Output that cannot be written ends the program. */
static BatchEnd
print_batch(Run *run, const PgqEvent *first, long *n)
{
	BatchEnd end = write_batch(run, stdout, first, n);

	if (fflush(stdout) != 0 || ferror(stdout))
	{
		int save_errno = errno;

		pgq_close(run->c);
		admin_fail("The batch was not finished; its events come again.",
				   "could not write output: %s", strerror(save_errno));
	}
	return end;
}

/* Handles the open batch and finishes it; *n becomes its count of events. */
static BatchEnd
do_batch(Run *run, long *n)
{
	PgqEvent ev;
	PgqResult rc = pgq_next_event(run->c, &ev);
	BatchEnd end = BATCH_TAKEN;

	*n = 0;
	if (rc == PGQ_OK)
		end = run->admin->exec ? pipe_batch(run, &ev, n)
							   : print_batch(run, &ev, n);
	else if (rc != PGQ_NONE)
		end = BATCH_BROKEN;
	if (end == BATCH_TAKEN && pgq_finish(run->c) != PGQ_OK)
		end = BATCH_BROKEN;
	if (end == BATCH_REFUSED)
		pgq_abandon(run->c);
	return end;
}

/* ---- the loop ---- */

/* Trouble that passes: conflicts, resources, a cancelled statement. */
static bool
is_passing(const char *sqlstate)
{
	return strncmp(sqlstate, "40", 2) == 0 || strncmp(sqlstate, "53", 2) == 0 ||
		   strncmp(sqlstate, "57", 2) == 0 || strcmp(sqlstate, "55P03") == 0;
}

static void
fail_with_server_error(Run *run)
{
	const char *hint = pgq_hint(run->c);

	/* in this program's words */
	if (strncmp(pgq_error(run->c), "Not subscriber", 14) == 0)
		hint = "Register the consumer first, or give --register.";
	else if (strncmp(pgq_error(run->c), "Event queue not created", 23) == 0 ||
			 strncmp(pgq_error(run->c), "no such queue", 13) == 0)
		hint =
			"Command \"status\" shows the queues there are, \"create\" makes "
			"one.";

	/* Some of the server's messages do not say which queue they mean. */
	if (pgq_status(run->c) == PGQ_LOST ||
		strstr(pgq_error(run->c), run->queue) != NULL)
		admin_fail(hint, "%s", pgq_error(run->c));
	admin_fail(hint, "queue %s: %s", run->queue, pgq_error(run->c));
}

/* Sleeps for a growing while, or until a signal comes. */
static void
pause_after_failure(Run *run)
{
	double until = clock_seconds() + run->pause_ms / 1000.0;

	while (!stopping && clock_seconds() < until)
		if (pgq_wait(run->c, (int) ((until - clock_seconds()) * 1000) + 1) ==
			PGQ_ERROR)
			fail_with_server_error(run);
	run->pause_ms *= 2;
	if (run->pause_ms > PAUSE_MAX_MS)
		run->pause_ms = PAUSE_MAX_MS;
}

/* Says what broke, once for an outage, and waits; or ends the program. */
static void
handle_trouble(Run *run)
{
	PgqResult rc = pgq_status(run->c);

	if (rc == PGQ_ERROR && !is_passing(pgq_sqlstate(run->c)))
		fail_with_server_error(run);
	if (run->admin->once)
		fail_with_server_error(run);
	if (rc == PGQ_ERROR)
	{
		admin_warn("%s; trying again", pgq_error(run->c));
		pause_after_failure(run);
		return;
	}
	if (!run->offline)
		admin_warn("connection lost: %s", pgq_error(run->c));
	run->offline = true;
	if (pgq_wait(run->c, PAUSE_MAX_MS) == PGQ_ERROR)
		fail_with_server_error(run);
}

/* Milliseconds that a wait may take, -1 = any; 0 when --timeout is over. */
static int
time_left(const Run *run, double last_event)
{
	double left;

	if (run->admin->timeout <= 0)
		return -1;
	left = last_event + run->admin->timeout - clock_seconds();
	return left <= 0 ? 0 : (int) (left * 1000) + 1;
}

/*
 * Nothing has come for a while: say so if that is because nobody ticks.  By a
 * session of its own, since the consumer's listens.
 */
static void
warn_without_pgqd(Run *run)
{
	static const char sql[] =
		"select 1 where not exists (select from pg_catalog.pg_stat_activity "
		"where application_name ~ '^pgqd(/|$)' and datname = "
		"pg_catalog.current_database())";
	Admin *a = run->admin;
	PGresult *res;

	a->conn = admin_try_connect(a);
	res = PQstatus(a->conn) == CONNECTION_OK ? admin_exec(a, sql, 0, NULL, NULL)
											 : NULL;
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
		admin_warn("pgqd does not look after this database: no ticks, nothing "
				   "arrives\nhint: Start it; command \"doctor\" tells more.");
	PQclear(res);
	PQfinish(a->conn);
	a->conn = NULL;
}

/* Waits for a tick, at most "left" ms; looks for pgqd once if none comes. */
static void
wait_for_tick(Run *run, int left)
{
	if (!run->looked && clock_seconds() >= run->look_at)
	{
		run->looked = true;
		warn_without_pgqd(run);
	}
	if (!run->looked && (left < 0 || left > LOOK_DELAY * 1000))
		left = LOOK_DELAY * 1000;
	pgq_wait(run->c, left);
}

static void
consume_loop(Run *run)
{
	Admin *a = run->admin;
	double last_event = clock_seconds();

	while (!stopping)
	{
		PgqResult rc = pgq_next_batch(run->c);
		BatchEnd end;
		int left;
		long n;

		if (rc == PGQ_OK || rc == PGQ_NONE)
		{
			if (run->offline)
				admin_warn("connected again");
			run->offline = false;
		}
		if (rc == PGQ_OK)
		{
			end = do_batch(run, &n);
			run->look_at = clock_seconds() + LOOK_DELAY;
			if (end == BATCH_TAKEN)
			{
				run->events += n;
				run->pause_ms = PAUSE_MIN_MS;
				if (n > 0)
					last_event = clock_seconds();
				if (a->count > 0 && run->events >= a->count)
					return;
			}
			else if (end == BATCH_BROKEN)
				handle_trouble(run);
			else if (stopping)
				return;
			else if (a->once)
				exit(1);
			else
				pause_after_failure(run);
			continue;
		}
		if (rc == PGQ_NONE && a->once)
			return;

		left = time_left(run, last_event);
		if (left == 0)
		{
			if (a->count > 0)
				admin_fail(NULL,
						   "no event came for %g seconds; %ld of %ld "
						   "were finished",
						   a->timeout, run->events, a->count);
			return;
		}
		if (rc != PGQ_NONE)
			handle_trouble(run);
		else
			wait_for_tick(run, left);
	}
}

/* consume QUEUE CONSUMER */
void
admin_consume(Admin *a, int argc, char **argv)
{
	Run run = {.admin = a,
			   .queue = argv[0],
			   .consumer = argv[1],
			   .pause_ms = PAUSE_MIN_MS,
			   .look_at = clock_seconds() + LOOK_DELAY};

	choose_fields(&run, a->fields);
	catch_signals();
	run.c = pgq_open(a->conninfo, run.queue, run.consumer,
					 a->do_register ? PGQ_REGISTER : 0);
	if (run.c == NULL)
		admin_fail(NULL, "out of memory");
	if (pgq_status(run.c) != PGQ_OK)
		fail_with_server_error(&run);
	wake_target = run.c;
	consume_loop(&run);
	wake_target = NULL;
	pgq_close(run.c);
}
