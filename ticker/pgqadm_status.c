/*-------------------------------------------------------------------------
 *
 * pgqadm_status.c
 *		pgqadm status: queues and consumers in the layout of PgQ 3.x, then the
 *		captured tables and the slot.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ticker/pgqadm.h"

#define RULE "------------------------------------------------------------" \
	"------------------"

/* An interval as whole seconds, "35s", in SQL; NULL is spelled out. */
#define SECONDS(col) \
	"coalesce(pg_catalog.trunc(pg_catalog.date_part('epoch', " col "))" \
	"::bigint || 's', 'NULL')"

/* A column by its name: "" for NULL. */
static const char *
cell(const PGresult *res, int row, const char *column)
{
	return PQgetvalue(res, row, PQfnumber(res, column));
}

static void
print_queues(Admin *a)
{
	PGresult   *res;

	res = admin_query(a, NULL, "select queue_name, "
					  "queue_ntables || '/' || "
					  SECONDS("queue_rotation_period") " as rotation, "
					  "queue_ticker_max_count || '/' || "
					  SECONDS("queue_ticker_max_lag") " || '/' || "
					  SECONDS("queue_ticker_idle_period") " as ticker, "
					  SECONDS("ticker_lag") " as tlag, "
					  "coalesce(ev_per_sec, 0) as eps, "
					  "coalesce(ev_new, 0) as new "
					  "from pgq.get_queue_info()", 0, NULL);
	printf("\n%-33s %9s %13s %6s %6s %5s\n" RULE "\n", "Event queue",
		   "Rotation", "Ticker", "TLag", "EPS", "New");
	for (int row = 0; row < PQntuples(res); row++)
	{
		admin_print_padded(cell(res, row, "queue_name"), 33);
		printf(" %9s %13s %6s %6.1f %5s\n", cell(res, row, "rotation"),
			   cell(res, row, "ticker"), cell(res, row, "tlag"),
			   strtod(cell(res, row, "eps"), NULL), cell(res, row, "new"));
	}
	puts(RULE);
	PQclear(res);
}

static void
print_consumers(Admin *a)
{
	PGresult   *res;
	const char *last_queue = NULL;

	res = admin_query(a, NULL, "select queue_name, consumer_name, "
					  SECONDS("lag") " as lag, "
					  SECONDS("last_seen") " as seen, "
					  "coalesce(pending_events::text, 'NULL') as pending "
					  "from pgq.get_consumer_info()", 0, NULL);
	printf("\n%-48s %9s %9s %8s\n" RULE "\n", "Consumer", "Lag", "LastSeen",
		   "Pending");
	for (int row = 0; row < PQntuples(res); row++)
	{
		const char *queue = cell(res, row, "queue_name");

		if (last_queue == NULL || strcmp(queue, last_queue) != 0)
			printf("%s:\n", queue);
		last_queue = queue;
		fputs("  ", stdout);
		admin_print_padded(cell(res, row, "consumer_name"), 46);
		printf(" %9s %9s %8s\n", cell(res, row, "lag"),
			   cell(res, row, "seen"), cell(res, row, "pending"));
	}
	puts(RULE);
	PQclear(res);
}

/* The slot's columns, one a line, under the names that SQL gives them. */
void
admin_print_slots(Admin *a)
{
	PGresult   *res;

	res = admin_query(a, NULL, "select * from pgq.get_slot_info()", 0, NULL);
	printf("\nSlot\n" RULE "\n");
	for (int row = 0; row < PQntuples(res); row++)
		for (int col = 0; col < PQnfields(res); col++)
			if (!PQgetisnull(res, row, col))
				printf("  %-20s %s\n", PQfname(res, col),
					   PQgetvalue(res, row, col));
	if (PQntuples(res) == 0)
		puts("  none: \"slot create\" makes one");
	puts(RULE);
	PQclear(res);
}

/* status */
void
admin_status(Admin *a, int argc, char **argv)
{
	PGresult   *res;

	res = admin_query(a, NULL, "select pg_catalog.current_setting("
					  "'server_version'), pgq.version()", 0, NULL);
	printf("Postgres version: %s   PgQ version: %s\n",
		   PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1));
	PQclear(res);
	print_queues(a);
	print_consumers(a);
	if (admin_has_function(a, "pgq.get_slot_info()"))
		admin_print_slots(a);
}
