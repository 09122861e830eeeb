/*-------------------------------------------------------------------------
 *
 * top_lines.c
 *		pgqadm top: the state of the queues as lines of text, or as JSON.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "admin/top.h"

#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "common/memory.h"
#include "common/utf8.h"

/* Widths at 80 columns; what a wider line has more goes to name and curve. */
#define NAME_WIDTH 24
#define MAX_NAME_WIDTH 64
#define NUMBERS_FORMAT " %7s %8s %8s %8s %-8s"
#define NUMBERS_WIDTH 44

const char *const top_sort_names[] = {"lag", "rate", "name"};

/* Headings of the columns, by TopKind. */
static const char *const headings[TOP_KINDS][7] = {
	{"Slot", "Lag", "", "Behind", "Ev/s", "State", "Behind"},
	{"Copy", "Left", "Rows left", "Copied", "Rows/s", "State", "Rows/s"},
	{"Queue", "Ticked", "New", "Size", "Ev/s", "State", "Ev/s"},
	{"Consumer", "Lag", "Events", "Bytes", "Ev/s", "State", "Lag"}};

static bool
is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* ---- numbers, each in at most 7 columns ---- */

typedef char Cell[32];

static const char *
show_count(Cell cell, double n)
{
	static const char units[] = {'k', 'M', 'G', 'T'};
	int u = -1;

	if (isnan(n))
		return "-";
	for (; n >= 99999.5 && u < 3; u++)
		n /= 1000;
	if (u < 0)
		snprintf(cell, sizeof(Cell),
				 n < 9.95 && n != floor(n) ? "%.1f" : "%.0f", n);
	else
		snprintf(cell, sizeof(Cell), "%.0f%c", n, units[u]);
	return cell;
}

static const char *
show_bytes(Cell cell, double n)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	int u = 0;

	if (isnan(n))
		return "-";
	for (; n >= 9999.5 && u < 4; u++)
		n /= 1024;
	snprintf(cell, sizeof(Cell), "%.0f %s", n, units[u]);
	return cell;
}

static const char *
show_seconds(Cell cell, double s)
{
	long n = (long) s;

	if (isnan(s))
		return "-";
	if (s < 100)
		snprintf(cell, sizeof(Cell), "%.1fs", s);
	else if (n < 6000)
		snprintf(cell, sizeof(Cell), "%ldm%02lds", n / 60, n % 60);
	else if (n < 360000)
		snprintf(cell, sizeof(Cell), "%ldh%02ldm", n / 3600, n / 60 % 60);
	else
		snprintf(cell, sizeof(Cell), "%ldd%02ldh", n / 86400, n / 3600 % 24);
	return cell;
}

/* ---- text ---- */

/*
 * Writes text, padded to "width" columns of the terminal, or cut, which a "~"
 * shows.  A character that it can't show, or that would move the cursor,
 * becomes "?".
 */
static void
put_text(PQExpBuffer out, const char *text, int width)
{
	mbstate_t state = {0};
	int left = width;

	while (*text)
	{
		wchar_t c;
		size_t len = mbrtowc(&c, text, strlen(text), &state);
		int columns = len <= strlen(text) ? wcwidth(c) : -1;

		if (columns < 0 || len == 0)
		{
			/* in another encoding: one "?" for the whole character */
			len = 1;
			while ((text[len] & 0xC0) == 0x80)
				len++;
			memset(&state, 0, sizeof(state));
			columns = 1;
			c = '?';
		}
		if (columns > left - (text[len] != '\0'))
		{
			appendPQExpBuffer(out, "%.*s", left, "~");
			left -= left > 0;
			break;
		}
		if (c == '?')
			appendPQExpBufferChar(out, '?');
		else
			appendBinaryPQExpBuffer(out, text, len);
		text += len;
		left -= columns;
	}
	appendPQExpBuffer(out, "%*s", left, "");
}

