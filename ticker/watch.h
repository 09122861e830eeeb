/*-------------------------------------------------------------------------
 *
 * watch.h
 *		What is wrong in a database, seen within seconds.
 *
 * pgq.get_problems() tells.  What was seen is forgotten when the server does not
 * tell it again.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_WATCH_H
#define PGQD_WATCH_H

#include <stdbool.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "ticker/config.h"
#include "ticker/stats.h"
#include "ticker/trouble.h"

typedef struct Watch Watch;

/* Columns of watch_get_problems() */
enum
{
	PROBLEM_KIND,
	PROBLEM_OBJECT,
	PROBLEM_SEVERITY, /* "standstill", "problem" or "warning" */
	PROBLEM_TEXT,
	PROBLEM_AGE /* seconds, null: unknown */
};

/* Something that pgqd itself has found wrong. */
typedef struct Told
{
	const char *kind;       /* the work that fails */
	bool stands_still;      /* else it is a warning */
	const Trouble *trouble; /* with a text */
} Told;

extern Watch *watch_create(struct event_base *base, const Config *config,
						   const char *dbname, const Stats *stats);
extern void watch_free(Watch *watch);
extern void watch_start(Watch *watch, int version, bool has_slot);
extern void watch_tell(Watch *watch, const Told *told, int n);
extern void watch_stop(Watch *watch);
extern const char *watch_get_severity(const Told *told);
extern bool watch_is_standstill(const PGresult *problems, int row);
extern const PGresult *watch_get_problems(const Watch *watch);
extern const PGresult *watch_get_slots(const Watch *watch);

#endif /* PGQD_WATCH_H */
