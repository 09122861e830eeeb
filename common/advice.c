/*-------------------------------------------------------------------------
 *
 * advice.c
 *		What to do about messages of libpq and the server that do not say so.
 *
 * Messages are known by their English words: a failed connection has no
 * SQLSTATE.  A server that speaks another language gets no advice.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/advice.h"

#include <fnmatch.h>
#include <stddef.h>

#define POOLER_ADVICE                                                          \
	"Name the server itself (its host and port), not PgBouncer or its like: "  \
	"pgqd needs sessions of its own.  doc/poolers.md tells what can be pooled."

/* The first pattern that fits counts. */
static const struct
{
	const char *pattern;
	const char *advice;
} advices[] = {
	{"*Is the server running*",
	 "Start the server, or name the one that runs by host and port."},
	{"*could not translate host name*",
	 "Look at the host in the connect string, and at DNS."},
	{"*password authentication failed*",
	 "Put the right password as host:port:database:user:password into "
	 "~/.pgpass (mode 0600), or have ALTER ROLE ... PASSWORD set another."},
	{"*no password supplied*",
	 "Put it as host:port:database:user:password into ~/.pgpass (mode 0600)."},
	{"*no pg_hba.conf entry*",
	 "Add a line for this host, role and database to the server's pg_hba.conf, "
	 "and reload the server."},
	{"*database \"*\" does not exist*",
	 "psql -l lists the databases there are, createdb makes one."},
	{"*role \"*\" does not exist*",
	 "Name another role as the user, or let createuser make it."},
	{"*connected to a pooler*", POOLER_ADVICE},
	{"*unsupported startup parameter*", POOLER_ADVICE},
	{"*too many clients*", "Let other sessions end, or raise max_connections."},
	{"*remaining connection slots*",
	 "Let other sessions end, or raise max_connections."},
	{"*must be superuser or replication role*",
	 "As a superuser: ALTER ROLE ... REPLICATION."},
	{"*permission denied to *replication*",
	 "As a superuser: ALTER ROLE ... REPLICATION."},
	{"*permission denied to create extension*",
	 "Let a superuser create it: CREATE EXTENSION pgq."},
	{"*is there, but no extension*",
	 "If PgQ 3 was put there by SQL files, make it the extension: CREATE "
	 "EXTENSION pgq VERSION 'unpackaged', then ALTER EXTENSION pgq UPDATE; "
	 "any other schema can be renamed."},
	{"*is not that of extension*",
	 "Look at what is there; rename the schema, and create the extension anew."},
	{"*who is not trusted*",
	 "Let a superuser own it; or, if all that we may do is that role's to do, "
	 "name it in database_owners (environment: PGQ_DATABASE_OWNERS)."},
	{"*may create objects in schema*",
	 "Look at what is there, and REVOKE CREATE ON SCHEMA."},
	{"*may make triggers on table*",
	 "Look at the triggers of those tables, and REVOKE TRIGGER ON ALL TABLES "
	 "IN SCHEMA."},
	{"*permission denied for *",
	 "GRANT the role pgq_admin (administers, also as pgqd), pgq_writer "
	 "(produces, captures its own tables) or pgq_reader (consumes)."},
	{"*changes are missing from*",
	 "\"pgqadm resync\" goes on with a new slot; \"pgqadm doctor\" tells more."},
	{"*read-only transaction*",
	 "This server is a standby or read-only: name the primary, as in "
	 "\"host=db1,db2 target_session_attrs=read-write\"."},
	{"*during recovery*", "This server is a standby: name the primary, as in "
						  "\"host=db1,db2 target_session_attrs=read-write\"."},
	{"*schema \"pgq\" does not exist*",
	 "Command \"install\" creates the extension pgq."},
	{"*function pgq.* does not exist*",
	 "The database has an older PgQ: ALTER EXTENSION pgq UPDATE."},
	{"*relation \"*\" does not exist*",
	 "Write a table with its schema, and in double quotes if its name has "
	 "capitals."},
	{"*No space left on device*",
	 "Make room on the server's disk: what is committed is safe, and the rest "
	 "is tried again."},
	{"*invalid input syntax for type interval*",
	 "A time is written like '500 milliseconds', '3 seconds', '2 hours'."},
	{"*No such file or directory*",
	 "Look at the path; a relative one begins where the program was started."},
	{"*Permission denied*",
	 "Let the user who runs this program read and write there."},
	{"*Address already in use*", "Choose another port, or stop what uses it."},
	{NULL, NULL}};

/* What to do about this message, a sentence of ours; NULL if unknown. */
const char *
advice_find(const char *message)
{
	for (int i = 0; advices[i].pattern; i++)
		if (fnmatch(advices[i].pattern, message, 0) == 0)
			return advices[i].advice;
	return NULL;
}
