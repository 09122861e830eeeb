/*-------------------------------------------------------------------------
 *
 * metrics.c
 *		/metrics: what pgqd knows, in the text format of Prometheus.
 *
 * The format wants all values of a metric in one piece, so each metric goes
 * over all databases.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/conn.h"
#include "ticker/report.h"
#include "version.h"

/* A member of Stats. */
typedef struct Counter
{
	const char *name;
	const char *help;
	size_t offset;
} Counter;

static const Counter counters[] = {
	{"pgqd_ticks_total", "Ticker runs, and ticks by commit.",
	 offsetof(Stats, ticks)},
	{"pgqd_maintenance_total", "Maintenance functions run.",
	 offsetof(Stats, maint)},
	{"pgqd_retried_events_total", "Retry events moved back into queues.",
	 offsetof(Stats, retry)},
	{"pgqd_ingest_groups_total", "Ingest transactions.",
	 offsetof(Stats, groups)},
	{"pgqd_ingest_events_total", "Events written by ingest.",
	 offsetof(Stats, events)},
	{"pgqd_ingest_bytes_total", "Bytes of frames read from the slot.",
	 offsetof(Stats, bytes)},
	{"pgqd_discarded_events_total", "Events of queues that do not exist.",
	 offsetof(Stats, discarded)},
	{"pgqd_copied_rows_total", "Rows of captured tables copied into queues.",
	 offsetof(Stats, copied)}};

/* Which result of a sample a gauge is in; how many columns name its row. */
typedef enum GaugeSource
{
	FROM_QUEUES,
	FROM_CONSUMERS,
	FROM_SLOTS,
	FROM_SIZES,
	FROM_CAPTURES,
	FROM_DEAD
} GaugeSource;

typedef struct Gauge
{
	const char *name;
	const char *help;
	GaugeSource source;
	const char *column;
} Gauge;

static const Gauge gauges[] = {
	{"pgq_queue_last_tick", "Id of the newest tick.", FROM_QUEUES, "last_tick"},
	{"pgq_queue_tick_age_seconds", "Age of the newest tick.", FROM_QUEUES,
	 "tick_age"},
	{"pgq_queue_new_events", "Events since the newest tick.", FROM_QUEUES,
	 "new_events"},
	{"pgq_queue_events_per_second", "Events a second over the last ticks.",
	 FROM_QUEUES, "events_per_second"},
	{"pgq_queue_rotation_age_seconds", "Time since the last rotation.",
	 FROM_QUEUES, "rotation_age"},
	{"pgq_queue_rotation_period_seconds",
	 "Setting rotation_period, or retention if that is longer.", FROM_QUEUES,
	 "rotation_period"},
	{"pgq_consumer_lag_seconds", "Age of the last tick that is finished.",
	 FROM_CONSUMERS, "lag"},
	{"pgq_consumer_behind_seconds", "Age of the oldest tick to be finished.",
	 FROM_CONSUMERS, "behind"},
	{"pgq_consumer_last_seen_seconds", "Time since the consumer's last call.",
	 FROM_CONSUMERS, "last_seen"},
	{"pgq_consumer_pending_events", "Events up to the newest tick, about.",
	 FROM_CONSUMERS, "pending_events"},
	{"pgq_consumer_dead_events", "Events that the consumer has given up.",
	 FROM_DEAD, "dead_events"},
	{"pgq_slot_active", "Is the slot being read?", FROM_SLOTS, "active"},
	{"pgq_slot_broken", "Are changes missing, or does ingest stand still?",
	 FROM_SLOTS, "broken"},
	{"pgq_slot_lag_bytes", "WAL that is not in the queues yet.", FROM_SLOTS,
	 "lag_bytes"},
	{"pgq_slot_lag_seconds", "Age of the slot's position.", FROM_SLOTS, "lag"},
	{"pgq_slot_held_bytes", "WAL that the server keeps for the slot.",
	 FROM_SLOTS, "held_bytes"},
	{"pgq_queue_size_bytes", "Disk that the event tables take.", FROM_SIZES,
	 "size"},
	{"pgq_queue_max_size_bytes", "Setting max_size.", FROM_SIZES, "max_size"},
	{"pgq_queue_over_max_size", "Does the queue take more than max_size?",
	 FROM_SIZES, "over"},
	{"pgq_queue_lost_consumers", "Consumers that have lost their position.",
	 FROM_SIZES, "lost_consumers"},
	{"pgq_capture_broken", "Is the capture broken, or without slot or queue?",
	 FROM_CAPTURES, "broken"},
	{"pgq_capture_failed_rows", "Rows on which an expression failed.",
	 FROM_CAPTURES, "failed_rows"},
	{"pgq_capture_large_events", "Events that were too large to be whole.",
	 FROM_CAPTURES, "large_events"}};

