/*-------------------------------------------------------------------------
 *
 * tick.c
 *		Ticks of one database: by commit, by looks for waiting consumers, and every
 *		ticker_period.
 *
 * Queues that were fed are "fresh" and asked about at once with pgq.tick();
 * those that have events but may not be ticked yet, because no consumer waits
 * and neither count nor lag is reached, are "waiting" and asked about again
 * after ticker_min_interval.  One question is under way at a time; what is
 * fed meanwhile gathers for the next.
 *
 * NOTIFY has a statement, so a transaction, of its own: it waits for a lock of
 * the whole cluster, which others hold until their commits are done.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/tick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Longest pause before waiting queues are asked about again, in seconds. */
#define LONGEST_PAUSE 0.02

/* How long pgq.tick() itself looks for consumers, in seconds. */
#define LOOK_TIME 0.002

/* Where the looking takes longer: so many times as long is paused, at most. */
#define BUSY_FACTOR 4
#define BUSY_PAUSE 0.2

/*
 * The server itself looks for so long, in seconds, before it answers; our other
 * questions wait meanwhile.  Pauses that are longer are made here.
 */
#define LOOK_WAIT 0.1
#define SHORTEST_LOOK_PERIOD 0.001

/* The longest pause after an error. */
#define ERROR_PAUSE 1.0

/*
 * pgq.tick() gives up waiting for transactions after a second: an answer that
 * took nearly that long may mean that some still run.
 */
#define WAITED_LONG 0.9

/* So many transactions can't be in flight: the older ones have ended. */
#define MAX_XIDS 100000

static const char tick_sql[] = "select queue_name, tick_id, channel"
							   " from pgq.tick($1::text[], $2::xid[])";

static const char awaited_sql[] = "select queue_name, tick_id, channel"
								  " from pgq.tick_awaited($1::interval,"
								  " $2::interval)";

static const char tick_due_sql[] = "select queue_name, tick_id, channel"
								   " from pgq.tick_due()";

/* before version 4 */
static const char ticker_sql[] = "select pgq.ticker()";

static const char notify_sql[] =
	"select pg_catalog.pg_notify(n.channel, n.id)"
	" from rows from (pg_catalog.unnest($1::text[]),"
	" pg_catalog.unnest($2::text[])) n (channel, id)";

struct Tick
{
	const Config *config;
	char *dbname;
	Conn *conn; /* not ours */
	Stats *stats;
	struct event *again; /* time to ask about the waiting queues */
	double pause;

	Names fresh;
	Names waiting;
	Xids xids; /* of what fed them */

	bool asking; /* pgq.tick() is under way */
	Names asked;
	Xids asked_xids;
	double asked_at;
	bool period_running;

	struct event *look; /* time for the next look */
	bool looks_wanted;  /* nobody tells which queues are fed */
	bool looks_brief;   /* but for some of them */
	bool looking;

	Trouble trouble;        /* of ticks by commit */
	Trouble period_trouble; /* of runs over all queues */
	Trouble look_trouble;   /* of looks at queues that are waited for */
	Trouble notify_trouble;
};

static void ask(Tick *tick);
static void handle_look(evutil_socket_t fd, short what, void *arg);

static void
handle_again(evutil_socket_t fd, short what, void *arg)
{
	Tick *tick = arg;

	names_merge(&tick->fresh, &tick->waiting);
	ask(tick);
}

/*
 * Make the ticker of a database.  conn is the connection to use; the caller
 * opens and frees it, and calls tick_resume() when it is ready and
 * tick_interrupt() when it was closed.
 */
Tick *
tick_create(struct event_base *base, const Config *config, const char *dbname,
			Conn *conn, Stats *stats)
{
	Tick *tick = memory_make(sizeof(Tick));

	tick->config = config;
	tick->dbname = text_copy(dbname);
	tick->conn = conn;
	tick->stats = stats;
	tick->again = timer_make(base, 0, handle_again, tick);
	tick->look = timer_make(base, 0, handle_look, tick);
	return tick;
}

/* Free it; its connection must be closed. */
void
tick_free(Tick *tick)
{
	if (tick == NULL)
		return;
	event_free(tick->again);
	event_free(tick->look);
	names_clear(&tick->fresh);
	names_clear(&tick->waiting);
	names_clear(&tick->asked);
	xids_clear(&tick->xids);
	xids_clear(&tick->asked_xids);
	trouble_clear(&tick->trouble, tick->dbname, NULL);
	trouble_clear(&tick->look_trouble, tick->dbname, NULL);
	trouble_clear(&tick->period_trouble, tick->dbname, NULL);
	trouble_clear(&tick->notify_trouble, tick->dbname, NULL);
	free(tick->dbname);
	free(tick);
}

