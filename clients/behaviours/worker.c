/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker of the behaviours, on libpgq.  README.md has the contract.
 *
 * libpgq leaves it to its caller to undo what was done for an event whose work
 * fails: here each event has a savepoint.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpgq.h>

/* What the work of an event came to. */
typedef enum Outcome
{
	DONE,
	FAILED,  /* by what is in reason */
	AGAIN,   /* asks for a retry */
	HOPELESS /* gives up, reason says why */
} Outcome;

static PgqConsumer *consumer;
static const char *name;
static char reason[1024];
static char state[6]; /* SQLSTATE of a statement that failed, "" if it had none */
static bool passes;   /* it may succeed in another try */
static volatile sig_atomic_t stop;

static void
handle_term(int signo)
{
	(void) signo;
	stop = 1;
	pgq_wake(consumer);
}

/* Runs a statement on the batch's connection; false, with reason, if it fails. */
static bool
run(const char *sql, int n, const char *const *params)
{
	PGconn *conn = pgq_connection(consumer);
	PGresult *res = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(res);
	bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (!good)
	{
		snprintf(reason, sizeof(reason), "%s", PQerrorMessage(conn));
		snprintf(state, sizeof(state), "%s", code ? code : "");
		passes = code == NULL || strncmp(code, "40", 2) == 0;
	}
	PQclear(res);
	return good;
}

static Outcome
work(const PgqEvent *ev)
{
	const char *type = ev->ev_type ? ev->ev_type : "";
	char id[32];
	char retry[16];
	const char *bookmark;
	const char *params[] = {name, id, type, ev->ev_retry < 0 ? NULL : retry,
							ev->ev_data ? ev->ev_data : ""};

	snprintf(id, sizeof(id), "%lld", (long long) ev->ev_id);
	snprintf(retry, sizeof(retry), "%d", (int) ev->ev_retry);
	state[0] = '\0';
	passes = false;
	if (strcmp(type, "hold") == 0)
	{
		printf("hold %s\n", id);
		fflush(stdout);
		while (access(ev->ev_data, F_OK) != 0)
			usleep(10000);
		/* the first statement that a server may be gone for is the library's */
		switch (pgq_get_bookmark(consumer, &bookmark))
		{
			case PGQ_OK:
				break;
			case PGQ_LOST:
				passes = true;
				return FAILED;
			default:
				snprintf(reason, sizeof(reason), "%s", pgq_error(consumer));
				return FAILED;
		}
	}
	if (!run("insert into public.done (consumer, ev_id, ev_type, retry, md5) "
			 "values ($1, $2, $3, $4, case pg_catalog.getdatabaseencoding() "
			 "when 'SQL_ASCII' then pg_catalog.md5($5) "
			 "else pg_catalog.md5(pg_catalog.convert_to($5, 'UTF8')) end)",
			 5, params))
		return FAILED;
	if ((strcmp(type, "badsql") == 0 || strcmp(type, "hidesql") == 0) &&
		!run("select 1 / 0", 0, NULL))
		return FAILED;
	if (strcmp(type, "again") == 0 && !run("select public.fail_once()", 0, NULL))
		return FAILED;
	if (strcmp(type, "fail") == 0)
	{
		snprintf(reason, sizeof(reason), "told to fail \xe2\x82\xac");
		return FAILED;
	}
	if (strcmp(type, "retry") == 0 && ev->ev_retry <= 0)
		return AGAIN;
	if (strcmp(type, "dead") == 0)
	{
		snprintf(reason, sizeof(reason), "told to");
		return HOPELESS;
	}
	if (strcmp(type, "stop") == 0)
		stop = 1;
	return DONE;
}

/* Puts an event aside that was not done; false: the batch fails. */
static bool
put_aside(const PgqEvent *ev, Outcome outcome)
{
	PgqResult rc;

	if (outcome == FAILED && passes)
		return false;
	if (!run("rollback to savepoint event", 0, NULL))
		return false;
	rc = outcome == FAILED	? pgq_fail(consumer, ev->ev_id, reason)
		 : outcome == AGAIN ? pgq_postpone(consumer, ev->ev_id, 0)
							: pgq_dead(consumer, ev->ev_id, reason);
	return rc == PGQ_OK;
}

static PgqResult
do_batch(void)
{
	PgqEvent ev;
	PgqResult rc;

	while ((rc = pgq_next_event(consumer, &ev)) == PGQ_OK)
	{
		Outcome outcome;

		if (!run("savepoint event", 0, NULL))
			return passes ? PGQ_LOST : PGQ_ERROR;
		outcome = work(&ev);
		if (outcome != DONE && !put_aside(&ev, outcome))
		{
			pgq_abandon(consumer);
			if (passes)
				return PGQ_LOST;
			printf("error %s %s\n", state[0] ? state : "-", reason);
			exit(1);
		}
		if (!run("release savepoint event", 0, NULL))
			return passes ? PGQ_LOST : PGQ_ERROR;
	}
	if (rc == PGQ_NONE)
		rc = pgq_finish(consumer);
	/* another session finished it: the next one is ours */
	if (rc == PGQ_ERROR && (strcmp(pgq_sqlstate(consumer), "55000") == 0 ||
							strcmp(pgq_sqlstate(consumer), "PQ002") == 0))
		rc = PGQ_LOST;
	return rc;
}

int
main(int argc, char **argv)
{
	PgqOnError on_error = PGQ_ON_ERROR_STOP;
	int max_retries = -1;
	int retry_delay = 0;
	const char *key = NULL;
	char worker[32];
	int lease = 60;
	bool drain = false;
	int flags = 0;
	PgqResult rc;

	for (int i = 4; i < argc; i++)
	{
		if (strcmp(argv[i], "mode=drain") == 0)
			drain = true;
		else if (strcmp(argv[i], "register=yes") == 0)
			flags = PGQ_REGISTER;
		else if (strcmp(argv[i], "on_error=retry") == 0)
			on_error = PGQ_ON_ERROR_RETRY;
		else if (strcmp(argv[i], "on_error=dead") == 0)
			on_error = PGQ_ON_ERROR_DEAD;
		else if (strncmp(argv[i], "max_retries=", 12) == 0)
			max_retries = atoi(argv[i] + 12);
		else if (strncmp(argv[i], "retry_delay=", 12) == 0)
			retry_delay = atoi(argv[i] + 12);
		else if (strncmp(argv[i], "share=", 6) == 0)
			key = argv[i] + 6;
		else if (strncmp(argv[i], "lease=", 6) == 0)
			lease = atoi(argv[i] + 6);
	}
	name = argv[3];
	consumer = pgq_open(argv[1], argv[2], name, flags);
	pgq_set_on_error(consumer, on_error, retry_delay, 0, max_retries);
	snprintf(worker, sizeof(worker), "%d", (int) getpid());
	if (key != NULL)
		pgq_set_worker(consumer, worker, lease, key);
	signal(SIGTERM, handle_term);
	rc = pgq_status(consumer);
	while (!stop && rc != PGQ_ERROR)
	{
		rc = pgq_next_batch(consumer);
		if (rc == PGQ_OK)
			rc = do_batch();
		else if (rc == PGQ_NONE && drain)
			break;
		else if (rc == PGQ_NONE || rc == PGQ_LOST)
			rc = pgq_wait(consumer, 60000);
	}
	if (rc == PGQ_ERROR && !stop)
	{
		printf("error %s %s\n", pgq_sqlstate(consumer)[0] ? pgq_sqlstate(consumer) : "-",
			   pgq_error(consumer));
		return 1;
	}
	pgq_close(consumer);
	return 0;
}
