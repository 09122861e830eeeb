/*-------------------------------------------------------------------------
 *
 * top_screen.c
 *		pgqadm top on a terminal, by ncurses.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "admin/top.h"

#ifdef HAVE_NCURSES

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Lines that stay where they are: title, totals; and the help at the end. */
#define FIXED_LINES 2

static const double intervals[] = {0.5, 1, 2, 5, 10, 30, 60};
#define NINTERVALS ((int) (sizeof(intervals) / sizeof(intervals[0])))

static const char help_line[] =
	"q quit  / filter  s sort  p pause  +/- interval  h help";

/* At the right end of that line, over it on a narrow screen. */
static const char more_below[] = "  (more below)";

static const char *const help_text[] = {
	"q          quit",
	"s          sort by lag, rate, name",
	"/          only names with a text in them; Enter ends it, Esc forgets it",
	"p, space   stop and go on",
	"+ -        look less or more often",
	"r          look now",
	"arrows, PgUp, PgDn, Home, End    scroll",
	"h, ?       this help",
	"",
	"Slot      Lag: age of its position. Behind: WAL that is not in the queues.",
	"Copy      of a captured table's rows; Left: time, about.",
	"Queue     Ticked: time since the last tick. New: events since then.",
	"          Size: of its tables, which are emptied by rotation.",
	"Consumer  Lag: age of the last tick that it has finished. Events, Bytes:",
	"          what it has not finished; bytes by the average event.",
	"          State: batch, while it works on one.",
	"Ev/s      events a second: ingested, written, finished.",
	"",
	"The curves show the last samples, each scaled to its highest value.",
	NULL};

typedef struct Screen
{
	Top *top;
	TopSort sort;
	int scrolled; /* lines */
	bool help;
	bool typing; /* the filter */
	bool done;
} Screen;

static void
leave_screen(void)
{
	if (!isendwin())
		endwin();
}

static void
enter_screen(void)
{
	if (newterm(NULL, stdout, stdin) == NULL)
		admin_fail("Set TERM to the kind of terminal that this is, or use "
				   "--once.",
				   "unknown kind of terminal: TERM is \"%s\"",
				   getenv("TERM") ? getenv("TERM") : "");
	/* an error may end the program anywhere */
	atexit(leave_screen);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	if (has_colors() && getenv("NO_COLOR") == NULL)
	{
		start_color();
		use_default_colors();
		init_pair(TOP_HEAD, COLOR_CYAN, -1);
		init_pair(TOP_BAD, COLOR_RED, -1);
	}
}

static void
set_style(TopStyle style)
{
	attrset(style == TOP_PLAIN ? A_NORMAL : COLOR_PAIR(style) | A_BOLD);
}

/* What stands at the right of the totals. */
static void
draw_state(const Screen *s)
{
	char text[160];

	snprintf(text, sizeof(text), "%s%s%s by %s, every %g s%s",
			 s->typing || s->top->filter[0] ? " /" : "", s->top->filter,
			 s->typing ? "_" : "", top_sort_names[s->sort], s->top->interval,
			 s->top->paused ? ", PAUSED" : "");
	if ((int) strlen(text) < COLS)
	{
		set_style(s->top->paused ? TOP_BAD : TOP_PLAIN);
		mvaddstr(1, COLS - strlen(text), text);
	}
}

static void
draw_help(void)
{
	set_style(TOP_PLAIN);
	for (int i = 0; help_text[i] && i + FIXED_LINES < LINES; i++)
		mvaddnstr(FIXED_LINES + i, 0, help_text[i], COLS);
}

