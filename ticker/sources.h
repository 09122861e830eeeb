/*-------------------------------------------------------------------------
 *
 * sources.h
 *		The sources that feed queues of one database.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_SOURCES_H
#define PGQD_SOURCES_H

#include <stdbool.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/stats.h"
#include "ticker/tick.h"
#include "ticker/watch.h"

typedef struct Sources Sources;

extern Sources *sources_create(struct event_base *base, const Config *config,
							   const char *dbname, Tick *tick);
extern void sources_free(Sources *sources);
extern void sources_reload(Sources *sources);
extern void sources_start(Sources *sources);
extern void sources_stop(Sources *sources);
extern void sources_quiesce(Sources *sources);
extern bool sources_are_busy(const Sources *sources);
extern void sources_add_stats(const Sources *sources, Stats *sum);
extern int sources_get_troubles(const Sources *sources, Told *told, int max);

#endif /* PGQD_SOURCES_H */
