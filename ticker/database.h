/*-------------------------------------------------------------------------
 *
 * database.h
 *		All that pgqd does for one database.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_DATABASE_H
#define PGQD_DATABASE_H

#include <stdbool.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/sample.h"
#include "ticker/stats.h"
#include "ticker/watch.h"

typedef struct Database Database;

extern Database *database_create(struct event_base *base, const Config *config,
								 const char *name);
extern void database_free(Database *db);
extern const char *database_get_name(const Database *db);
extern void database_reload(Database *db, bool reconnect);
extern void database_quiesce(Database *db);
extern bool database_is_busy(const Database *db);
extern const char *database_get_state(const Database *db);
extern bool database_has_pgq(const Database *db);
extern char *database_find_wait(const Database *db);
extern bool database_is_connected(const Database *db);
extern bool database_is_ingesting(const Database *db);
extern const Stats *database_get_stats(const Database *db);
extern const Sample *database_get_sample(const Database *db);
extern const Watch *database_get_watch(const Database *db);
extern const char *database_find_standby(const Database *db);
extern int database_get_troubles(const Database *db, Told *told);

/* Most troubles that database_get_troubles() finds. */
#define DATABASE_TROUBLES 30

#endif /* PGQD_DATABASE_H */
