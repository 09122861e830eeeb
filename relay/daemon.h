/*-------------------------------------------------------------------------
 *
 * daemon.h
 *		The loop of pgqrelay: signals, counts, HTTP, and its relays.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_DAEMON_H
#define PGQ_RELAY_DAEMON_H

#include "relay/config.h"

extern bool daemon_run(Config *config, const char *config_file);

#endif /* PGQ_RELAY_DAEMON_H */
