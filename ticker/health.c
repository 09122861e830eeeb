/*-------------------------------------------------------------------------
 *
 * health.c
 *		/health: is every database fine, and did ticks and bytes move lately?
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/conn.h"
#include "ticker/report.h"

/* Where the faults of one database go. */
typedef struct Faults
{
	PQExpBuffer out;
	const char *name; /* of the database */
	int count;
} Faults;

/* One line, whatever is in names: [database]: lead, text. */
static void
write_line(PQExpBuffer out, const char *name, const char *lead, const char *fmt,
		   va_list args)
{
	char *text = text_vformat(fmt, args);
	char *line = text_format("[%s]: %s%s", name, lead, text);

	for (char *p = line; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	appendPQExpBuffer(out, "%s\n", line);
	free(line);
	free(text);
}

static void add_fault(Faults *faults, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void
add_fault(Faults *faults, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(faults->out, faults->name, "", fmt, args);
	va_end(args);
	faults->count++;
}

static void add_warning(PQExpBuffer out, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void
add_warning(PQExpBuffer out, const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(out, name, "warning: ", fmt, args);
	va_end(args);
}

/* Has pgqd itself said what this row says? */
static bool
is_told(const PGresult *problems, int row, const Told *told, int ntold)
{
	const char *kind = PQgetvalue(problems, row, PROBLEM_KIND);

	for (int i = 0; i < ntold; i++)
		if (strcmp(told[i].kind, "ingest") == 0 &&
			(strcmp(kind, "missing") == 0 || strcmp(kind, "ingest") == 0))
			return true;
		else if (strcmp(told[i].kind, "source") == 0 &&
				 strcmp(kind, "source") == 0)
			return true;
	return false;
}

/*
 * Write one line for each fault of a database, led by its name.  Returns
 * their number.
 */
int
report_faults(PQExpBuffer out, const Config *config, const Database *db)
{
	Faults faults = {out, database_get_name(db), 0};
	const PGresult *problems = watch_get_problems(database_get_watch(db));
	Told told[DATABASE_TROUBLES];
	int ntold = database_get_troubles(db, told);
	char *wait;

	if (!database_has_pgq(db))
	{
		/* of those that were found by themselves, not all have PgQ */
		if (config->database_list[0])
			add_fault(&faults, "the extension pgq is not there");
		return faults.count;
	}
	for (int i = 0; i < ntold; i++)
		if (told[i].stands_still)
			add_fault(&faults, "%s", told[i].trouble->text);

	wait = database_find_wait(db);
	if (wait)
		add_fault(&faults, "%s", wait);
	free(wait);
	if (!database_is_connected(db))
	{
		if (faults.count == 0 && database_find_standby(db) == NULL)
			add_fault(&faults, "not connected");
		return faults.count;
	}
	if (database_get_stats(db)->ticked_at == 0)
		add_fault(&faults, "no ticker run yet");
	for (int row = 0; problems && row < PQntuples(problems); row++)
		if (watch_is_standstill(problems, row) &&
			!is_told(problems, row, told, ntold))
			add_fault(&faults, "%s", PQgetvalue(problems, row, PROBLEM_TEXT));
	return faults.count;
}

/* Write a line for all that is no fault but wants to be seen to. */
void
report_warnings(PQExpBuffer out, const Database *db)
{
	const PGresult *problems = watch_get_problems(database_get_watch(db));
	const char *name = database_get_name(db);
	Told told[DATABASE_TROUBLES];
	int ntold = database_get_troubles(db, told);

	/* without PgQ none of them is a fault */
	for (int i = 0; i < ntold; i++)
		if (!database_has_pgq(db) || !told[i].stands_still)
			add_warning(out, name, "%s", told[i].trouble->text);
	for (int row = 0; problems && row < PQntuples(problems); row++)
		if (!watch_is_standstill(problems, row))
			add_warning(out, name, "%s",
						PQgetvalue(problems, row, PROBLEM_TEXT));
}

/* A line for each fault and warning; returns the number of faults. */
static int
write_faults(PQExpBuffer out, const Report *report)
{
	int faults = 0;

	for (int i = 0; i < report->n; i++)
	{
		const Database *db = report->databases[i];
		const char *standby = database_find_standby(db);

		faults += report_faults(out, report->config, db);
		report_warnings(out, db);
		if (standby)
			appendPQExpBuffer(out, "[%s]: stands by: %s\n",
							  database_get_name(db), standby);
	}
	if (report->list_fault)
	{
		faults++;
		appendPQExpBuffer(out, "databases can not be listed: %.*s\n",
						  (int) strcspn(report->list_fault, "\n"),
						  report->list_fault);
	}
	else if (report->n == 0)
	{
		faults++;
		appendPQExpBufferStr(out, "no database is known yet\n");
	}
	return faults;
}

/* The end of both reports. */
static char *
finish_report(PQExpBuffer out, bool good, int *status)
{
	if (good)
		appendPQExpBuffer(out, "ok\n");
	else
		*status = 503;
	return text_end(out);
}

/* See report.h. */
char *
report_health(const Report *report, int *status)
{
	PQExpBuffer out = text_begin();

	return finish_report(out, write_faults(out, report) == 0, status);
}

/* See report.h. */
char *
report_readiness(const Report *report, int *status)
{
	PQExpBuffer out = text_begin();
	bool ready;

	ready = write_faults(out, report) == 0;
	for (int i = 0; i < report->n; i++)
		ready = ready && database_find_standby(report->databases[i]) == NULL;
	return finish_report(out, ready, status);
}
