/*-------------------------------------------------------------------------
 *
 * consume.c
 *		pgqadm consume: a consumer that prints events as JSON lines, or gives
 *		each batch to a command, see pipe.c.
 *
 * A batch is read into a file first.  So no transaction is open while its lines
 * are taken, however long that takes, and a command never sees a part of a
 * batch.  It is finished only when its lines were taken: written out without an
 * error, or read by a command that exited with status 0 and, with --confirm, has
 * given the last line back.  Whatever else happens, the batch comes again.
 *
 * A first SIGINT or SIGTERM lets the batch at hand come to its end; a second
 * one ends the program on the spot, and its command with it.
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
#include <unistd.h>

#include "admin/admin.h"
#include "admin/command.h"
#include "admin/consume.h"
#include "admin/wait.h"
#include "common/clock.h"
#include "common/memory.h"

#define PAUSE_MIN_MS 1000
#define LEASE 86400 /* seconds */
#define LEASE_POOLED 600
#define SHARE_LOST "PQ002"
#define LOOK_DELAY 10 /* seconds without a batch, before pgqd is looked for */
#define PAUSE_MAX_MS 60000

static const char *const field_names[] = {
	"ev_id",   "ev_time",   "ev_txid",   "ev_retry",  "ev_type",
	"ev_data", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"};

#define N_FIELDS CONSUME_FIELDS

static PgqConsumer *wake_target; /* for the signal handler */
static volatile sig_atomic_t stopping;

static void
handle_stop(int signo)
{
	struct sigaction again = {.sa_handler = SIG_DFL};

	if (stopping)
	{
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

/* ---- trouble ---- */

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

/*
 * One of several workers has a share as long as its session lasts, since its
 * command may take long.  Through a pooler that says nothing.
 */
static void
set_worker(Run *run)
{
	int lease = pgq_is_pooled(run->c) ? LEASE_POOLED : LEASE;
	char host[64] = "";
	char *name;

	if (run->worker == 0 || run->lease == lease)
		return;
	gethostname(host, sizeof(host) - 1);
	name = text_format("%s-%d-%d", host, (int) getppid(), run->worker);
	if (pgq_set_worker(run->c, name, lease, run->admin->key) != PGQ_OK)
		admin_fail("See --help for the keys there are.", "%s",
				   pgq_error(run->c));
	run->lease = lease;
	free(name);
}

void
consume_handle_trouble(Run *run)
{
	PgqResult rc = pgq_status(run->c);

	if (rc == PGQ_ERROR && strcmp(pgq_sqlstate(run->c), SHARE_LOST) == 0)
	{
		admin_warn("%s: another worker does it", pgq_error(run->c));
		return;
	}
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
		admin_warn(run->connected ? "connection lost: %s" : "%s; trying again",
				   pgq_error(run->c));
	run->offline = true;
	if (pgq_wait(run->c, PAUSE_MAX_MS) == PGQ_ERROR)
		fail_with_server_error(run);
}

/* The server answers: say so, if it was said that it does not. */
static void
note_connection(Run *run)
{
	if (run->offline)
		admin_warn(run->connected ? "connected again" : "connected");
	run->offline = false;
	run->connected = true;
	if (pgq_is_pooled(run->c) && !run->pooled)
		admin_say(
			run->admin,
			"pgqadm: connected through a pooler: looks for events once a "
			"second\n"
			"hint: Connect to the server itself, to be woken by each tick.");
	run->pooled = pgq_is_pooled(run->c);
}

/*
 * The consumer's calls that ask the server, with a word about whom they wait for:
 * another session of the same consumer may hold it.
 */
static PgqResult
ask_next_batch(Run *run)
{
	PgqResult rc;

	set_worker(run);
	wait_begin(run->admin, pgq_backend_pid(run->c));
	rc = pgq_next_batch(run->c);
	wait_end();
	return rc;
}

static PgqResult
ask_next_event(Run *run, PgqEvent *ev)
{
	PgqResult rc;

	wait_begin(run->admin, pgq_backend_pid(run->c));
	rc = pgq_next_event(run->c, ev);
	wait_end();
	return rc;
}

static PgqResult
ask_finish(Run *run)
{
	PgqResult rc;

	wait_begin(run->admin, pgq_backend_pid(run->c));
	rc = pgq_finish(run->c);
	wait_end();
	return rc;
}

/* ---- one batch ---- */

/*
 * Reads all events of the batch into a file, and counts them.  Returns the file,
 * or NULL with *end: why not.
 */
static FILE *
read_batch(Run *run, const PgqEvent *first, long *n, BatchEnd *end)
{
	FILE *file = command_make_file();
	long room = 0;
	PgqEvent ev = *first;
	PgqResult rc = PGQ_OK;

	while (file != NULL && rc == PGQ_OK && !ferror(file))
	{
		write_event(run, file, &ev);
		if (*n == room)
		{
			room = room ? room * 2 : 256;
			run->ids = memory_resize(run->ids, room * sizeof(*run->ids));
		}
		run->ids[(*n)++] = ev.ev_id;
		rc = pgq_next_event(run->c, &ev);
	}
	if (file == NULL || ferror(file) || fflush(file) != 0)
	{
		admin_warn("could not write the batch to a file: %s\n"
				   "hint: Environment variable TMPDIR names its folder.",
				   strerror(errno));
		*end = BATCH_REFUSED;
	}
	else if (rc == PGQ_NONE && pgq_detach(run->c) == PGQ_OK)
		return file;
	else
		*end = BATCH_BROKEN;
	if (file != NULL)
		fclose(file);
	return NULL;
}

/* Prints the batch.  Output that cannot be written ends the program. */
static void
print_batch(Run *run, FILE *file)
{
	char buf[65536];
	size_t len;

	rewind(file);
	if (run->lock != NULL)
		(void) lockf(fileno(run->lock), F_LOCK, 0);
	while ((len = fread(buf, 1, sizeof(buf), file)) > 0 &&
		   fwrite(buf, 1, len, stdout) == len)
		;
	if (ferror(file) || fflush(stdout) != 0 || ferror(stdout))
	{
		int save_errno = errno;

		pgq_close(run->c);
		admin_fail("The batch was not finished; its events come again.",
				   "could not write output: %s", strerror(save_errno));
	}
	if (run->lock != NULL)
		(void) lockf(fileno(run->lock), F_ULOCK, 0);
}

/* Has the batch, whose lines were taken, finished; as long as that may pass. */
static BatchEnd
finish_batch(Run *run)
{
	PgqResult rc;

	while ((rc = ask_finish(run)) != PGQ_OK && pgq_batch_id(run->c) != 0 &&
		   !stopping)
		consume_handle_trouble(run);
	if (rc == PGQ_OK)
	{
		note_connection(run);
		return BATCH_TAKEN;
	}
	if (stopping && pgq_batch_id(run->c) != 0)
		fail_with_server_error(run);
	return BATCH_BROKEN;
}

/* Handles the open batch and finishes it; *n becomes its count of events. */
static BatchEnd
do_batch(Run *run, long *n)
{
	PgqEvent ev;
	PgqResult rc = ask_next_event(run, &ev);
	BatchEnd end = BATCH_TAKEN;

	*n = 0;
	if (rc == PGQ_OK)
	{
		FILE *file = read_batch(run, &ev, n, &end);

		if (file != NULL && run->admin->exec)
			end = pipe_batch(run, file, *n);
		else if (file != NULL)
			print_batch(run, file);
		if (file != NULL)
			fclose(file);
	}
	else if (rc != PGQ_NONE)
		end = BATCH_BROKEN;
	if (end == BATCH_TAKEN)
		end = finish_batch(run);
	if (end == BATCH_REFUSED)
		pgq_abandon(run->c);
	return end;
}

/* ---- the loop ---- */

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
		PgqResult rc = ask_next_batch(run);
		BatchEnd end;
		int left;
		long n;

		if (rc == PGQ_OK || rc == PGQ_NONE)
			note_connection(run);
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
				consume_handle_trouble(run);
			else if (stopping)
				return;
			else if (a->once)
				exit(1);
			else
				pause_after_failure(run);
			continue;
		}
		if (rc == PGQ_NONE && a->once && !pgq_others_work(run->c))
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
			consume_handle_trouble(run);
		else
			wait_for_tick(run, left);
	}
}

