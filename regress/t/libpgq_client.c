/*-------------------------------------------------------------------------
 *
 * libpgq_client.c
 *		A consumer on libpgq, for the test libpgq.pl.
 *
 *		libpgq_client CONNINFO QUEUE CONSUMER MODE
 *
 * MODE "copy" puts each event into table "copy" of the same database, in the
 * batch's transaction; an event whose data is "again" is retried once, one
 * whose data is "die" ends the program before the batch is finished.
 * MODE "misuse" calls things out of turn.  Both end when no batch is there.
 * MODE "session" prints after what time a silent server counts as gone.
 * MODE "notice" waits for a notice that was read with another answer.
 * MODE "slow" reads slower than the server sends, with pauses of 0.6 s, and
 * prints how many events there were.
 * MODE "renew" works longer on a share than its lease is, without a transaction.
 * MODE "detach" loses its connection between reading a batch and finishing it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpgq.h>

static int
fail(PgqConsumer *c, const char *what)
{
	printf("%s: %s|%s|%s\n", what, pgq_sqlstate(c), pgq_error(c),
		   pgq_hint(c) ? pgq_hint(c) : "");
	pgq_close(c);
	return 1;
}

static int
copy(PgqConsumer *c)
{
	PgqEvent ev;
	PgqResult rc;

	while ((rc = pgq_next_batch(c)) == PGQ_OK)
	{
		while ((rc = pgq_next_event(c, &ev)) == PGQ_OK)
		{
			const char *data[1] = {ev.ev_data};

			if (strcmp(ev.ev_data, "again") == 0 && ev.ev_retry < 0)
			{
				if (pgq_retry(c, ev.ev_id, 0) != PGQ_OK)
					return fail(c, "retry");
				continue;
			}
			PQclear(PQexecParams(pgq_connection(c),
								 "insert into copy (data) values ($1)", 1, NULL,
								 data, NULL, NULL, 0));
			if (strcmp(ev.ev_data, "die") == 0)
				abort();
		}
		if (rc != PGQ_NONE)
			return fail(c, "event");
		if (pgq_finish(c) != PGQ_OK)
			return fail(c, "finish");
	}
	if (rc != PGQ_NONE)
		return fail(c, "batch");
	pgq_close(c);
	return 0;
}

static int
misuse(PgqConsumer *c)
{
	PgqEvent ev;

	if (pgq_finish(c) != PGQ_ERROR || strcmp(pgq_sqlstate(c), "55000") != 0)
		return fail(c, "finish without a batch");
	if (pgq_next_event(c, &ev) != PGQ_ERROR)
		return fail(c, "event without a batch");
	if (pgq_next_batch(c) != PGQ_OK || pgq_wait(c, 0) != PGQ_ERROR)
		return fail(c, "wait in a batch");
	if (pgq_retry(c, 123456, 1) != PGQ_ERROR || pgq_batch_id(c) != 0)
		return fail(c, "retry of an unknown event");
	if (pgq_next_batch(c) != PGQ_OK || pgq_next_event(c, &ev) != PGQ_OK)
		return fail(c, "the batch does not come again");
	PQclear(PQexec(pgq_connection(c), "select 1/0"));
	if (pgq_finish(c) != PGQ_ERROR)
		return fail(c, "finish after an error");
	pgq_wake(c);
	if (pgq_wait(c, 60000) != PGQ_NONE)
		return fail(c, "wake");
	pgq_close(c);
	puts("ok");
	return 0;
}

static int
session(PgqConsumer *c)
{
	PQconninfoOption *opts = PQconninfo(pgq_connection(c));

	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (strcmp(o->keyword, "keepalives_idle") == 0 ||
			strcmp(o->keyword, "tcp_user_timeout") == 0)
			printf("%s=%s\n", o->keyword, o->val ? o->val : "");
	PQconninfoFree(opts);
	pgq_close(c);
	return 0;
}

static int
notice(PgqConsumer *c)
{
	struct timespec before;
	struct timespec after;
	double took;

	while (pgq_next_batch(c) == PGQ_OK)
		if (pgq_finish(c) != PGQ_OK)
			return fail(c, "finish");
	PQclear(PQexec(pgq_connection(c), "select pg_notify("
									  "pgq.tick_channel('q'), '1')"));
	/* the notice is read with this answer */
	if (pgq_next_batch(c) != PGQ_NONE)
		return fail(c, "batch");
	clock_gettime(CLOCK_MONOTONIC, &before);
	if (pgq_wait(c, 60000) != PGQ_OK)
		return fail(c, "wait");
	clock_gettime(CLOCK_MONOTONIC, &after);
	took = (double) (after.tv_sec - before.tv_sec) +
		   (double) (after.tv_nsec - before.tv_nsec) / 1e9;
	printf(took < 0.5 ? "woken\n" : "late: %.1f s\n", took);
	pgq_close(c);
	return 0;
}

