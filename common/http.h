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

/* What is asked for, as long as the handler runs. */
typedef struct HttpRequest
{
	const char *path;
	const char *host; /* the header of that name, NULL: there was none */
	void *connection; /* http.c's */
} HttpRequest;

/*
 * Makes the body, malloc'd, NULL: there is no such page.  *type is to be set to
 * a constant string; *status is 200 unless it is changed.
 */
typedef char *(*HttpHandler)(const HttpRequest *request, const char **type,
							 int *status, void *arg);

extern Http *http_create(struct event_base *base, const char *listen,
						 const char *pages, HttpHandler handler, void *arg);
extern bool http_is_serving(const Http *http, const char *listen);
extern const char *http_get_param(const HttpRequest *request, const char *name);
extern void http_free(Http *http);

/* http_host.c */
extern bool http_is_known_host(const char *host, char *const *names);

#endif /* PGQ_HTTP_H */
