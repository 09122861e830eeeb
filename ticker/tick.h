/*-------------------------------------------------------------------------
 *
 * tick.h
 *		Ticks of one database: by commit, and every ticker_period.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_TICK_H
#define PGQD_TICK_H

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/conn.h"
#include "ticker/names.h"
#include "ticker/stats.h"
#include "ticker/trouble.h"

typedef struct Tick Tick;

extern Tick *tick_create(struct event_base *base, const Config *config,
						 const char *dbname, Conn *conn, Stats *stats);
extern void tick_free(Tick *tick);
extern void tick_feed(Tick *tick, Names *queues, Xids *xids);
extern void tick_run_period(Tick *tick, int major);
extern void tick_look(Tick *tick, bool wanted);
extern void tick_set_conn(Tick *tick, Conn *conn);
extern void tick_resume(Tick *tick);
extern void tick_interrupt(Tick *tick);
extern const Trouble *tick_get_trouble(const Tick *tick);

#endif /* PGQD_TICK_H */
