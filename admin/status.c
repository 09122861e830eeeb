/*-------------------------------------------------------------------------
 *
 * status.c
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

#include "admin/admin.h"
#include "common/problems.h"

#define RULE                                                                   \
	"------------------------------------------------------------"             \
	"------------------"

/* An interval as whole seconds, "35s", in SQL; NULL is spelled out. */
#define SECONDS(col)                                                           \
	"coalesce(pg_catalog.trunc(pg_catalog.date_part('epoch', " col "))"        \
	"::bigint || 's', 'NULL')"

/* clang-format off */

static const char queues_sql[] =
	"select queue_name, queue_ntables || '/' || "
	SECONDS("queue_rotation_period") " as rotation, "
	"queue_ticker_max_count || '/' || " SECONDS("queue_ticker_max_lag")
	" || '/' || " SECONDS("queue_ticker_idle_period") " as ticker, "
	SECONDS("ticker_lag") " as tlag, coalesce(ev_per_sec, 0) as eps, "
	"coalesce(ev_new, 0) as new from pgq.get_queue_info()";

static const char consumers_sql[] =
	"select queue_name, consumer_name, " SECONDS("lag") " as lag, "
	SECONDS("last_seen") " as seen, "
	"coalesce(pending_events::text, 'NULL') as pending "
	"from pgq.get_consumer_info()";

static const char slots_sql[] =
	"select slot_name, case when active then 'yes' else 'no' end as active, "
	"coalesce(wal_status, 'none') as wal, "
	"pg_catalog.pg_size_pretty(lag_bytes) as behind, "
	SECONDS("coalesce(lag_time, '0')") " as lag, state, "
	"\"position\"::text as at, events, problem, "
	"coalesce(pg_catalog.pg_size_pretty(held_bytes), 'none') as held "
	"from pgq.get_slot_info()";

/* clang-format on */

/* A column by its name: "" for NULL. */
static const char *
cell(PGresult *res, int row, const char *column)
{
	return admin_get_text(res, row, PQfnumber(res, column));
}

static void
print_queues(Admin *a)
{
	PGresult *res = admin_query(a, NULL, queues_sql, 0, NULL);

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
	PGresult *res = admin_query(a, NULL, consumers_sql, 0, NULL);
	const char *last_queue = NULL;

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
		printf(" %9s %9s %8s\n", cell(res, row, "lag"), cell(res, row, "seen"),
			   cell(res, row, "pending"));
	}
	puts(RULE);
	PQclear(res);
}

/* Captured tables, each with its arguments and warnings below it. */
static void
print_captures(Admin *a)
{
	PGresult *res;

	res = admin_query(
		a, NULL,
		"select queue_name, table_name, state, "
		"pg_catalog.array_to_string(arguments, ' ') as args, "
		"nullif(pg_catalog.array_to_string(warnings, E'\n'), '') as "
		"warnings from pgq.get_capture_info(null)",
		0, NULL);
	printf("\n%-38s %-28s %9s\n" RULE "\n", "Captured table", "Queue", "State");
	for (int row = 0; row < PQntuples(res); row++)
	{
		admin_print_padded(cell(res, row, "table_name"), 38);
		putchar(' ');
		admin_print_padded(cell(res, row, "queue_name"), 28);
		printf(" %9s\n", cell(res, row, "state"));
		if (cell(res, row, "args")[0] != '\0')
			printf("  %s\n", cell(res, row, "args"));
		if (!PQgetisnull(res, row, PQfnumber(res, "warnings")))
		{
			fputs("  ", stdout);
			admin_print_lines(PQgetvalue(res, row, PQfnumber(res, "warnings")),
							  2);
		}
	}
	puts(RULE);
	PQclear(res);
}