/* The last "width" values as bars; the highest is as high as it gets. */
static void
put_curve(PQExpBuffer out, const TopRow *row, int width)
{
	int begin = row->ncurve > width ? row->ncurve - width : 0;
	double most = 0;

	for (int i = begin; i < row->ncurve; i++)
		if (row->curve[i] > most)
			most = row->curve[i];
	for (int i = begin; i < row->ncurve; i++)
	{
		int height = most > 0 ? (int) (row->curve[i] / most * 7 + 0.5) : 0;

		if (is_utf8())
			appendPQExpBuffer(out, "\342\226%c", '\201' + height);
		else
			appendPQExpBufferChar(out, "_.:-=+*#"[height]);
	}
}

typedef struct LineMaker
{
	TopLines *lines;
	int width;
	int name_width;
	int curve_width;
	PQExpBuffer out;
} LineMaker;

static PQExpBuffer
begin_line(LineMaker *m)
{
	return m->out = text_begin();
}

static void
end_line(LineMaker *m, TopStyle style)
{
	TopLine *lines = memory_resize(m->lines->lines,
								   (m->lines->n + 1) * sizeof(TopLine));
	char *text = text_end(m->out);

	for (char *end = text + strlen(text); end > text && *--end == ' ';)
		*end = '\0';
	utf8_make_printable(text);
	m->lines->lines = lines;
	lines[m->lines->n].text = text;
	lines[m->lines->n++].style = style;
}

static void
add_line(LineMaker *m, TopStyle style, const char *text)
{
	put_text(begin_line(m), text, m->width);
	end_line(m, style);
}

/* A sentence, in as many lines as it needs. */
static void
add_sentence(LineMaker *m, const char *text)
{
	while (*text)
	{
		size_t len = strlen(text);
		char *part;

		if (len > (size_t) m->width)
		{
			len = m->width;
			while (len > 0 && text[len] != ' ')
				len--;
			if (len == 0)
				len = strlen(text); /* it is cut */
		}
		part = text_copy_part(text, len);
		add_line(m, TOP_BAD, part);
		free(part);
		text += len;
		text += strspn(text, " \n");
	}
}

/* ---- rows ---- */

/* So many rows are shown though nothing happens in them. */
#define SHOWN_IDLE 10

static bool
is_bad(const TopRow *row)
{
	return row->problem[0] || strcmp(row->state, "paused") == 0;
}

static TopSort sort_by; /* for compare_rows; qsort hands nothing over */

/* Has nothing to do with the row's lag, and nothing happens there. */
static bool
is_done(const TopRow *row)
{
	return (row->kind == TOP_QUEUE || row->kind == TOP_CONSUMER) &&
		   !(row->lag_events > 0);
}

/* By lag the worst come first: what is to be done is worse than what is done. */
static double
find_sort_value(const TopRow *row)
{
	double value = sort_by == TOP_BY_RATE ? row->rate : row->lag_seconds;

	if (sort_by == TOP_BY_LAG && is_bad(row))
		return INFINITY;
	if (sort_by == TOP_BY_LAG && is_done(row))
		return row->rate > 0 ? 0 : -0.5;
	return isnan(value) ? -1 : value;
}

static int
compare_rows(const void *left, const void *right)
{
	const TopRow *a = *(const TopRow *const *) left;
	const TopRow *b = *(const TopRow *const *) right;

	if (sort_by != TOP_BY_NAME && find_sort_value(a) != find_sort_value(b))
		return find_sort_value(a) > find_sort_value(b) ? -1 : 1;
	return a < b ? -1 : a > b; /* as the server sorts them */
}

