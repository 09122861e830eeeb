/*-------------------------------------------------------------------------
 *
 * top.c
 *		pgqadm top: what queues, consumers and the slot do just now.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <locale.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/top.h"

#define DEFAULT_INTERVAL 2.0

/* Columns of output that is no terminal. */
#define FILE_WIDTH 100

/* Waits until there are n samples; rates need two. */
static void
wait_for_samples(Top *top, int n)
{
	while (top->nsamples < n)
	{
		top_wait(top, -1);
		if (top->trouble)
			admin_fail(NULL, "%s", top->trouble);
	}
}

static void
print_lines(const Top *top)
{
	struct winsize size;
	TopLines lines;
	int width = FILE_WIDTH;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		width = size.ws_col;
	top_make_lines(top, TOP_BY_LAG, width, &lines);
	for (int i = 0; i < lines.n; i++)
		puts(lines.lines[i].text);
	top_free_lines(&lines);
}

/* top [--once] [--interval S] [--filter TEXT] [--json] */
void
admin_top(Admin *a, int argc, char **argv)
{
	Top top = {.interval = a->interval > 0 ? a->interval : DEFAULT_INTERVAL};

	if (!a->once && !a->json &&
		!(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
		admin_fail("Without one, --once prints one look, --json a line for "
				   "each.",
				   "top needs a terminal");
	if (a->filter)
		snprintf(top.filter, sizeof(top.filter), "%s", a->filter);
	setlocale(LC_CTYPE, "");
	/* what is wrong from the beginning ends it, what goes wrong later not */
	PQclear(admin_query(a, NULL, "select pgq.version()", 0, NULL));
	top_start(&top, a);
	if (!a->once && !a->json)
		top_run_screen(&top);
	else if (!a->json)
	{
		wait_for_samples(&top, 2);
		print_lines(&top);
	}
	else
		for (int n = 2; n == 2 || !a->once; n++)
		{
			wait_for_samples(&top, n);
			top_print_json(&top, stdout);
			admin_close_stdout();
		}
	top_free(&top);
}
