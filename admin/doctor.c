/*-------------------------------------------------------------------------
 *
 * doctor.c
 *		pgqadm doctor: look at the whole chain from a change to its consumers,
 *		say what is wrong and what to do about it.
 *
 * Nothing is changed.  Exit status: 0 no problem (warnings there may be), 1
 * some problem, 2 the server could not be reached.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "admin/admin.h"
#include "admin/doctor.h"
#include "common/advice.h"
#include "common/memory.h"
#include "common/problems.h"

static const char *const level_names[] = {"ok", "warning", "problem"};

#define PROBLEMS_SQL(from)                                                     \
	"select w.kind, w.severity, w.problem, coalesce(w.hint, ''),"              \
	" coalesce(w.statement, '') from " from

enum
{
	PROBLEM_KIND,
	PROBLEM_SEVERITY,
	PROBLEM_TEXT,
	PROBLEM_HINT,
	PROBLEM_STATEMENT
};

/* One run of the doctor. */
typedef struct Visit
{
	Admin *admin;
	bool has_pgq;
	bool can_capture; /* the extension has these functions */
	bool captures;    /* some table is captured, or a slot was made */
	bool has_slot;
	PGresult *problems; /* all that the server tells; NULL: it was not asked */
	bool failure_told;  /* it did not answer: that was said */
	bool begun;         /* the current check has findings, which are printed */
	int nchecks;
	int count[3]; /* findings by DoctorLevel */
} Visit;

/* Is the answer of this yes/no query yes?  An error counts as "otherwise". */
static bool
ask(Visit *v, const char *sql, bool otherwise)
{
	PGresult *res = admin_exec(v->admin, sql, 0, NULL, NULL);
	bool yes = otherwise;

	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
		yes = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	PQclear(res);
	return yes;
}

static void
learn_facts(Visit *v)
{
	/* it changes nothing, and no lock keeps it */
	admin_set(v->admin,
			  v->admin->pooled ? "transaction_read_only"
							   : "default_transaction_read_only",
			  "on");
	admin_set(v->admin, "lock_timeout", "1000");
	admin_set(v->admin, "statement_timeout", "30000");
	v->can_capture =
		v->has_pgq &&
		ask(v, "select to_regprocedure('pgq.get_slot_info()') is not null",
			false);
	v->has_slot = v->can_capture &&
				  ask(v, "select exists (select from pgq.get_slot_info())",
					  false);
	v->captures = v->has_slot ||
				  (v->can_capture &&
				   ask(v, "select exists (select from pgq.get_capture_info())",
					   false));
	if (v->has_pgq)
		v->problems = admin_exec(v->admin,
								 !v->can_capture ? PROBLEMS_SQL(PROBLEMS_3)
								 : ask(v, "select " HAS_PROBLEMS_4_1, true)
									 ? PROBLEMS_SQL(PROBLEMS_4_1(""))
									 : PROBLEMS_SQL(PROBLEMS_4_0),
								 0, NULL, NULL);
}

/* Is what the check needs there? */
static bool
applies(const Visit *v, const DoctorCheck *check)
{
	switch (check->need)
	{
		case NEED_SERVER:
			return true;
		case NEED_PGQ:
			return v->has_pgq;
		case NEED_CAPTURE:
			return v->can_capture;
		case NEED_SLOT:
			return v->has_slot;
	}
	return false;
}

/* The text with {1}, {2} ... replaced by columns of the row; malloc'd. */
static char *
fill_in(const char *text, const PGresult *res, int row)
{
	PQExpBuffer out = text_begin();

	for (; *text; text++)
	{
		if (text[0] == '{' && text[1] > '0' && text[1] <= '9' && text[2] == '}')
		{
			if (res && text[1] - '1' < PQnfields(res))
				appendPQExpBufferStr(out, PQgetvalue(res, row, text[1] - '1'));
			text += 2;
		}
		else
			appendPQExpBufferChar(out, *text);
	}
	return text_end(out);
}

static void
print_member(const char *lead, const char *key, const char *value)
{
	printf("%s\"%s\": ", lead, key);
	admin_write_json(stdout, value);
}

/* Prints one finding of a check; sql may be NULL. */
static void
print_finding(Visit *v, const char *name, DoctorLevel level,
			  const char *problem, const char *fix, const char *sql)
{
	v->count[level]++;
	if (v->admin->json)
	{
		print_member(v->begun ? ",\n    {" : "\n    {", "level",
					 level_names[level]);
		print_member(", ", "problem", problem);
		print_member(", ", "fix", fix);
		print_member(", ", "sql", sql);
		putchar('}');
	}
	else
	{
		printf("%-8s %-12s ", level_names[level], name);
		admin_print_lines(problem, 22);
		printf("%21s fix: ", "");
		admin_print_lines(fix, 27);
		if (sql && *sql)
		{
			printf("%24s", "");
			admin_print_lines(sql, 24);
		}
	}
	v->begun = true;
}

/* The query did not work: the role may not, or something is badly broken. */
static void
report_failure(Visit *v, const DoctorCheck *check, const PGresult *res)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	bool denied = sqlstate && strcmp(sqlstate, "42501") == 0;
	char *problem;

	if (text == NULL)
		text = PQerrorMessage(v->admin->conn);
	problem = text_format("could not be checked: %.*s",
						  admin_message_length(text), text);
	print_finding(v, check->name, denied ? DOCTOR_WARNING : DOCTOR_PROBLEM,
				  problem,
				  denied ? "Run doctor as a superuser, or give this role "
						   "pgq_admin and pg_monitor."
						 : "See the server's log; the other findings may tell "
						   "the cause.",
				  NULL);
	free(problem);
}

