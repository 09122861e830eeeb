/*-------------------------------------------------------------------------
 *
 * migrate.c
 *		pgqadm migrate: turn the PgQ triggers of a database into captures.
 *
 * Each table is one transaction, in which pgq.capture_trigger() replaces its
 * triggers; if one can't be replaced, the table keeps them all, since a queue
 * gets events of a trigger before those of a capture that were made earlier.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "admin/admin.h"
#include "admin/progress.h"

/* Exit status if triggers are left. */
#define EXIT_KEPT 2

/* The first argument of trigger t; arguments are stored with a zero after each. */
#define QUEUE_OF_TRIGGER                                                       \
	"pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, nullif("           \
	"pg_catalog.position(t.tgargs, '\\x00'::pg_catalog.bytea), 0) - 1), "      \
	"pg_catalog.getdatabaseencoding())"

/* What makes it one of PgQ's. */
#define IS_PGQ_TRIGGER                                                         \
	"not t.tgisinternal and pn.nspname = 'pgq' "                               \
	"and p.proname in ('jsontriga', 'logutriga', 'sqltriga')"

/*
 * The triggers of some tables, or of all with PgQ triggers: those for rows
 * first, since those for TRUNCATE add to what they have become.  Partitions
 * have copies of their parent's, which go with it.
 */
static const char find_triggers[] =
	"select c.oid::pg_catalog.text as relid, "
	"pg_catalog.format('%I.%I', n.nspname, c.relname) as table_name, "
	"t.tgname, " QUEUE_OF_TRIGGER " as queue "
	"from pg_catalog.pg_trigger t "
	"join pg_catalog.pg_class c on c.oid = t.tgrelid "
	"join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
	"join pg_catalog.pg_proc p on p.oid = t.tgfoid "
	"join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace "
	"where " IS_PGQ_TRIGGER
	" and t.tgparentid = 0 and ($1::pg_catalog.text[] is null or c.oid = any "
	"($1::pg_catalog.text[]::pg_catalog.regclass[])) "
	"order by n.nspname, c.relname, t.tgtype & 1 desc, t.tgname";

/* What became of a trigger. */
typedef struct Outcome
{
	const char *table;
	const char *trigger;
	const char *queue;
	char *arguments; /* text of an array of JSON */
	char *problem;   /* NULL if it became a capture */
	char *detail;
	char *hint;
	bool done; /* its table's transaction holds */
} Outcome;

static void
run(Admin *a, const char *sql)
{
	PQclear(admin_query(a, NULL, sql, 0, NULL));
}

/* Note why the server refused a trigger; a lost connection ends the program. */
static void
note_problem(Admin *a, Outcome *o, const PGresult *res)
{
	const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (primary == NULL || PQstatus(a->conn) != CONNECTION_OK)
		admin_fail("What was said to be captured before is; run it again.",
				   "%.*s", admin_message_length(PQerrorMessage(a->conn)),
				   PQerrorMessage(a->conn));
	o->problem = text_copy(primary);
	o->detail = text_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL));
	o->hint = text_copy(PQresultErrorField(res, PG_DIAG_MESSAGE_HINT));
}

/* Replace one trigger, within the transaction of its table. */
static bool
migrate_trigger(Admin *a, const char *relid, Outcome *o)
{
	const char *params[2] = {relid, o->trigger};
	PGresult *res;
	bool done;

	res = admin_exec(a,
					 "select pgq.capture_trigger($1::pg_catalog.text"
					 "::pg_catalog.oid, $2::pg_catalog.name)",
					 2, NULL, params);
	done = PQresultStatus(res) == PGRES_TUPLES_OK;
	if (!done)
		note_problem(a, o, res);
	PQclear(res);
	return done;
}

/* The arguments of the captures that the triggers have become. */
static void
read_arguments(Admin *a, const char *relid, Outcome *o)
{
	const char *params[2] = {o->queue, relid};
	PGresult *res;

	res = admin_query(
		a, NULL,
		"select pg_catalog.to_json(arguments) "
		"from pgq.get_capture_info($1::pg_catalog.text) where table_name = "
		"(select pg_catalog.format('%I.%I', n.nspname, c.relname) "
		"from pg_catalog.pg_class c join pg_catalog.pg_namespace n "
		"on n.oid = c.relnamespace where c.oid = $2::pg_catalog.text"
		"::pg_catalog.oid)",
		2, params);
	o->arguments = text_copy(PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "[]");
	PQclear(res);
}

/* Replace n triggers of one table, all or none. */
static bool
migrate_table(Admin *a, const char *relid, Outcome *outcomes, int n)
{
	bool done = true;

	admin_begin(a);
	for (int i = 0; i < n && done; i++)
		done = migrate_trigger(a, relid, &outcomes[i]);
	for (int i = 0; i < n && done; i++)
		read_arguments(a, relid, &outcomes[i]);
	run(a, done && !a->dry_run ? "commit" : "rollback");
	for (int i = 0; i < n; i++)
		outcomes[i].done = done;
	return done;
}

