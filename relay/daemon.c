/*-------------------------------------------------------------------------
 *
 * daemon.c
 *		The loop of pgqrelay: signals, counts, HTTP, and its relays.
 *
 * Relays have threads of their own; this one starts them, answers for them and
 * ends them.  SIGHUP reads the ini file again and starts all relays anew; a file
 * that can't be read leaves everything as it is.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/daemon.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/http.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/process.h"
#include "common/service.h"
#include "relay/note.h"
#include "relay/relay.h"
#include "relay/report.h"
#include "relay/target.h"
#include "version.h"

/* Seconds that relays may take to stop; what they leave undone comes again. */
#define STOP_PATIENCE 5.0

typedef struct Daemon
{
	Config *config;
	const char *config_file;
	struct event_base *base;
	struct event *stats;
	Http *http;
	Relay **relays; /* NULL-ended */
	Noter *noter;
} Daemon;

static void
start_relays(Daemon *d)
{
	int n = 0;

	while (d->config->relays[n])
		n++;
	d->relays = memory_make((n + 1) * sizeof(Relay *));
	for (int i = 0; i < n; i++)
		d->relays[i] = relay_start(d->config->relays[i]);
	d->noter = noter_start(d->relays);
}

/*
 * End all relays, until clock_seconds() is "end" at the latest.  Returns false if some
 * have not ended, which go on with what they have of the daemon's.
 */
static bool
end_relays(Daemon *d, double end)
{
	bool ended = true;

	for (int i = 0; d->relays[i]; i++)
		relay_ask_to_stop(d->relays[i]);
	/* it looks at them */
	if (!noter_end(d->noter, end))
		return false;
	for (int i = 0; d->relays[i]; i++)
		ended = relay_end(d->relays[i], end) && ended;
	if (ended)
		free(d->relays);
	d->relays = NULL;
	return ended;
}

/* Answer one HTTP request; see HttpHandler. */
static char *
answer_http(const HttpRequest *request, const char **type, int *status,
			void *arg)
{
	Daemon *d = arg;

	/* a page of a stranger's may have a browser ask us */
	if (request->host &&
		!http_is_known_host(request->host, d->config->http_hosts))
	{
		*status = 421;
		*type = "text/plain; charset=utf-8";
		return text_copy(
			"This is not known as a name of pgqrelay; key http_hosts of "
			"its ini file can list it.\n");
	}

	if (strcmp(request->path, "/health") == 0)
	{
		*type = "text/plain; charset=utf-8";
		return report_health(d->relays, status);
	}
	if (strcmp(request->path, "/metrics") == 0)
	{
		*type = "text/plain; version=0.0.4; charset=utf-8";
		return report_metrics(d->relays);
	}
	return NULL;
}

static void
open_http(Daemon *d)
{
	if (d->config->http_listen)
		d->http = http_create(d->base, d->config->http_listen,
							  "/health and /metrics", answer_http, d);
}

static void
plan_stats(Daemon *d)
{
	struct timeval tv = {.tv_sec = (time_t) d->config->stats_period};

	event_add(d->stats, &tv);
}

/* A line of counts, of all relays together. */
static void
log_stats(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;
	int64_t events = 0;
	int64_t bytes = 0;
	int64_t batches = 0;
	int bad = 0;

	for (int i = 0; d->relays[i]; i++)
	{
		RelayStatus status;

		relay_get_status(d->relays[i], &status);
		events += status.events;
		bytes += status.bytes;
		batches += status.batches;
		bad += status.state != RELAY_RUNNING;
	}
	log_info("{batches: %" PRId64 ", events: %" PRId64 ", bytes: %" PRId64
			 ", not running: %d}",
			 batches, events, bytes, bad);
	plan_stats(d);
}

static void
reload(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;
	Config fresh;
	char *error;

	service_notify_reloading();
	log_reopen();
	if (!config_load(&fresh, d->config_file, target_check_config, &error))
	{
		log_error("%s; going on with the settings of before", error);
		free(error);
	}
	else
	{
		end_relays(d, HUGE_VAL);
		http_free(d->http);
		d->http = NULL;
		config_free(d->config);
		*d->config = fresh;
		open_http(d);
		/* threads begin with the signals held back that their maker holds back */
		process_hold_signals(true);
		start_relays(d);
		process_hold_signals(false);
		plan_stats(d);
		log_info("ini file read again");
	}
	service_notify_ready();
}

static void
stop(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;

	log_info("ending on signal %d", (int) fd);
	event_base_loopbreak(d->base);
}

/*
 * Run until a signal ends it.  Signals are held back at the call and at the
 * return, and in all threads but this one.  config is changed by reloads, which
 * read config_file.  Returns false if threads go on that use it.
 */
bool
daemon_run(Config *config, const char *config_file)
{
	Daemon d = {.config = config, .config_file = config_file};
	struct event *signals[3];
	bool ended;

	log_info("Starting pgqrelay %s", PGQ_VERSION);
	d.base = event_base_new();
	if (d.base == NULL)
		abort();
	signals[0] = evsignal_new(d.base, SIGINT, stop, &d);
	signals[1] = evsignal_new(d.base, SIGTERM, stop, &d);
	signals[2] = evsignal_new(d.base, SIGHUP, reload, &d);
	for (int i = 0; i < 3; i++)
		evsignal_add(signals[i], NULL);
	d.stats = evtimer_new(d.base, log_stats, &d);
	plan_stats(&d);
	open_http(&d);
	start_relays(&d);
	process_hold_signals(false);
	service_notify_ready();

	event_base_dispatch(d.base);

	service_notify_stopping();
	ended = end_relays(&d, clock_seconds() + STOP_PATIENCE);
	if (!ended)
		log_warning("relays that still connect are waited for no longer");
	process_hold_signals(true);
	http_free(d.http);
	event_free(d.stats);
	for (int i = 0; i < 3; i++)
		event_free(signals[i]);
	event_base_free(d.base);
	log_info("pgqrelay has ended");
	return ended;
}
