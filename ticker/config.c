/*-------------------------------------------------------------------------
 *
 * config.c
 *		The [pgqd] section of the ini file: its keys, defaults and checks.
 *		A file that has [pgqadm] instead is read by config_pgqadm.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ini.h"
#include "common/memory.h"

/* The server takes 1 GB in one statement. */
#define MIN_INGEST_BYTES ((size_t) 64 * 1024)
#define MAX_INGEST_BYTES ((size_t) 512 * 1024 * 1024)

#define KEY(name, type, def, help)                                             \
	{                                                                          \
#name, type, offsetof(Config, name), def, help                         \
	}

#define PROCESS(name, type, def, help)                                         \
	{                                                                          \
#name, type, offsetof(Config, process.name), def, help                 \
	}

static const IniKey keys[] = {
	PROCESS(logfile, INI_FILE, NULL,
			"Log file, appended to; opened anew on SIGHUP."),
	PROCESS(pidfile, INI_FILE, NULL,
			"Where to write the process id; -d, -s, -k and -r need it."),
	KEY(base_connstr, INI_STRING, NULL,
		"libpq connect string for all databases, without dbname."),
	KEY(initial_database, INI_STRING, "template1",
		"Database to ask for the names of the others."),
	KEY(database_list, INI_LIST, NULL,
		"Look after these databases only, with commas between; empty: all."),
	KEY(database_owners, INI_STRING, NULL,
		"Roles, beside superusers, that may own the extension pgq, with commas "
		"between."),
	PROCESS(syslog, INI_BOOL, "1", "Log to syslog too."),
	PROCESS(syslog_ident, INI_STRING, "pgqd", "Name of the program in syslog."),
	PROCESS(syslog_facility, INI_STRING, "daemon", "Facility in syslog."),
	KEY(check_period, INI_SECONDS, "60",
		"Seconds between looks for new databases, versions and causes of "
		"problems."),
	KEY(retry_period, INI_SECONDS, "30",
		"Seconds between moves of retry events back into their queues."),
	KEY(maint_period, INI_SECONDS, "120",
		"Seconds between maintenance runs, which rotate event tables."),
	KEY(ticker_period, INI_SECONDS, "1",
		"Seconds between ticker runs over all queues of a database."),
	KEY(ticker_min_interval, INI_SECONDS, "0.002",
		"Seconds before a queue that could not be ticked by commit is looked "
		"at again."),
	KEY(look_period, INI_SECONDS, "0.005",
		"Seconds between looks for events that a consumer waits for, in a "
		"database without a capture slot."),
	KEY(stats_period, INI_SECONDS, "30", "Seconds between lines of counts."),
	KEY(connection_lifetime, INI_SECONDS, "3600",
		"Seconds after which the ticker's connection is made anew."),
	KEY(http_listen, INI_STRING, NULL,
		"Serve /metrics, /health and / there, for example 127.0.0.1:9187;"
		" empty: nowhere."),
	KEY(http_hosts, INI_LIST, NULL,
		"Names in the header Host that HTTP is answered for, with commas"
		" between, besides addresses, this machine's and those without a dot;"
		" *: all."),
	KEY(metrics_per_queue, INI_BOOL, "1",
		"/metrics has a series for each queue, consumer and table; 0: one for"
		" each database, with the highest value."),
	KEY(ingest, INI_BOOL, "1",
		"Write the changes of captured tables from the WAL into queues."),
	KEY(ingest_max_bytes, INI_BYTES, "4MB",
		"Most bytes that one ingest statement takes."),
	KEY(ingest_memory, INI_BYTES, "32MB",
		"Bytes held for each database before reading from the WAL pauses."),
	KEY(confirm_after, INI_LIST, NULL,
		"Keep WAL until these standbys or slots have what was ingested from "
		"it, with commas between; all: every one."),
	KEY(slot_warn_size, INI_BYTES, "10GB",
		"Warn when a slot holds back more WAL than this; 0: never."),
	{NULL, INI_IGNORED, 0, NULL, NULL}};

/* A period of zero would keep the loop spinning. */
static const char *
find_zero_period(const Config *config)
{
	for (const IniKey *key = keys; key->name; key++)
	{
		const char *member = (const char *) config + key->offset;

		if (key->type == INI_SECONDS && *(const double *) member <= 0)
			return key->name;
	}
	return NULL;
}

/* Can it be what all connections begin with? */
static bool
is_base_connstr(const char *text)
{
	/* the name of a database, which pgqd puts its own in place of */
	return (strchr(text, '=') == NULL && strstr(text, "://") == NULL) ||
		   config_is_connstr(text);
}

/*
 * Read the ini file into *config, which must be zeroed or freed.  file NULL:
 * read variables PGQD_... of the environment instead.
 *
 * Returns false, with *config zeroed and a malloc'd message in *error, if the
 * file cannot be read or says something that makes no sense.
 */
bool
config_load(Config *config, const char *file, char **error)
{
	const char *zero;
	bool in_range;
	bool connstr;
	bool read;

	memset(config, 0, sizeof(*config));
	if (file == NULL)
		read = ini_load_environment("PGQD", keys, config, error);
	else if (!ini_has_section(file, "pgqd") && ini_has_section(file, "pgqadm"))
	{
		ini_set_defaults(keys, config);
		read = config_read_pgqadm(config, file, error);
	}
	else
		read = ini_load(file, "pgqd", INI_PLAIN, keys, config, error);
	if (!read)
	{
		config_free(config);
		return false;
	}
	if (!config_read_sources(config, file, error))
	{
		config_free(config);
		return false;
	}
	zero = find_zero_period(config);
	in_range = config->ingest_max_bytes >= MIN_INGEST_BYTES &&
			   config->ingest_max_bytes <= MAX_INGEST_BYTES;
	connstr = config->base_connstr == NULL ||
			  is_base_connstr(config->base_connstr);
	if (zero || !connstr || !in_range ||
		config->ingest_memory < config->ingest_max_bytes)
	{
		const char *key = zero        ? zero
						  : !connstr  ? "base_connstr"
						  : !in_range ? "ingest_max_bytes"
									  : "ingest_memory";
		const char *wanted = zero        ? "more than 0"
							 : !connstr  ? "a libpq connect string"
							 : !in_range ? "64kB to 512MB"
										 : "ingest_max_bytes or more";

		*error = text_format("%s: key \"%s\" must be %s",
							 file ? file : "environment", key, wanted);
		config_free(config);
		return false;
	}
	return true;
}

/* Free what config_load() made, and zero the struct. */
void
config_free(Config *config)
{
	config_free_sources(config);
	ini_free(keys, config);
	memset(config, 0, sizeof(*config));
}

/* Print a sample ini file to stdout. */
void
config_print_sample(void)
{
	/* with it all switches work */
	static const char *const set[] = {"pidfile", "~/pgqd.pid", NULL};

	printf(
		"# Sample configuration of pgqd.  Keys stand with their defaults;\n"
		"# seconds may be fractions, sizes may have units (kB, MB, GB).\n\n");
	ini_print_sample(stdout, "pgqd", keys, set);
	config_print_source();
}
