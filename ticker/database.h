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

#include "config.h"
#include "stats.h"

typedef struct Database Database;

extern Database *database_create(struct event_base *base,
								 const Config *config, const char *name,
								 Stats *stats);
extern void database_free(Database *db);
extern const char *database_get_name(const Database *db);
extern void database_reload(Database *db, bool reconnect);
extern void database_quiesce(Database *db);
extern bool database_is_busy(const Database *db);
extern const char *database_get_state(const Database *db);

#endif /* PGQD_DATABASE_H */