/* The slot: how far it is behind, and what is wrong with it. */
void
admin_print_slots(Admin *a)
{
	PGresult *res = admin_query(a, NULL, slots_sql, 0, NULL);

	printf("\n%-30s %6s %10s %10s %6s %9s\n" RULE "\n", "Slot", "Active", "WAL",
		   "Behind", "Lag", "State");
	for (int row = 0; row < PQntuples(res); row++)
	{
		admin_print_padded(cell(res, row, "slot_name"), 30);
		printf(" %6s %10s %10s %6s %9s\n", cell(res, row, "active"),
			   cell(res, row, "wal"), cell(res, row, "behind"),
			   cell(res, row, "lag"), cell(res, row, "state"));
		printf("  position %s, %s%s, %s of WAL held\n", cell(res, row, "at"),
			   cell(res, row, "events"),
			   cell(res, row, "events")[0] ? " events" : "for a queue host",
			   cell(res, row, "held"));
		if (cell(res, row, "problem")[0] != '\0')
			printf("  problem: %s\n", cell(res, row, "problem"));
	}
	if (PQntuples(res) == 0)
		puts("  none; command \"slot create\" makes one");
	puts(RULE);
	PQclear(res);
}

#define PROBLEMS_SQL(from)                                                     \
	"select case severity when 'warning' then 'warning' else 'problem' end, "  \
	"problem, hint, statement from " from

static void
print_problems(Admin *a)
{
	PGresult *res;

	res = admin_query(a, NULL,
					  admin_has_function(a, "pgq.get_problems(bigint)")
						  ? PROBLEMS_SQL(PROBLEMS_4_1(""))
						  : PROBLEMS_SQL(PROBLEMS_4_0),
					  0, NULL);
	for (int row = 0; row < PQntuples(res); row++)
	{
		printf("%s: %s\n  %s\n", admin_get_text(res, row, 0),
			   admin_get_text(res, row, 1), admin_get_text(res, row, 2));
		if (!PQgetisnull(res, row, 3))
		{
			fputs("  ", stdout);
			admin_print_lines(PQgetvalue(res, row, 3), 2);
		}
	}
	PQclear(res);
}

/* ---- JSON ---- */

#define EPOCH(col) "extract(epoch from " col ")::float8"

/* clang-format off */

/* The keys are documented: they may become more, but keep their meaning. */
#define QUEUES_JSON \
	"'queues', (select coalesce(json_agg(json_build_object('queue', " \
	"queue_name, 'tables', queue_ntables, 'rotation_period_s', " \
	EPOCH("queue_rotation_period") ", 'retention_s', " \
	"(select " EPOCH(QUEUE_RETENTION) " from pgq.queue q where " \
	"q.queue_name = i.queue_name), 'rotated_s_ago', " \
	EPOCH("now() - queue_switch_time") ", 'ticker_max_count', " \
	"queue_ticker_max_count, 'ticker_max_lag_s', " \
	EPOCH("queue_ticker_max_lag") ", 'ticker_idle_period_s', " \
	EPOCH("queue_ticker_idle_period") ", 'ticker_paused', " \
	"queue_ticker_paused, 'external_ticker', queue_external_ticker, " \
	"'last_tick', last_tick_id, 'tick_age_s', " EPOCH("ticker_lag") ", " \
	"'events_per_s', ev_per_sec, 'new_events', ev_new)), '[]') from " \
	"pgq.get_queue_info() i)"

#define CONSUMERS_JSON \
	"'consumers', (select coalesce(json_agg(json_build_object('queue', " \
	"queue_name, 'consumer', consumer_name, 'lag_s', " EPOCH("lag") ", " \
	"'last_seen_s_ago', " EPOCH("last_seen") ", 'last_tick', last_tick, " \
	"'batch', current_batch, 'next_tick', next_tick, 'pending_events', " \
	"pending_events)), '[]') from pgq.get_consumer_info())"

#define CAPTURES_JSON \
	"'captures', (select coalesce(json_agg(json_build_object('queue', " \
	"queue_name, 'table', table_name, 'arguments', arguments, " \
	"'replica_identity', replica_identity, 'state', state, 'warnings', " \
	"warnings, 'failed_rows', failed_rows, 'large_events', " \
	"large_events)), '[]') from pgq.get_capture_info(null))"

