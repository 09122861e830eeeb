/*-------------------------------------------------------------------------
 *
 * http.c
 *		A small HTTP server inside the event loop.
 *
 * libmicrohttpd runs without a thread of its own: it has an epoll descriptor
 * that becomes readable when there is something to do, which our loop watches,
 * and a time by which it wants to be called again.  So handlers run between
 * other events, and may look at everything.  What it is to listen at may be a
 * name, which a thread looks up.  While it can't listen it tries again.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/advice.h"
#include "common/log.h"
#include "common/lookup.h"
#include "common/memory.h"
#include "common/utf8.h"

#ifdef HAVE_MICROHTTPD

#include <microhttpd.h>

/* A monitor or two and a few people; nobody may tie us up. */
#define MOST_CONNECTIONS 32
#define CONNECTION_TIMEOUT 10

/* Seconds until it tries again to listen. */
#define RETRY_PERIOD 5

struct Http
{
	struct event_base *base;
	char *at; /* where to listen, as it was asked for */
	struct event *retry;
	bool told; /* that it can't listen */

	Lookup *lookup; /* NULL: none under way */
	struct event *found;

	struct MHD_Daemon *server; /* NULL: it does not listen yet */
	struct event *ready;       /* the library has something to do */
	struct event *timer;       /* it wants to be called by then */
	const char *pages;         /* that there are, for people */
	HttpHandler handler;
	void *arg;
};

/*
 * Names come as their databases have them: a byte that is no UTF-8 would spoil
 * the whole answer for a strict reader.
 */
static void
replace_bad_bytes(char *text)
{
	for (char *p = text; *p;)
	{
		int len = utf8_length((unsigned char *) p);

		if (len == 0)
			*p = '?';
		p += len > 0 ? len : 1;
	}
}

static enum MHD_Result
send_text(struct MHD_Connection *connection, int status, const char *type,
		  char *text)
{
	enum MHD_Result result;
	struct MHD_Response *response;

	response = MHD_create_response_from_buffer(strlen(text), text,
											   MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
	{
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Content-Security-Policy",
							"default-src 'none'; style-src 'unsafe-inline'");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, "Allow", "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
handle_request(void *arg, struct MHD_Connection *connection, const char *url,
			   const char *method, const char *version, const char *upload,
			   size_t *upload_size, void **request)
{
	static int begun;
	Http *http = arg;
	const char *type = "text/plain; charset=utf-8";
	int status = 200;
	HttpRequest wanted = {.path = url, .connection = connection};
	char *text;

	/* the library asks to see the headers first */
	if (*request == NULL)
	{
		*request = &begun;
		return MHD_YES;
	}
	if (*upload_size > 0)
	{
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, type,
						 text_copy("There is GET and HEAD only.\n"));
	wanted.host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
											  MHD_HTTP_HEADER_HOST);
	text = http->handler(&wanted, &type, &status, http->arg);
	if (text == NULL)
		return send_text(connection, 404, type,
						 text_format("There is %s.\n", http->pages));
	replace_bad_bytes(text);
	return send_text(connection, status, type, text);
}

/* Let the library do what it can, and note when it wants to go on. */
static void
run_server(evutil_socket_t fd, short what, void *arg)
{
	Http *http = arg;
	MHD_UNSIGNED_LONG_LONG msec;

	MHD_run(http->server);
	if (MHD_get_timeout(http->server, &msec) == MHD_YES)
	{
		struct timeval tv = {.tv_sec = (time_t) (msec / 1000),
							 .tv_usec = (suseconds_t) (msec % 1000 * 1000)};

		event_add(http->timer, &tv);
	}
	else
		event_del(http->timer);
}

static void
ignore_message(void *arg, const char *fmt, va_list args)
{
}

/* It can't listen now: say so once, and try again. */
static void
fail(Http *http, const char *error)
{
	struct timeval tv = {.tv_sec = RETRY_PERIOD};
	const char *advice = advice_find(error);

	if (!http->told)
		log_error("could not serve http_listen = %s: %s; the rest goes on "
				  "without it - %s",
				  http->at, error,
				  advice ? advice : "Write it like 127.0.0.1:9187.");
	http->told = true;
	event_add(http->retry, &tv);
}

/* A socket that listens there, -1 with errno otherwise. */
static int
open_socket(const struct addrinfo *there)
{
	int on = 1;
	int fd = socket(there->ai_family,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, there->ai_addr, there->ai_addrlen) == 0 &&
		listen(fd, MOST_CONNECTIONS) == 0)
		return fd;
	on = errno;
	evutil_closesocket(fd);
	errno = on;
	return -1;
}

/* Serve on this socket, which is the library's from then on. */
static bool
start_server(Http *http, int fd)
{
	const union MHD_DaemonInfo *info;

	http->server = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle_request, http,
		MHD_OPTION_EXTERNAL_LOGGER, ignore_message, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int) MOST_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int) CONNECTION_TIMEOUT, MHD_OPTION_END);
	if (http->server == NULL)
	{
		evutil_closesocket(fd);
		return false;
	}
	info = MHD_get_daemon_info(http->server, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL || info->epoll_fd < 0)
	{
		MHD_stop_daemon(http->server);
		http->server = NULL;
		return false;
	}
	http->ready = event_new(http->base, info->epoll_fd, EV_READ | EV_PERSIST,
							run_server, http);
	http->timer = event_new(http->base, -1, 0, run_server, http);
	if (http->ready == NULL || http->timer == NULL)
		abort();
	event_add(http->ready, NULL);
	return true;
}

