/*-------------------------------------------------------------------------
 *
 * page.c
 *		/: one page for people, which needs nothing but itself.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "report.h"

/* Size of a curve, in pixels. */
#define CURVE_WIDTH 240
#define CURVE_HEIGHT 48

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"refresh\" content=\"10\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n"
	"<title>pgqd</title>\n<style>\n"
	"body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;"
	"padding:0 1em;color:#222;background:#fff}\n"
	"table{border-collapse:collapse;margin:.5em 0 1.2em}\n"
	"th,td{padding:.2em .8em .2em 0;text-align:right;"
	"border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}\n"
	"th:first-child,td:first-child,td.t{text-align:left}\n"
	"th{font-weight:600;color:#555}\n"
	".fault{color:#a00;margin:.2em 0}.ok{color:#060}\n"
	".curves{display:flex;flex-wrap:wrap;gap:1.5em}\n"
	"svg{display:block;background:#f6f6f4}\n"
	"polyline{fill:none;stroke:#2660a4;stroke-width:1.5}\n"
	"figure{margin:0}figcaption{color:#555;font-size:13px}\n"
	"@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}"
	"th,figcaption{color:#aaa}th,td{border-color:#444}svg{background:#262626}"
	"polyline{stroke:#7fb2ea}.fault{color:#f77}.ok{color:#7c7}}\n"
	"</style></head><body>\n";

/* Text as HTML; NULL is nothing. */
static void
print_text(FILE *out, const char *text)
{
	for (; text && *text; text++)
	{
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			putc(*text, out);
	}
}

/* A column of a result: its heading, its name, how it is shown. */
typedef struct Column
{
	const char *heading;
	const char *name;
	enum
	{
		AS_TEXT,
		AS_NUMBER,
		AS_SECONDS,
		AS_BYTES
	} kind;
} Column;

static const Column queue_columns[] = {
	{"Queue", "queue_name", AS_TEXT},
	{"Last tick", "last_tick", AS_NUMBER},
	{"Tick age", "tick_age", AS_SECONDS},
	{"New events", "new_events", AS_NUMBER},
	{"Events a second", "events_per_second", AS_NUMBER},
	{"Rotated ago", "rotation_age", AS_SECONDS},
	{NULL, NULL, AS_TEXT}};

static const Column consumer_columns[] = {
	{"Consumer", "consumer_name", AS_TEXT},
	{"Queue", "queue_name", AS_TEXT},
	{"Lag", "lag", AS_SECONDS},
	{"Last seen", "last_seen", AS_SECONDS},
	{"Pending events", "pending_events", AS_NUMBER},
	{NULL, NULL, AS_TEXT}};

static const Column slot_columns[] = {{"Slot", "slot_name", AS_TEXT},
									  {"State", "state", AS_TEXT},
									  {"Behind", "lag_bytes", AS_BYTES},
									  {"Lag", "lag", AS_SECONDS},
									  {"Events", "events", AS_NUMBER},
									  {"Problem", "problem", AS_TEXT},
									  {NULL, NULL, AS_TEXT}};

static void
print_seconds(FILE *out, double s)
{
	if (s < 120)
		fprintf(out, "%.1f s", s);
	else if (s < 7200)
		fprintf(out, "%.0f min", s / 60);
	else
		fprintf(out, "%.1f h", s / 3600);
}

static void
print_bytes(FILE *out, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	int u = 0;

	for (; bytes >= 10240 && u < 4; u++)
		bytes /= 1024;
	fprintf(out, "%.0f %s", bytes, units[u]);
}

static void
print_cell(FILE *out, const Column *column, const char *value)
{
	double number = strtod(value, NULL);

	fputs(column->kind == AS_TEXT ? "<td class=\"t\">" : "<td>", out);
	if (column->kind == AS_TEXT || *value == '\0')
		print_text(out, value);
	else if (column->kind == AS_SECONDS)
		print_seconds(out, number);
	else if (column->kind == AS_BYTES)
		print_bytes(out, number);
	else
		fprintf(out, number == (long long) number ? "%.0f" : "%.1f", number);
	fputs("</td>", out);
}

