/*-------------------------------------------------------------------------
 *
 * sample.c
 *		The state of a database's queues, read every stats_period.
 *
 * The connection is opened for each look and closed after it: looks are rare,
 * and databases may be many.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/sample.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/problems.h"
#include "ticker/conn.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Seconds, beside two periods, that a look may be late. */
#define LOOK_PATIENCE 5.0

static const char queues_sql[] =
	"select queue_name, last_tick_id as last_tick, ev_new as new_events,"
	" ev_per_sec as events_per_second,"
	" extract(epoch from ticker_lag)::float8 as tick_age,"
	" extract(epoch from pg_catalog.now() - queue_switch_time)::float8"
	" as rotation_age,"
	" (select extract(epoch from greatest(q.queue_rotation_period, " QUEUE_RETENTION
	"))::float8 from pgq.queue q"
	" where q.queue_name = i.queue_name) as rotation_period"
	" from pgq.get_queue_info() i"
	/* the page shows them in this order, and folds the last ones */
	" order by queue_ticker_paused desc,"
	" greatest(ticker_lag - queue_ticker_idle_period"
	" - queue_ticker_max_lag, '0') desc nulls first, ev_new desc nulls last,"
	" ev_per_sec desc nulls last, queue_name";

static const char sizes_sql[] =
	"select queue_name, size, max_size, is_over::int as over, (select"
	" pg_catalog.count(*) from pgq.get_lost_consumers(s.queue_name))"
	" as lost_consumers from pgq.get_queue_size() s";

static const char consumers_sql[] =
	"select queue_name, consumer_name, extract(epoch from lag)::float8 as lag,"
	" extract(epoch from last_seen)::float8 as last_seen, pending_events,"
	/* the age of the oldest tick that is not finished */
	" coalesce((select extract(epoch from pg_catalog.now() - t.tick_time)"
	"::float8 from pgq.tick t, pgq.queue q where t.tick_queue = q.queue_id"
	" and q.queue_name = c.queue_name and t.tick_id > c.last_tick"
	" order by t.tick_queue, t.tick_id limit 1), 0) as behind"
	" from pgq.get_consumer_info() c"
	" order by behind desc nulls last, pending_events desc nulls last,"
	" queue_name, consumer_name";

static const char captures_sql[] =
	"select queue_name, table_name, state, failed_rows, large_events,"
	" (state in ('broken', 'no queue', 'no slot'))::int as broken,"
	" pg_catalog.array_to_string(warnings, ' ') as problem"
	" from pgq.get_capture_info()";

static const char dead_sql[] =
	"select q.queue_name, c.co_name as consumer_name, d.dead as dead_events,"
	" extract(epoch from pg_catalog.now() - d.newest)::float8 as newest,"
	" (select pg_catalog.left(e.dead_reason, 200) from pgq.dead_event e"
	" where e.dead_queue = d.dead_queue and e.dead_consumer = d.dead_consumer"
	" and e.dead_time = d.newest limit 1) as reason"
	" from (select dead_queue, dead_consumer, pg_catalog.count(*) as dead,"
	" pg_catalog.max(dead_time) as newest from pgq.dead_event group by 1, 2) d"
	" join pgq.queue q on q.queue_id = d.dead_queue"
	" join pgq.consumer c on c.co_id = d.dead_consumer"
	" order by d.dead desc, q.queue_name, c.co_name";

/* What is read, in this order; where it is kept; by which versions on. */
static const struct
{
	const char *sql;
	size_t place; /* in Sample */
	int major;
} looks[] = {
	{queues_sql, offsetof(Sample, queues), 0},
	{consumers_sql, offsetof(Sample, consumers), 0},
	{sizes_sql, offsetof(Sample, sizes), 4},
	{captures_sql, offsetof(Sample, captures), 4},
	{dead_sql, offsetof(Sample, dead), 4},
};

#define NLOOKS ((int) (sizeof(looks) / sizeof(looks[0])))

typedef struct SampleWork
{
	const Config *config;
	char *dbname;
	const Stats *stats;
	const Watch *watch;
	Conn *conn;
	struct event *timer;
	struct event *expiry; /* what was read is too old to be told */
	int major;
	int next; /* of looks */
	Trouble trouble;
} SampleWork;

static void
sleep_until_next(Sample *sample)
{
	conn_close(sample->work->conn);
	timer_set(sample->work->timer, sample->work->config->stats_period);
}

/* Largest number in a column; 0 if there is none. */
static double
find_largest(const PGresult *res, const char *column)
{
	double largest = 0;
	int col = res ? PQfnumber(res, column) : -1;

	for (int row = 0; col >= 0 && row < PQntuples(res); row++)
	{
		double value = strtod(PQgetvalue(res, row, col), NULL);

		if (value > largest)
			largest = value;
	}
	return largest;
}