static void
add_row(LineMaker *m, const TopRow *row)
{
	PQExpBuffer out = begin_line(m);
	Cell cells[4];
	char *name;

	name = text_format("%s%s%s", row->queue, row->queue[0] ? "/" : "",
					   row->name);
	put_text(out, name, m->name_width);
	free(name);
	appendPQExpBuffer(
		out, NUMBERS_FORMAT, show_seconds(cells[0], row->lag_seconds),
		row->kind == TOP_SLOT ? "" : show_count(cells[1], row->lag_events),
		show_bytes(cells[2], row->kind == TOP_QUEUE || row->kind == TOP_COPY
								 ? row->bytes
								 : row->lag_bytes),
		show_count(cells[3], row->rate), row->state);
	appendPQExpBufferChar(out, ' ');
	put_curve(out, row, m->curve_width);
	end_line(m, is_bad(row) ? TOP_BAD : TOP_PLAIN);
	add_sentence(m, row->problem);
}

/* Is it a slot, or is the filter in its name? */
static bool
is_chosen(const Top *top, const TopRow *row)
{
	return row->kind == TOP_SLOT || strcasestr(row->name, top->filter) ||
		   strcasestr(row->queue, top->filter);
}

static void
add_section(LineMaker *m, const Top *top, TopKind kind)
{
	const char *const *h = headings[kind];
	const TopRow **rows = memory_make((top->nrows + 1) * sizeof(TopRow *));
	PQExpBuffer out;
	int n = 0;
	int shown;

	for (int i = 0; i < top->nrows; i++)
		if (top->rows[i].kind == kind && is_chosen(top, &top->rows[i]))
			rows[n++] = &top->rows[i];
	if (n == 0 && kind == TOP_COPY)
	{
		free(rows);
		return;
	}
	qsort(rows, n, sizeof(TopRow *), compare_rows);
	shown = n;

	add_line(m, TOP_PLAIN, "");
	out = begin_line(m);
	put_text(out, h[0], m->name_width);
	appendPQExpBuffer(out, NUMBERS_FORMAT " %s", h[1], h[2], h[3], h[4], h[5],
					  h[6]);
	end_line(m, TOP_HEAD);
	while (!top->filter[0] && shown > SHOWN_IDLE && is_done(rows[shown - 1]) &&
		   !is_bad(rows[shown - 1]) && !(rows[shown - 1]->rate > 0))
		shown--;
	for (int i = 0; i < shown; i++)
		add_row(m, rows[i]);
	if (shown < n)
	{
		appendPQExpBuffer(begin_line(m), "%d more, idle", n - shown);
		end_line(m, TOP_PLAIN);
	}
	if (n == 0)
		add_line(m, TOP_PLAIN,
				 top->filter[0]      ? "none of that name"
				 : kind == TOP_SLOT  ? "none: no table is captured"
				 : kind == TOP_QUEUE ? "none"
									 : "none: events are kept for nobody");
	free(rows);
}

static double
sum_rates(const Top *top, TopKind kind)
{
	double sum = 0;

	for (int i = 0; i < top->nrows; i++)
		if (top->rows[i].kind == kind && !isnan(top->rows[i].rate))
			sum += top->rows[i].rate;
	return sum;
}

/*
 * What there is to see, as lines of at most "width" columns; top_free_lines
 * frees them.
 */
void
top_make_lines(const Top *top, TopSort sort, int width, TopLines *lines)
{
	LineMaker m = {.lines = lines, .width = width};
	int more = width > 80 ? width - 80 : 0;
	Cell cells[2];
	PQExpBuffer out;

	m.name_width = NAME_WIDTH + more / 2;
	if (m.name_width > MAX_NAME_WIDTH)
		m.name_width = MAX_NAME_WIDTH;
	m.curve_width = width - m.name_width - NUMBERS_WIDTH - 1;
	if (m.curve_width > TOP_HISTORY)
		m.curve_width = TOP_HISTORY;
	if (m.curve_width < 0)
		m.curve_width = 0;
	*lines = (TopLines){0};
	sort_by = sort;

	out = begin_line(&m);
	put_text(out, top->title, width > 9 ? width - 9 : 0);
	appendPQExpBuffer(out, " %s", top->time);
	end_line(&m, TOP_HEAD);
	out = begin_line(&m);
	appendPQExpBuffer(out, "Events a second: in %s, out %s",
					  show_count(cells[0], sum_rates(top, TOP_QUEUE)),
					  show_count(cells[1], sum_rates(top, TOP_CONSUMER)));
	end_line(&m, TOP_PLAIN);
	if (top->trouble)
	{
		char *text;

		text = text_format("Trying again: %s", top->trouble);
		add_sentence(&m, text);
		free(text);
	}
	if (top->warnings[0])
		add_sentence(&m, top->warnings);
	if (top->nsamples == 0)
		return;
	for (int kind = top->can_capture ? TOP_SLOT : TOP_QUEUE; kind < TOP_KINDS;
		 kind++)
		add_section(&m, top, kind);
}