#define COPIES_JSON \
	"'copies', (select coalesce(json_agg(json_build_object('queue', " \
	"queue_name, 'table', table_name, 'state', state, 'rows', " \
	"copied_rows, 'total_rows', total_rows, 'bytes', bytes, 'share', " \
	"share, 'time_left_s', " EPOCH("time_left") ", 'problem', problem)), " \
	"'[]') from pgq.get_copy_info())"

#define SLOTS_JSON \
	"'slots', (select coalesce(json_agg(json_build_object('slot', " \
	"slot_name, 'active', active, 'wal_status', wal_status, 'lag_bytes', " \
	"lag_bytes, 'lag_s', " EPOCH("coalesce(lag_time, '0')") ", " \
	"'position', \"position\", 'events', events, 'state', state, " \
	"'problem', problem, 'held_bytes', held_bytes)), '[]') from " \
	"pgq.get_slot_info())"

#define SIZES_JSON \
	"'sizes', (select coalesce(json_agg(json_build_object('queue', " \
	"queue_name, 'bytes', size, 'max_bytes', max_size, 'policy', " \
	"max_size_policy, 'over', is_over, 'held_by', held_by)), '[]') from " \
	"pgq.get_queue_size()), 'lost_consumers', (select " \
	"coalesce(json_agg(json_build_object('queue', queue_name, 'consumer', " \
	"consumer_name, 'lost_s_ago', " EPOCH("now() - lost_time") ", 'tick', " \
	"lost_tick)), '[]') from pgq.get_lost_consumers())"

#define PROBLEMS_JSON(from) \
	"'problems', (select coalesce(json_agg(json_build_object('kind', " \
	"kind, 'object', object, 'severity', severity, 'problem', problem, " \
	"'hint', hint, 'statement', statement, 'age_s', " \
	EPOCH("age") ")), '[]') from " from ")"

#define ALL_JSON(from) \
	"select json_build_object(" VERSIONS_JSON ", " QUEUES_JSON ", " \
	CONSUMERS_JSON ", " CAPTURES_JSON ", " COPIES_JSON ", " SLOTS_JSON \
	", " SIZES_JSON ", " PROBLEMS_JSON(from) ")"

/* clang-format on */

static void
print_json(Admin *a, const char *sql)
{
	PGresult *res;

	res = admin_query(a, NULL, sql, 0, NULL);
	puts(PQgetvalue(res, 0, 0));
	PQclear(res);
}

/* slot status --json */
void
admin_print_slots_json(Admin *a)
{
	print_json(a, "select json_build_object(" SLOTS_JSON ")");
}

#define VERSIONS_JSON                                                          \
	"'database', current_database(), 'server_version', "                       \
	"current_setting('server_version'), 'pgq_version', pgq.version()"

/* status */
void
admin_status(Admin *a, int argc, char **argv)
{
	PGresult *res;
	bool can_capture;

	admin_connect(a);
	can_capture = admin_has_function(a, "pgq.get_capture_info(text)");
	if (a->json)
	{
		print_json(a, !can_capture ? "select json_build_object(" VERSIONS_JSON
									 ", " QUEUES_JSON ", " CONSUMERS_JSON ")"
					  : admin_has_function(a, "pgq.get_problems(bigint)")
						  ? ALL_JSON(PROBLEMS_4_1(""))
						  : ALL_JSON(PROBLEMS_4_0));
		return;
	}
	res = admin_query(a, NULL,
					  "select pg_catalog.current_setting("
					  "'server_version'), pgq.version()",
					  0, NULL);
	printf("Postgres version: %s   PgQ version: %s\n", PQgetvalue(res, 0, 0),
		   PQgetvalue(res, 0, 1));
	PQclear(res);
	print_queues(a);
	print_consumers(a);
	if (can_capture)
	{
		print_captures(a);
		admin_print_copies(a);
		admin_print_slots(a);
		if (admin_has_function(a, "pgq.get_source_info()"))
			admin_print_sources(a, NULL);
		print_problems(a);
	}
}
