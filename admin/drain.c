/*-------------------------------------------------------------------------
 *
 * drain.c
 *		pgqadm drain: wait until what is committed has arrived in the queues
 *		and, with --consumers, until every consumer has finished it.
 *
 * For planned work, such as pg_upgrade: stop the writers, then drain.  What is
 * written after the command has begun is not waited for.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "admin/admin.h"
#include "admin/progress.h"
#include "admin/wait.h"

/* Microseconds between two looks at the consumers. */
#define LOOK_PERIOD 200000

/* How many consumers that are waited for are named. */
#define MAX_TOLD 5

/* When --timeout is over, by a clock that is never set; 0: never. */
static double
find_deadline(const Admin *a)
{
	return a->timeout > 0 ? clock_seconds() + a->timeout : 0;
}

static bool
is_late(double deadline)
{
	return deadline > 0 && clock_seconds() >= deadline;
}

/*
 * Until all that committed before now is in the queues.  The amounts are bytes
 * of WAL between where the slot's position was and where the WAL ends, which
 * *drained_to gets.
 */
static void
wait_for_ingest(Admin *a, double deadline, char *drained_to, size_t size)
{
	Progress p;
	PGresult *res;
	char target[32];
	char from[32];
	const char *params[2] = {target, from};
	double since = 0;
	bool done;

	res = admin_query(a, NULL,
					  "select pg_catalog.pg_current_wal_insert_lsn(), "
					  "\"position\" from pgq.get_slot_info()",
					  0, NULL);
	if (PQntuples(res) == 0)
	{
		PQclear(res);
		admin_say(a, "There is no slot: nothing is to be ingested");
		return;
	}
	snprintf(target, sizeof(target), "%s", PQgetvalue(res, 0, 0));
	snprintf(from, sizeof(from), "%s", PQgetvalue(res, 0, 1));
	PQclear(res);

	progress_begin(&p, a, "ingest", NULL);
	do
	{
		/* short waits, so that there is something to show */
		res = admin_query(a, "Command \"doctor\" says what to do.",
						  "select pgq.wait_ingest($1::pg_lsn, '0.5 s'), "
						  "\"position\" - $2::pg_lsn, "
						  "$1::pg_lsn - $2::pg_lsn from pgq.get_slot_info()",
						  2, params);
		done = PQntuples(res) == 0 || PQgetvalue(res, 0, 0)[0] == 't';
		if (!done)
			progress_show(&p, strtod(PQgetvalue(res, 0, 1), NULL),
						  strtod(PQgetvalue(res, 0, 2), NULL));
		PQclear(res);
		if (!done)
			wait_for_pgqd(a, &since);
		if (!done && is_late(deadline))
			admin_fail("Command \"doctor\" tells whether pgqd runs, command "
					   "\"slot status\" how far it is.",
					   "after %g s not all changes up to %s are in the queues",
					   a->timeout, target);
	} while (!done);
	progress_clear();
	admin_say(a, "All changes up to %s are in the queues", target);
	snprintf(drained_to, size, "%s", target);
}

/* One that finds no events left was overtaken by pgqd's own tick. */
static const char *const tick_sql[] = {
	"select pgq.force_tick(queue_name) from pgq.get_queue_info() "
	"where ev_new > 0",
	"select pgq.ticker(queue_name) from pgq.get_queue_info() where ev_new > 0 "
	"and not queue_external_ticker and not queue_ticker_paused",
	NULL};

/*
 * Ticks every queue that has events since its last tick.  Returns one row of three arrays, for behind_sql: queues,
 * the number of the last event in each before the tick, and the tick.
 */
static PGresult *
tick_queues(Admin *a)
{
	PGresult *res;
	PGresult *ticks;
	const char *numbers;

	res = admin_query(a, NULL,
					  "select queue_name from pgq.get_queue_info() "
					  "where queue_ticker_paused and ev_new > 0",
					  0, NULL);
	if (PQntuples(res) > 0)
		admin_fail("Let it go on: config QUEUE ticker_paused=false",
				   "queue \"%s\" is paused, so its newest events reach nobody",
				   PQgetvalue(res, 0, 0));
	PQclear(res);

	res = admin_query(a, NULL,
					  "select pg_catalog.jsonb_object_agg(queue_id, "
					  "pgq.seq_getval(queue_event_seq)) from pgq.queue",
					  0, NULL);
	numbers = PQgetvalue(res, 0, 0);
	for (int i = 0; tick_sql[i]; i++)
		PQclear(admin_query(a, NULL, tick_sql[i], 0, NULL));
	ticks = admin_query(a, NULL,
						"select pg_catalog.array_agg(q.queue_id), "
						"pg_catalog.array_agg(($1::jsonb ->> q.queue_id::text)"
						"::bigint), pg_catalog.array_agg((select t.tick_id "
						"from pgq.tick t where t.tick_queue = q.queue_id "
						"order by t.tick_id desc limit 1)) from pgq.queue q "
						"where $1::jsonb ? q.queue_id::text",
						1, &numbers);
	PQclear(res);
	return ticks;
}

