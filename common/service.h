/*-------------------------------------------------------------------------
 *
 * service.h
 *		Tell the service manager how we are; nothing without systemd.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SERVICE_H
#define PGQ_SERVICE_H

extern void service_notify_ready(void);
extern void service_notify_reloading(void);
extern void service_notify_stopping(void);
extern void service_notify_status(const char *status);
extern void service_notify_alive(void);
extern double service_get_watchdog(void);

#endif /* PGQ_SERVICE_H */
