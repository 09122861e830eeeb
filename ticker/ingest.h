/*-------------------------------------------------------------------------
 *
 * ingest.h
 *		Write what the slot sends into the queues: exactly once, in order.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_INGEST_H
#define PGQD_INGEST_H

#include <stdbool.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/stats.h"
#include "ticker/tick.h"
#include "ticker/trouble.h"

typedef struct Ingest Ingest;

extern Ingest *ingest_create(struct event_base *base, const Config *config,
							 const char *dbname, const SourceConfig *source,
							 Tick *tick, Stats *stats);
extern void ingest_free(Ingest *ingest);
extern void ingest_start(Ingest *ingest);
extern void ingest_stop(Ingest *ingest);
extern void ingest_hurry(Ingest *ingest);
extern bool ingest_is_off(const Ingest *ingest);
extern bool ingest_is_running(const Ingest *ingest);
extern bool ingest_is_standing_by(const Ingest *ingest);
extern bool ingest_is_busy(const Ingest *ingest);
extern const char *ingest_get_state(const Ingest *ingest);
extern const Trouble *ingest_get_trouble(const Ingest *ingest);
extern const Trouble *ingest_get_warning(const Ingest *ingest);

#endif /* PGQD_INGEST_H */
