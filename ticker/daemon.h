/*-------------------------------------------------------------------------
 *
 * daemon.h
 *		The main loop of pgqd.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_DAEMON_H
#define PGQD_DAEMON_H

#include <stdbool.h>

#include "ticker/config.h"

extern void daemon_run(Config *config, const char *config_file);

#endif /* PGQD_DAEMON_H */
