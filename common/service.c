/*-------------------------------------------------------------------------
 *
 * service.c
 *		Tell the service manager how we are; nothing without systemd.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/service.h"

#include <stdint.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "common/clock.h"

/* Start-up, or a reload, is done. */
void
service_notify_ready(void)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, "READY=1");
#endif
}

/* The ini file is being read again; service_notify_ready() follows. */
void
service_notify_reloading(void)
{
#ifdef HAVE_SYSTEMD
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%.0f", clock_seconds() * 1e6);
#endif
}

/* We are about to exit. */
void
service_notify_stopping(void)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, "STOPPING=1");
#endif
}

/* One line that systemctl status shows. */
void
service_notify_status(const char *status)
{
#ifdef HAVE_SYSTEMD
	sd_notifyf(0, "STATUS=%s", status);
#endif
}

/* The event loop turns. */
void
service_notify_alive(void)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, "WATCHDOG=1");
#endif
}

/*
 * Seconds between calls of service_notify_alive() that the service manager
 * wants; 0: none.
 */
double
service_get_watchdog(void)
{
#ifdef HAVE_SYSTEMD
	uint64_t usec;

	if (sd_watchdog_enabled(0, &usec) > 0)
		return usec / 2e6;
#endif
	return 0;
}
