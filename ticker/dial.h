/*-------------------------------------------------------------------------
 *
 * dial.h
 *		Connect to a server in a thread of its own.
 *
 * libpq connects without blocking but for what it asks others: a name server
 * for addresses, a directory for services, Kerberos.  One that is silent would
 * stop the event loop, so each attempt to connect is a thread, which ends with
 * it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_DIAL_H
#define PGQD_DIAL_H

#include <stdbool.h>

#include <libpq-fe.h>

typedef struct Dial Dial;

extern Dial *dial_start(const char *base, const char *dbname, const char *job,
						bool replication);
extern int dial_get_fd(const Dial *dial);
extern char *dial_find_wait(const Dial *dial);
extern PGconn *dial_finish(Dial *dial, char **error);
extern void dial_drop(Dial *dial);

#endif /* PGQD_DIAL_H */
