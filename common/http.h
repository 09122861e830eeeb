/*-------------------------------------------------------------------------
 *
 * http.h
 *		A small HTTP server inside the event loop.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_HTTP_H
#define PGQ_HTTP_H

#include <stdbool.h>

#include <event2/event.h>

typedef struct Http Http;

/*
 * Makes the body for a path, malloc'd, NULL: there is no such page.  host is
 * the header of that name, NULL: there was none.  *type is to be set to a
 * constant string; *status is 200 unless it is changed.
 */
typedef char *(*HttpHandler)(const char *path, const char *host,
							 const char **type, int *status, void *arg);

extern Http *http_create(struct event_base *base, const char *listen,
						 HttpHandler handler, void *arg, char **error);
extern void http_free(Http *http);

/* http_host.c */
extern bool http_is_known_host(const char *host, char *const *names);

#endif /* PGQ_HTTP_H */
