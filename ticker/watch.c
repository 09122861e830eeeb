/*-------------------------------------------------------------------------
 *
 * watch.c
 *		What keeps a database's events from moving, seen within seconds.
 *
 * A database with a slot is looked at all the time, by a session of its own,
 * since those that may be held up can't tell why; another one only while its
 * ticker is silent.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/conn.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Seconds between looks, and until an answer is no longer waited for. */
#define LOOK_PERIOD 2.0
#define LOOK_PATIENCE 8.0

/* Seconds that a ticker may be silent beside ticker_period. */
#define TICK_PATIENCE 5.0

static const char problems_sql[] =
	"select kind, object, problem, extract(epoch from age)::pg_catalog.float8"
	" from pgq.get_problems()";

static const char slots_sql[] =
	"select i.slot_name, i.active::pg_catalog.int4 as active, i.lag_bytes,"
	" extract(epoch from coalesce(i.lag_time, '0'))::pg_catalog.float8 as lag,"
	" i.events, i.state, i.problem, i.held_bytes,"
	" (i.state in ('missing', 'lost', 'problem'))::pg_catalog.int4 as broken"
	" from pgq.get_slot_info() i";

struct Watch
{
	const Config *config;
	char *dbname;
	const Stats *stats;
	Conn *conn;
	struct event *timer;
	bool has_slot;
	double asked_at; /* 0: nothing is asked */

	PGresult *problems; /* NULL: not known */
	PGresult *slots;
	int seen; /* looks in a row that found some problem */

	Trouble trouble; /* looks fail */
	Trouble found;   /* what they found */
};

static void
set_result(PGresult **place, const PGresult *res)
{
	PQclear(*place);
	*place = res ? PQcopyResult(res, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES)
				 : NULL;
	if (res && *place == NULL)
		abort();
}

/* What was seen is no longer known to be so. */
static void
forget(Watch *watch)
{
	set_result(&watch->problems, NULL);
	set_result(&watch->slots, NULL);
	watch->seen = 0;
}

/* Log what was found, once, and that it is over. */
static void
log_found(Watch *watch)
{
	PQExpBuffer out = text_begin();
	const PGresult *res = watch_get_problems(watch);
	char *text;
	int n = 0;

	for (int row = 0; res && row < PQntuples(res); row++)
		appendPQExpBuffer(out, "%s%s", n++ ? "; " : "",
						  PQgetvalue(res, row, PROBLEM_TEXT));
	text = text_end(out);
	if (n > 0)
		trouble_report(&watch->found, watch->dbname, "%s", text);
	else
		trouble_clear(&watch->found, watch->dbname, "events move again");
	free(text);
}

static void
fail(Watch *watch, const char *why)
{
	trouble_report(&watch->trouble, watch->dbname,
				   "could not look for problems: %s", why);
	watch->asked_at = 0;
	forget(watch);
	conn_close(watch->conn);
	timer_set(watch->timer, LOOK_PERIOD);
}

static void
take_slots(Conn *conn, const PGresult *res, void *arg)
{
	Watch *watch = arg;

	if (conn_failed(res))
	{
		fail(watch, PQresultErrorMessage(res));
		return;
	}
	watch->asked_at = 0;
	trouble_clear(&watch->trouble, watch->dbname, NULL);
	set_result(&watch->slots, res);
	log_found(watch);
	timer_set(watch->timer, LOOK_PERIOD);
}

static void
take_problems(Conn *conn, const PGresult *res, void *arg)
{
	Watch *watch = arg;

	if (conn_failed(res))
	{
		fail(watch, PQresultErrorMessage(res));
		return;
	}
	set_result(&watch->problems, res);
	watch->seen = PQntuples(res) > 0 ? watch->seen + 1 : 0;
}

static void
became_ready(Conn *conn, void *arg)
{
	Watch *watch = arg;

	watch->asked_at = clock_seconds();
	conn_send_often(conn, problems_sql, 0, NULL, NULL, NULL, take_problems,
					watch);
	conn_send_often(conn, slots_sql, 0, NULL, NULL, NULL, take_slots, watch);
	timer_set(watch->timer, LOOK_PERIOD);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	fail(arg, why);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static bool
is_wanted(const Watch *watch)
{
	double silence = clock_seconds() - watch->stats->ticked_at;

	return watch->has_slot ||
		   silence > TICK_PATIENCE + 2 * watch->config->ticker_period;
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Watch *watch = arg;

	if (!is_wanted(watch))
	{
		conn_close(watch->conn);
		watch->asked_at = 0;
		forget(watch);
		log_found(watch);
		timer_set(watch->timer, LOOK_PERIOD);
	}
	else if (watch->asked_at > 0)
	{
		if (clock_seconds() - watch->asked_at > LOOK_PATIENCE)
			fail(watch, "the server does not answer");
		else
			timer_set(watch->timer, LOOK_PERIOD);
	}
	else if (conn_is_ready(watch->conn))
		became_ready(watch->conn, watch);
	else
	{
		watch->asked_at = clock_seconds();
		conn_open(watch->conn);
		timer_set(watch->timer, LOOK_PERIOD);
	}
}

/* Make it, asleep until watch_start().  stats are the database's. */
Watch *
watch_create(struct event_base *base, const Config *config, const char *dbname,
			 const Stats *stats)
{
	Watch *watch = memory_make(sizeof(Watch));

	watch->config = config;
	watch->dbname = text_copy(dbname);
	watch->stats = stats;
	watch->conn = conn_create(base, config, dbname, "watch", false, &hooks,
							  watch);
	watch->timer = timer_make(base, 0, handle_timer, watch);
	return watch;
}

/* Stop and free. */
void
watch_free(Watch *watch)
{
	watch_stop(watch);
	event_free(watch->timer);
	conn_free(watch->conn);
	free(watch->dbname);
	free(watch);
}

/* Look from now on; has_slot: the database has a slot, as far as is known. */
void
watch_start(Watch *watch, bool has_slot)
{
	watch->has_slot = has_slot;
	if (!event_pending(watch->timer, EV_TIMEOUT, NULL))
		handle_timer(-1, 0, watch);
}

/* Stop, and forget what was seen. */
void
watch_stop(Watch *watch)
{
	event_del(watch->timer);
	conn_close(watch->conn);
	watch->asked_at = 0;
	forget(watch);
	trouble_clear(&watch->trouble, watch->dbname, NULL);
	trouble_clear(&watch->found, watch->dbname, NULL);
}

/*
 * Problems, as rows of pgq.get_problems(), the watch's own; NULL: none.  What
 * was there at one look alone does not count: it comes and goes with the work.
 */
const PGresult *
watch_get_problems(const Watch *watch)
{
	return watch->seen > 1 ? watch->problems : NULL;
}

/* Rows of pgq.get_slot_info(); NULL: not known. */
const PGresult *
watch_get_slots(const Watch *watch)
{
	return watch->slots;
}
