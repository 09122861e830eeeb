/*-------------------------------------------------------------------------
 *
 * report.h
 *		What pgqrelay tells of itself by HTTP: malloc'd UTF-8 text.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_REPORT_H
#define PGQ_RELAY_REPORT_H

#include "relay/relay.h"

/* One line a relay that is not running; *status becomes 503 if there is one. */
extern char *report_health(Relay *const *relays, int *status);

/* Prometheus' text format. */
extern char *report_metrics(Relay *const *relays);

#endif /* PGQ_RELAY_REPORT_H */