static void
run_query(Visit *v, const DoctorCheck *check)
{
	struct timeval now;
	char clock[40];
	const char *params[1] = {clock};
	static const Oid types[1] = {701 /* float8 */};
	DoctorLevel level = check->level;
	bool uses_clock = strstr(check->query, "$1") != NULL;
	PGresult *res;

	if (level == DOCTOR_CAPTURE_PROBLEM)
		level = v->captures ? DOCTOR_PROBLEM : DOCTOR_WARNING;
	gettimeofday(&now, NULL);
	snprintf(clock, sizeof(clock), "%lld.%06ld", (long long) now.tv_sec,
			 (long) now.tv_usec);
	res = admin_exec(v->admin, check->query, uses_clock ? 1 : 0, types, params);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		report_failure(v, check, res);
	else
		for (int row = 0; row < PQntuples(res); row++)
		{
			char *problem = fill_in(check->problem, res, row);
			char *fix = fill_in(check->fix, res, row);
			char *sql = check->sql ? fill_in(check->sql, res, row) : NULL;

			print_finding(v, check->name, level, problem, fix, sql);
			free(problem);
			free(fix);
			free(sql);
		}
	PQclear(res);
}

/* Is the word in the text, which has spaces between its words? */
static bool
has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = text; (p = strstr(p, word)) != NULL; p += len)
		if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
			return true;
	return false;
}

/* Does the check tell of such problems? */
static bool
tells_of(const DoctorCheck *check, const char *kind)
{
	if (*check->kinds)
		return has_word(check->kinds, kind);
	for (const DoctorCheck *other = doctor_checks; other->name; other++)
		if (other->kinds && has_word(other->kinds, kind))
			return false;
	return true;
}

static void
print_problems(Visit *v, const DoctorCheck *check)
{
	const PGresult *res = v->problems;

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
	{
		if (!v->failure_told)
			report_failure(v, check, res);
		v->failure_told = true;
		return;
	}
	for (int row = 0; row < PQntuples(res); row++)
		if (tells_of(check, PQgetvalue(res, row, PROBLEM_KIND)))
			print_finding(
				v, check->name,
				strcmp(PQgetvalue(res, row, PROBLEM_SEVERITY), "warning") == 0
					? DOCTOR_WARNING
					: DOCTOR_PROBLEM,
				PQgetvalue(res, row, PROBLEM_TEXT),
				PQgetvalue(res, row, PROBLEM_HINT),
				PQgetvalue(res, row, PROBLEM_STATEMENT));
}

/* Runs all queries of the check that begins here; returns the next check. */
static const DoctorCheck *
run_check(Visit *v, const DoctorCheck *check)
{
	const char *name = check->name;
	bool done = false;

	if (v->admin->json)
	{
		print_member(v->nchecks > 0 ? ",\n  {" : "\n  {", "check", name);
		fputs(", \"findings\": [", stdout);
	}
	v->nchecks++;
	v->begun = false;
	for (; check->name && strcmp(check->name, name) == 0; check++)
		if (applies(v, check))
		{
			if (check->kinds)
				print_problems(v, check);
			else
				run_query(v, check);
			done = true;
		}
	if (v->admin->json)
		printf("], \"done\": %s}", done ? "true" : "false");
	else if (!v->begun && !v->admin->quiet)
		printf("%-8s %s\n", done ? "ok" : "-", name);
	return check;
}

/*
 * The first check: whose PgQ is it?  Nothing of one that somebody may have made
 * up is called by the others.
 */
static void
check_owners(Visit *v)
{
	PGresult *res;
	const char *why = admin_find_distrust(v->admin, &res);

	v->has_pgq = !PQgetisnull(res, 0, 0) && why == NULL;
	if (v->admin->json)
		fputs("\n  {\"check\": \"owners\", \"findings\": [", stdout);
	if (why)
		print_finding(v, "owners", DOCTOR_PROBLEM, why,
					  advice_find(why) ? advice_find(why) : "", NULL);
	if (v->admin->json)
		fputs("], \"done\": true}", stdout);
	else if (!why && !v->admin->quiet)
		puts("ok       owners");
	v->nchecks++;
	PQclear(res);
}

/* doctor */
void
admin_doctor(Admin *a, int argc, char **argv)
{
	Visit visit = {.admin = a};

	a->no_connect = 2;
	a->looks_itself = true;
	admin_connect(a);
	if (a->json)
	{
		print_member("{", "database", PQdb(a->conn));
		print_member(",\n ", "server_version",
					 PQparameterStatus(a->conn, "server_version"));
		fputs(",\n \"checks\": [", stdout);
	}
	check_owners(&visit);
	learn_facts(&visit);
	for (const DoctorCheck *check = doctor_checks; check->name;)
	{
		check = run_check(&visit, check);
		if (PQstatus(a->conn) != CONNECTION_OK)
		{
			admin_warn("the connection was lost");
			exit(2);
		}
	}
	if (a->json)
		printf("\n ],\n \"problems\": %d,\n \"warnings\": %d}\n",
			   visit.count[DOCTOR_PROBLEM], visit.count[DOCTOR_WARNING]);
	else
		printf("%d problems, %d warnings\n", visit.count[DOCTOR_PROBLEM],
			   visit.count[DOCTOR_WARNING]);
	admin_close_stdout();
	PQclear(visit.problems);
	if (visit.count[DOCTOR_PROBLEM] > 0)
		exit(1);
}
