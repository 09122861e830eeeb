/*-------------------------------------------------------------------------
 *
 * config.h
 *		The [pgqd] section of the ini file.
 *
 * There is one Config for the life of the process; a reload replaces its
 * contents in place, so others may keep a pointer to it but to none of its
 * strings.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_CONFIG_H
#define PGQD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/process.h"

/* A section [source NAME]: a database of another server that feeds queues here. */
typedef struct SourceConfig
{
	char *name;
	char *connstr;
	char *queue_db; /* the database that has the queues */
	char *slot;     /* NULL: the only one that there is */
} SourceConfig;

typedef struct Config
{
	ProcessConfig process;
	char *base_connstr;
	char *initial_database;
	char **database_list; /* lists end with NULL */
	char *database_owners;

	/* all in seconds */
	double check_period;
	double retry_period;
	double maint_period;
	double ticker_period;
	double ticker_min_interval;
	double look_period;
	double stats_period;
	double connection_lifetime;

	char *http_listen; /* address:port, NULL: no HTTP server */

	bool metrics_per_queue; /* a series for each, or the highest of all */
	char **http_hosts;      /* names that it may be asked by */

	bool ingest;
	size_t ingest_max_bytes; /* of one ingest transaction's frames */
	size_t ingest_memory;    /* of frames held, for each database */

	char **confirm_after;

	/* warn when a slot keeps more WAL than so many bytes; 0: never */
	size_t slot_warn_size;

	SourceConfig **sources; /* NULL-ended */
} Config;

extern bool config_load(Config *config, const char *file, char **error);
extern bool config_is_connstr(const char *text);
extern bool config_read_sources(Config *config, const char *file, char **error);
extern void config_free_sources(Config *config);
extern bool config_read_pgqadm(Config *config, const char *file, char **error);
extern void config_free(Config *config);
extern void config_print_sample(void);
extern void config_print_source(void);

#endif /* PGQD_CONFIG_H */
