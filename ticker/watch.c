/*-------------------------------------------------------------------------
 *
 * watch.c
 *		What is wrong in a database, seen within seconds: pgq.get_problems().
 *
 * A session of its own looks, since those that may be held up can't tell why.  A
 * database with a slot, or with some trouble, is looked at all the time;
 * another one every stats_period, by a session that is closed again.
 *
 * Where no WAL is written, none is missed when it no longer comes: so the watch
 * takes a transaction id now and then, whose commit is WAL that others' decoding
 * knows nothing of.
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
#include "common/log.h"
#include "common/memory.h"
#include "common/problems.h"
#include "ticker/conn.h"
#include "ticker/timer.h"

/*
 * Seconds between looks, the same while something stands still, and at most if
 * looks take long: a twentieth of the time is theirs.
 */
#define LOOK_PERIOD 2.0
#define STILL_PERIOD 1.0
#define LONGEST_PERIOD 5.0
#define LOOK_SHARE 20

/* Seconds until an answer is no longer waited for. */
#define LOOK_PATIENCE 8.0

/* Seconds that a ticker may be silent beside ticker_period. */
#define TICK_PATIENCE 5.0

/* Seconds without any WAL after which we write some. */
#define HEARTBEAT_PERIOD 5.0

/* So many new problems are logged at a time. */
#define LOGGED_PROBLEMS 10

/* What we have told ourselves is known here. */
#define PROBLEMS_SQL(from)                                                     \
	"select w.kind, w.object, w.severity, w.problem,"                          \
	" extract(epoch from w.age)::pg_catalog.float8 from " from                 \
	" where w.kind not like 'pgqd/%'"

static const char problems_sql[] = PROBLEMS_SQL(PROBLEMS_4_1("$1"));
static const char problems_4_0_sql[] = PROBLEMS_SQL(PROBLEMS_4_0);
static const char problems_3_sql[] = PROBLEMS_SQL(PROBLEMS_3);

static const char slots_sql[] =
	"select i.slot_name, i.active::pg_catalog.int4 as active, i.lag_bytes,"
	" extract(epoch from coalesce(i.lag_time, '0'))::pg_catalog.float8 as lag,"
	" i.events, i.state, i.problem, i.held_bytes,"
	" (i.state in ('missing', 'lost', 'problem'))::pg_catalog.int4 as broken"
	" from pgq.get_slot_info() i";

/* It must not hang where others do. */
static const char lock_sql[] =
	"select pg_catalog.set_config('lock_timeout', '1s', false)";

static const char wal_sql[] = "select pg_catalog.pg_current_wal_flush_lsn()";
static const char heartbeat_sql[] = "select pg_catalog.pg_current_xact_id()";

static const char tell_sql[] =
	"select pgq.tell_problems(pg_catalog.string_to_array($1, E'\\n'),"
	" pg_catalog.string_to_array($2, E'\\n'),"
	" pg_catalog.string_to_array($3, E'\\n'))";

struct Watch
{
	const Config *config;
	char *dbname;
	const Stats *stats;
	Conn *conn;
	struct event *timer;
	int version; /* of the extension, 401 is 4.1 */
	bool has_slot;
	double asked_at;  /* 0: nothing is asked */
	double looked_at; /* the last look was done */

	PGresult *last;     /* all of the last look; NULL: not known */
	PGresult *problems; /* those that count */
	PGresult *slots;

	char *own[3];  /* kinds, severities, texts of our own troubles */
	bool own_told; /* in this session */

	char *wal;     /* where it ended */
	double wal_at; /* it moved, or was moved */

