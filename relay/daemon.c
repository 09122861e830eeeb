/*-------------------------------------------------------------------------
 *
 * daemon.c
 *		The loop of pgqrelay: signals, counts, HTTP, and its relays.
 *
 * Relays have threads of their own; this one starts them, answers for them and
 * ends them.  SIGHUP reads the ini file again and starts all relays anew, each
 * when the one that it takes the place of has ended; a file that can't be read
 * leaves everything as it is.  Nothing here waits for a relay, whose database or
 * engine may be silent.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/daemon.h"

#include <inttypes.h>
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

/* Seconds between looks at whether they have. */
#define STOP_PERIOD 0.05

/* A relay that was asked to stop, by a reload. */
typedef struct Leaver
{
	Relay *relay;
	Noter *noter; /* NULL: it has ended */
	double end;   /* by the clock: then nobody waits for it any more */
	struct Leaver *next;
} Leaver;

typedef struct Daemon
{
	Config *config;
	const char *config_file;
	struct event_base *base;
	struct event *stats;
	struct event *look; /* at those that leave */
	Http *http;
	Relay **relays; /* NULL-ended */
	Noter **noters; /* of each; NULL: it has not begun */
	Leaver *leavers;
} Daemon;

/*
 * Is there one that leaves, and would be in the way of a relay?  Two of one consumer
 * do no harm to each other, but the one that leaves would have the other wait.
 */
static bool
is_in_the_way(const Leaver *leaver, const Relay *relay)
{
	const RelayConfig *old = relay_config(leaver->relay);
	const RelayConfig *new = relay_config(relay);

	return clock_seconds() < leaver->end &&
		   (strcmp(old->consumer, new->consumer) == 0 ||
			strcmp(old->target, new->target) == 0);
}

static bool
has_way(const Daemon *d, const Relay *relay)
{
	for (const Leaver *leaver = d->leavers; leaver; leaver = leaver->next)
		if (is_in_the_way(leaver, relay))
			return false;
	return true;
}

/* Begin those relays that nothing is in the way of. */
static void
begin_relays(Daemon *d)
{
	/* threads begin with the signals held back that their maker holds back */
	process_hold_signals(true);
	for (int i = 0; d->relays[i]; i++)
	{
		if (d->noters[i] || !has_way(d, d->relays[i]))
			continue;
		relay_begin(d->relays[i]);
		d->noters[i] = noter_start(d->relays[i]);
	}
	process_hold_signals(false);
}

static void
make_relays(Daemon *d)
{
	int n = 0;

	while (d->config->relays[n])
		n++;
	d->relays = memory_make((n + 1) * sizeof(Relay *));
	d->noters = memory_make((n + 1) * sizeof(Noter *));
	for (int i = 0; i < n; i++)
		d->relays[i] = relay_create(d->config->relays[i]);
	d->config->relays[0] = NULL;
	begin_relays(d);
}

/* Ask all relays to stop, and wait for none. */
static void
let_relays_leave(Daemon *d)
{
	for (int i = 0; d->relays[i]; i++)
	{
		Leaver *leaver = memory_make(sizeof(Leaver));

		leaver->relay = d->relays[i];
		leaver->noter = d->noters[i];
		leaver->end = clock_seconds() + STOP_PATIENCE;
		leaver->next = d->leavers;
		d->leavers = leaver;
		relay_ask_to_stop(leaver->relay);
		/* it asks, too */
		if (leaver->noter && noter_end(leaver->noter, 0))
			leaver->noter = NULL;
	}
	free(d->relays);
	free(d->noters);
	d->relays = NULL;
	d->noters = NULL;
}

/* Free those that have ended, until the clock is "end" at the latest. */
static void
free_leavers(Daemon *d, double end)
{
	for (Leaver **place = &d->leavers; *place;)
	{
		Leaver *leaver = *place;

		/* it looks at the relay */
		if (leaver->noter && noter_end(leaver->noter, end))
			leaver->noter = NULL;
		if (leaver->noter || !relay_end(leaver->relay, end))
		{
			place = &leaver->next;
			continue;
		}
		*place = leaver->next;
		free(leaver);
	}
}

static void
plan_look(Daemon *d)
{
	struct timeval tv = {.tv_usec = (suseconds_t) (STOP_PERIOD * 1e6)};

	if (d->leavers)
		event_add(d->look, &tv);
}

static void
look_at_leavers(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;

	free_leavers(d, 0);
	begin_relays(d);
	plan_look(d);
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
		let_relays_leave(d);
		http_free(d->http);
		d->http = NULL;
		config_free(d->config);
		*d->config = fresh;
		open_http(d);
		make_relays(d);
		plan_look(d);
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
	d.look = evtimer_new(d.base, look_at_leavers, &d);
	plan_stats(&d);
	open_http(&d);
	make_relays(&d);
	service_notify_ready();

	event_base_dispatch(d.base);

	service_notify_stopping();
	let_relays_leave(&d);
	free_leavers(&d, clock_seconds() + STOP_PATIENCE);
	for (const Leaver *leaver = d.leavers; leaver; leaver = leaver->next)
		log_warning("[%s]: it is waited for no longer: its database or its "
					"engine gives no answer",
					relay_config(leaver->relay)->name);
	process_hold_signals(true);
	http_free(d.http);
	event_free(d.stats);
	event_free(d.look);
	for (int i = 0; i < 3; i++)
		event_free(signals[i]);
	event_base_free(d.base);
	log_info("pgqrelay has ended");
	return d.leavers == NULL;
}
