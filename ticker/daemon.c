/*-------------------------------------------------------------------------
 *
 * daemon.c
 *		The main loop of pgqd.
 *
 *		read config, open log and pidfile		(main.c)
 *		loop:									(libevent)
 *			every check_period, unless database_list says it:
 *				ask the server for its databases
 *				begin with new ones, stop with those that are gone
 *			for each database:					(database.c)
 *				every ticker_period: tick all queues		(tick.c)
 *				every maint_period: maintenance				(maint.c)
 *				every retry_period: retry events			(maint.c)
 *				frames come from the slot: gather them		(stream.c, gather.c)
 *					nothing is being written: write a group	(ingest.c)
 *					a group is committed: tick its queues	(tick.c)
 *				a table is to be copied: copy it			(copy.c)
 *				every check_period: is pgq still there, is the problem gone?
 *			every stats_period: log what was done
 *				with http_listen: sample the queues' state		(sample.c)
 *			an HTTP request: answer from what is known		(http.c, report.h)
 *			SIGHUP: read config again, open the log file anew
 *			SIGINT: begin nothing new, leave when what is under way is done
 *			SIGTERM: leave
 *
 * Nothing in the loop waits for anything.  Leaving loses nothing at any point:
 * what is not committed is in the WAL still.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "ticker/conn.h"
#include "ticker/database.h"
#include "common/http.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/process.h"
#include "ticker/report.h"
#include "common/service.h"
#include "ticker/stats.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"
#include "version.h"

/* Seconds that SIGINT gives to what is under way. */
#define STOP_PATIENCE 5.0

/* Seconds that the list of databases may take, and until it is tried again. */
#define LIST_PATIENCE 10.0
#define LIST_RETRY 5.0

static const char discover_sql[] =
	"select datname from pg_database where not datistemplate and datallowconn";

typedef struct Daemon
{
	Config *config;
	const char *config_file;
	struct event_base *base;
	Stats gone;   /* of databases that are no more */
	Stats logged; /* of all, at the last line of counts */
	Http *http;   /* NULL: none */

	Conn *conn;           /* to ask for databases */
	double listing_since; /* 0: it is not asked just now */
	struct event *check;
	struct event *count; /* time for a line of counts */
	Trouble trouble;

	Database **databases;
	int ndatabases;

	bool stopping;
	double stop_at; /* patience ends */
} Daemon;

static void
add_database(Daemon *d, const char *name)
{
	for (int i = 0; i < d->ndatabases; i++)
		if (strcmp(database_get_name(d->databases[i]), name) == 0)
			return;
	d->databases = memory_resize(d->databases,
								 (d->ndatabases + 1) * sizeof(Database *));
	log_debug("[%s]: begins", name);
	d->databases[d->ndatabases++] = database_create(d->base, d->config, name);
}

/* sum += stats, counter by counter */
static void
add_stats(Stats *sum, const Stats *stats)
{
	sum->ticks += stats->ticks;
	sum->maint += stats->maint;
	sum->retry += stats->retry;
	sum->groups += stats->groups;
	sum->events += stats->events;
	sum->bytes += stats->bytes;
	sum->discarded += stats->discarded;
	sum->copied += stats->copied;
}

/* Stop with the databases that are not among "names". */
static void
drop_databases(Daemon *d, char *const *names, int nnames)
{
	int kept = 0;

	for (int i = 0; i < d->ndatabases; i++)
	{
		Database *db = d->databases[i];
		bool wanted = false;

		for (int j = 0; j < nnames && !wanted; j++)
			wanted = strcmp(database_get_name(db), names[j]) == 0;
		if (wanted)
			d->databases[kept++] = db;
		else
		{
			log_info("[%s]: is gone or no longer wanted",
					 database_get_name(db));
			add_stats(&d->gone, database_get_stats(db));
			database_free(db);
		}
	}
	d->ndatabases = kept;
}

/* From now on look after these databases, and no others. */
static void
set_databases(Daemon *d, char *const *names, int nnames)
{
	drop_databases(d, names, nnames);
	for (int i = 0; i < nnames; i++)
		add_database(d, names[i]);
}

/* Look for databases after so many seconds, sooner if check_period is. */
static void
check_again(Daemon *d, double seconds)
{
	timer_set(d->check, seconds < d->config->check_period
							? seconds
							: d->config->check_period);
}

