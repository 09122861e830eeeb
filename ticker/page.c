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

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/conn.h"
#include "ticker/report.h"
#include "version.h"

/* Size of a curve, in units of its own; the page stretches it. */
#define CURVE_WIDTH 240
#define CURVE_HEIGHT 60

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"refresh\" content=\"10\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n"
	"<title>%s</title>\n<style>\n"
	":root{color-scheme:light dark;--fg:#1d2530;--dim:#667080;--bg:#f4f5f7;"
	"--card:#fff;--line:#e3e6ea;--blue:#2660a4;--fill:#2660a41f;"
	"--red:#b3261e;--redbg:#fdecea;--amber:#8a5a00;--amberbg:#fff4dc;"
	"--green:#1b6e3c;--greenbg:#e3f5e9}\n"
	"@media(prefers-color-scheme:dark){:root{--fg:#d9dee5;--dim:#8f99a6;"
	"--bg:#14171b;--card:#1d2126;--line:#30363d;--blue:#7fb2ea;"
	"--fill:#7fb2ea22;--red:#ff8a80;--redbg:#3b1d1b;--amber:#f0c060;"
	"--amberbg:#3a2f14;--green:#7ed79b;--greenbg:#17321f}}\n"
	"*{box-sizing:border-box}\n"
	"body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72em;"
	"padding:1em;color:var(--fg);background:var(--bg)}\n"
	"header{display:flex;flex-wrap:wrap;gap:.3em 1em;align-items:center}\n"
	"h1{font-size:1.3em;margin:0}h2{font-size:1.15em;margin:0}\n"
	"a{color:var(--blue);text-decoration:none}\n"
	"input,button{font:inherit;color:inherit;background:var(--card);"
	"border:1px solid var(--line);border-radius:.3em;padding:.1em .5em}"
	"button{margin-left:.3em}\n"
	"nav{margin-left:auto}nav a{margin-left:1em}\n"
	".pill{padding:.1em .8em;border-radius:1em;font-size:.9em}\n"
	".pill.good{color:var(--green);background:var(--greenbg)}\n"
	".pill.bad{color:var(--red);background:var(--redbg)}\n"
	"section{background:var(--card);border:1px solid var(--line);"
	"border-radius:.6em;padding:1em 1.2em;margin:1em 0}\n"
	".dim,footer{color:var(--dim);font-size:.9em}\n"
	".fault,.warning{margin:.6em 0 0;padding:.4em .8em;border-radius:.3em;"
	"border-left:.25em solid;overflow-wrap:anywhere}\n"
	".fault{color:var(--red);background:var(--redbg)}\n"
	".warning{color:var(--amber);background:var(--amberbg)}\n"
	".curves{display:grid;gap:1.2em;margin:1em 0;"
	"grid-template-columns:repeat(auto-fit,minmax(14em,1fr))}\n"
	"figure{margin:0;min-width:0}figcaption{display:flex;gap:1em;"
	"justify-content:space-between;align-items:baseline;color:var(--dim)}\n"
	"figcaption b{color:var(--fg);font-size:1.15em;white-space:nowrap}\n"
	"svg{display:block;width:100%%;height:60px;"
	"border-bottom:1px solid var(--line)}\n"
	"polyline{fill:none;stroke:var(--blue);stroke-width:1.5;"
	"vector-effect:non-scaling-stroke}polygon{fill:var(--fill)}\n"
	".scroll{overflow-x:auto;margin-top:1em}\n"
	"table{border-collapse:collapse;width:100%%}\n"
	"th,td{padding:.3em .6em;text-align:right;white-space:nowrap;"
	"border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}\n"
	"tr:last-child td{border-bottom:0}\n"
	"th.t,td.t{text-align:left;white-space:normal}"
	"td.t{overflow-wrap:anywhere;min-width:7em}\n"
	"th{font-weight:500;font-size:.87em;color:var(--dim);"
	"white-space:normal;vertical-align:bottom}\n"
	"th:first-child,td:first-child{padding-left:0;width:30%%}\n"
	"th:last-child,td:last-child{padding-right:0}\n"
	"</style></head><body>\n";

/* Text in the address of a link. */
static void
print_in_address(PQExpBuffer out, const char *text)
{
	for (; *text; text++)
		appendPQExpBuffer(out, "%%%02X", (unsigned char) *text);
}

