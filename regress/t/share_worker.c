/*-------------------------------------------------------------------------
 *
 * share_worker.c
 *		One of several workers of a consumer on libpgq, for the test
 *		workers_keep_order_under_kills.pl.
 *
 *		share_worker CONNINFO QUEUE CONSUMER NAME LEASE
 *
 * Puts each event of its shares into table "ledger", in the transaction that
 * finishes the share; runs until it is killed.  An event whose data has "again" is
 * retried once, one whose data has "bad" is given up.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpgq.h>

/* Does one share; false if its transaction can't go on. */
static bool
work(PgqConsumer *c, const char *name)
{
	PgqEvent ev;
	PgqResult rc;

	while ((rc = pgq_next_event(c, &ev)) == PGQ_OK)
	{
		char id[32];
		char batch[32];
		const char *params[4] = {name, id, ev.ev_data, batch};
		const char *sql =
			"insert into ledger (worker, ev_id, key) select $1, $2::int8, "
			"pgq.event_key('U:id', $3, null) where $4 <> ''";
		PGconn *conn;
		PGresult *res;
		bool done;

		snprintf(id, sizeof(id), "%lld", (long long) ev.ev_id);
		snprintf(batch, sizeof(batch), "%lld", (long long) pgq_batch_id(c));
		if (strstr(ev.ev_data, "again") && ev.ev_retry < 0)
		{
			if (pgq_retry(c, ev.ev_id, 0) != PGQ_OK)
				return false;
			continue;
		}
		if (strstr(ev.ev_data, "bad"))
			sql = "select pgq.event_dead($4::int8, $2::int8, $3 || $1)";
		usleep(5000);
		conn = pgq_connection(c);
		res = PQexecParams(conn, sql, 4, NULL, params, NULL, NULL, 0);
		done = PQresultStatus(res) == PGRES_COMMAND_OK ||
			   PQresultStatus(res) == PGRES_TUPLES_OK;
		if (!done)
			printf("%s: %s", name, PQresultErrorMessage(res));
		PQclear(res);
		if (!done)
			return false;
	}
	return rc == PGQ_NONE;
}

int
main(int argc, char **argv)
{
	PgqConsumer *c;

	if (argc != 6)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	c = pgq_open(argv[1], argv[2], argv[3], 0);
	if (pgq_set_worker(c, argv[4], atoi(argv[5]), NULL) != PGQ_OK)
		return 1;
	for (;;)
	{
		PgqResult rc = pgq_next_batch(c);

		if (rc == PGQ_OK)
		{
			if (!work(c, argv[4]))
				pgq_abandon(c);
			else if (pgq_finish(c) == PGQ_ERROR)
				printf("%s: %s %s\n", argv[4], pgq_sqlstate(c), pgq_error(c));
		}
		else if (rc == PGQ_ERROR)
		{
			printf("%s: %s\n", argv[4], pgq_error(c));
			return 1;
		}
		else
			pgq_wait(c, 1000);
	}
}