	Trouble trouble; /* looks fail */
	/* kinds and objects of what was logged; NULL: nothing */
	char *stands;
	char *others;
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

/* Does this row of watch_get_problems() tell that events do not move? */
bool
watch_is_standstill(const PGresult *problems, int row)
{
	return strcmp(PQgetvalue(problems, row, PROBLEM_SEVERITY), "standstill") ==
		   0;
}

/* The severity as the server calls it. */
const char *
watch_get_severity(const Told *told)
{
	return told->stands_still ? "standstill" : "warning";
}

/* Did something stand still at the last look? */
static bool
has_standstill(const Watch *watch)
{
	for (int row = 0; watch->last && row < PQntuples(watch->last); row++)
		if (watch_is_standstill(watch->last, row))
			return true;
	return false;
}

/* Does it have a problem of that kind with that object? */
static bool
has_problem(const PGresult *res, const char *kind, const char *object)
{
	for (int row = 0; res && row < PQntuples(res); row++)
		if (strcmp(PQgetvalue(res, row, PROBLEM_KIND), kind) == 0 &&
			strcmp(PQgetvalue(res, row, PROBLEM_OBJECT), object) == 0)
			return true;
	return false;
}

/*
 * What stands still at one look alone does not count: it comes and goes with
 * the work.
 */
static void
take_new_problems(Watch *watch, const PGresult *res)
{
	PGresult *problems = PQcopyResult(res, PG_COPYRES_ATTRS);

	if (problems == NULL)
		abort();
	for (int row = 0; row < PQntuples(res); row++)
	{
		int to = PQntuples(problems);

		if (watch_is_standstill(res, row) &&
			!has_problem(watch->last, PQgetvalue(res, row, PROBLEM_KIND),
						 PQgetvalue(res, row, PROBLEM_OBJECT)))
			continue;
		for (int col = 0; col < PQnfields(res); col++)
			if (!PQsetvalue(
					problems, to, col,
					PQgetisnull(res, row, col) ? NULL
											   : PQgetvalue(res, row, col),
					PQgetisnull(res, row, col) ? -1
											   : PQgetlength(res, row, col)))
				abort();
	}
	PQclear(watch->problems);
	watch->problems = problems;
	set_result(&watch->last, res);
}

/* What was seen is no longer known to be so. */
static void
forget(Watch *watch)
{
	set_result(&watch->last, NULL);
	set_result(&watch->problems, NULL);
	set_result(&watch->slots, NULL);
	watch->looked_at = 0;
}

/* Log each problem once, and when all of them are over. */
static void
log_some(Watch *watch, char **logged, bool standstills, const char *over)
{
	const PGresult *res = watch->problems;
	PQExpBuffer names = text_begin();
	int n = 0;
	int fresh = 0;

	for (int row = 0; res && row < PQntuples(res); row++)
	{
		char *name;

		if (watch_is_standstill(res, row) != standstills)
			continue;
		name = text_format("%s\t%s\n", PQgetvalue(res, row, PROBLEM_KIND),
						   PQgetvalue(res, row, PROBLEM_OBJECT));
		n++;
		if ((*logged == NULL || strstr(*logged, name) == NULL) &&
			fresh++ < LOGGED_PROBLEMS)
			log_warning("[%s]: %s", watch->dbname,
						PQgetvalue(res, row, PROBLEM_TEXT));
		appendPQExpBufferStr(names, name);
		free(name);
	}
	if (fresh > LOGGED_PROBLEMS)
		log_warning("[%s]: %d more; see pgqadm status", watch->dbname,
					fresh - LOGGED_PROBLEMS);
	if (n == 0 && *logged)
		log_info("[%s]: %s", watch->dbname, over);
	text_set(logged, n > 0 ? names->data : NULL);
	destroyPQExpBuffer(names);
}

static void
log_problems(Watch *watch)
{
	log_some(watch, &watch->stands, true, "events move again");
	log_some(watch, &watch->others, false, "nothing is left to be seen to");
}

/* Are looks wanted all the time? */
static bool
is_urgent(const Watch *watch)
{
	double silence = clock_seconds() - watch->stats->ticked_at;

	return watch->has_slot || watch->own[0] || has_standstill(watch) ||
		   silence > TICK_PATIENCE + 2 * watch->config->ticker_period;
}

/* Seconds until the next look, where the last one took so many. */
static double
find_period(const Watch *watch, double took)
{
	double period = took * LOOK_SHARE;

	if (has_standstill(watch))
		return STILL_PERIOD;
	return period < LOOK_PERIOD      ? LOOK_PERIOD
		   : period > LONGEST_PERIOD ? LONGEST_PERIOD
									 : period;
}

static void
fail(Watch *watch, const char *why)
{
	trouble_report(&watch->trouble, watch->dbname,
				   "could not look for problems: %s", why);
	watch->asked_at = 0;
	watch->own_told = false;
	forget(watch);
	conn_close(watch->conn);
	timer_set(watch->timer, LOOK_PERIOD);
}

static void
finish(Watch *watch)
{
	double now = clock_seconds();

	trouble_clear(&watch->trouble, watch->dbname, NULL);
	log_problems(watch);
	timer_set(watch->timer, find_period(watch, now - watch->asked_at));
	watch->asked_at = 0;
	watch->looked_at = now;
	if (!is_urgent(watch))
	{
		conn_close(watch->conn);
		watch->own_told = false;
	}
}

static void
take_slots(Conn *conn, const PGresult *res, void *arg)
{
	Watch *watch = arg;

	/* a lock that the problems tell of */
	if (conn_failed(res) && strcmp(conn_sqlstate(res), "55P03") == 0)
		set_result(&watch->slots, NULL);
	else if (conn_failed(res))
	{
		fail(watch, PQresultErrorMessage(res));
		return;
	}
	else
		set_result(&watch->slots, res);
	finish(watch);
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
	take_new_problems(watch, res);
	if (watch->version < 400)
		finish(watch);
}

static void
take_told(Conn *conn, const PGresult *res, void *arg)
{
	Watch *watch = arg;

	/* they are told by us at least */
	if (conn_failed(res))
		log_debug("[%s]: could not tell the server of troubles: %s",
				  watch->dbname, PQresultErrorMessage(res));
}

static void
take_wal(Conn *conn, const PGresult *res, void *arg)
{
	Watch *watch = arg;
	double now = clock_seconds();

	if (conn_failed(res) || PQntuples(res) != 1)
		return;
	if (watch->wal == NULL || strcmp(watch->wal, PQgetvalue(res, 0, 0)) != 0)
	{
		text_set(&watch->wal, PQgetvalue(res, 0, 0));
		watch->wal_at = now;
	}
	else if (now - watch->wal_at > HEARTBEAT_PERIOD)
	{
		conn_send_often(conn, heartbeat_sql, 0, NULL, NULL, NULL, NULL, NULL);
		watch->wal_at = now;
	}
}

static void
look(Watch *watch)
{
	char size[32];
	const char *values[1] = {size};
	const char *nothing[3] = {"", "", ""};

	watch->asked_at = clock_seconds();
	if (watch->version < 400)
	{
		conn_send_often(watch->conn, problems_3_sql, 0, NULL, NULL, NULL,
						take_problems, watch);
		return;
	}
	if (watch->version >= 401 &&
		(watch->own[0] ? !watch->own_told : watch->own_told))
	{
		conn_send(watch->conn, tell_sql, 3,
				  watch->own[0] ? (const char *const *) watch->own : nothing,
				  take_told, watch);
		watch->own_told = watch->own[0] != NULL;
	}
	snprintf(size, sizeof(size), "%zu", watch->config->slot_warn_size);
	if (watch->has_slot)
		conn_send_often(watch->conn, wal_sql, 0, NULL, NULL, NULL, take_wal,
						watch);
	if (watch->version < 401)
		conn_send_often(watch->conn, problems_4_0_sql, 0, NULL, NULL, NULL,
						take_problems, watch);
	else
		conn_send_often(watch->conn, problems_sql, 1, values, NULL, NULL,
						take_problems, watch);
	conn_send_often(watch->conn, slots_sql, 0, NULL, NULL, NULL, take_slots,
					watch);
}

static void
became_ready(Conn *conn, void *arg)
{
	Watch *watch = arg;

	conn_use_utf8(conn);
	conn_send(conn, lock_sql, 0, NULL, NULL, NULL);
	look(watch);
	timer_set(watch->timer, LOOK_PERIOD);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	fail(arg, why);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Watch *watch = arg;
	double now = clock_seconds();

	timer_set(watch->timer, LOOK_PERIOD);
	if (watch->asked_at > 0)
	{
		if (now - watch->asked_at > LOOK_PATIENCE)
			fail(watch, "the server does not answer");
	}
	else if (!is_urgent(watch) && watch->looked_at > 0 &&
			 now - watch->looked_at < watch->config->stats_period)
	{
		conn_close(watch->conn);
		watch->own_told = false;
	}
	else if (conn_is_ready(watch->conn))
		look(watch);
	else
	{
		watch->asked_at = now;
		conn_open(watch->conn);
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
	conn_require_trust(watch->conn, true);
	watch->timer = timer_make(base, 0, handle_timer, watch);
	return watch;
}

/* Stop and free. */
void
watch_free(Watch *watch)
{
	watch_stop(watch);
	watch_tell(watch, NULL, 0);
	event_free(watch->timer);
	conn_free(watch->conn);
	free(watch->wal);
	free(watch->dbname);
	free(watch);
}

/*
 * Look from now on.  version: of the extension, 401 is 4.1; has_slot: the database
 * has a slot, as far as is known.
 */
void
watch_start(Watch *watch, int version, bool has_slot)
{
	watch->version = version;
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
	watch->own_told = false;
	forget(watch);
	trouble_clear(&watch->trouble, watch->dbname, NULL);
	text_set(&watch->stands, NULL);
	text_set(&watch->others, NULL);
}

/*
 * What pgqd itself has found wrong, so that the server can tell others.  It is
 * copied.
 */
void
watch_tell(Watch *watch, const Told *told, int n)
{
	PQExpBuffer parts[3] = {text_begin(), text_begin(), text_begin()};
	bool same = (n > 0) == (watch->own[0] != NULL);

	for (int i = 0; i < n; i++)
	{
		const char *lead = i > 0 ? "\n" : "";

		appendPQExpBuffer(parts[0], "%spgqd/%s", lead, told[i].kind);
		appendPQExpBuffer(parts[1], "%s%s", lead, watch_get_severity(&told[i]));
		appendPQExpBufferStr(parts[2], lead);
		for (const char *p = told[i].trouble->text; *p; p++)
			appendPQExpBufferChar(parts[2], *p == '\n' ? ' ' : *p);
	}
	for (int i = 0; i < 3; i++)
	{
		char *text = text_end(parts[i]);

		same = same && (n == 0 || strcmp(text, watch->own[i]) == 0);
		free(watch->own[i]);
		watch->own[i] = n > 0 ? text : NULL;
		if (n == 0)
			free(text);
	}
	if (same)
		return;
	if (n > 0)
		watch->own_told = false;
	/* what began or ended is told at once, unless a look is under way */
	if (watch->asked_at == 0 && event_pending(watch->timer, EV_TIMEOUT, NULL))
		timer_set(watch->timer, 0);
}

/*
 * Problems, the watch's own: rows with columns PROBLEM_KIND and so on; NULL: not
 * known.
 */
const PGresult *
watch_get_problems(const Watch *watch)
{
	return watch->problems;
}

/* Rows of pgq.get_slot_info(); NULL: not known. */
const PGresult *
watch_get_slots(const Watch *watch)
{
	return watch->slots;
}
