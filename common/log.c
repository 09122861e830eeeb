/*-------------------------------------------------------------------------
 *
 * log.c
 *		Write messages to stderr, a file and syslog.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/log.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/memory.h"

static const struct
{
	const char *name;
	int priority;
} levels[] = {
	{"DEBUG", LOG_DEBUG}, {"LOG", LOG_INFO},   {"WARNING", LOG_WARNING},
	{"ERROR", LOG_ERR},   {"FATAL", LOG_CRIT},
};

static const struct
{
	const char *name;
	int facility;
} facilities[] = {
	{"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},
	{"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},           {"kern", LOG_KERN},
	{"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2},
	{"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5},
	{"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},     {"lpr", LOG_LPR},
	{"mail", LOG_MAIL},     {"news", LOG_NEWS},         {"syslog", LOG_SYSLOG},
	{"user", LOG_USER},     {"uucp", LOG_UUCP},
};

static LogLevel lowest_level = LEVEL_INFO;
static bool console = true;
static char *file_path;

/* threads write while another opens the file anew */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *file;
static char *syslog_ident; /* openlog() keeps the pointer; NULL: off */

/* Write messages of this level and above only. */
void
log_set_level(LogLevel lowest)
{
	lowest_level = lowest;
}

/* Write to stderr too, or not; it does until told otherwise. */
void
log_set_console(bool on)
{
	console = on;
}

/*
 * Append to the file "path" from now on; NULL: to no file.
 *
 * Returns false, with errno set and the old file kept, if it cannot be opened.
 */
bool
log_set_file(const char *path)
{
	FILE *fp = NULL;
	char *copy = NULL;

	if (path)
	{
		fp = fopen(path, "ae");
		if (fp == NULL)
			return false;
		setvbuf(fp, NULL, _IOLBF, 0);
		copy = text_copy(path);
	}
	pthread_mutex_lock(&lock);
	if (file)
		fclose(file);
	file = fp;
	pthread_mutex_unlock(&lock);
	free(file_path);
	file_path = copy;
	return true;
}

/*
 * Write to syslog too, under "ident" (copied) and the facility of that name;
 * "daemon" is taken for an unknown one.
 */
void
log_set_syslog(bool on, const char *ident, const char *facility)
{
	int number = LOG_DAEMON;

	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++)
		if (facility && strcasecmp(facility, facilities[i].name) == 0)
			number = facilities[i].facility;
	pthread_mutex_lock(&lock);
	if (syslog_ident)
		closelog();
	free(syslog_ident);
	syslog_ident = on ? text_copy(ident ? ident : "pgqd") : NULL;
	if (on)
		openlog(syslog_ident, LOG_PID, number);
	pthread_mutex_unlock(&lock);
}

/* Open the log file anew, after it was rotated. */
void
log_reopen(void)
{
	char *path = file_path ? text_copy(file_path) : NULL;

	if (path && !log_set_file(path))
		log_write(LEVEL_ERROR, "could not reopen log file \"%s\": %s", path,
				  strerror(errno));
	free(path);
}

/* libpq's messages end in newlines and may have several lines: make one. */
static void
join_lines(char *text)
{
	char *to = text;

	for (char *from = text; *from; from++)
	{
		if (*from != '\n')
			*to++ = *from;
		else
		{
			while (isspace((unsigned char) from[1]))
				from++;
			if (from[1])
				*to++ = ' ';
		}
	}
	*to = '\0';
}

static void
write_stamped(FILE *out, LogLevel level, const char *text)
{
	struct timeval now;
	struct tm tm;
	char stamp[32];

	gettimeofday(&now, NULL);
	localtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(out, "%s.%03d %d %s %s\n", stamp, (int) (now.tv_usec / 1000),
			(int) getpid(), levels[level].name, text);
}

/*
 * Write one message, printf-like, without newline at its end.  errno is kept.
 */
void
log_write(LogLevel level, const char *fmt, ...)
{
	int saved = errno;
	va_list args;
	char *text;

	if (level < lowest_level)
		return;
	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	join_lines(text);

	pthread_mutex_lock(&lock);
	if (console)
		write_stamped(stderr, level, text);
	if (file)
		write_stamped(file, level, text);
	if (syslog_ident)
		syslog(levels[level].priority, "%s", text);
	pthread_mutex_unlock(&lock);
	free(text);
	errno = saved;
}
