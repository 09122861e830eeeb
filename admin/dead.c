/*-------------------------------------------------------------------------
 *
 * dead.c
 *		pgqadm dead: events that consumers have given up: lists them, puts them
 *		back, purges them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"

/* What is shown of an event's data, in bytes. */
#define DATA_SHOWN "100"

static const char list_sql[] =
	"select queue_name, consumer_name, ev_id, "
	"pg_catalog.date_trunc('second', dead_time), coalesce(ev_retry, 0), "
	"coalesce(ev_type, ''), dead_reason, "
	"pg_catalog.left(ev_data, " DATA_SHOWN ") "
	"|| case when pg_catalog.length(ev_data) > " DATA_SHOWN " then '...' "
	"else '' end "
	"from pgq.get_dead_events($1::text, $2::text)";

/* the keys are documented: they may become more, but keep their meaning */
static const char json_sql[] =
	"select coalesce(json_agg(json_build_object('queue', queue_name, "
	"'consumer', consumer_name, 'dead_time', dead_time, 'reason', dead_reason, "
	"'ev_id', ev_id, 'ev_time', ev_time, 'ev_retry', ev_retry, "
	"'ev_type', ev_type, 'ev_data', ev_data, 'ev_extra1', ev_extra1, "
	"'ev_extra2', ev_extra2, 'ev_extra3', ev_extra3, 'ev_extra4', ev_extra4)), "
	"'[]') from pgq.get_dead_events($1::text, $2::text)";

static void
require_dead_events(Admin *a)
{
	if (!admin_has_function(a, "pgq.get_dead_events(text,text)"))
		admin_fail("It needs the extension pgq 4; command \"install\" says "
				   "which one is there.",
				   "this database knows of no dead events");
}

static void
list_events(Admin *a, const char *const *params)
{
	PGresult *res = admin_query(a, NULL, a->json ? json_sql : list_sql, 2,
								params);
	const char *last[2] = {"", ""};

	if (a->json)
		puts(PQgetvalue(res, 0, 0));
	for (int row = 0; row < PQntuples(res) && !a->json; row++)
	{
		const char *queue = admin_get_text(res, row, 0);
		const char *consumer = admin_get_text(res, row, 1);

		if (strcmp(queue, last[0]) != 0 || strcmp(consumer, last[1]) != 0)
			printf("%s, %s:\n", queue, consumer);
		last[0] = queue;
		last[1] = consumer;
		printf("  %-12s %s  retries: %s  %s\n", admin_get_text(res, row, 2),
			   admin_get_text(res, row, 3), admin_get_text(res, row, 4),
			   admin_get_text(res, row, 5));
		if (!PQgetisnull(res, row, 6))
			printf("    %s\n", admin_get_text(res, row, 6));
		if (!PQgetisnull(res, row, 7))
			printf("    %s\n", admin_get_text(res, row, 7));
	}
	if (PQntuples(res) == 0)
		puts("no dead events");
	PQclear(res);
}

/* Puts one event back, or with ID NULL all. */
static void
requeue(Admin *a, const char *const *names, const char *id)
{
	const char *params[3] = {names[0], names[1], id};
	int n;

	if (id == NULL)
	{
		n = admin_query_int(
			a, NULL,
			"select coalesce(sum(pgq.requeue_dead_event(queue_name, "
			"consumer_name, ev_id)), 0)::int "
			"from pgq.get_dead_events($1::text, $2::text)",
			2, params);
		admin_say(a, "Events that consumer %s gets again: %d", names[1], n);
		return;
	}
	n = admin_query_int(a, NULL,
						"select pgq.requeue_dead_event($1::text, $2::text, "
						"$3::bigint)",
						3, params);
	if (n == 0)
		admin_fail("Command \"dead list\" shows those there are.",
				   "consumer %s has no dead event %s", names[1], id);
	admin_say(a, "Consumer %s gets event %s again", names[1], id);
}

static void
purge(Admin *a, const char *const *names)
{
	const char *params[3] = {names[0], names[1],
							 a->all ? "infinity" : a->before};
	int n = admin_query_int(a, NULL,
							"select pgq.purge_dead_events($1::text, $2::text, "
							"$3::timestamptz)",
							3, params);

	admin_say(a, "Dead events of consumer %s that are deleted: %d", names[1],
			  n);
}

/* Fails unless there is such a consumer: a name that is misspelt has no events. */
static void
require_consumer(Admin *a, const char *const *names)
{
	if (admin_query_int(a, NULL,
						"select count(*)::int from "
						"pgq.get_consumer_info($1::text, $2::text)",
						2, names) == 0)
		admin_fail("Command \"status\" shows those there are.",
				   "no consumer %s on queue %s", names[1], names[0]);
}

static bool
is_id(const char *word)
{
	return *word != '\0' && strspn(word, "0123456789") == strlen(word);
}

/* dead list [QUEUE [CONSUMER]] | requeue QUEUE CONSUMER ID ... | purge QUEUE CONSUMER */
void
admin_dead(Admin *a, int argc, char **argv)
{
	bool list = strcmp(argv[0], "list") == 0;
	bool back = strcmp(argv[0], "requeue") == 0;
	bool gone = strcmp(argv[0], "purge") == 0;
	const char *names[2] = {argc > 1 ? argv[1] : NULL,
							argc > 2 ? argv[2] : NULL};

	if (!list && !back && !gone)
		admin_fail("There are list, requeue and purge.",
				   "unknown command: dead %s", argv[0]);
	if (list   ? argc > 3 || a->all || a->before
		: back ? argc < 3 || (argc == 3) != a->all || a->before
			   : argc != 3 || a->all == (a->before != NULL))
		admin_fail(NULL, "usage: pgqadm ... dead %s",
				   list   ? "list [--json] [QUEUE [CONSUMER]]"
				   : back ? "requeue QUEUE CONSUMER ID ... | --all"
						  : "purge QUEUE CONSUMER --before T | --all");
	if (a->json && !list)
		admin_fail(NULL, "command \"dead %s\" has no option --json", argv[0]);
	for (int i = 3; i < argc; i++)
		if (!is_id(argv[i]))
			admin_fail("Command \"dead list\" shows those there are.",
					   "not the id of an event: %s", argv[i]);
	require_dead_events(a);
	if (list)
	{
		list_events(a, names);
		return;
	}
	require_consumer(a, names);
	if (gone)
		purge(a, names);
	else if (a->all)
		requeue(a, names, NULL);
	for (int i = 3; i < argc && back; i++)
		requeue(a, names, argv[i]);
}
