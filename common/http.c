/*-------------------------------------------------------------------------
 *
 * http.c
 *		A small HTTP server inside the event loop.
 *
 * libmicrohttpd runs without a thread of its own: it has an epoll descriptor
 * that becomes readable when there is something to do, which our loop watches,
 * and a time by which it wants to be called again.  So handlers run between
 * other events, and may look at everything.
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

#include "common/utf8.h"

#ifdef HAVE_MICROHTTPD

#include <microhttpd.h>

#include "common/memory.h"

/* A monitor or two and a few people; nobody may tie us up. */
#define MOST_CONNECTIONS 32
#define CONNECTION_TIMEOUT 10

struct Http
{
	struct MHD_Daemon *server;
	struct event *ready; /* the library has something to do */
	struct event *timer; /* it wants to be called by then */
	const char *pages;   /* that there are, for people */
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

/*
 * A socket that listens at "address:port", "[address]:port" or "port" (of the
 * loopback interface).  Returns -1 with a malloc'd text in *error otherwise.
 */
static int
open_socket(const char *listen_at, char **error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
							 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	char *host = text_copy(listen_at);
	char *colon = strrchr(host, ':');
	const char *port = colon ? colon + 1 : host;
	const char *name = colon ? host : "127.0.0.1";
	size_t len;
	int rc;
	int fd;
	int on = 1;

	if (colon)
		*colon = '\0';
	len = strlen(name);
	if (len > 1 && name[0] == '[' && name[len - 1] == ']')
	{
		host[len - 1] = '\0';
		name = host + 1;
	}
	rc = getaddrinfo(*name ? name : NULL, port, &hints, &found);
	free(host);
	if (rc != 0)
	{
		*error = text_copy(gai_strerror(rc));
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 ||
		listen(fd, MOST_CONNECTIONS) < 0)
	{
		*error = text_copy(strerror(errno));
		if (fd >= 0)
			evutil_closesocket(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
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
 * Listen at "address:port"; a name for the address is looked up at once, which
 * may take a while.  handler is called with arg for each request; pages, a
 * constant, is said where there is none.  Returns NULL with a malloc'd text in
 * *error if that can't be.
 */
Http *
http_create(struct event_base *base, const char *listen, const char *pages,
			HttpHandler handler, void *arg, char **error)
{
	Http *http;
	const union MHD_DaemonInfo *info;
	int fd = open_socket(listen, error);

	if (fd < 0)
		return NULL;
	http = memory_make(sizeof(Http));
	http->pages = pages;
	http->handler = handler;
	http->arg = arg;
	http->server = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle_request, http,
		MHD_OPTION_EXTERNAL_LOGGER, ignore_message, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int) MOST_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int) CONNECTION_TIMEOUT, MHD_OPTION_END);
	info = http->server
			   ? MHD_get_daemon_info(http->server, MHD_DAEMON_INFO_EPOLL_FD)
			   : NULL;
	if (info == NULL || info->epoll_fd < 0)
	{
		if (http->server)
			MHD_stop_daemon(http->server);
		else
			evutil_closesocket(fd);
		free(http);
		*error = text_copy("libmicrohttpd could not start");
		return NULL;
	}
	http->ready = event_new(base, info->epoll_fd, EV_READ | EV_PERSIST,
							run_server, http);
	http->timer = event_new(base, -1, 0, run_server, http);
	if (http->ready == NULL || http->timer == NULL)
		abort();
	event_add(http->ready, NULL);
	return http;
}

/* Close all, and free.  NULL is allowed. */
void
http_free(Http *http)
{
	if (http == NULL)
		return;
	event_free(http->ready);
	event_free(http->timer);
	MHD_stop_daemon(http->server);
	free(http);
}

#else /* HAVE_MICROHTTPD */

Http *
http_create(struct event_base *base, const char *listen, const char *pages,
			HttpHandler handler, void *arg, char **error)
{
	*error = text_copy("it was built without libmicrohttpd");
	return NULL;
}

const char *
http_get_param(const HttpRequest *request, const char *name)
{
	return NULL;
}

void
http_free(Http *http)
{
}

#endif /* HAVE_MICROHTTPD */
