/*-------------------------------------------------------------------------
 *
 * relay.c
 *		pgqadm relay: what relays tell of themselves, and pgqrelay's check.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"

#define SECONDS(col)                                                           \
	"coalesce(trunc(date_part('epoch', " col "))::bigint || ' s', '-')"

/* clang-format off */

static const char list_sql[] =
	"select queue_name, consumer_name, state, "
	SECONDS("now() - since") " as since, " SECONDS("lag") " as lag, "
	"round(ev_per_sec::numeric, 1) as rate, pending_events, target, "
	"case when state <> 'running' then last_error end as error "
	"from pgq.get_relay_info()";

/* the names of its columns are shown */
static const char show_sql[] =
	"select queue_name as queue, consumer_name as consumer, target, state, "
	"since, batch, engine_position as \"engine position\", "
	"round(ev_per_sec::numeric, 1) as \"events per second\", "
	SECONDS("lag") " as lag, pending_events as \"pending events\", "
	"last_error as \"last error\", last_error_time as \"at\", "
	SECONDS("last_seen") " || ' ago' as \"last seen\" "
	"from pgq.get_relay_info() "
	"where queue_name = $1::text and consumer_name = $2::text";

/* the keys are documented: they may become more, but keep their meaning */
static const char json_sql[] =
	"select coalesce(json_agg(json_build_object('queue', queue_name, "
	"'consumer', consumer_name, 'target', target, 'state', state, "
	"'since', since, 'batch', batch, 'engine_position', engine_position, "
	"'events_per_s', ev_per_sec, 'lag_s', extract(epoch from lag)::float8, "
	"'pending_events', pending_events, 'last_error', last_error, "
	"'last_error_time', last_error_time, "
	"'last_seen_s_ago', extract(epoch from last_seen)::float8)), '[]') "
	"from pgq.get_relay_info() where $1::text is null "
	"or (queue_name = $1 and consumer_name = $2::text)";

/* clang-format on */

static void
require_relays(Admin *a)
{
	if (!admin_has_function(a, "pgq.get_relay_info()"))
		admin_fail("It needs the extension pgq 4; command \"install\" says "
				   "which one is there.",
				   "this database knows of no relays");
}

static void
print_json(Admin *a, const char *queue, const char *consumer)
{
	const char *params[2] = {queue, consumer};
	PGresult *res = admin_query(a, NULL, json_sql, 2, params);

	puts(PQgetvalue(res, 0, 0));
	PQclear(res);
}

static void
list_relays(Admin *a)
{
	PGresult *res = admin_query(a, NULL, list_sql, 0, NULL);

	printf("%-34s %-13s %10s %8s %8s\n", "Relay", "State", "Since", "Lag",
		   "EPS");
	for (int row = 0; row < PQntuples(res); row++)
	{
		printf("%s:\n  ", admin_get_text(res, row, 0));
		admin_print_padded(admin_get_text(res, row, 1), 32);
		printf(" %-13s %10s %8s %8s\n    %s, %s events pending\n",
			   admin_get_text(res, row, 2), admin_get_text(res, row, 3),
			   admin_get_text(res, row, 4), admin_get_text(res, row, 5),
			   admin_get_text(res, row, 7), admin_get_text(res, row, 6));
		if (!PQgetisnull(res, row, 8))
			printf("    %s\n", admin_get_text(res, row, 8));
	}
	if (PQntuples(res) == 0)
		puts("  none has run yet");
	PQclear(res);
}

static void
show_relay(Admin *a, const char *queue, const char *consumer)
{
	const char *params[2] = {queue, consumer};
	PGresult *res = admin_query(a, NULL, show_sql, 2, params);

	if (PQntuples(res) == 0)
		admin_fail("Command \"relay list\" shows those there are.",
				   "no relay of queue %s has run as consumer %s", queue,
				   consumer);
	if (a->json)
		print_json(a, queue, consumer);
	for (int i = 0; i < PQnfields(res) && !a->json; i++)
		if (!PQgetisnull(res, 0, i))
			printf("%-18s %s\n", PQfname(res, i), admin_get_text(res, 0, i));
	PQclear(res);
}

/* relay list | show QUEUE CONSUMER | check CONFIG */
void
admin_relay(Admin *a, int argc, char **argv)
{
	bool list = strcmp(argv[0], "list") == 0;
	bool show = strcmp(argv[0], "show") == 0;
	bool check = strcmp(argv[0], "check") == 0;

	if (!list && !show && !check)
		admin_fail("There are list, show and check.",
				   "unknown command: relay %s", argv[0]);
	if (argc != (list ? 1 : show ? 3 : 2))
		admin_fail(NULL, "usage: pgqadm ... relay %s",
				   list   ? "list"
				   : show ? "show QUEUE CONSUMER"
						  : "check RELAY.ini");
	if (check)
	{
		char *args[] = {"pgqrelay", "--check", argv[1], NULL};

		if (a->json)
			admin_fail(NULL, "command \"relay check\" has no option --json");
		execvp(admin_find_program("pgqrelay"), args);
		admin_fail("It is in the package pgqrelay, and belongs beside pgqadm "
				   "or in the PATH.",
				   "could not run pgqrelay: %s", strerror(errno));
	}
	require_relays(a);
	if (show)
		show_relay(a, argv[1], argv[2]);
	else if (a->json)
		print_json(a, NULL, NULL);
	else
		list_relays(a);
}