static void
print_outcome(const Admin *a, const Outcome *o)
{
	char *rest = o->done ? text_format(" into %s: %s", o->queue, o->arguments)
				 : o->problem
					 ? text_format(": %s%s%s", o->problem,
								   o->detail ? ". " : "",
								   o->detail ? o->detail : "")
					 : text_copy(": another trigger of the table is kept");
	char *line = text_format(
		"%s %s.%s%s",
		o->done ? (a->dry_run ? "would capture" : "captured") : "kept",
		o->table, o->trigger, rest);

	admin_print_lines(line, 2);
	free(line);
	free(rest);
}

static void
write_member(const char *name, const char *text)
{
	printf(",\"%s\":", name);
	admin_write_json(stdout, text);
}

static void
print_json(const Admin *a, const Outcome *outcomes, int n, int done)
{
	printf("{\"dry_run\":%s,\"captured\":%d,\"kept\":%d,\"triggers\":[",
		   a->dry_run ? "true" : "false", done, n - done);
	for (int i = 0; i < n; i++)
	{
		const Outcome *o = &outcomes[i];

		printf("%s{\"captured\":%s", i > 0 ? "," : "",
			   o->done ? "true" : "false");
		write_member("table", o->table);
		write_member("trigger", o->trigger);
		write_member("queue", o->queue);
		printf(",\"arguments\":%s", o->done ? o->arguments : "null");
		write_member("problem", o->problem);
		write_member("detail", o->detail);
		write_member("hint", o->hint);
		putchar('}');
	}
	puts("]}");
}

/* What find_triggers gives for these tables, with none for all. */
static PGresult *
find(Admin *a, int ntables, char **tables)
{
	char *array = ntables > 0 ? admin_make_table_array(a, ntables, tables)
							  : NULL;
	const char *param = array;
	PGresult *res = admin_query(a, NULL, find_triggers, 1, &param);

	free(array);
	return res;
}

/*
 * Migrate the triggers that were found, and tell of each.  outcomes gets one
 * for each row.  Returns how many became captures.
 */
static int
migrate(Admin *a, const PGresult *found, Outcome *outcomes)
{
	int rows = PQntuples(found);
	int done = 0;
	Progress p;

	progress_begin(&p, a, "migrate", "triggers");
	for (int row = 0; row < rows;)
	{
		const char *relid = PQgetvalue(found, row, 0);
		Outcome *first = &outcomes[row];
		int n = 0;

		progress_show(&p, row, rows);
		for (; row < rows && strcmp(PQgetvalue(found, row, 0), relid) == 0;
			 row++)
			first[n++] = (Outcome){.table = PQgetvalue(found, row, 1),
								   .trigger = PQgetvalue(found, row, 2),
								   .queue = PQgetvalue(found, row, 3)};
		if (migrate_table(a, relid, first, n))
			done += n;
		if (!a->json)
			progress_clear();
		for (int i = 0; i < n && !a->json; i++)
			print_outcome(a, &first[i]);
	}
	progress_clear();
	return done;
}

/* Whose events still come from triggers, beside those of captures? */
static void
warn_of_mixed_queues(Admin *a)
{
	PGresult *res;

	res = admin_query(
		a, NULL,
		"select distinct c.queue_name from pgq.get_capture_info() c "
		"join pg_catalog.pg_trigger t on " QUEUE_OF_TRIGGER " = c.queue_name "
		"join pg_catalog.pg_proc p on p.oid = t.tgfoid "
		"join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace "
		"where " IS_PGQ_TRIGGER " order by 1",
		0, NULL);
	for (int row = 0; row < PQntuples(res); row++)
		admin_warn(
			"queue %s gets events from triggers and from captures: those "
			"of triggers may come before earlier ones of captures",
			PQgetvalue(res, row, 0));
	PQclear(res);
}

/* migrate [--dry-run] [--json] [TABLE ...] */
void
admin_migrate(Admin *a, int argc, char **argv)
{
	PGresult *found;
	Outcome *outcomes;
	int n;
	int done;

	if (!admin_has_function(a, "pgq.capture_trigger(regclass, name)"))
		admin_fail("It needs the extension pgq 4; command \"install\" says "
				   "which one is there.",
				   "this database cannot capture tables");
	if (admin_query_int(a, NULL, "select count(*) from pgq.get_slot_info()", 0,
						NULL) == 0)
		admin_fail("Command \"slot create\" makes the slot that captured "
				   "changes come from.",
				   "capture is not started in this database");
	for (int i = 0; i < argc; i++)
	{
		found = find(a, 1, &argv[i]);
		if (PQntuples(found) == 0)
			admin_fail(NULL, "table %s has no trigger of PgQ", argv[i]);
		PQclear(found);
	}
	found = find(a, argc, argv);
	n = PQntuples(found);
	outcomes = memory_make((n + 1) * sizeof(Outcome));
	done = migrate(a, found, outcomes);
	if (a->json)
		print_json(a, outcomes, n, done);
	else
		admin_say(a, "%d trigger(s) %s, %d kept", done,
				  a->dry_run ? "would become captures" : "became captures",
				  n - done);
	free(outcomes);
	PQclear(found);
	if (!a->dry_run)
		warn_of_mixed_queues(a);
	admin_close_stdout();
	if (done < n)
		exit(EXIT_KEPT);
}