/* Those who were not woken will look for themselves some time. */
static void
take_notified(Conn *conn, const PGresult *res, void *arg)
{
	Tick *tick = arg;

	if (conn_failed(res))
		trouble_report(&tick->notify_trouble, tick->dbname,
					   "could not notify consumers: %s",
					   PQresultErrorMessage(res));
	else
		trouble_clear(&tick->notify_trouble, tick->dbname, NULL);
}

/*
 * Wake those who LISTEN.  Columns of the rows are queue, tick, channel.
 * Returns how many rows have a tick.
 */
static int
notify_ticks(Tick *tick, const PGresult *res)
{
	Names channels = {0};
	PQExpBuffer ids = text_begin();
	int ticked = 0;

	for (int row = 0; row < PQntuples(res); row++)
	{
		const char *channel = PQgetvalue(res, row, 2);

		/* each queue has a channel of its own */
		if (PQgetisnull(res, row, 1) ||
			!names_add(&channels, channel, strlen(channel)))
			continue;
		appendPQExpBuffer(ids, "%c%s", ticked++ > 0 ? ',' : '{',
						  PQgetvalue(res, row, 1));
	}
	appendPQExpBufferChar(ids, '}');
	if (ticked > 0)
	{
		char *array = names_to_array(&channels);
		const char *values[2] = {array, ids->data};

		conn_send_often(tick->conn, notify_sql, 2, values, NULL, NULL,
						take_notified, tick);
		free(array);
	}
	names_clear(&channels);
	destroyPQExpBuffer(ids);
	return ticked;
}

static void
take_answer(Conn *conn, const PGresult *res, void *arg)
{
	Tick *tick = arg;
	double took = clock_seconds() - tick->asked_at;
	int ticked;

	tick->asking = false;
	if (conn_failed(res))
	{
		trouble_report(&tick->trouble, tick->dbname, "pgq.tick failed: %s",
					   PQresultErrorMessage(res));
		names_merge(&tick->waiting, &tick->asked);
		xids_clear(&tick->asked_xids);
		timer_set(tick->again, ERROR_PAUSE);
		return;
	}
	trouble_clear(&tick->trouble, tick->dbname, "pgq.tick works again");

	for (int row = 0; row < PQntuples(res); row++)
	{
		const char *queue = PQgetvalue(res, row, 0);

		if (PQgetisnull(res, row, 1))
			names_add(&tick->waiting, queue, strlen(queue));
	}
	if (tick->waiting.count > 0 && took > WAITED_LONG)
		xids_merge(&tick->xids, &tick->asked_xids);
	names_clear(&tick->asked);
	xids_clear(&tick->asked_xids);

	ticked = notify_ticks(tick, res);
	tick->stats->ticks += ticked;

	if (tick->waiting.count > 0)
	{
		/* pgq.tick() itself has looked for some time: no pause at first */
		if (ticked > 0)
			tick->pause = 0;
		else if (tick->pause < tick->config->ticker_min_interval)
			tick->pause = tick->config->ticker_min_interval;
		else if (tick->pause < LONGEST_PAUSE)
			tick->pause *= 1.5;

		/* with very many queues to look at, be at it for a part of the time */
		if (tick->pause < BUSY_FACTOR * (took - LOOK_TIME))
			tick->pause = BUSY_FACTOR * (took - LOOK_TIME);
		if (tick->pause > BUSY_PAUSE)
			tick->pause = BUSY_PAUSE;
		timer_set(tick->again, tick->pause);
	}
	else
		tick->pause = 0;
	ask(tick);
}

/* Ask about the fresh queues, if nothing is asked and there are any. */
static void
ask(Tick *tick)
{
	const char *values[2];

	if (tick->asking || tick->fresh.count == 0 || !conn_is_ready(tick->conn))
		return;
	tick->asked = tick->fresh;
	tick->asked_xids = tick->xids;
	memset(&tick->fresh, 0, sizeof(tick->fresh));
	memset(&tick->xids, 0, sizeof(tick->xids));

	values[0] = names_to_array(&tick->asked);
	values[1] = xids_to_array(&tick->asked_xids);
	tick->asked_at = clock_seconds();
	tick->asking = conn_send_often(tick->conn, tick_sql, 2, values, NULL, NULL,
								   take_answer, tick);
	free((char *) values[0]);
	free((char *) values[1]);
}

/*
 * Some queues were fed by some transactions; both lists are empty afterwards.
 *
 * A queue that waits was asked about a moment ago: the next question will
 * come soon, and asking for every commit would keep the server busy with it.
 */
