/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Look a host's name up in a thread of its own.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_LOOKUP_H
#define PGQ_LOOKUP_H

#include <netdb.h>

typedef struct Lookup Lookup;

extern Lookup *lookup_start(const char *name, const char *port);
extern int lookup_get_fd(const Lookup *lookup);
extern int lookup_finish(Lookup *lookup, struct addrinfo **found);
extern void lookup_drop(Lookup *lookup);

#endif /* PGQ_LOOKUP_H */
