/*-------------------------------------------------------------------------
 *
 * source.c
 *		pgqadm source: databases of other servers that feed queues here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"

/* clang-format off */

static const char list_sql[] =
	"select source_name, state, coalesce(database, '-') as database, "
	"coalesce(\"position\"::text, '-') as at, coalesce(events, 0) as events, "
	"coalesce(pg_catalog.trunc(pg_catalog.date_part('epoch', "
	"pg_catalog.now() - position_time))::bigint || ' s', '-') as since, "
	"coalesce(pg_catalog.array_to_string(queues, ', '), '') as queues, problem "
	"from pgq.get_source_info()";

/* the keys are documented: they may become more, but keep their meaning */
static const char json_sql[] =
	"select coalesce(json_agg(json_build_object('source', source_name, "
	"'state', state, 'queues', queues, 'system_id', system_id, "
	"'database', database, 'slot', slot, 'encoding', encoding, "
	"'position', \"position\", 'position_time', position_time, "
	"'events', events, 'problem', problem)), '[]') "
	"from pgq.get_source_info()";

/* clang-format on */

typedef struct SourceCommand
{
	const char *name;
	int min_args; /* behind the name */
	int max_args;
	const char *usage;
	void (*run)(Admin *a, int argc, char **argv);
} SourceCommand;

/* List the sources; "none" is said if there is none and this is not NULL. */
void
admin_print_sources(Admin *a, const char *none)
{
	PGresult *res = admin_query(a, NULL, list_sql, 0, NULL);

	if (PQntuples(res) > 0 || none)
		printf("\n%-33s %9s %12s %16s\n", "Source", "State", "Events",
			   "Last position");
	for (int row = 0; row < PQntuples(res); row++)
	{
		admin_print_padded(admin_get_text(res, row, 0), 33);
		printf(" %9s %12s %12s ago\n", admin_get_text(res, row, 1),
			   admin_get_text(res, row, 4), admin_get_text(res, row, 5));
		printf("  database %s, position %s, feeds: %s\n",
			   admin_get_text(res, row, 2), admin_get_text(res, row, 3),
			   admin_get_text(res, row, 6));
		if (!PQgetisnull(res, row, 7))
			printf("  problem: %s\n", admin_get_text(res, row, 7));
	}
	if (PQntuples(res) == 0 && none)
		puts(none);
	PQclear(res);
}

static void
list(Admin *a, int argc, char **argv)
{
	PGresult *res;

	if (!a->json)
	{
		admin_print_sources(a, "  none; command \"source add\" makes one");
		return;
	}
	res = admin_query(a, NULL, json_sql, 0, NULL);
	puts(PQgetvalue(res, 0, 0));
	PQclear(res);
}

static void
add(Admin *a, int argc, char **argv)
{
	const char *name = argv[0];
	int added = admin_query_int(a, NULL, "select pgq.create_source($1::text)",
								1, &name);

	for (int i = 1; i < argc; i++)
	{
		const char *params[2] = {name, argv[i]};

		admin_query_int(a, NULL, "select pgq.grant_source($1::text, $2::text)",
						2, params);
	}
	admin_say(a, added ? "Created source %s" : "Source %s was there", name);
	if (added)
		admin_say(
			a,
			"Now put a section into pgqd's ini file, and let it read that "
			"(pgqd -r):\n\n[source %s]\nconnstr = host=... dbname=... "
			"user=...\nqueue_db = %s",
			name, PQdb(a->conn));
}

static void
drop(Admin *a, int argc, char **argv)
{
	const char *name = argv[0];

	if (admin_query_int(a, NULL, "select pgq.drop_source($1::text)", 1,
						&name) == 0)
		admin_fail("Command \"source list\" shows those there are.",
				   "no source %s", name);
	admin_say(a,
			  "Dropped source %s; its slot stays, and keeps WAL there until "
			  "\"slot drop\" in its database",
			  name);
}

static void
grant(Admin *a, int argc, char **argv)
{
	const char *params[3] = {argv[0], argv[1], argc > 2 ? argv[2] : NULL};

	admin_query_int(a, NULL,
					"select pgq.grant_source($1::text, $2::text, $3::int4)", 3,
					params);
	admin_say(a, "Source %s may feed queue %s", argv[0], argv[1]);
}

static void
revoke(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], argv[1]};

	admin_query_int(a, NULL, "select pgq.revoke_source($1::text, $2::text)", 2,
					params);
	admin_say(a, "Source %s feeds queue %s no more", argv[0], argv[1]);
}

static void
reset(Admin *a, int argc, char **argv)
{
	const char *name = argv[0];

	admin_query_int(a, NULL, "select pgq.reset_source($1::text)", 1, &name);
	admin_say(a, "Source %s begins anew where its slot does", name);
}

static const SourceCommand source_commands[] = {
	{"list", 0, 0, "list", list},
	{"add", 1, 1000, "add SOURCE [QUEUE ...]", add},
	{"drop", 1, 1, "drop SOURCE", drop},
	{"grant", 2, 3, "grant SOURCE QUEUE [EXTRA]", grant},
	{"revoke", 2, 2, "revoke SOURCE QUEUE", revoke},
	{"reset", 1, 1, "reset SOURCE", reset},
	{NULL, 0, 0, NULL, NULL}};

/* source list | add | drop | grant | revoke | reset */
void
admin_source(Admin *a, int argc, char **argv)
{
	const SourceCommand *cmd = source_commands;

	while (cmd->name && strcmp(cmd->name, argv[0]) != 0)
		cmd++;
	if (cmd->name == NULL)
		admin_fail("There are list, add, drop, grant, revoke and reset.",
				   "unknown command: source %s", argv[0]);
	if (argc - 1 < cmd->min_args || argc - 1 > cmd->max_args)
		admin_fail(NULL, "usage: pgqadm ... source %s", cmd->usage);
	if (a->json && cmd->run != list)
		admin_fail(NULL, "command \"source %s\" has no option --json",
				   cmd->name);
	if (!admin_has_function(a, "pgq.get_source_info()"))
		admin_fail("It needs the extension pgq 4.1; command \"install\" says "
				   "which one is there.",
				   "this database knows of no sources");
	cmd->run(a, argc - 1, argv + 1);
}
