/*-------------------------------------------------------------------------
 *
 * progress.c
 *		How far a long command is: amount, share, rate and time left.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "admin/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/buffer.h"
#include "common/clock.h"
#include "common/utf8.h"

#define BAR_WIDTH 20

/* Seconds between two lines: on a terminal, elsewhere, elsewhere with -v. */
#define TERMINAL_PERIOD 0.2
#define LINE_PERIOD 10.0
#define VERBOSE_PERIOD 1.0

/* The terminal's line is ours; there is one terminal, so one of these. */
static bool drawn;

/*
 * Begin a step of the command a.  "what" names it at the head of the line,
 * "unit" is the plural of what is counted, or NULL for bytes; both must live
 * as long as *p.
 */
void
progress_begin(Progress *p, const Admin *a, const char *what, const char *unit)
{
	*p = (Progress){.what = what, .unit = unit, .silent = a->quiet};
	p->terminal = isatty(STDERR_FILENO);
	p->period = p->terminal  ? TERMINAL_PERIOD
				: a->verbose ? VERBOSE_PERIOD
							 : LINE_PERIOD;
	/* the first line elsewhere tells of a step that really takes long */
	p->shown_at = p->terminal ? 0 : clock_seconds();
}

static void
print_amount(PQExpBuffer out, const Progress *p, double amount)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
	int u = 0;

	if (p->unit != NULL)
	{
		appendPQExpBuffer(out, "%.0f", amount);
		return;
	}
	for (; amount >= 10240 && u < 4; u++)
		amount /= 1024;
	appendPQExpBuffer(out, "%.0f %s", amount, units[u]);
}

static void
print_time_left(PQExpBuffer out, double seconds)
{
	long s = seconds > 359999 ? 359999 : (long) (seconds + 0.5);

	if (s >= 3600)
		appendPQExpBuffer(out, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60,
						  s % 60);
	else
		appendPQExpBuffer(out, ", %ld:%02ld left", s / 60, s % 60);
}

/* The rate of the last seconds, in units a second; 0 while it is not known. */
static double
find_rate(const Progress *p, double now, double done)
{
	double took = p->npoints > 0 ? now - p->points[0].at : 0;

	return took < PROGRESS_STEP ? 0 : (done - p->points[0].done) / took;
}

static void
keep_point(Progress *p, double now, double done)
{
	int n = p->npoints;

	if (n > 0 && now - p->points[n - 1].at < PROGRESS_STEP)
		return;
	if (n == PROGRESS_POINTS)
		memmove(p->points, p->points + 1, --n * sizeof(p->points[0]));
	p->points[n].at = now;
	p->points[n].done = done;
	p->npoints = n + 1;
}

static void
make_line(PQExpBuffer out, const Progress *p, double done, double total,
		  double rate)
{
	appendPQExpBuffer(out, "%s: ", p->what);
	if (total > 0)
	{
		double share = done >= total ? 1 : done <= 0 ? 0 : done / total;

		if (p->terminal)
		{
			appendPQExpBufferChar(out, '[');
			for (int i = 0; i < BAR_WIDTH; i++)
				appendPQExpBufferChar(out, i < (int) (share * BAR_WIDTH) ? '#'
																		 : '.');
			appendPQExpBufferStr(out, "] ");
		}
		/* 100% is said of what is all done only */
		appendPQExpBuffer(out, "%d%%, ", (int) (share * 100));
	}
	print_amount(out, p, done);
	if (total > 0)
	{
		appendPQExpBufferStr(out, " of ");
		print_amount(out, p, total);
	}
	if (p->unit)
		appendPQExpBuffer(out, " %s", p->unit);
	appendPQExpBufferStr(out, ", ");
	print_amount(out, p, rate > 0 ? rate : 0);
	appendPQExpBufferStr(out, "/s");
	if (rate > 0 && total > done)
		print_time_left(out, (total - done) / rate);
}

/* Columns of the terminal. */
static int
find_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/*
 * Tell that "done" of "total" is done, in units of progress_begin; a total of
 * 0 is not known.  To be called as often as one likes: it writes a line only
 * when it is time.
 */
void
progress_show(Progress *p, double done, double total)
{
	double now = clock_seconds();
	PQExpBufferData line;

	if (p->silent)
		return;
	keep_point(p, now, done);
	if (now - p->shown_at < p->period)
		return;
	p->shown_at = now;
	initPQExpBuffer(&line);
	make_line(&line, p, done, total, find_rate(p, now, done));
	utf8_make_printable(line.data);
	if (p->terminal)
	{
		/* a line that wraps could not be written over */
		fprintf(stderr, "\r%.*s\033[K", find_width() - 1, line.data);
		drawn = true;
	}
	else
		fprintf(stderr, "%s\n", line.data);
	fflush(stderr);
	termPQExpBuffer(&line);
}

/* The terminal's line makes room for other output. */
void
progress_clear(void)
{
	if (drawn)
		fputs("\r\033[K", stderr);
	drawn = false;
}