static PgqOnError
find_on_error(const Admin *a)
{
	static const char *const words[] = {[PGQ_ON_ERROR_STOP] = "stop",
										[PGQ_ON_ERROR_RETRY] = "retry",
										[PGQ_ON_ERROR_DEAD] = "dead"};

	for (int i = 0; a->on_error && i < 3; i++)
		if (strcmp(a->on_error, words[i]) == 0)
			return i;
	if (a->on_error)
		admin_fail(NULL,
				   "option --on-error takes stop, retry or dead, not "
				   "\"%s\"",
				   a->on_error);
	return PGQ_ON_ERROR_STOP;
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
	PgqOnError on_error;

	if (a->confirm && a->exec == NULL)
		admin_fail(NULL, "option --confirm needs --exec");
	if (a->exec == NULL &&
		(a->on_error || a->max_retries >= 0 || a->retry_delay > 0))
		admin_fail(NULL, "option --%s needs --exec",
				   a->on_error           ? "on-error"
				   : a->max_retries >= 0 ? "max-retries"
										 : "retry-delay");
	if (a->key && a->workers == 0)
		admin_fail(NULL, "option --key needs --workers");
	if (a->count > 0 && a->workers > 0)
		admin_fail(NULL, "option --count does not go with --workers");
	on_error = find_on_error(a);
	run.puts_aside = on_error != PGQ_ON_ERROR_STOP;
	choose_fields(&run, a->fields);
	if (a->workers > 0)
	{
		run.lock = command_make_file();
		run.worker = admin_run_workers(a);
		pipe_set_variable("PGQ_WORKER", run.worker);
	}
	catch_signals();
	run.c = pgq_open(a->conninfo, run.queue, run.consumer,
					 a->do_register ? PGQ_REGISTER : 0);
	if (run.c == NULL)
		admin_fail(NULL, "out of memory");
	pgq_set_on_error(run.c, on_error, (int) a->retry_delay, 0, a->max_retries);
	wake_target = run.c;
	if (pgq_status(run.c) == PGQ_OK)
		run.connected = true;
	else
		consume_handle_trouble(&run);
	consume_loop(&run);
	wake_target = NULL;
	pgq_close(run.c);
}
