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
	char *logfile;
	char *pidfile;
	bool syslog;
	char *syslog_ident;
	char *syslog_facility;
} ProcessConfig;

/* The switches that all daemons have, for getopt_long(). */
#define PROCESS_SWITCHES "qvdskr"
#define PROCESS_LONG_SWITCHES                                                  \
	{"quiet", no_argument, NULL, 'q'}, {"verbose", no_argument, NULL, 'v'},    \
		{"daemon", no_argument, NULL, 'd'}, {"stop", no_argument, NULL, 's'},  \
		{"kill", no_argument, NULL, 'k'},                                      \
	{                                                                          \
		"reload", no_argument, NULL, 'r'                                       \
	}

/* What they ask for. */
typedef struct ProcessSwitches
{
	bool background;
	int signum;          /* to be sent to the running one; 0: none */
	const char *signame; /* for people */
} ProcessSwitches;

extern void process_set_name(const char *name);
extern bool process_take_switch(ProcessSwitches *switches, int opt);
extern int process_send_signal(const char *pidfile,
							   const ProcessSwitches *switches);
extern bool process_begin(const ProcessConfig *config, bool background);
extern void process_end(const ProcessConfig *config);
extern void process_hold_signals(bool on);

#endif /* PGQ_PROCESS_H */
