/*-------------------------------------------------------------------------
 *
 * database.h
 *		A statement in the queue's database, beside a batch's transaction.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_DATABASE_H
#define PGQ_RELAY_DATABASE_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/config.h"

extern bool database_run(const RelayConfig *config, const char *sql,
						 int nparams, const char *const *params, char *error,
						 size_t size);

#endif /* PGQ_RELAY_DATABASE_H */
