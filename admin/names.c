/*-------------------------------------------------------------------------
 *
 * names.c
 *		pgqadm: names on the command line, as the server needs them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "admin/admin.h"

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
		found = text_copy(PQgetvalue(res, 0, 0));
	PQclear(res);
	return found;
}

/* The tables' names, with schemas, as text of a PostgreSQL array; malloc'd. */
char *
admin_make_table_array(Admin *a, int argc, char **argv)
{
	const char **names = memory_make(argc * sizeof(char *));
	char *array;

	for (int i = 0; i < argc; i++)
		names[i] = admin_find_table(a, argv[i]);
	array = text_make_array((char **) names, argc);
	free(names);
	return array;
}
