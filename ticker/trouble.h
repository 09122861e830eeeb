/*-------------------------------------------------------------------------
 *
 * trouble.h
 *		Say a lasting trouble once, not at every attempt.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_TROUBLE_H
#define PGQD_TROUBLE_H

#include <stdbool.h>

/* All zero: no trouble. */
typedef struct Trouble
{
	const char *who; /* leads the text, where a database has several; or NULL */
	char *text;      /* what was logged last, NULL: all is well */
	double logged_at;
	double since; /* clock_seconds() of the first text */
} Trouble;

extern void trouble_report(Trouble *trouble, const char *dbname,
						   const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
extern void trouble_clear(Trouble *trouble, const char *dbname,
						  const char *what);

#endif /* PGQD_TROUBLE_H */
