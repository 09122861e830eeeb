/*-------------------------------------------------------------------------
 *
 * queue.c
 *		pgqadm: create and drop queues, register consumers, settings.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/seek.h"
#include "common/problems.h"

#define QUEUE_HINT "Command \"status\" shows the queues there are."

/* Settings that "config" knows, by their names without queue_. */
typedef struct Setting
{
	const char *name;
	bool by_update; /* set_queue_config does not know it */
	bool always;    /* shown, even if it is the default */
} Setting;

static const Setting settings[] = {{"ticker_max_count", false, true},
								   {"ticker_max_lag", false, true},
								   {"ticker_idle_period", false, true},
								   {"rotation_period", false, true},
								   {"ticker_paused", false, false},
								   {"external_ticker", false, false},
								   {"disable_insert", true, false},
								   {"per_tx_limit", true, false},
								   {"max_size", false, false},
								   {"max_size_policy", false, false},
								   {"max_retries", false, false},
								   {"retention", false, false},
								   {NULL, false, false}};

/* Columns of pgq.queue in the order of the table above; intervals in s. */
#define SETTING_COLUMNS                                                        \
	"queue_ticker_max_count, "                                                 \
	"pg_catalog.date_part('epoch', queue_ticker_max_lag), "                    \
	"pg_catalog.date_part('epoch', queue_ticker_idle_period), "                \
	"pg_catalog.date_part('epoch', queue_rotation_period), "                   \
	"nullif(queue_ticker_paused, false), "                                     \
	"nullif(queue_external_ticker, false), "                                   \
	"nullif(queue_disable_insert, false), "                                    \
	"queue_per_tx_limit, "                                                     \
	"pg_catalog.to_jsonb(q)->>'queue_max_size', "                              \
	"nullif(pg_catalog.to_jsonb(q)->>'queue_max_size_policy', 'warn'), "       \
	"pg_catalog.to_jsonb(q)->>'queue_max_retries', "                           \
	"nullif(pg_catalog.date_part('epoch', " QUEUE_RETENTION "), 0)"

/* create QUEUE */
void
admin_create(Admin *a, int argc, char **argv)
{
	const char *queue = argv[0];

	if (admin_query_int(a, NULL, "select pgq.create_queue($1::text)", 1,
						&queue) == 1)
		admin_say(a, "Creating queue: %s", queue);
	else
		admin_say(a, "Queue exists already: %s", queue);
}

static bool
queue_exists(Admin *a, const char *queue)
{
	return admin_query_int(a, NULL,
						   "select 1 from pgq.queue where queue_name "
						   "= $1::text",
						   1, &queue) == 1;
}

static void
require_queue(Admin *a, const char *queue)
{
	if (!queue_exists(a, queue))
		admin_fail(QUEUE_HINT, "no such queue: %s", queue);
}

/* drop QUEUE */
void
admin_drop(Admin *a, int argc, char **argv)
{
	const char *queue = argv[0];

	require_queue(a, queue);
	PQclear(admin_query(a,
						"Unregister its consumers first; command "
						"\"status\" shows them.",
						"select pgq.drop_queue($1::text)", 1, &queue));
	admin_say(a, "Dropping queue: %s", queue);
}

/* register QUEUE CONSUMER [--time T | --tick N | --start] */
void
admin_register(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], argv[1]};
	bool new;

	seek_check_options(a, true);
	require_queue(a, argv[0]);
	admin_begin(a);
	new = admin_query_int(a, NULL,
						  "select pgq.register_consumer($1::text, "
						  "$2::text)",
						  2, params) == 1;
	if (!new && a->place.kind != PLACE_NOWHERE)
		admin_fail("Command \"seek\" moves it.",
				   "consumer %s is registered on queue %s already", argv[1],
				   argv[0]);
	if (new && a->place.kind != PLACE_NOWHERE)
		seek_move(a, argv[0], argv[1]);
	PQclear(admin_query(a, NULL, "commit", 0, NULL));
	if (new)
		admin_say(a, "Registering consumer %s on queue %s", argv[1], argv[0]);
	else
		admin_say(a, "Consumer %s is registered on queue %s already", argv[1],
				  argv[0]);
}

/* unregister QUEUE CONSUMER */
void
admin_unregister(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], argv[1]};

	require_queue(a, argv[0]);
	if (admin_query_int(a, NULL,
						"select pgq.unregister_consumer($1::text, "
						"$2::text)",
						2, params) == 0)
		admin_fail("Command \"status\" shows the consumers of each queue.",
				   "consumer %s is not registered on queue %s", argv[1],
				   argv[0]);
	admin_say(a, "Unregistering consumer %s from queue %s", argv[1], argv[0]);
}

