/*-------------------------------------------------------------------------
 *
 * copy.c
 *		pgqadm: copies of captured tables, and a new slot with fresh ones.
 *
 * pgqd does the copying; what is here asks for it, and looks on.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory.h"
#include "admin/admin.h"
#include "admin/progress.h"
#include "admin/wait.h"

/* Microseconds between two looks at the copies. */
#define LOOK_PERIOD 200000

/* So often resync tries to get at a slot that pgqd looks at, each 0.25 s. */
#define RESYNC_TRIES 20
#define RESYNC_TELLS 4

/*
 * Copies that ended since $3, or have not, of one table or of all; with the rows
 * of all of them.
 */
static const char look_sql[] =
	"select queue_name, table_name, state, copied_rows, "
	"pg_catalog.sum(copied_rows) over (), "
	"pg_catalog.sum(coalesce(total_rows, 0)) over (), problem "
	"from pgq.get_copy_info() "
	"where ($1::text is null or (queue_name = $1 "
	"and table_name::regclass = $2::text::regclass)) "
	"and (finished is null or finished >= $3::timestamptz) "
	"order by state = 'copying' desc, queue_name, table_name";

enum
{
	LOOK_QUEUE,
	LOOK_TABLE,
	LOOK_STATE,
	LOOK_ROWS,
	LOOK_ALL_ROWS,
	LOOK_ALL_TOTAL,
	LOOK_PROBLEM
};

static bool
is_state(const PGresult *res, int row, const char *state)
{
	return strcmp(PQgetvalue(res, row, LOOK_STATE), state) == 0;
}

/* The first row that is not done, -1 if all are. */
static int
find_pending(const PGresult *res)
{
	for (int row = 0; row < PQntuples(res); row++)
		if (!is_state(res, row, "done"))
			return row;
	return -1;
}

/* Say what keeps a copy from going on, once. */
static void
warn_problem(const PGresult *res, int row, char **said)
{
	const char *problem = PQgetvalue(res, row, LOOK_PROBLEM);

	if (*said && strcmp(*said, problem) == 0)
		return;
	text_set(said, problem);
	if (problem[0])
		admin_warn("table %s waits: %s", PQgetvalue(res, row, LOOK_TABLE),
				   problem);
}

/* The server's time, for admin_wait_copies(); malloc'd. */
char *
admin_read_time(Admin *a)
{
	PGresult *res = admin_query(
		a, NULL, "select pg_catalog.clock_timestamp()::text", 0, NULL);
	char *time = text_copy(PQgetvalue(res, 0, 0));

	PQclear(res);
	return time;
}

/*
 * Look on until the copy of a table into a queue is done, or, with NULL for
 * both, until all copies are.  since: when it began, by the server's time.
 */
void
admin_wait_copies(Admin *a, const char *queue, const char *table,
				  const char *since)
{
	const char *params[3] = {queue, table, since};
	double waits = 0;
	char *said = NULL;
	Progress p;
	PGresult *res;
	int row;

	progress_begin(&p, a, "copy", "rows");
	for (;;)
	{
		res = admin_query(a, NULL, look_sql, 3, params);
		row = find_pending(res);
		if (row < 0)
			break;
		if (is_state(res, row, "cancelled") && queue)
			admin_fail(NULL, "the copy of table %s was given up", table);
		if (is_state(res, row, "copying"))
			progress_show(&p, strtod(PQgetvalue(res, row, LOOK_ALL_ROWS), NULL),
						  strtod(PQgetvalue(res, row, LOOK_ALL_TOTAL), NULL));
		else
		{
			warn_problem(res, row, &said);
			wait_for_pgqd(a, &waits);
		}
		PQclear(res);
		usleep(LOOK_PERIOD);
	}
	progress_clear();
	if (queue && PQntuples(res) == 0)
		admin_fail(NULL, "the copy of table %s was given up", table);
	for (row = 0; row < PQntuples(res); row++)
		admin_say(a, "Copied table %s into queue %s: %s rows",
				  PQgetvalue(res, row, LOOK_TABLE),
				  PQgetvalue(res, row, LOOK_QUEUE),
				  PQgetvalue(res, row, LOOK_ROWS));
	PQclear(res);
	free(said);
}

/* cancel QUEUE TABLE */
void
admin_cancel(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], admin_find_table(a, argv[1])};

	if (admin_query_int(a, NULL,
						"select pgq.cancel_copy($1::text, $2::text::regclass)",
						2, params) == 0)
		admin_fail("Command \"status\" shows the copies.",
				   "table %s is not being copied into queue %s", argv[1],
				   argv[0]);
	admin_say(a, "Gave up copying table %s into queue %s", argv[1], argv[0]);
}