/* Free the lines, not the struct. */
void
top_free_lines(TopLines *lines)
{
	for (int i = 0; i < lines->n; i++)
		free(lines->lines[i].text);
	free(lines->lines);
	*lines = (TopLines){0};
}

/* ---- JSON ---- */

static void
put_number(FILE *out, const char *key, double value)
{
	if (isnan(value))
		fprintf(out, ", \"%s\": null", key);
	else
		fprintf(out, ", \"%s\": %.15g", key, value);
}

static void
put_member(FILE *out, const char *lead, const char *key, const char *value)
{
	fprintf(out, "%s\"%s\": ", lead, key);
	admin_write_json(out, value[0] ? value : NULL);
}

static void
put_rows(FILE *out, const Top *top, TopKind kind)
{
	const char *lead = "{";

	for (int i = 0; i < top->nrows; i++)
	{
		const TopRow *row = &top->rows[i];

		if (row->kind != kind)
			continue;
		if (kind == TOP_CONSUMER || kind == TOP_COPY)
		{
			put_member(out, lead, "queue", row->queue);
			put_member(out, ", ", kind == TOP_COPY ? "table" : "consumer",
					   row->name);
		}
		else
			put_member(out, lead, kind == TOP_SLOT ? "slot" : "queue",
					   row->name);
		put_member(out, ", ", "state", row->state);
		put_number(out, kind == TOP_COPY ? "rows_per_s" : "events_per_s",
				   row->rate);
		if (kind == TOP_COPY)
		{
			put_number(out, "rows", row->events);
			put_number(out, "rows_left", row->lag_events);
			put_number(out, "bytes", row->bytes);
			put_number(out, "time_left_s", row->lag_seconds);
		}
		else if (kind == TOP_QUEUE)
		{
			put_number(out, "new_events", row->lag_events);
			put_number(out, "size_bytes", row->bytes);
			put_number(out, "tick_age_s", row->lag_seconds);
		}
		else
		{
			if (kind == TOP_CONSUMER)
				put_number(out, "lag_events", row->lag_events);
			put_number(out, "lag_bytes", row->lag_bytes);
			put_number(out, "lag_s", row->lag_seconds);
		}
		if (kind == TOP_SLOT || kind == TOP_COPY)
			put_member(out, ", ", "problem", row->problem);
		putc('}', out);
		lead = ", {";
	}
}

/* The last sample as one line. */
void
top_print_json(const Top *top, FILE *out)
{
	put_member(out, "{", "time", top->time);
	put_member(out, ", ", "database", PQdb(top->admin->conn));
	put_member(out, ", ", "warning", top->warnings);
	fputs(", \"slots\": [", out);
	put_rows(out, top, TOP_SLOT);
	fputs("], \"copies\": [", out);
	put_rows(out, top, TOP_COPY);
	fputs("], \"queues\": [", out);
	put_rows(out, top, TOP_QUEUE);
	fputs("], \"consumers\": [", out);
	put_rows(out, top, TOP_CONSUMER);
	fputs("]}\n", out);
}