/* Labels of a row, in the order of the first columns. */
static const char *const queue_labels[] = {"queue", NULL};
static const char *const consumer_labels[] = {"queue", "consumer", NULL};
static const char *const slot_labels[] = {"slot", NULL};
static const char *const capture_labels[] = {"queue", "table", NULL};

static void
print_head(PQExpBuffer out, const char *name, const char *type,
		   const char *help)
{
	appendPQExpBuffer(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
					  type);
}

/* name{database="..."; the caller goes on with more labels, or "} value" */
static void
begin_line(PQExpBuffer out, const char *name, const Database *db)
{
	appendPQExpBufferStr(out, name);
	text_append_label(out, "{", "database", database_get_name(db));
}

/* The highest value in a column of a result, for all its rows. */
static void
print_highest(PQExpBuffer out, const char *name, const Database *db,
			  const PGresult *res, int col)
{
	int highest = -1;

	for (int row = 0; row < PQntuples(res); row++)
		if (!PQgetisnull(res, row, col) &&
			(highest < 0 || strtod(PQgetvalue(res, row, col), NULL) >
								strtod(PQgetvalue(res, highest, col), NULL)))
			highest = row;
	if (highest < 0)
		return;
	begin_line(out, name, db);
	appendPQExpBuffer(out, "} %s\n", PQgetvalue(res, highest, col));
}

static void
print_gauge(PQExpBuffer out, const Gauge *gauge, const Database *db, bool each)
{
	const Sample *sample = database_get_sample(db);
	const PGresult *const results[] = {
		[FROM_QUEUES] = sample->queues,
		[FROM_CONSUMERS] = sample->consumers,
		[FROM_SLOTS] = watch_get_slots(database_get_watch(db)),
		[FROM_SIZES] = sample->sizes,
		[FROM_CAPTURES] = sample->captures,
		[FROM_DEAD] = sample->dead};
	const char *const *const label_lists[] = {
		[FROM_QUEUES] = queue_labels,     [FROM_CONSUMERS] = consumer_labels,
		[FROM_SLOTS] = slot_labels,       [FROM_SIZES] = queue_labels,
		[FROM_CAPTURES] = capture_labels, [FROM_DEAD] = consumer_labels};
	const PGresult *res = results[gauge->source];
	const char *const *labels = label_lists[gauge->source];
	int col = res ? PQfnumber(res, gauge->column) : -1;

	if (col >= 0 && !each && gauge->source != FROM_SLOTS)
	{
		print_highest(out, gauge->name, db, res, col);
		return;
	}
	for (int row = 0; col >= 0 && row < PQntuples(res); row++)
	{
		if (PQgetisnull(res, row, col))
			continue;
		begin_line(out, gauge->name, db);
		for (int i = 0; labels[i]; i++)
			text_append_label(out, ",", labels[i], PQgetvalue(res, row, i));
		appendPQExpBuffer(out, "} %s\n", PQgetvalue(res, row, col));
	}
}

static int
count_troubles(const Database *db, bool standstills)
{
	Told told[DATABASE_TROUBLES];
	int n = database_get_troubles(db, told);
	int count = 0;

	for (int i = 0; i < n; i++)
		count += told[i].stands_still == standstills;
	return count;
}

static bool
has_warning(const Database *db)
{
	const PGresult *res = watch_get_problems(database_get_watch(db));

	for (int row = 0; res && row < PQntuples(res); row++)
		if (!watch_is_standstill(res, row))
			return true;
	return count_troubles(db, false) > 0;
}

static void
print_daemon(PQExpBuffer out, const Report *report)
{
	Database *const *dbs = report->databases;
	int n = report->n;

	print_head(out, "pgqd_info", "gauge", "Version of pgqd.");
	appendPQExpBuffer(out, "pgqd_info{version=\"%s\"} 1\n", PGQ_VERSION);

	print_head(out, "pgqd_database_list_fails", "gauge",
			   "Can databases not be listed?");
	appendPQExpBuffer(out, "pgqd_database_list_fails %d\n",
					  report->list_fault != NULL);

	print_head(out, "pgqd_database_up", "gauge",
			   "Is pgqd connected, and the extension there?");
	for (int i = 0; i < n; i++)
	{
		begin_line(out, "pgqd_database_up", dbs[i]);
		appendPQExpBuffer(out, "} %d\n", database_is_connected(dbs[i]));
	}

	print_head(out, "pgqd_database_state", "gauge",
			   "1 for the state that the database is in.");
	for (int i = 0; i < n; i++)
	{
		begin_line(out, "pgqd_database_state", dbs[i]);
		text_append_label(out, ",", "state", database_get_state(dbs[i]));
		appendPQExpBufferStr(out, "} 1\n");
	}

	print_head(out, "pgqd_database_troubles", "gauge",
			   "Kinds of work that fail just now; the log says why.");
	for (int i = 0; i < n; i++)
	{
		begin_line(out, "pgqd_database_troubles", dbs[i]);
		appendPQExpBuffer(out, "} %d\n", count_troubles(dbs[i], true));
	}

	print_head(
		out, "pgqd_database_warning", "gauge",
		"Does anything want to be seen to? The log and /health say what.");
	for (int i = 0; i < n; i++)
	{
		begin_line(out, "pgqd_database_warning", dbs[i]);
		appendPQExpBuffer(out, "} %d\n", has_warning(dbs[i]));
	}
}