void
tick_feed(Tick *tick, Names *queues, Xids *xids)
{
	/* somebody tells of some queues: that must not wait behind looks at others */
	tick->looks_brief = true;
	xids_merge(&tick->xids, xids);
	if (tick->xids.count > MAX_XIDS)
		xids_clear(&tick->xids);
	for (size_t i = 0; i < queues->count; i++)
	{
		const char *name = queues->names[i];

		if (!names_has(&tick->waiting, name, strlen(name)))
			names_add(&tick->fresh, name, strlen(name));
	}
	names_clear(queues);
	ask(tick);
}

static void
take_period_answer(Conn *conn, const PGresult *res, void *arg)
{
	Tick *tick = arg;

	tick->period_running = false;
	if (conn_failed(res))
	{
		trouble_report(&tick->period_trouble, tick->dbname, "ticker failed: %s",
					   PQresultErrorMessage(res));
		return;
	}
	trouble_clear(&tick->period_trouble, tick->dbname, "ticker works again");
	tick->stats->ticks++;
	tick->stats->ticked_at = clock_seconds();
	if (PQnfields(res) == 3)
	{
		int ticked = notify_ticks(tick, res);

		/* too many for one transaction: the others follow at once */
		if (ticked > 0 && ticked < PQntuples(res))
			tick_run_period(tick, 4);
	}
}

/*
 * Tick all queues that are due.  major is the extension's version: before 4
 * there is only pgq.ticker().  Does nothing while the last run goes on.
 */
void
tick_run_period(Tick *tick, int major)
{
	if (tick->period_running)
		return;
	tick->period_running = conn_send_often(
		tick->conn, major >= 4 ? tick_due_sql : ticker_sql, 0, NULL, NULL, NULL,
		take_period_answer, tick);
}

/* Does the server make the pauses between looks? */
static bool
server_pauses(const Tick *tick)
{
	return !tick->looks_brief && tick->config->look_period < LOOK_WAIT;
}

static void
take_look(Conn *conn, const PGresult *res, void *arg)
{
	Tick *tick = arg;

	tick->looking = false;
	/* what was asked meanwhile has waited for this */
	tick->asked_at = clock_seconds();
	if (conn_failed(res))
		trouble_report(&tick->look_trouble, tick->dbname,
					   "pgq.tick_awaited failed: %s",
					   PQresultErrorMessage(res));
	else
	{
		trouble_clear(&tick->look_trouble, tick->dbname,
					  "pgq.tick_awaited works again");
		tick->stats->ticks += notify_ticks(tick, res);
	}
	if (tick->looks_wanted)
		timer_set(tick->look, conn_failed(res) ? ERROR_PAUSE
							  : server_pauses(tick)
								  ? 0
								  : tick->config->look_period);
}

static void
handle_look(evutil_socket_t fd, short what, void *arg)
{
	Tick *tick = arg;
	char period[32] = "0";
	char wait[32] = "0";
	const char *values[] = {period, wait};
	double pause = tick->config->look_period;

	if (tick->looking || !tick->looks_wanted || !conn_is_ready(tick->conn))
		return;
	if (server_pauses(tick))
	{
		if (pause < SHORTEST_LOOK_PERIOD)
			pause = SHORTEST_LOOK_PERIOD;
		snprintf(period, sizeof(period), "%.6f", pause);
		snprintf(wait, sizeof(wait), "%.6f", LOOK_WAIT);
	}
	tick->looking = conn_send_often(tick->conn, awaited_sql, 2, values, NULL,
									NULL, take_look, tick);
}

/*
 * Are looks for events that consumers wait for wanted, since nobody tells which
 * queues are fed?  To be told now and then: looks that have ceased begin again.
 */
void
tick_look(Tick *tick, bool wanted)
{
	tick->looks_wanted = wanted;
	if (!wanted)
		tick->looks_brief = false;
	if (wanted && !event_pending(tick->look, EV_TIMEOUT, NULL))
		handle_look(-1, 0, tick);
}

/* From now on use another connection; what was asked is asked again there. */
void
tick_set_conn(Tick *tick, Conn *conn)
{
	tick_interrupt(tick);
	tick->conn = conn;
}

/* The connection is ready: ask what gathered without it. */
void
tick_resume(Tick *tick)
{
	ask(tick);
}

/* The connection was closed: what was asked must be asked again. */
void
tick_interrupt(Tick *tick)
{
	tick->period_running = false;
	tick->looking = false;
	tick->asking = false;
	names_merge(&tick->fresh, &tick->asked);
	names_merge(&tick->fresh, &tick->waiting);
	xids_merge(&tick->xids, &tick->asked_xids);
	event_del(tick->again);
}

/* What is wrong with it, NULL: nothing.  The text is the object's. */
const Trouble *
tick_get_trouble(const Tick *tick)
{
	return tick->period_trouble.text ? &tick->period_trouble
		   : tick->trouble.text      ? &tick->trouble
									 : &tick->look_trouble;
}
