/*-------------------------------------------------------------------------
 *
 * setup.c
 *		pgqadm: the connect string, install, and pgqd as our ticker.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "admin/admin.h"
#include "common/memory.h"
#include "common/wal_level.h"

/* ---- the connect string ---- */

/* Appends  key='value'  with the quoting that libpq wants. */
static void
add_pair(PQExpBuffer out, const char *key, const char *value)
{
	appendPQExpBuffer(out, "%s='", key);
	for (; *value; value++)
	{
		if (*value == '\'' || *value == '\\')
			appendPQExpBufferChar(out, '\\');
		appendPQExpBufferChar(out, *value);
	}
	appendPQExpBufferStr(out, "' ");
}

static bool
is_conninfo(const char *db)
{
	return strchr(db, '=') != NULL || strncmp(db, "postgresql://", 13) == 0 ||
		   strncmp(db, "postgres://", 11) == 0;
}

/*
 * Makes one connect string of a database (name, connect string or URI) and
 * what the command line says beside it, which wins.  Each may be NULL.  The
 * result is malloc'd.
 */
char *
admin_make_conninfo(const char *db, const char *host, const char *port,
					const char *user)
{
	PQExpBuffer out = text_begin();

	if (db != NULL && is_conninfo(db))
	{
		char *error = NULL;
		PQconninfoOption *opts = PQconninfoParse(db, &error);

		/* libpq's message may quote the string, and a password with it. */
		if (opts == NULL)
			admin_fail("Write it as libpq knows it: \"dbname=shop "
					   "host=127.0.0.1\" or a postgresql:// URI.",
					   "the connect string cannot be read");
		for (PQconninfoOption *o = opts; o->keyword; o++)
			if (o->val != NULL)
				add_pair(out, o->keyword, o->val);
		PQconninfoFree(opts);
	}
	else if (db != NULL)
		add_pair(out, "dbname", db);
	if (host != NULL)
		add_pair(out, "host", host);
	if (port != NULL)
		add_pair(out, "port", port);
	if (user != NULL)
		add_pair(out, "user", user);
	return text_end(out);
}

/* ---- install ---- */

/* Says what the server still lacks for captured tables. */
static void
explain_capture_needs(Admin *a)
{
	PGresult *res;

	res = admin_query(a, NULL,
					  "select " WAL_LEVEL_SUFFICES ", "
					  "pg_catalog.current_setting('wal_level'), "
					  "pg_catalog.current_setting('output_plugin_libraries', "
					  "true), 'pgq' = any (pg_catalog.regexp_split_to_array("
					  "pg_catalog.current_setting('output_plugin_libraries', "
					  "true), '[\\s,\"]+'))",
					  0, NULL);
	if (strcmp(PQgetvalue(res, 0, 0), "t") != 0)
		admin_say(a,
				  "To capture tables, set wal_level (now %s) and restart "
				  "the server:\n  ALTER SYSTEM SET wal_level = logical;",
				  PQgetvalue(res, 0, 1));
	if (!PQgetisnull(res, 0, 2) && PQgetvalue(res, 0, 3)[0] == 'f')
		admin_say(a,
				  "To capture tables, allow the output plugin and reload "
				  "the server:\n  ALTER SYSTEM SET output_plugin_libraries = "
				  "%s%spgq;",
				  PQgetvalue(res, 0, 2), PQgetvalue(res, 0, 2)[0] ? ", " : "");
	PQclear(res);
}