static void
print_ages(PQExpBuffer out, Database *const *dbs, int n)
{
	double now = clock_seconds();

	print_head(out, "pgqd_ticker_age_seconds", "gauge",
			   "Time since the last ticker run over all queues.");
	for (int i = 0; i < n; i++)
		if (database_get_stats(dbs[i])->ticked_at > 0)
		{
			begin_line(out, "pgqd_ticker_age_seconds", dbs[i]);
			appendPQExpBuffer(out, "} %.3f\n",
							  now - database_get_stats(dbs[i])->ticked_at);
		}

	print_head(out, "pgqd_stream_age_seconds", "gauge",
			   "Time since the slot's stream said something.");
	for (int i = 0; i < n; i++)
		if (database_is_ingesting(dbs[i]))
		{
			begin_line(out, "pgqd_stream_age_seconds", dbs[i]);
			appendPQExpBuffer(out, "} %.3f\n",
							  now - database_get_stats(dbs[i])->heard_at);
		}

	print_head(out, "pgqd_sample_age_seconds", "gauge",
			   "Age of the values of queues, consumers and slots below.");
	for (int i = 0; i < n; i++)
		if (database_get_sample(dbs[i])->at > 0)
		{
			begin_line(out, "pgqd_sample_age_seconds", dbs[i]);
			appendPQExpBuffer(out, "} %.3f\n",
							  now - database_get_sample(dbs[i])->at);
		}
}

static void
print_problem(PQExpBuffer out, const Database *db, const char *lead,
			  const char *kind, const char *object, const char *severity,
			  double age)
{
	begin_line(out, "pgq_problem_seconds", db);
	appendPQExpBuffer(out, ",kind=\"%s%s\"", lead, kind);
	text_append_label(out, ",", "object", object);
	text_append_label(out, ",", "severity", severity);
	appendPQExpBuffer(out, "} %.3f\n", age);
}

/* What is wrong: told by the server, and what we know ourselves. */
static void
print_problems(PQExpBuffer out, Database *const *dbs, int n)
{
	print_head(out, "pgq_problem_seconds", "gauge",
			   "How long something has been wrong; in a standstill events do "
			   "not move.");
	for (int i = 0; i < n; i++)
	{
		const PGresult *res = watch_get_problems(database_get_watch(dbs[i]));
		Told told[DATABASE_TROUBLES];
		int ntold = database_get_troubles(dbs[i], told);

		for (int row = 0; res && row < PQntuples(res); row++)
			print_problem(out, dbs[i], "", PQgetvalue(res, row, PROBLEM_KIND),
						  PQgetvalue(res, row, PROBLEM_OBJECT),
						  PQgetvalue(res, row, PROBLEM_SEVERITY),
						  strtod(PQgetvalue(res, row, PROBLEM_AGE), NULL));
		for (int t = 0; t < ntold; t++)
			print_problem(out, dbs[i], "pgqd/", told[t].kind,
						  database_get_name(dbs[i]),
						  watch_get_severity(&told[t]),
						  clock_seconds() - told[t].trouble->since);
	}
}

/* See report.h. */
char *
report_metrics(const Report *report)
{
	Database *const *dbs = report->databases;
	int n = report->n;
	PQExpBuffer out = text_begin();

	print_daemon(out, report);
	for (size_t c = 0; c < sizeof(counters) / sizeof(Counter); c++)
	{
		print_head(out, counters[c].name, "counter", counters[c].help);
		for (int i = 0; i < n; i++)
		{
			const char *stats = (const char *) database_get_stats(dbs[i]);

			begin_line(out, counters[c].name, dbs[i]);
			appendPQExpBuffer(out, "} %" PRIu64 "\n",
							  *(const uint64_t *) (stats + counters[c].offset));
		}
	}
	print_ages(out, dbs, n);
	print_problems(out, dbs, n);
	for (size_t g = 0; g < sizeof(gauges) / sizeof(Gauge); g++)
	{
		print_head(out, gauges[g].name, "gauge", gauges[g].help);
		for (int i = 0; i < n; i++)
			print_gauge(out, &gauges[g], dbs[i],
						report->config->metrics_per_queue);
	}
	return text_end(out);
}
