/*-------------------------------------------------------------------------
 *
 * copy.h
 *		Copy captured tables of one database into queues, one at a time.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_COPY_H
#define PGQD_COPY_H

#include <stdbool.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/ingest.h"
#include "ticker/stats.h"
#include "ticker/tick.h"
#include "ticker/trouble.h"

typedef struct Copy Copy;

extern Copy *copy_create(struct event_base *base, const Config *config,
						 const char *dbname, const Ingest *ingest, Tick *tick,
						 Stats *stats);
extern void copy_free(Copy *copy);
extern void copy_start(Copy *copy);
extern void copy_stop(Copy *copy);
extern bool copy_is_off(const Copy *copy);
extern const Trouble *copy_get_trouble(const Copy *copy);

#endif /* PGQD_COPY_H */
