/*-------------------------------------------------------------------------
 *
 * targets.c
 *		The list of targets, and what they share.
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

static const struct
{
	const char *scheme;
	const TargetClass *class; /* NULL: its library was missing at build time */
	const char *missing;
} targets[] = {
	{"file:", &target_file, NULL},
#ifdef HAVE_NATS
	{"nats:", &target_nats, NULL},
	{"tls:", &target_nats, NULL},
#else
	{"nats:", NULL, "libnats"},
#endif
};

#define NTARGETS (sizeof(targets) / sizeof(targets[0]))

/* The class that an address is for, NULL: there is none. */
const TargetClass *
target_find(const char *address)
{
	/* "-" is stdout */
	if (strcmp(address, "-") == 0)
		return &target_file;
	for (size_t i = 0; i < NTARGETS; i++)
		if (strncmp(address, targets[i].scheme, strlen(targets[i].scheme)) == 0)
			return targets[i].class;
	return NULL;
}

/* Does a key of the ini file mean something to this target? */
bool
target_knows_key(const TargetClass *class, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = class->keys; (p = strstr(p, key)) != NULL; p += len)
		if ((p == class->keys || p[-1] == ' ') &&
			(p[len] == ' ' || p[len] == '\0'))
			return true;
	return false;
}

/* Print what targets there are, with their libraries, and which are missing. */
void
target_print_all(void)
{
	for (size_t i = 0; i < NTARGETS; i++)
	{
		const TargetClass *class = targets[i].class;

		if (class == NULL)
			printf("  %-13s not built in: %s was missing\n", targets[i].scheme,
				   targets[i].missing);
		else
			printf("  %-13s %s%s%s%s\n", targets[i].scheme, class->promise,
				   class->library ? " (" : "",
				   class->library ? class->library() : "",
				   class->library ? ")" : "");
	}
}

/* Zeroed memory for a target that begins with a Target; NULL: none is left. */
void *
target_make(size_t size, const RelayConfig *config)
{
	Target *target = calloc(1, size);

	if (target)
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
		return config->password ? strdup(config->password) : NULL;
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