/* install */
void
admin_install(Admin *a, int argc, char **argv)
{
	PGresult *res;
	const char *distrust;

	/* there may be no PgQ yet */
	a->looks_itself = true;
	res = admin_query(a, NULL,
					  "select x.extversion, a.default_version, "
					  "pg_catalog.to_regnamespace('pgq') "
					  "from (values (1)) one(n) left join "
					  "pg_catalog.pg_extension x on x.extname = 'pgq' "
					  "left join pg_catalog.pg_available_extensions a "
					  "on a.name = 'pgq'",
					  0, NULL);
	if (!PQgetisnull(res, 0, 0))
	{
		const char *have = PQgetvalue(res, 0, 0);
		const char *newest = PQgetvalue(res, 0, 1);

		admin_say(a, "pgq %s is installed", have);
		if (newest[0] && strcmp(have, newest) != 0)
			admin_say(a,
					  "The server has pgq %s. To move to it:\n"
					  "  ALTER EXTENSION pgq UPDATE;",
					  newest);
	}
	else
	{
		if (!PQgetisnull(res, 0, 2))
			admin_fail("CREATE EXTENSION makes this schema. Rename the one "
					   "that is there, or drop it if it is not in use.",
					   "schema \"pgq\" exists, but no extension pgq");
		PQclear(admin_query(a,
							"The server's machine needs the package of "
							"this extension.",
							"create extension pgq", 0, NULL));
		admin_say(a, "pgq %s is installed", PQgetvalue(res, 0, 1));
	}
	PQclear(res);
	explain_capture_needs(a);
	distrust = admin_find_distrust(a, &res);
	if (distrust)
		admin_warn("pgqd leaves it alone: %s", distrust);
	PQclear(res);
	if (a->json)
	{
		res = admin_query(a, NULL,
						  "select x.extversion from pg_catalog.pg_extension x "
						  "where x.extname operator(pg_catalog.=) 'pgq'",
						  0, NULL);
		admin_print_object("version", PQgetvalue(res, 0, 0), (char *) NULL);
		PQclear(res);
	}
}

/* ---- ticker ---- */

/*
 * The program of that name that lies beside this one, else the one in PATH.
 * Good until the next call.
 */
const char *
admin_find_program(const char *name)
{
	static char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path,
						   sizeof(path) - strlen(name) - 1);
	char *slash;

	if (len > 0)
	{
		path[len] = '\0';
		slash = strrchr(path, '/');
		stpcpy(slash + 1, name);
		if (access(path, X_OK) == 0)
			return path;
	}
	return name;
}

static void
run_pgqd(const Admin *a, const char *option, const char *config)
{
	char *args[8];
	int n = 0;

	args[n++] = "pgqd";
	if (a->quiet)
		args[n++] = "-q";
	if (a->verbose)
		args[n++] = "-v";
	if (a->daemon)
		args[n++] = "-d";
	if (option)
		args[n++] = (char *) option;
	args[n++] = (char *) config;
	args[n] = NULL;
	execvp(admin_find_program("pgqd"), args);
	admin_fail("It belongs beside pgqadm or in the PATH.",
			   "could not run pgqd: %s", strerror(errno));
}

/* Becomes pgqd with our ini file and one option more, or NULL. */
void
admin_exec_pgqd(const Admin *a, const char *option)
{
	run_pgqd(a, option, a->config);
	abort();
}

/*
 * Writes an ini file for the one database we are connected to.  It lives in
 * memory; the daemon can read it again under the same name as long as it runs.
 * A password goes by the environment: what it holds may mean something else in
 * an ini file.
 */
static const char *
make_config(Admin *a)
{
	static char name[64];
	int fd = memfd_create("pgqd.ini", 0);
	PQExpBuffer out = text_begin();
	PQconninfoOption *opts = PQconninfo(a->conn);

	appendPQExpBufferStr(out, "[pgqd]\nbase_connstr = ");
	if (PQpass(a->conn)[0] && setenv("PGPASSWORD", PQpass(a->conn), 1) < 0)
		admin_fail(NULL, "out of memory");
	for (PQconninfoOption *o = opts; o && o->keyword; o++)
		if (o->val != NULL && o->val[0] != '\0' &&
			strcmp(o->keyword, "dbname") != 0 &&
			strcmp(o->keyword, "password") != 0 &&
			strcmp(o->keyword, "client_encoding") != 0 &&
			strcmp(o->keyword, "fallback_application_name") != 0 &&
			strcmp(o->keyword, "replication") != 0)
			add_pair(out, o->keyword, o->val);
	appendPQExpBuffer(
		out, "\ndatabase_list = %s\ninitial_database = %s\nsyslog = 0\n",
		PQdb(a->conn), PQdb(a->conn));
	if (fd < 0 || write(fd, out->data, out->len) != (ssize_t) out->len)
		admin_fail(NULL, "could not make an ini file: %s", strerror(errno));
	PQconninfoFree(opts);
	free(text_end(out));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return name;
}

/* ticker */
void
admin_ticker(Admin *a, int argc, char **argv)
{
	const char *config;

	if (a->config != NULL)
		admin_exec_pgqd(a, NULL);
	if (a->daemon)
		admin_fail("Write an ini file with a pidfile; \"pgqadm --ini\" prints "
				   "a sample.",
				   "need config file to run in the background");
	admin_connect(a);
	config = make_config(a);
	PQfinish(a->conn);
	run_pgqd(a, NULL, config);
}