/* Text as HTML; NULL is nothing. */
static void
print_text(PQExpBuffer out, const char *text)
{
	for (; text && *text; text++)
	{
		if (*text == '<')
			appendPQExpBufferStr(out, "&lt;");
		else if (*text == '>')
			appendPQExpBufferStr(out, "&gt;");
		else if (*text == '&')
			appendPQExpBufferStr(out, "&amp;");
		else if (*text == '"')
			appendPQExpBufferStr(out, "&quot;");
		else
			appendPQExpBufferChar(out, *text);
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
	{"Events a second", "events_per_second", AS_NUMBER},
	{"New events", "new_events", AS_NUMBER},
	{"Last tick", "last_tick", AS_NUMBER},
	{"Ticked ago", "tick_age", AS_SECONDS},
	{"Rotated ago", "rotation_age", AS_SECONDS},
	{"Size", "size", AS_BYTES},
	{NULL, NULL, AS_TEXT}};

static const Column consumer_columns[] = {
	{"Consumer", "consumer_name", AS_TEXT},
	{"Queue", "queue_name", AS_TEXT},
	{"Behind", "behind", AS_SECONDS},
	{"Lag", "lag", AS_SECONDS},
	{"Pending events", "pending_events", AS_NUMBER},
	{"Seen ago", "last_seen", AS_SECONDS},
	{NULL, NULL, AS_TEXT}};

static const Column dead_columns[] = {
	{"Dead events of", "consumer_name", AS_TEXT},
	{"Queue", "queue_name", AS_TEXT},
	{"Events", "dead_events", AS_NUMBER},
	{"Newest ago", "newest", AS_SECONDS},
	{"Reason", "reason", AS_TEXT},
	{NULL, NULL, AS_TEXT}};

static const Column slot_columns[] = {
	{"Slot", "slot_name", AS_TEXT},    {"State", "state", AS_TEXT},
	{"Behind", "lag_bytes", AS_BYTES}, {"Lag", "lag", AS_SECONDS},
	{"Events", "events", AS_NUMBER},   {NULL, NULL, AS_TEXT}};

/* Thin spaces between the thousands; a fraction only of small numbers. */
static void
print_number(PQExpBuffer out, double number)
{
	char text[64];
	int len;

	if (number < 100 && number != (long long) number)
	{
		appendPQExpBuffer(out, "%.1f", number);
		return;
	}
	len = snprintf(text, sizeof(text), "%.0f", number);
	for (int i = 0; i < len; i++)
	{
		if (i > 0 && text[i - 1] != '-' && (len - i) % 3 == 0)
			appendPQExpBufferStr(out, "&#8239;");
		appendPQExpBufferChar(out, text[i]);
	}
}

static void
print_seconds(PQExpBuffer out, double s)
{
	if (s < 120)
		appendPQExpBuffer(out, s < 10 ? "%.1f s" : "%.0f s", s);
	else if (s < 7200)
		appendPQExpBuffer(out, "%.0f min", s / 60);
	else
		appendPQExpBuffer(out, "%.1f h", s / 3600);
}

static void
print_bytes(PQExpBuffer out, double bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	int u = 0;

	for (; bytes >= 10240 && u < 4; u++)
		bytes /= 1024;
	appendPQExpBuffer(out, "%.0f %s", bytes, units[u]);
}

static void
print_cell(PQExpBuffer out, const Column *column, const char *value)
{
	double number = strtod(value, NULL);

	appendPQExpBufferStr(out,
						 column->kind == AS_TEXT ? "<td class=\"t\">" : "<td>");
	if (column->kind == AS_TEXT || *value == '\0')
		print_text(out, value);
	else if (column->kind == AS_SECONDS)
		print_seconds(out, number);
	else if (column->kind == AS_BYTES)
		print_bytes(out, number);
	else
		print_number(out, number);
	appendPQExpBufferStr(out, "</td>");
}

/*
 * The value of a column: from "res", or from the row of "more" (may be NULL)
 * that has the same name in front.
 */
static const char *
find_value(const PGresult *res, int row, const PGresult *more, const char *name)
{
	if (PQfnumber(res, name) >= 0)
		return PQgetvalue(res, row, PQfnumber(res, name));
	for (int i = 0; more && i < PQntuples(more); i++)
		if (strcmp(PQgetvalue(more, i, 0), PQgetvalue(res, row, 0)) == 0)
			return PQgetvalue(more, i, PQfnumber(more, name));
	return "";
}

/* So many rows are shown though nothing happens in them, and in all. */
#define SHOWN_IDLE 20
#define SHOWN_ROWS 200

/* Which rows are asked for. */
typedef struct Choice
{
	const char *filter; /* names with this in them; "": all names */
	bool all;           /* however many they are */
} Choice;

/* Has a column of text, and so a name, the text wanted in it? */
static bool
is_chosen(const Choice *choice, const PGresult *res, int row,
		  const Column *columns)
{
	for (const Column *c = columns; c->heading; c++)
		if (c->kind == AS_TEXT && PQfnumber(res, c->name) >= 0 &&
			strcasestr(PQgetvalue(res, row, PQfnumber(res, c->name)),
					   choice->filter))
			return true;
	return *choice->filter == '\0';
}

static void
print_rows(PQExpBuffer out, const PGresult *res, const PGresult *more,
		   const Column *columns, const int *rows, int n)
{
	appendPQExpBufferStr(out, "<div class=\"scroll\"><table><tr>");
	for (const Column *c = columns; c->heading; c++)
		appendPQExpBuffer(out, "<th%s>%s</th>",
						  c->kind == AS_TEXT ? " class=\"t\"" : "", c->heading);
	for (int i = 0; i < n; i++)
	{
		appendPQExpBufferStr(out, "</tr>\n<tr>");
		for (const Column *c = columns; c->heading; c++)
			print_cell(out, c, find_value(res, rows[i], more, c->name));
	}
	appendPQExpBufferStr(out, "</tr></table></div>\n");
}

/*
 * A table of the rows chosen, the worst first; of those that come last and have
 * nothing in column "busy" only some are shown unless they are asked for.
 */
static void
print_table(PQExpBuffer out, const PGresult *res, const PGresult *more,
			const Column *columns, const char *busy, const Choice *choice)
{
	int total = res ? PQntuples(res) : 0;
	int *rows = memory_make((total + 1) * sizeof(int));
	int n = 0;
	int most;
	int shown;

	for (int row = 0; row < total; row++)
		if (is_chosen(choice, res, row, columns))
			rows[n++] = row;
	most = choice->all || n < SHOWN_ROWS ? n : SHOWN_ROWS;
	shown = most;
	while (busy && shown > SHOWN_IDLE &&
		   strtod(PQgetvalue(res, rows[shown - 1], PQfnumber(res, busy)),
				  NULL) <= 0)
		shown--;
	if (n > 0)
		print_rows(out, res, more, columns, rows, shown);
	if (shown < most)
	{
		appendPQExpBuffer(
			out, "<details><summary class=\"dim\">%d more, idle</summary>\n",
			most - shown);
		print_rows(out, res, more, columns, rows + shown, most - shown);
		appendPQExpBufferStr(out, "</details>\n");
	}
	if (most < n)
	{
		appendPQExpBuffer(out,
						  "<p class=\"dim\">%d more, not shown: <a "
						  "href=\"/?all=1&amp;filter=",
						  n - most);
		print_in_address(out, choice->filter);
		appendPQExpBufferStr(out, "\">show all</a>, or filter</p>\n");
	}
	free(rows);
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

static void
print_value(PQExpBuffer out, double value, int kind)
{
	if (kind == AS_BYTES)
		print_bytes(out, value);
	else if (kind == AS_SECONDS)
		print_seconds(out, value);
	else
		print_number(out, value < 100 ? value : (double) (long long) value);
}

/* One curve over time, scaled to its highest value. */
static void
print_curve(PQExpBuffer out, const Sample *sample, const char *caption,
			CurveValue value, int kind)
{
	double most = 0;
	double begin = sample->points[0].at;
	double length = sample->points[sample->npoints - 1].at - begin;

	for (int i = 0; i < sample->npoints; i++)
		if (value(sample, i) > most)
			most = value(sample, i);
	appendPQExpBuffer(out, "<figure><figcaption>%s <b>", caption);
	print_value(out, value(sample, sample->npoints - 1), kind);
	appendPQExpBuffer(
		out,
		"</b></figcaption><svg viewBox=\"0 0 %d %d\" "
		"preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s\">",
		CURVE_WIDTH, CURVE_HEIGHT, caption);
	for (int area = 1; area >= 0; area--)
	{
		appendPQExpBufferStr(out, area ? "<polygon points=\""
									   : "<polyline points=\"");
		if (area)
			appendPQExpBuffer(out, "0,%d ", CURVE_HEIGHT);
		for (int i = 0; i < sample->npoints; i++)
			appendPQExpBuffer(out, "%.1f,%.1f ",
							  (sample->points[i].at - begin) / length *
								  CURVE_WIDTH,
							  CURVE_HEIGHT - 1 -
								  (most > 0 ? value(sample, i) / most : 0) *
									  (CURVE_HEIGHT - 3));
		if (area)
			appendPQExpBuffer(out, "%d,%d", CURVE_WIDTH, CURVE_HEIGHT);
		appendPQExpBufferStr(out, "\"/>");
	}
	appendPQExpBufferStr(out, "</svg><div class=\"dim\">at most ");
	print_value(out, most, kind);
	appendPQExpBufferStr(out, " in the last ");
	print_seconds(out, length);
	appendPQExpBufferStr(out, "</div></figure>\n");
}

/* ---- what is wrong ---- */

/* Each line as a paragraph of this class. */
static void
print_paragraphs(PQExpBuffer out, const char *class, char *lines)
{
	for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"))
	{
		appendPQExpBuffer(out, "<p class=\"%s\">", class);
		print_text(out, line);
		appendPQExpBufferStr(out, "</p>\n");
	}
}

static void
print_faults(PQExpBuffer out, const Config *config, const Database *db)
{
	PQExpBuffer lines[2] = {text_begin(), text_begin()};

	report_faults(lines[0], config, db);
	report_warnings(lines[1], db);
	for (int i = 0; i < 2; i++)
	{
		char *text = text_end(lines[i]);

		print_paragraphs(out, i == 0 ? "fault" : "warning", text);
		free(text);
	}
}

/* ---- the page ---- */

static void
print_database(PQExpBuffer out, const Config *config, const Database *db,
			   const Choice *choice)
{
	const Sample *sample = database_get_sample(db);

	appendPQExpBufferStr(out, "<section>\n<header><h2>");
	print_text(out, database_get_name(db));
	appendPQExpBufferStr(out, "</h2><span class=\"dim\">");
	print_text(out, database_get_state(db));
	if (sample->at > 0)
	{
		appendPQExpBufferStr(out, ", ");
		print_seconds(out, clock_seconds() - sample->at);
		appendPQExpBufferStr(out, " ago");
	}
	appendPQExpBufferStr(out, "</span></header>\n");
	print_faults(out, config, db);
	if (sample->npoints > 1)
	{
		appendPQExpBufferStr(out, "<div class=\"curves\">\n");
		print_curve(out, sample, "Captured events a second", value_rate,
					AS_NUMBER);
		print_curve(out, sample, "Slot behind", value_slot_lag, AS_BYTES);
		print_curve(out, sample, "Consumer farthest behind", value_consumer_lag,
					AS_SECONDS);
		appendPQExpBufferStr(out, "</div>\n");
	}
	print_table(out, sample->queues, sample->sizes, queue_columns, "new_events",
				choice);
	print_table(out, sample->consumers, NULL, consumer_columns, "behind",
				choice);
	print_table(out, sample->dead, NULL, dead_columns, NULL, choice);
	print_table(out, watch_get_slots(database_get_watch(db)), NULL,
				slot_columns, NULL, &(const Choice){"", true});
	appendPQExpBufferStr(out, "</section>\n");
}

/* See report.h. */
char *
report_page(const Report *report, const char *filter, bool all)
{
	const Choice choice = {filter ? filter : "", all};
	int status = 200;
	int without = 0;
	PQExpBuffer out = text_begin();

	free(report_health(report, &status));
	appendPQExpBuffer(out, head, status == 200 ? "pgqd" : "pgqd: trouble");
	appendPQExpBuffer(
		out,
		"<header><h1>pgqd %s</h1><span class=\"pill %s\">%s</span>"
		"<form><input name=\"filter\" placeholder=\"queue or consumer\" "
		"aria-label=\"filter\" value=\"",
		PGQ_VERSION, status == 200 ? "good" : "bad",
		status == 200 ? "healthy" : "trouble");
	print_text(out, choice.filter);
	appendPQExpBufferStr(
		out, "\"><button>filter</button></form><nav><a href=\"/\">all</a><a "
			 "href=\"/health\">health</a><a href=\"/metrics\">metrics</a></nav>"
			 "</header>\n");
	if (report->list_fault)
	{
		appendPQExpBufferStr(
			out, "<p class=\"fault\">databases can not be listed: ");
		print_text(out, report->list_fault);
		appendPQExpBufferStr(out, "</p>\n");
	}
	for (int i = 0; i < report->n; i++)
	{
		Database *db = report->databases[i];

		if (database_has_pgq(db))
			print_database(out, report->config, db, &choice);
		else
			without++;
	}
	appendPQExpBuffer(
		out,
		"<footer>Databases without PgQ: %d. This page looks again every "
		"10 s.</footer>\n</body></html>\n",
		without);
	return text_end(out);
}