static void
print_table(FILE *out, const PGresult *res, const Column *columns)
{
	if (res == NULL || PQntuples(res) == 0)
		return;
	fputs("<table><tr>", out);
	for (const Column *c = columns; c->heading; c++)
		fprintf(out, "<th>%s</th>", c->heading);
	for (int row = 0; row < PQntuples(res); row++)
	{
		fputs("</tr>\n<tr>", out);
		for (const Column *c = columns; c->heading; c++)
			print_cell(out, c, PQgetvalue(res, row, PQfnumber(res, c->name)));
	}
	fputs("</tr></table>\n", out);
}

/* The value of one curve at point i. */
typedef double (*CurveValue)(const Sample *sample, int i);

static double
value_slot_lag(const Sample *sample, int i)
{
	return sample->points[i].slot_lag;
}

static double
value_consumer_lag(const Sample *sample, int i)
{
	return sample->points[i].consumer_lag;
}

static double
value_rate(const Sample *sample, int i)
{
	const SamplePoint *p = &sample->points[i];

	if (i == 0 || p->at <= p[-1].at)
		return 0;
	return (p->events - p[-1].events) / (p->at - p[-1].at);
}

/* One curve over time, scaled to its highest value. */
static void
print_curve(FILE *out, const Sample *sample, const char *caption,
			CurveValue value, int kind)
{
	double most = 0;
	double begin = sample->points[0].at;
	double length = sample->points[sample->npoints - 1].at - begin;

	for (int i = 0; i < sample->npoints; i++)
		if (value(sample, i) > most)
			most = value(sample, i);
	fprintf(out,
			"<figure><svg width=\"%d\" height=\"%d\" role=\"img\" "
			"aria-label=\"%s\"><polyline points=\"",
			CURVE_WIDTH, CURVE_HEIGHT, caption);
	for (int i = 0; i < sample->npoints; i++)
		fprintf(out, "%.1f,%.1f ",
				(sample->points[i].at - begin) / length * CURVE_WIDTH,
				CURVE_HEIGHT - 2 -
					(most > 0 ? value(sample, i) / most : 0) *
						(CURVE_HEIGHT - 4));
	fprintf(out, "\"/></svg><figcaption>%s, at most ", caption);
	if (kind == AS_BYTES)
		print_bytes(out, most);
	else if (kind == AS_SECONDS)
		print_seconds(out, most);
	else
		fprintf(out, "%.0f", most);
	fputs("</figcaption></figure>\n", out);
}

static void
print_database(FILE *out, const Config *config, const Database *db)
{
	const Sample *sample = database_get_sample(db);
	char *faults = NULL;
	size_t size;
	FILE *lines;

	fputs("<h2>", out);
	print_text(out, database_get_name(db));
	fputs("</h2>\n<p>", out);
	print_text(out, database_get_state(db));
	if (sample->at > 0)
	{
		fputs(", as of ", out);
		print_seconds(out, conn_clock() - sample->at);
		fputs(" ago", out);
	}
	fputs("</p>\n", out);

	lines = open_memstream(&faults, &size);
	if (lines == NULL)
		abort();
	report_faults(lines, config, db);
	report_warnings(lines, db);
	if (fclose(lines) != 0)
		abort();
	if (*faults)
	{
		fputs("<pre class=\"fault\">", out);
		print_text(out, faults);
		fputs("</pre>\n", out);
	}
	free(faults);

	if (sample->npoints > 1)
	{
		fputs("<div class=\"curves\">\n", out);
		print_curve(out, sample, "Captured events a second", value_rate,
					AS_NUMBER);
		print_curve(out, sample, "Slot behind", value_slot_lag, AS_BYTES);
		print_curve(out, sample, "Consumer farthest behind", value_consumer_lag,
					AS_SECONDS);
		fputs("</div>\n", out);
	}
	print_table(out, sample->queues, queue_columns);
	print_table(out, sample->consumers, consumer_columns);
	print_table(out, sample->slots, slot_columns);
}

/* See report.h. */
char *
report_page(const Config *config, Database *const *databases, int n)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int without = 0;

	if (out == NULL)
		abort();
	fputs(head, out);
	fprintf(out, "<h1>pgqd %s</h1>\n", PGQD_VERSION);
	for (int i = 0; i < n; i++)
	{
		if (database_has_pgq(databases[i]))
			print_database(out, config, databases[i]);
		else
			without++;
	}
	fprintf(out,
			"<p>%d databases without PgQ. <a href=\"/metrics\">metrics"
			"</a> <a href=\"/health\">health</a></p>\n</body></html>\n",
			without);
	if (fclose(out) != 0)
		abort();
	return text;
}