static int
slow(PgqConsumer *c)
{
	PgqEvent ev;
	PgqResult rc;
	int n = 0;

	while ((rc = pgq_next_batch(c)) == PGQ_OK)
	{
		while ((rc = pgq_next_event(c, &ev)) == PGQ_OK)
			if (++n % 1000 == 150)
				usleep(600000);
		if (rc != PGQ_NONE)
			return fail(c, "event");
		if (pgq_finish(c) != PGQ_OK)
			return fail(c, "finish");
	}
	if (rc != PGQ_NONE)
		return fail(c, "batch");
	pgq_close(c);
	printf("%d events\n", n);
	return 0;
}

static int
detach(PgqConsumer *c)
{
	PgqEvent ev;
	char sql[64];

	if (pgq_next_batch(c) != PGQ_OK || pgq_next_event(c, &ev) != PGQ_OK)
		return fail(c, "batch");
	if (pgq_detach(c) != PGQ_OK || pgq_detach(c) != PGQ_OK)
		return fail(c, "detach");
	if (pgq_next_event(c, &ev) != PGQ_NONE)
		return fail(c, "event after detach");
	if (PQtransactionStatus(pgq_connection(c)) != PQTRANS_IDLE)
		return fail(c, "transaction");
	snprintf(sql, sizeof(sql), "select pg_terminate_backend(%d)",
			 pgq_backend_pid(c));
	PQclear(PQexec(pgq_connection(c), sql));
	if (pgq_finish(c) != PGQ_LOST || pgq_batch_id(c) == 0)
		return fail(c, "finish without a connection");
	while (pgq_wait(c, 1000) == PGQ_LOST)
		;
	if (pgq_finish(c) != PGQ_OK || pgq_batch_id(c) != 0)
		return fail(c, "finish");
	pgq_close(c);
	puts("ok");
	return 0;
}

/* Gets another worker the share? */
static bool
is_taken(PgqConsumer *c, const char *queue, const char *consumer)
{
	const char *params[2] = {queue, consumer};
	PGresult *res = PQexecParams(
		pgq_connection(c),
		"select from pgq.next_share($1::text, $2::text, 'other') "
		"where share_id is not null",
		2, NULL, params, NULL, NULL, 0);
	bool taken = PQntuples(res) > 0;

	PQclear(res);
	return taken;
}

static int
renew(PgqConsumer *c, const char *queue, const char *consumer)
{
	PgqEvent ev;

	if (pgq_renew(c) != PGQ_ERROR)
		return fail(c, "renew without a batch");
	if (pgq_set_worker(c, "renews", 2, NULL) != PGQ_OK ||
		pgq_next_batch(c) != PGQ_OK || pgq_next_event(c, &ev) != PGQ_OK ||
		pgq_renew(c) != PGQ_OK || pgq_next_event(c, &ev) != PGQ_OK)
		return fail(c, "share");
	if (pgq_detach(c) != PGQ_OK)
		return fail(c, "detach");
	for (int i = 0; i < 3; i++)
	{
		usleep(900000);
		if (pgq_renew(c) != PGQ_OK)
			return fail(c, "renew");
	}
	if (is_taken(c, queue, consumer))
		return fail(c, "renewed, and taken");
	while (!is_taken(c, queue, consumer))
		usleep(100000);
	if (pgq_renew(c) != PGQ_ERROR || strcmp(pgq_sqlstate(c), "PQ002") != 0 ||
		pgq_batch_id(c) != 0)
		return fail(c, "renew what was taken");
	pgq_close(c);
	puts("ok");
	return 0;
}

int
main(int argc, char **argv)
{
	PgqConsumer *c;

	if (argc != 5)
		return 2;
	c = pgq_open(argv[1], argv[2], argv[3], 0);
	if (c == NULL)
		return 2;
	if (pgq_status(c) != PGQ_OK)
		return fail(c, "open");
	if (strcmp(argv[4], "session") == 0)
		return session(c);
	if (strcmp(argv[4], "notice") == 0)
		return notice(c);
	if (strcmp(argv[4], "slow") == 0)
		return slow(c);
	if (strcmp(argv[4], "detach") == 0)
		return detach(c);
	if (strcmp(argv[4], "renew") == 0)
		return renew(c, argv[2], argv[3]);
	return strcmp(argv[4], "copy") == 0 ? copy(c) : misuse(c);
}