/* A setting as JSON: a number, true, text, or null for the default. */
static void
print_setting(const PGresult *res, int row, int column)
{
	const char *value = PQgetvalue(res, row, column);

	if (PQftype(res, column) == 16 /* bool */ && *value)
		fputs(*value == 't' ? "true" : "false", stdout);
	else if (*value && strspn(value, "0123456789.") == strlen(value))
		fputs(value, stdout);
	else
		admin_write_json(stdout, *value ? value : NULL);
}

/* Prints the settings of one queue, or of all if it is NULL. */
static void
show_settings(Admin *a, const char *queue)
{
	PGresult *res;
	const char *lead = "[";

	res = admin_query(a, NULL,
					  "select queue_name, " SETTING_COLUMNS
					  " from pgq.queue q where queue_name = $1::text "
					  "or $1 is null order by queue_name",
					  1, &queue);
	if (queue != NULL && PQntuples(res) == 0)
		admin_fail(QUEUE_HINT, "no such queue: %s", queue);
	for (int row = 0; row < PQntuples(res) && a->json; row++, lead = ",\n ")
	{
		printf("%s{\"queue\": ", lead);
		admin_write_json(stdout, PQgetvalue(res, row, 0));
		for (int i = 0; settings[i].name; i++)
		{
			printf(", \"%s\": ", settings[i].name);
			print_setting(res, row, i + 1);
		}
		putchar('}');
	}
	if (a->json)
		puts(lead[0] == '[' ? "[]" : "]");
	for (int row = 0; row < PQntuples(res) && !a->json; row++)
	{
		printf("%s\n", admin_get_text(res, row, 0));
		for (int i = 0; settings[i].name; i++)
			if (settings[i].always || !PQgetisnull(res, row, i + 1))
				printf("    %s\t=%7s\n", settings[i].name,
					   admin_get_text(res, row, i + 1));
	}
	PQclear(res);
}

/* The setting that key=value names, with or without queue_ before it. */
static const Setting *
find_setting(const char *word, const char *eq)
{
	size_t len = eq - word;

	if (strncmp(word, "queue_", 6) == 0)
	{
		word += 6;
		len -= 6;
	}
	for (const Setting *s = settings; s->name; s++)
		if (strlen(s->name) == len && strncmp(s->name, word, len) == 0)
			return s;
	return NULL;
}

/* Sets one; the names come from our table, so they may stand in the SQL. */
static void
change_setting(Admin *a, const char *queue, const Setting *s, const char *value)
{
	const char *params[3] = {queue, value, s->name};
	char sql[256];

	if (!s->by_update)
		PQclear(admin_query(a, NULL,
							"select pgq.set_queue_config($1::text, "
							"$3::text, nullif($2::text, ''))",
							3, params));
	else
	{
		snprintf(sql, sizeof(sql),
				 "update pgq.queue set queue_%s = "
				 "nullif($2::text, '')::%s where queue_name = $1::text",
				 s->name,
				 strcmp(s->name, "per_tx_limit") == 0 ? "integer" : "boolean");
		PQclear(admin_query(a, NULL, sql, 2, params));
	}
}

/* config [QUEUE [KEY=VALUE ...]] */
void
admin_config(Admin *a, int argc, char **argv)
{
	if (argc < 2)
	{
		show_settings(a, argc == 0 ? NULL : argv[0]);
		return;
	}

	/* Look at every word before the first change is made. */
	for (int i = 1; i < argc; i++)
	{
		const char *eq = strchr(argv[i], '=');

		if (eq == NULL)
			admin_fail("A setting is written KEY=VALUE.", "no value given: %s",
					   argv[i]);
		if (find_setting(argv[i], eq) == NULL)
			admin_fail(
				"There are ticker_max_count, ticker_max_lag, "
				"ticker_idle_period, rotation_period, ticker_paused, "
				"external_ticker, disable_insert, per_tx_limit, max_size, "
				"max_size_policy, max_retries and retention.",
				"unknown config var: %.*s", (int) (eq - argv[i]), argv[i]);
	}
	require_queue(a, argv[0]);
	admin_begin(a);
	for (int i = 1; i < argc; i++)
	{
		const char *eq = strchr(argv[i], '=');

		change_setting(a, argv[0], find_setting(argv[i], eq), eq + 1);
	}
	PQclear(admin_query(a, NULL, "commit", 0, NULL));
	if (a->quiet)
		return;
	fprintf(stderr, "Change queue %s config to: ", argv[0]);
	for (int i = 1; i < argc; i++)
		fprintf(stderr, "%s%s", argv[i], i < argc - 1 ? ", " : "\n");
}
