/*-------------------------------------------------------------------------
 *
 * log.h
 *		Messages of pgqd and pgqadm, to stderr, a file and syslog.
 *
 * A line in the file is "date time.ms pid LEVEL message".
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_LOG_H
#define PGQ_LOG_H

#include <stdbool.h>

typedef enum LogLevel
{
	LEVEL_DEBUG,
	LEVEL_INFO, /* printed as LOG */
	LEVEL_WARNING,
	LEVEL_ERROR,
	LEVEL_FATAL
} LogLevel;

extern void log_set_level(LogLevel lowest);
extern void log_set_console(bool on);
extern bool log_set_file(const char *path);
extern void log_set_syslog(bool on, const char *ident, const char *facility);
extern void log_reopen(void);
extern void log_write(LogLevel level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LEVEL_ERROR, __VA_ARGS__)
#define log_fatal(...) log_write(LEVEL_FATAL, __VA_ARGS__)

#endif /* PGQ_LOG_H */
