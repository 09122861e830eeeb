/*-------------------------------------------------------------------------
 *
 * pgqadm_ini.h
 *		Section [pgqadm] of an ini file, as PgQ 2.x has it.
 *
 * pgqadm needs the database only; the rest is for the daemon, which takes
 * this section in place of its own.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_INI_H
#define PGQADM_INI_H

#include "common/ini.h"

typedef struct PgqadmIni
{
	char *job_name;
	char *db;
	char *database_owners;
	char *logfile;
	char *pidfile;
	double loop_delay;       /* s between two rounds of ticks */
	double maint_delay;      /* s */
	double maint_delay_min;  /* min; when > 0 it beats maint_delay */
	double ticker_log_delay; /* s between two lines of counts */
	bool use_skylog;         /* log to syslog too */
} PgqadmIni;

static const IniKey pgqadm_ini_keys[] = {
	{"job_name", INI_STRING, offsetof(PgqadmIni, job_name), "pgqadm",
	 "Name of this job; stands for %(job_name)s below."},
	{"db", INI_STRING, offsetof(PgqadmIni, db), NULL,
	 "libpq connect string of the database with the queues."},
	{"database_owners", INI_STRING, offsetof(PgqadmIni, database_owners), NULL,
	 "Roles, beside superusers, that may own the extension pgq: their code "
	 "is run."},
	{"logfile", INI_FILE, offsetof(PgqadmIni, logfile), NULL,
	 "Log file of the ticker, for example ~/log/%(job_name)s.log."},
	{"pidfile", INI_FILE, offsetof(PgqadmIni, pidfile), NULL,
	 "Process id of the ticker; -d, -s, -k and -r need it."},
	{"loop_delay", INI_SECONDS, offsetof(PgqadmIni, loop_delay), "1.0",
	 "Seconds between ticker runs."},
	{"maint_delay", INI_SECONDS, offsetof(PgqadmIni, maint_delay), "300",
	 "Seconds between maintenance runs."},
	{"maint_delay_min", INI_SECONDS, offsetof(PgqadmIni, maint_delay_min), NULL,
	 "The same in minutes; beats maint_delay."},
	{"ticker_log_delay", INI_SECONDS, offsetof(PgqadmIni, ticker_log_delay),
	 "300", "Seconds between lines of counts in the log."},
	{"use_skylog", INI_BOOL, offsetof(PgqadmIni, use_skylog), "0",
	 "Log to syslog too."},
	{"queue_refresh_period", INI_IGNORED, 0, NULL, NULL},
	{"log_size", INI_IGNORED, 0, NULL, NULL},
	{"log_count", INI_IGNORED, 0, NULL, NULL},
	{NULL, INI_IGNORED, 0, NULL, NULL}};

#endif /* PGQADM_INI_H */
