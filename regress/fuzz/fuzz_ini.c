/*-------------------------------------------------------------------------
 *
 * fuzz_ini.c
 *		Fuzz the ini files of pgqd and pgqadm: common/ini.c, config.c and
 *		config_pgqadm.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ticker/config.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What pgqd does with the values. */
static void
use(const Config *config)
{
	const double periods[] = {
		config->check_period,       config->retry_period,
		config->maint_period,       config->ticker_period,
		config->stats_period,       config->connection_lifetime,
		config->ticker_min_interval};

	/* a timer takes some 30 years */
	for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++)
		if (!(periods[i] > 0 && periods[i] <= 1e9))
			abort();
	if (config->ingest_memory < config->ingest_max_bytes)
		abort();
	for (char **name = config->database_list; *name; name++)
		if (**name == '\0')
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Config config;
	char *error = NULL;
	char file[64];
	int fd = memfd_create("ini", 0);

	if (fd < 0 || write(fd, data, size) != (ssize_t) size)
		abort();
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	if (config_load(&config, file, &error))
	{
		use(&config);
		config_free(&config);
	}
	else if (error == NULL || *error == '\0')
		abort();
	free(error);
	close(fd);
	return 0;
}