/* What of the status is about copies that are not done. */
void
admin_print_copies(Admin *a)
{
	PGresult *res;

	res = admin_query(
		a, NULL,
		"select table_name, queue_name, state, copied_rows, "
		"coalesce(pg_catalog.trunc(share * 100) || '%', '') as part, "
		"coalesce(pg_catalog.round(copied_rows / greatest("
		"pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - started)"
		", 0.1)) || '/s', '') as rate, "
		"coalesce(pg_catalog.date_trunc('second', time_left)::text, '') as "
		"time_left, problem from pgq.get_copy_info() where state <> 'done'",
		0, NULL);
	if (PQntuples(res) > 0)
		printf("\n%-24s %-16s %9s %10s %4s\n", "Copy of table", "Queue",
			   "State", "Rows", "Done");
	for (int row = 0; row < PQntuples(res); row++)
	{
		admin_print_padded(admin_get_text(res, row, 0), 24);
		putchar(' ');
		admin_print_padded(admin_get_text(res, row, 1), 16);
		printf(" %9s %10s %4s\n", admin_get_text(res, row, 2),
			   admin_get_text(res, row, 3), admin_get_text(res, row, 4));
		if (admin_get_text(res, row, 6)[0] != '\0')
			printf("  %s rows, %s left\n", admin_get_text(res, row, 5),
				   admin_get_text(res, row, 6));
		if (admin_get_text(res, row, 7)[0] != '\0')
			printf("  %s\n", admin_get_text(res, row, 7));
	}
	PQclear(res);
}

/* The tables as text of a PostgreSQL array of regclass; NULL: all. */
static char *
list_tables(Admin *a, int argc, char **argv)
{
	char *array;
	const char *param;
	PGresult *res;
	char *list;

	if (argc == 0)
		return NULL;
	/* names are looked up before the slot is touched */
	array = admin_make_table_array(a, argc, argv);
	param = array;
	res = admin_query(a, NULL,
					  "select pg_catalog.array_agg(t::regclass::oid)::text "
					  "from pg_catalog.unnest($1::text[]) t",
					  1, &param);
	list = text_copy(PQgetvalue(res, 0, 0));
	PQclear(res);
	free(array);
	return list;
}

/*
 * resync [--without-copy] [--slot SLOT] [--wait] [--json] [TABLE ...]
 *
 * pgqd looks at a slot that is in trouble every few seconds, and it can't be
 * dropped meanwhile: then try again.
 */
void
admin_resync(Admin *a, int argc, char **argv)
{
	static const char sql[] =
		"select slot, from_lsn, to_lsn, queues, copies, "
		"pg_catalog.json_build_object('slot', slot, 'from', from_lsn, 'to', "
		"to_lsn, 'queues', queues, 'copies', copies) from "
		"pgq.resync_capture($1::text, $2::bool, $3::oid[]::regclass[])";
	const char *params[3] = {a->slot, a->without_copy ? "f" : "t", NULL};
	char *since;
	PGresult *res = NULL;

	if (a->without_copy && (argc > 0 || a->wait))
		admin_fail(NULL, "with --without-copy there are no tables to name, or "
						 "to wait for");
	since = admin_read_time(a);
	params[2] = list_tables(a, argc, argv);
	for (int i = 1; i < RESYNC_TRIES; i++)
	{
		const char *state;

		res = admin_exec(a, sql, 3, NULL, params);
		state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
		if (state == NULL || strcmp(state, "55006") != 0)
			break;
		if (i == RESYNC_TELLS)
			admin_say(a, "pgqadm: %s; trying again",
					  PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
		PQclear(res);
		res = NULL;
		usleep(250000);
	}
	if (res == NULL || PQresultStatus(res) != PGRES_TUPLES_OK)
	{
		/* once more, for its error */
		PQclear(res);
		res = admin_query(a, NULL, sql, 3, params);
	}
	admin_say(a, "Slot %s is new; changes from %s to %s are not in the queues",
			  PQgetvalue(res, 0, 0),
			  PQgetisnull(res, 0, 1) ? "the start" : PQgetvalue(res, 0, 1),
			  PQgetvalue(res, 0, 2));
	admin_say(a, "Put an event \"pgq.resync\" into %s queue(s)",
			  PQgetvalue(res, 0, 3));
	if (!a->without_copy)
		admin_say(a,
				  "pgqd copies %s table(s) anew; command \"status\" shows "
				  "how far it is",
				  PQgetvalue(res, 0, 4));
	if (a->json)
		puts(PQgetvalue(res, 0, 5));
	PQclear(res);
	if (a->wait)
		admin_wait_copies(a, NULL, NULL, since);
	free((char *) params[2]);
	free(since);
}