static void
take_databases(Conn *conn, const PGresult *res, void *arg)
{
	Daemon *d = arg;
	int n = PQntuples(res);
	char **names;

	d->listing_since = 0;
	if (conn_failed(res))
	{
		trouble_report(&d->trouble, d->config->initial_database,
					   "could not read the list of databases: %s",
					   PQresultErrorMessage(res));
		conn_close(conn);
		check_again(d, LIST_RETRY);
		return;
	}
	timer_set(d->check, d->config->check_period);
	trouble_clear(&d->trouble, d->config->initial_database,
				  "connection works again");
	names = memory_make((n + 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		names[i] = PQgetvalue(res, i, 0);
	set_databases(d, names, n);
	free(names);
	conn_close(conn);
}

static void
became_ready(Conn *conn, void *arg)
{
	conn_send(conn, discover_sql, 0, NULL, take_databases, arg);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	Daemon *d = arg;
	double pause = conn_back_off(conn);

	d->listing_since = 0;
	trouble_report(&d->trouble, d->config->initial_database, "connection: %s",
				   why);
	check_again(d, pause < LIST_RETRY ? pause : LIST_RETRY);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static Conn *
create_check(Daemon *d)
{
	return conn_create(d->base, d->config, d->config->initial_database, "check",
					   false, &hooks, d);
}

/* Which databases are there? */
static void
handle_check(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;
	int n = 0;

	if (d->config->database_list[0])
	{
		while (d->config->database_list[n])
			n++;
		set_databases(d, d->config->database_list, n);
		trouble_clear(&d->trouble, d->config->initial_database, NULL);
		return;
	}
	d->listing_since = clock_seconds();
	conn_open(d->conn);
}

static void
handle_stats(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;
	Stats total = d->gone;
	const Stats *last = &d->logged;
	uint64_t events;
	int ingesting = 0;
	char line[200];

	for (int i = 0; i < d->ndatabases; i++)
		add_stats(&total, database_get_stats(d->databases[i]));
	events = total.events - last->events;

	snprintf(line, sizeof(line),
			 "{ticks: %" PRIu64 ", maint: %" PRIu64 ", retry: %" PRIu64
			 ", groups: %" PRIu64 ", events: %" PRIu64 ", bytes: %" PRIu64
			 ", discarded: %" PRIu64 "}",
			 total.ticks - last->ticks, total.maint - last->maint,
			 total.retry - last->retry, total.groups - last->groups, events,
			 total.bytes - last->bytes, total.discarded - last->discarded);
	log_info("%s", line);
	d->logged = total;

	for (int i = 0; i < d->ndatabases; i++)
	{
		const char *state = database_get_state(d->databases[i]);

		log_debug("[%s]: %s", database_get_name(d->databases[i]), state);
		if (strcmp(state, "ingest runs") == 0)
			ingesting++;
	}
	snprintf(line, sizeof(line),
			 "%d databases, %d with ingest, %" PRIu64 " events in %g s",
			 d->ndatabases, ingesting, events, d->config->stats_period);
	service_notify_status(line);
}

static void
handle_watchdog(evutil_socket_t fd, short what, void *arg)
{
	service_notify_alive();
}

/* Why databases can not be listed, malloc'd; NULL: they can. */
static char *
find_list_fault(const Daemon *d)
{
	char *wait = conn_find_wait(d->conn);

	if (wait)
		return wait;
	if (d->trouble.text)
		return text_copy(d->trouble.text);
	if (d->listing_since > 0 &&
		clock_seconds() - d->listing_since > LIST_PATIENCE)
		return text_copy("the server does not answer");
	return NULL;
}

/* Answer one HTTP request; see HttpHandler. */
static char *
answer_http(const HttpRequest *request, const char **type, int *status,
			void *arg)
{
	Daemon *d = arg;
	char *list_fault = find_list_fault(d);
	const Report report = {d->config, d->databases, d->ndatabases, list_fault};
	char *body = NULL;

	*type = "text/plain; charset=utf-8";
	if (request->host &&
		!http_is_known_host(request->host, d->config->http_hosts))
	{
		*status = 421;
		body = text_copy(
			"This is not known as a name of pgqd; key http_hosts of "
			"its ini file can list it.\n");
	}
	else if (strcmp(request->path, "/metrics") == 0)
	{
		*type = "text/plain; version=0.0.4; charset=utf-8";
		body = report_metrics(&report);
	}
	else if (strcmp(request->path, "/health") == 0)
		body = report_health(&report, status);
	else if (strcmp(request->path, "/ready") == 0)
		body = report_readiness(&report, status);
	else if (strcmp(request->path, "/live") == 0)
		body = text_copy("ok\n");
	else if (strcmp(request->path, "/") == 0)
	{
		*type = "text/html; charset=utf-8";
		body = report_page(&report, http_get_param(request, "filter"),
						   http_get_param(request, "all") != NULL);
	}
	free(list_fault);
	return body;
}

/* The HTTP server as the configuration has it; without it all else goes on. */
static void
open_http(Daemon *d)
{
	const char *listen = d->config->http_listen;

	if (listen && http_is_serving(d->http, listen))
		return;
	http_free(d->http);
	d->http = NULL;
	if (listen)
		d->http = http_create(d->base, listen,
							  "/, /health, /ready, /live and /metrics",
							  answer_http, d);
}

/* Read the file again; keep what we have if it is wrong. */
static void
reload(Daemon *d)
{
	Config fresh;
	Config old = *d->config;
	char *error;
	bool moved;

	if (!config_load(&fresh, d->config_file, &error))
	{
		log_error("%s; the old settings stay", error);
		free(error);
		log_reopen();
		return;
	}
	*d->config = fresh;
	moved = strcmp(old.base_connstr ? old.base_connstr : "",
				   fresh.base_connstr ? fresh.base_connstr : "") != 0;

	if (fresh.process.pidfile == NULL || old.process.pidfile == NULL ||
		strcmp(fresh.process.pidfile, old.process.pidfile) != 0)
	{
		/* it is locked and written: a new name counts after a restart */
		char *swap = d->config->process.pidfile;

		d->config->process.pidfile = old.process.pidfile;
		old.process.pidfile = swap;
	}
	config_free(&old);

	if (!log_set_file(d->config->process.logfile))
		log_error("could not open log file \"%s\": %s",
				  d->config->process.logfile, strerror(errno));
	log_set_syslog(d->config->process.syslog, d->config->process.syslog_ident,
				   d->config->process.syslog_facility);
	for (int i = 0; i < d->ndatabases; i++)
		database_reload(d->databases[i], moved);
	open_http(d);
	timer_set(d->count, d->config->stats_period);
	/* by another database, or by nobody: an answer would come too late */
	conn_free(d->conn);
	d->listing_since = 0;
	d->conn = create_check(d);
	event_active(d->check, EV_TIMEOUT, 0);
}

static void
handle_sighup(evutil_socket_t fd, short what, void *arg)
{
	log_info("Got SIGHUP, re-reading config");
	service_notify_reloading();
	reload(arg);
	service_notify_ready();
}

static void
handle_sigterm(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;

	log_info("Got SIGTERM, fast exit");
	event_base_loopbreak(d->base);
}

static void
handle_sigint(evutil_socket_t fd, short what, void *arg)
{
	Daemon *d = arg;

	log_info("Got SIGINT, shutting down");
	d->stopping = true;
	d->stop_at = clock_seconds() + STOP_PATIENCE;
	event_del(d->check);
	conn_close(d->conn);
}

/* After SIGINT: is all that was under way done? */
static bool
is_done(Daemon *d)
{
	bool busy = false;

	for (int i = 0; i < d->ndatabases; i++)
	{
		database_quiesce(d->databases[i]);
		busy = busy || database_is_busy(d->databases[i]);
	}
	if (busy && clock_seconds() > d->stop_at)
	{
		log_warning("statements are still under way: they are waited for no "
					"longer");
		busy = false;
	}
	return !busy;
}

static struct event *
add_signal(Daemon *d, int signum, event_callback_fn handler)
{
	struct event *ev = evsignal_new(d->base, signum, handler, d);

	if (ev == NULL || event_add(ev, NULL) < 0)
		abort();
	return ev;
}

static struct event *
add_timer(Daemon *d, double seconds, event_callback_fn handler)
{
	struct event *ev = timer_make(d->base, EV_PERSIST, handler, d);

	if (seconds > 0)
		timer_set(ev, seconds);
	return ev;
}

static void
free_databases(Daemon *d)
{
	for (int i = 0; i < d->ndatabases; i++)
		database_free(d->databases[i]);
	free(d->databases);
}

/*
 * Run until a signal ends it.  Signals are held back at the call and at the
 * return.  config is changed by reloads, which read config_file.
 */
void
daemon_run(Config *config, const char *config_file)
{
	Daemon d = {.config = config, .config_file = config_file};
	struct event *events[5];

	d.base = event_base_new();
	if (d.base == NULL)
		abort();
	log_info("Starting pgqd %s", PGQ_VERSION);
	d.conn = create_check(&d);
	d.check = timer_make(d.base, 0, handle_check, &d);
	events[0] = add_signal(&d, SIGINT, handle_sigint);
	events[1] = add_signal(&d, SIGTERM, handle_sigterm);
	events[2] = add_signal(&d, SIGHUP, handle_sighup);
	events[3] = d.count = add_timer(&d, config->stats_period, handle_stats);
	events[4] = add_timer(&d, service_get_watchdog(), handle_watchdog);
	process_hold_signals(false);
	event_active(d.check, EV_TIMEOUT, 0);
	open_http(&d);
	service_notify_ready();

	while (!event_base_got_break(d.base) && !(d.stopping && is_done(&d)))
	{
		/* after SIGINT look now and then whether all is done */
		if (d.stopping)
		{
			struct timeval tv = {0, 20000};

			event_base_loopexit(d.base, &tv);
		}
		event_base_loop(d.base, EVLOOP_ONCE);
	}

	process_hold_signals(true);
	service_notify_stopping();
	http_free(d.http);
	free_databases(&d);
	conn_free(d.conn);
	event_free(d.check);
	for (int i = 0; i < 5; i++)
		event_free(events[i]);
	trouble_clear(&d.trouble, "", NULL);
	event_base_free(d.base);
	log_info("pgqd has ended");
}