static void
draw(Screen *s)
{
	TopLines lines;
	int room = LINES - FIXED_LINES - 1;

	top_make_lines(s->top, s->sort, COLS, &lines);
	if (s->scrolled > lines.n - FIXED_LINES - room)
		s->scrolled = lines.n - FIXED_LINES - room;
	if (s->scrolled < 0)
		s->scrolled = 0;
	erase();
	for (int i = 0; i < lines.n && i < LINES; i++)
	{
		int n = i < FIXED_LINES ? i : i + s->scrolled;

		if ((i >= FIXED_LINES && s->help) || n >= lines.n || i >= LINES - 1)
			break;
		set_style(lines.lines[n].style);
		mvaddstr(i, 0, lines.lines[n].text);
	}
	if (s->help)
		draw_help();
	draw_state(s);
	set_style(TOP_HEAD);
	mvaddnstr(LINES - 1, 0, help_line, COLS - 1);
	if (lines.n - FIXED_LINES - s->scrolled > room && !s->help)
		mvaddstr(LINES - 1, COLS - 1 - (int) strlen(more_below), more_below);
	top_free_lines(&lines);
	refresh();
}

static void
change_interval(Top *top, int step)
{
	int i = 0;

	while (i < NINTERVALS - 1 && intervals[i] < top->interval)
		i++;
	/* between two of them, the next one is a step already */
	if (intervals[i] == top->interval || step < 0)
		i += step;
	if (i >= 0 && i < NINTERVALS)
		top->interval = intervals[i];
	top_hurry(top);
}

/* A key while the filter is typed. */
static void
edit_filter(Screen *s, int key)
{
	char *filter = s->top->filter;
	size_t len = strlen(filter);

	if (key == '\r' || key == '\n' || key == KEY_ENTER)
		s->typing = false;
	else if (key == 27) /* escape */
	{
		filter[0] = '\0';
		s->typing = false;
	}
	else if (key == KEY_BACKSPACE || key == 127 || key == '\b')
		filter[len > 0 ? len - 1 : 0] = '\0';
	else if (key >= ' ' && key < 256 && len + 1 < sizeof(s->top->filter))
	{
		filter[len] = (char) key;
		filter[len + 1] = '\0';
	}
}

static void
handle_key(Screen *s, int key)
{
	int page = LINES - FIXED_LINES - 2;

	if (s->typing)
	{
		edit_filter(s, key);
		return;
	}
	switch (key)
	{
		case '/':
			s->typing = true;
			s->help = false;
			break;
		case 'q':
		case 'Q':
			s->done = true;
			break;
		case 27: /* escape */
			s->help = false;
			break;
		case 'h':
		case '?':
			s->help = !s->help;
			break;
		case 's':
			s->sort = (s->sort + 1) % TOP_SORTS;
			break;
		case 'p':
		case ' ':
			s->top->paused = !s->top->paused;
			break;
		case 'r':
			s->top->paused = false;
			top_hurry(s->top);
			break;
		case '+':
		case '-':
			change_interval(s->top, key == '+' ? 1 : -1);
			break;
		case 'L' & 0x1F: /* Ctrl-L: the terminal was written over */
			clearok(curscr, TRUE);
			break;
		case 'j':
		case KEY_DOWN:
			s->scrolled++;
			break;
		case 'k':
		case KEY_UP:
			s->scrolled--;
			break;
		case KEY_NPAGE:
			s->scrolled += page;
			break;
		case KEY_PPAGE:
			s->scrolled -= page;
			break;
		case KEY_HOME:
			s->scrolled = 0;
			break;
		case KEY_END:
			s->scrolled = 1 << 20; /* draw() knows the end */
			break;
	}
}

/* Shows top until the user has had enough. */
void
top_run_screen(Top *top)
{
	Screen s = {.top = top};

	enter_screen();
	while (!s.done)
	{
		bool ready;
		int key;

		draw(&s);
		ready = top_wait(top, STDIN_FILENO);
		if ((key = getch()) == ERR && ready)
			break; /* the terminal is gone */
		for (; key != ERR; key = getch())
			handle_key(&s, key);
	}
	leave_screen();
}

#else

void
top_run_screen(Top *top)
{
	admin_fail("--once and --json work without it.",
			   "pgqadm was built without ncurses");
}

#endif
