/*-------------------------------------------------------------------------
 *
 * target.c
 *		What targets share: their making, their failures, their password.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

/* Zeroed memory for a target that begins with a Target. */
void *
target_make(size_t size, const RelayConfig *config)
{
	Target *target = memory_make(size);

	target->config = config;
	return target;
}

/* Note what went wrong; returns "result". */
TargetResult
target_fail(void *target, TargetResult result, const char *fmt, ...)
{
	Target *t = target;
	va_list args;

	va_start(args, fmt);
	vsnprintf(t->error, sizeof(t->error), fmt, args);
	va_end(args);
	t->result = result;
	return result;
}

/*
 * The password, of the ini file or the first line of the file that it names.
 * Malloc'd; NULL: there is none.
 */
char *
target_password(const RelayConfig *config)
{
	FILE *fp;
	char *line = NULL;
	size_t size = 0;

	if (config->password || config->password_file == NULL)
		return text_copy(config->password);
	fp = fopen(config->password_file, "r");
	if (fp == NULL)
		return NULL;
	if (getline(&line, &size, fp) >= 0)
		line[strcspn(line, "\r\n")] = '\0';
	else
	{
		free(line);
		line = NULL;
	}
	fclose(fp);
	return line;
}