/* Listen at what getaddrinfo() returned and found, which is freed. */
static void
listen_there(Http *http, int rc, struct addrinfo *there)
{
	int fd;

	if (rc != 0)
	{
		fail(http, gai_strerror(rc));
		return;
	}
	fd = open_socket(there);
	freeaddrinfo(there);
	if (fd < 0)
		fail(http, strerror(errno));
	else if (!start_server(http, fd))
		fail(http, "libmicrohttpd could not start");
	else
		log_info("serves http://%s%s/",
				 strchr(http->at, ':') ? "" : "127.0.0.1:", http->at);
}

/* Forget the look up that is under way, if there is one. */
static Lookup *
take_lookup(Http *http)
{
	Lookup *lookup = http->lookup;

	if (http->found)
		event_free(http->found);
	http->found = NULL;
	http->lookup = NULL;
	return lookup;
}

static void
handle_found(evutil_socket_t fd, short what, void *arg)
{
	Http *http = arg;
	struct addrinfo *there;
	int rc = lookup_finish(take_lookup(http), &there);

	listen_there(http, rc, there);
}

/* What is no address is a name, which may take its time. */
static void
look_up(Http *http, const char *name, const char *port)
{
	http->lookup = lookup_start(name, port);
	if (http->lookup == NULL)
	{
		fail(http, strerror(errno));
		return;
	}
	http->found = event_new(http->base, lookup_get_fd(http->lookup), EV_READ,
							handle_found, http);
	if (http->found == NULL || event_add(http->found, NULL) < 0)
		abort();
}

/* Try to listen at "address:port", "[address]:port", or "port" of loopback. */
static void
try_to_listen(evutil_socket_t fd, short what, void *arg)
{
	Http *http = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
							 .ai_flags = AI_PASSIVE | AI_NUMERICSERV |
										 AI_NUMERICHOST};
	struct addrinfo *there = NULL;
	char *host = text_copy(http->at);
	char *colon = strrchr(host, ':');
	const char *port = colon ? colon + 1 : host;
	const char *name = colon ? host : "127.0.0.1";
	size_t len;
	int rc;

	if (colon)
		*colon = '\0';
	len = strlen(name);
	if (len > 1 && name[0] == '[' && name[len - 1] == ']')
	{
		host[len - 1] = '\0';
		name = host + 1;
	}
	rc = getaddrinfo(*name ? name : NULL, port, &hints, &there);
	if (rc == EAI_NONAME && *name)
		look_up(http, name, port);
	else
		listen_there(http, rc, there);
	free(host);
}

/*
 * A parameter of the request's address, NULL: it has none of that name.  It is
 * whatever the client wrote, and the library's.
 */
const char *
http_get_param(const HttpRequest *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection,
									   MHD_GET_ARGUMENT_KIND, name);
}

/*
 * Listen at "address:port", which is copied; the log tells whether it can, and
 * it tries again while it can't.  handler is called with arg for each request;
 * pages, a constant, is said where there is none.
 */
Http *
http_create(struct event_base *base, const char *listen, const char *pages,
			HttpHandler handler, void *arg)
{
	Http *http = memory_make(sizeof(Http));

	http->base = base;
	http->at = text_copy(listen);
	http->pages = pages;
	http->handler = handler;
	http->arg = arg;
	http->retry = event_new(base, -1, 0, try_to_listen, http);
	if (http->retry == NULL)
		abort();
	try_to_listen(-1, 0, http);
	return http;
}

/* Does it listen, at this very place? */
bool
http_is_serving(const Http *http, const char *listen)
{
	return http && http->server && strcmp(http->at, listen) == 0;
}

/* Close all, and free.  NULL is allowed. */
void
http_free(Http *http)
{
	Lookup *lookup;

	if (http == NULL)
		return;
	lookup = take_lookup(http);
	if (lookup)
		lookup_drop(lookup);
	event_free(http->retry);
	if (http->server)
	{
		event_free(http->ready);
		event_free(http->timer);
		MHD_stop_daemon(http->server);
	}
	free(http->at);
	free(http);
}

#else /* HAVE_MICROHTTPD */

Http *
http_create(struct event_base *base, const char *listen, const char *pages,
			HttpHandler handler, void *arg)
{
	log_error("could not serve http_listen = %s: it was built without "
			  "libmicrohttpd; the rest goes on without it",
			  listen);
	return NULL;
}

const char *
http_get_param(const HttpRequest *request, const char *name)
{
	return NULL;
}

bool
http_is_serving(const Http *http, const char *listen)
{
	return false;
}

void
http_free(Http *http)
{
}

#endif /* HAVE_MICROHTTPD */
