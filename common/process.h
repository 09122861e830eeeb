/*-------------------------------------------------------------------------
 *
 * process.h
 *		What makes a program a daemon: pidfile, background, signals to a running
 *		one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_PROCESS_H
#define PGQ_PROCESS_H

#include <stdbool.h>

/* What an ini file says of the process; strings may be NULL. */
typedef struct ProcessConfig
{
	const char *logfile;
	const char *pidfile;
	bool syslog;
	const char *syslog_ident;
	const char *syslog_facility;
} ProcessConfig;

extern void process_set_name(const char *name);
extern int process_send_signal(const char *pidfile, int signum,
							   const char *signame);
extern bool process_begin(const ProcessConfig *config, bool background);
extern void process_end(const ProcessConfig *config);
extern void process_hold_signals(bool on);

#endif /* PGQ_PROCESS_H */