/*
 * A row for each consumer that has not finished that tick.  In a group of
 * cooperating consumers those without a batch have no tick of their own.
 */
static const char behind_sql[] =
	"select q.queue_name, c.co_name, greatest(w.seq - t.tick_event_seq, 0) "
	"from rows from (pg_catalog.unnest($1::int4[]), "
	"pg_catalog.unnest($2::int8[]), pg_catalog.unnest($3::int8[])) "
	"as w (queue_id, seq, tick_id) "
	"join pgq.queue q on q.queue_id = w.queue_id "
	"join pgq.subscription s on s.sub_queue = w.queue_id "
	"join pgq.consumer c on c.co_id = s.sub_consumer "
	"left join pgq.tick t on t.tick_queue = s.sub_queue "
	"and t.tick_id = s.sub_last_tick "
	"where s.sub_last_tick < w.tick_id order by 3 desc nulls last";

static double
sum_column(const PGresult *res, int column)
{
	double sum = 0;

	for (int row = 0; row < PQntuples(res); row++)
		sum += strtod(PQgetvalue(res, row, column), NULL);
	return sum;
}

/* Says once whom of these consumers we wait for, if it takes a while. */
static void
tell_of_consumers(const Admin *a, const PGresult *behind, double *since)
{
	double now = clock_seconds();

	if (*since == 0)
		*since = now;
	if (*since < 0 || now - *since < WAIT_PATIENCE)
		return;
	*since = -1;
	for (int row = 0; row < PQntuples(behind) && row < MAX_TOLD; row++)
		admin_say(a,
				  "pgqadm: waiting for consumer \"%s\" of queue \"%s\", about "
				  "%s events behind",
				  PQgetvalue(behind, row, 1), PQgetvalue(behind, row, 0),
				  PQgetvalue(behind, row, 2));
	if (PQntuples(behind) > MAX_TOLD)
		admin_say(a, "pgqadm: and for %d more", PQntuples(behind) - MAX_TOLD);
}

/* Until every consumer has finished what is in its queue now. */
static void
wait_for_consumers(Admin *a, double deadline)
{
	PGresult *ticks = tick_queues(a);
	const char *params[3];
	double total = -1;
	double since = 0;
	Progress p;
	bool done;

	for (int i = 0; i < 3; i++)
		params[i] = PQgetisnull(ticks, 0, i) ? "{}" : PQgetvalue(ticks, 0, i);
	progress_begin(&p, a, "consumers", "events");
	do
	{
		PGresult *res = admin_query(a, NULL, behind_sql, 3, params);
		double left = sum_column(res, 2);

		if (total < 0)
			total = left;
		done = PQntuples(res) == 0;
		if (!done && is_late(deadline))
			admin_fail("See to that consumer; command \"status\" shows all.",
					   "after %g s consumer \"%s\" of queue \"%s\" has about "
					   "%s events to come (consumers behind: %d)",
					   a->timeout, PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0),
					   PQgetvalue(res, 0, 2), PQntuples(res));
		if (!done)
			tell_of_consumers(a, res, &since);
		PQclear(res);
		if (!done)
		{
			progress_show(&p, total - left, total);
			usleep(LOOK_PERIOD);
		}
	} while (!done);
	progress_clear();
	PQclear(ticks);
	admin_say(a, "All consumers have finished what was in their queues");
}

/* Events put off by a consumer are no longer in its queue: say so. */
static void
tell_of_retries(Admin *a)
{
	int n = admin_query_int(a, NULL, "select count(*) from pgq.retry_queue", 0,
							NULL);

	if (n > 0)
		admin_say(a,
				  "%d events wait to be retried; they are kept, and come when "
				  "their time is there",
				  n);
}

/* drain [--consumers] [--timeout S] */
void
admin_drain(Admin *a, int argc, char **argv)
{
	double deadline = find_deadline(a);
	char drained_to[32] = "";

	if (admin_has_function(a, "pgq.get_slot_info()"))
		wait_for_ingest(a, deadline, drained_to, sizeof(drained_to));
	if (a->consumers)
	{
		wait_for_consumers(a, deadline);
		tell_of_retries(a);
	}
	if (a->json)
		admin_print_object("ingested_to", drained_to[0] ? drained_to : NULL,
						   (char *) NULL);
}
