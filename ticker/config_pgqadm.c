/*-------------------------------------------------------------------------
 *
 * config_pgqadm.c
 *		Section [pgqadm] of an ini file of PgQ 2.x as pgqd's configuration.
 *
 * The old ticker served one database, so pgqd does too with such a file.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/ini.h"
#include "common/memory.h"
#include "common/pgqadm_ini.h"

/* The database that a connect string names, malloc'd; NULL: none. */
static char *
find_dbname(const char *conninfo)
{
	PQconninfoOption *opts = PQconninfoParse(conninfo, NULL);
	char *dbname = NULL;

	for (PQconninfoOption *o = opts; o && o->keyword && !dbname; o++)
		if (strcmp(o->keyword, "dbname") == 0 && o->val && *o->val)
			dbname = text_copy(o->val);
	PQconninfoFree(opts);
	return dbname;
}

/*
 * Put what the section says into *config, which has pgqd's defaults already.
 *
 * Returns false, with a malloc'd message in *error, if the section cannot be
 * read or its db names no database.
 */
bool
config_read_pgqadm(Config *config, const char *file, char **error)
{
	PgqadmIni ini = {0};
	char *dbname;

	if (!ini_load(file, "pgqadm", INI_PYTHON, pgqadm_ini_keys, &ini, error))
	{
		ini_free(pgqadm_ini_keys, &ini);
		return false;
	}
	dbname = ini.db ? find_dbname(ini.db) : NULL;
	if (dbname == NULL)
	{
		*error = text_format(
			"%s: key \"db\" must be a libpq connect string with "
			"dbname",
			file);
		ini_free(pgqadm_ini_keys, &ini);
		return false;
	}

	text_set(&config->base_connstr, ini.db);
	text_set(&config->initial_database, dbname);
	config->database_list = memory_resize(config->database_list,
										  2 * sizeof(char *));
	config->database_list[0] = dbname;
	config->database_list[1] = NULL;
	text_set(&config->database_owners, ini.database_owners);
	text_set(&config->process.logfile, ini.logfile);
	text_set(&config->process.pidfile, ini.pidfile);
	text_set(&config->process.syslog_ident, ini.job_name);
	config->process.syslog = ini.use_skylog;
	config->ticker_period = ini.loop_delay;
	config->maint_period = ini.maint_delay_min > 0 ? ini.maint_delay_min * 60
												   : ini.maint_delay;
	config->stats_period = ini.ticker_log_delay;
	ini_free(pgqadm_ini_keys, &ini);
	return true;
}
