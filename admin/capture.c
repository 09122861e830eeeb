/*-------------------------------------------------------------------------
 *
 * capture.c
 *		pgqadm: captured tables and the slot that feeds them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"

static void
require_capture(Admin *a)
{
	if (!admin_has_function(a, "pgq.capture_table(text, regclass, text[])"))
		admin_fail("It needs the extension pgq 4.0; command \"install\" says "
				   "which one is there.",
				   "this database cannot capture "
				   "tables");
}

/* The words as text of a PostgreSQL array; malloc'd. */
char *
admin_make_array(int argc, char **argv)
{
	char *result = NULL;
	size_t size;
	FILE *out = open_memstream(&result, &size);

	if (out == NULL)
		admin_fail(NULL, "out of memory");
	fputc('{', out);
	for (int i = 0; i < argc; i++)
	{
		fputs(i > 0 ? ",\"" : "\"", out);
		for (const char *p = argv[i]; *p; p++)
		{
			if (*p == '"' || *p == '\\')
				fputc('\\', out);
			fputc(*p, out);
		}
		fputc('"', out);
	}
	fputc('}', out);
	if (fclose(out) != 0)
		admin_fail(NULL, "out of memory");
	return result;
}

/*
 * A table's name with its schema.  A word without one means the only table of
 * that name: the search_path, which others may have set, is not asked.  A word
 * that names none is returned as it is, for the server to say so.  The result
 * is malloc'd, or word itself.
 */
const char *
admin_find_table(Admin *a, const char *word)
{
	static const char sql[] =
		"select pg_catalog.format('%I.%I', n.nspname, c.relname) "
		"from pg_catalog.pg_class c "
		"join pg_catalog.pg_namespace n on n.oid = c.relnamespace, "
		"pg_catalog.parse_ident($1) w "
		"where pg_catalog.cardinality(w) = 1 and c.relname = w[1]::name "
		"and c.relkind in ('r', 'p', 'v', 'm', 'f') "
		"and n.nspname !~ '^(pg_|information_schema$)' order by 1";
	PGresult *res;
	const char *found = word;

	/* the server takes an oid, too */
	if (word[0] != '\0' && word[strspn(word, "0123456789")] == '\0')
		return word;
	res = admin_query(a, NULL, sql, 1, &word);
	if (PQntuples(res) > 1)
		admin_fail("Write it with its schema.",
				   "there is more than one table %s: %s, %s%s", word,
				   PQgetvalue(res, 0, 0), PQgetvalue(res, 1, 0),
				   PQntuples(res) > 2 ? ", ..." : "");
	if (PQntuples(res) == 1)
		found = strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	if (found == NULL)
		admin_fail(NULL, "out of memory");
	return found;
}

/* The tables' names, with schemas, as text of a PostgreSQL array; malloc'd. */
char *
admin_make_table_array(Admin *a, int argc, char **argv)
{
	const char **names = calloc(argc, sizeof(char *));
	char *array;

	if (names == NULL)
		admin_fail(NULL, "out of memory");
	for (int i = 0; i < argc; i++)
		names[i] = admin_find_table(a, argv[i]);
	array = admin_make_array(argc, (char **) names);
	free(names);
	return array;
}

/* Is the argument "copy" among them? */
static bool
has_copy(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "copy") == 0)
			return true;
	return false;
}

/* capture [--wait] QUEUE TABLE [ARG ...] */
void
admin_capture(Admin *a, int argc, char **argv)
{
	char *args = admin_make_array(argc - 2, argv + 2);
	const char *params[3] = {argv[0], argv[1], args};
	bool copy = has_copy(argc - 2, argv + 2);
	char *since;
	bool is_new;

	if (a->wait && !copy)
		admin_fail(NULL, "option --wait needs the argument \"copy\"");
	require_capture(a);
	params[1] = admin_find_table(a, argv[1]);
	since = admin_read_time(a);
	is_new = admin_query_int(a, NULL,
							 "select pgq.capture_table($1::text, "
							 "$2::text::regclass, variadic $3::text[])",
							 3, params) == 1;
	if (copy)
		admin_say(a,
				  "pgqd copies table %s into queue %s, and captures it from "
				  "then on",
				  argv[1], argv[0]);
	else if (is_new)
		admin_say(a, "Capturing table %s for queue %s", argv[1], argv[0]);
	else
		admin_say(a, "Changed the capture of table %s for queue %s", argv[1],
				  argv[0]);
	if (a->wait)
		admin_wait_copies(a, argv[0], params[1], since);
	free(since);
	free(args);
}

/* uncapture QUEUE TABLE */
void
admin_uncapture(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], argv[1]};

	require_capture(a);
	params[1] = admin_find_table(a, argv[1]);
	if (admin_query_int(a, NULL,
						"select pgq.uncapture_table($1::text, "
						"$2::text::regclass)",
						2, params) == 0)
		admin_fail("Command \"status\" shows the captured tables.",
				   "table %s is not captured for queue %s", argv[1], argv[0]);
	admin_say(a, "Table %s is no longer captured for queue %s", argv[1],
			  argv[0]);
}

/* slot create|drop|status [SLOT] */
void
admin_slot(Admin *a, int argc, char **argv)
{
	const char *slot = argc > 1 ? argv[1] : NULL;
	PGresult *res;

	if (strcmp(argv[0], "create") != 0 && strcmp(argv[0], "drop") != 0 &&
		strcmp(argv[0], "status") != 0)
		admin_fail("There are create, drop and status.",
				   "unknown command: slot %s", argv[0]);
	if (a->json && strcmp(argv[0], "drop") == 0)
		admin_fail(NULL, "command \"slot drop\" has no option --json");
	require_capture(a);

	if (strcmp(argv[0], "create") == 0)
	{
		res = admin_query(a, NULL, "select pgq.start_capture($1::text)", 1,
						  &slot);
		admin_say(a, "Created slot %s", PQgetvalue(res, 0, 0));
		if (a->json)
			admin_print_object("slot", PQgetvalue(res, 0, 0), (char *) NULL);
		PQclear(res);
	}
	else if (strcmp(argv[0], "drop") == 0)
	{
		if (admin_query_int(a, NULL, "select pgq.stop_capture($1::text)", 1,
							&slot) == 0)
			admin_fail(NULL, "there is no slot to drop");
		admin_say(a, "Dropped the slot");
	}
	else if (slot != NULL)
		admin_fail(NULL, "usage: pgqadm ... slot status");
	else if (a->json)
		admin_print_slots_json(a);
	else
		admin_print_slots(a);
}
