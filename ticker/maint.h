/*-------------------------------------------------------------------------
 *
 * maint.h
 *		Maintenance and retry of one database, each a cycle of its own.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_MAINT_H
#define PGQD_MAINT_H

#include <stdbool.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/stats.h"
#include "ticker/trouble.h"

typedef struct Maint Maint;

typedef enum MaintKind
{
	MAINT_OPERATIONS, /* pgq.maint_operations(), each maint_period */
	MAINT_RETRY       /* retry events, each retry_period */
} MaintKind;

extern Maint *maint_create(struct event_base *base, const Config *config,
						   const char *dbname, MaintKind kind, Stats *stats);
extern void maint_free(Maint *maint);
extern void maint_start(Maint *maint, int major);
extern void maint_stop(Maint *maint);
extern bool maint_is_busy(const Maint *maint);
extern const Trouble *maint_get_trouble(const Maint *maint);

#endif /* PGQD_MAINT_H */
