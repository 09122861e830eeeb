/*-------------------------------------------------------------------------
 *
 * progress.h
 *		How far a long command is: amount, share, rate and time left.
 *
 * On a terminal one line of stderr is written again and again, elsewhere a
 * line is written now and then, under -q nothing.  A command does:
 *
 *		progress_begin(&p, a, "copy", "rows");
 *		while (work is left)
 *			... progress_show(&p, done, total);
 *		progress_clear();
 *
 * admin_say, admin_warn and admin_fail clear the terminal's line themselves.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_PROGRESS_H
#define PGQADM_PROGRESS_H

#include "admin/admin.h"

/* Points that the rate is taken over, and seconds between two of them. */
#define PROGRESS_POINTS 20
#define PROGRESS_STEP 0.5

typedef struct Progress
{
	const char *what;
	const char *unit; /* NULL: bytes */
	bool silent;
	bool terminal;
	double period;   /* seconds between two lines */
	double shown_at; /* by a clock that is never set */

	struct
	{
		double at;
		double done;
	} points[PROGRESS_POINTS]; /* oldest first */
	int npoints;
} Progress;

extern void progress_begin(Progress *p, const Admin *a, const char *what,
						   const char *unit);
extern void progress_show(Progress *p, double done, double total);
extern void progress_clear(void);

#endif /* PGQADM_PROGRESS_H */