/* The look is done: one more point of the curves. */
static void
add_point(Sample *sample)
{
	SamplePoint *point;

	if (sample->npoints == SAMPLE_POINTS)
		memmove(sample->points, sample->points + 1,
				--sample->npoints * sizeof(SamplePoint));
	point = &sample->points[sample->npoints++];
	point->at = sample->at = clock_seconds();
	point->events = sample->work->stats->events;
	point->slot_lag = find_largest(watch_get_slots(sample->work->watch),
								   "lag_bytes");
	point->consumer_lag = find_largest(sample->consumers, "behind");
}

static PGresult **
find_place(Sample *sample, int look)
{
	return (PGresult **) ((char *) sample + looks[look].place);
}

/* What was seen is no longer known to be so; the curves stay. */
void
sample_forget(Sample *sample)
{
	event_del(sample->work->expiry);
	for (int i = 0; i < NLOOKS; i++)
	{
		PQclear(*find_place(sample, i));
		*find_place(sample, i) = NULL;
	}
	sample->at = 0;
}

static void
handle_expiry(evutil_socket_t fd, short what, void *arg)
{
	Sample *sample = arg;

	trouble_report(&sample->work->trouble, sample->work->dbname,
				   "the server does not tell the queues' state");
	sample_forget(sample);
}

/* The look has failed. */
static void
give_up(Sample *sample)
{
	sample_forget(sample);
	sleep_until_next(sample);
}

/* Puts a copy of the result in its place; false if the query failed. */
static bool
keep(Sample *sample, PGresult **place, const PGresult *res)
{
	SampleWork *work = sample->work;

	if (conn_failed(res))
	{
		trouble_report(&work->trouble, work->dbname,
					   "could not read the queues' state: %s",
					   PQresultErrorMessage(res));
		return false;
	}
	PQclear(*place);
	*place = PQcopyResult(res, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
	if (*place == NULL)
		abort();
	return true;
}

static void
finish(Sample *sample)
{
	trouble_clear(&sample->work->trouble, sample->work->dbname, NULL);
	add_point(sample);
	timer_set(sample->work->expiry,
			  2 * sample->work->config->stats_period + LOOK_PATIENCE);
	sleep_until_next(sample);
}

static void ask_next(Sample *sample);

static void
take_look(Conn *conn, const PGresult *res, void *arg)
{
	Sample *sample = arg;

	if (keep(sample, find_place(sample, sample->work->next++), res))
		ask_next(sample);
	else
		give_up(sample);
}

static void
ask_next(Sample *sample)
{
	SampleWork *work = sample->work;

	while (work->next < NLOOKS && looks[work->next].major > work->major)
		work->next++;
	if (work->next == NLOOKS)
		finish(sample);
	else
		conn_send(work->conn, looks[work->next].sql, 0, NULL, take_look,
				  sample);
}

static void
became_ready(Conn *conn, void *arg)
{
	Sample *sample = arg;

	conn_use_utf8(conn);
	sample->work->next = 0;
	ask_next(sample);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	Sample *sample = arg;
	SampleWork *work = sample->work;

	trouble_report(&work->trouble, work->dbname, "sample: connection: %s", why);
	give_up(sample);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Sample *sample = arg;

	if (sample->work->config->http_listen)
		conn_open(sample->work->conn);
	else
		sleep_until_next(sample);
}

/* Make it, asleep until sample_start().  stats and watch are the database's. */
Sample *
sample_create(struct event_base *base, const Config *config, const char *dbname,
			  const Stats *stats, const Watch *watch)
{
	Sample *sample = memory_make(sizeof(Sample));
	SampleWork *work = memory_make(sizeof(SampleWork));

	sample->work = work;
	work->config = config;
	work->dbname = text_copy(dbname);
	work->stats = stats;
	work->watch = watch;
	work->conn = conn_create(base, config, dbname, "sample", false, &hooks,
							 sample);
	conn_require_trust(work->conn, true);
	work->timer = timer_make(base, 0, handle_timer, sample);
	work->expiry = timer_make(base, 0, handle_expiry, sample);
	return sample;
}

/* Stop and free. */
void
sample_free(Sample *sample)
{
	SampleWork *work = sample->work;

	sample_stop(sample);
	event_free(work->timer);
	event_free(work->expiry);
	conn_free(work->conn);
	trouble_clear(&work->trouble, work->dbname, NULL);
	free(work->dbname);
	free(work);
	free(sample);
}

/* Look now and from now on, unless that is so and there is something seen. */
void
sample_start(Sample *sample, int major)
{
	SampleWork *work = sample->work;

	work->major = major;
	if (conn_is_ready(work->conn) || conn_is_busy(work->conn) ||
		(event_pending(work->timer, EV_TIMEOUT, NULL) && sample->at > 0) ||
		work->config->http_listen == NULL)
		return;
	event_del(work->timer);
	handle_timer(-1, 0, sample);
}

/* Stop, and forget what was seen, but for the curves. */
void
sample_stop(Sample *sample)
{
	event_del(sample->work->timer);
	conn_close(sample->work->conn);
	sample_forget(sample);
}
