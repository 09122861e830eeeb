/*-------------------------------------------------------------------------
 *
 * database.c
 *		All that pgqd does for one database.
 *
 *	state		event						next		logged
 *	WAITING		check_period, back-off		LOOKING
 *	LOOKING		no extension pgq, version 2	WAITING		"no pgq here"
 *				pgq is not a trusted role's	WAITING		"is left alone"
 *				server is a standby			WAITING		"is a standby"
 *				version 3					TICKING		"pgq version ok"
 *				version 4					TICKING		"pgq version ok"
 *	TICKING		connection lost				WAITING		the reason
 *				a fresh one works			LOOKING
 *				pgq was dropped				WAITING		"no pgq here"
 *
 * A connection whose connection_lifetime is over, or that a reload sends
 * elsewhere, serves until a fresh one works and takes its place.
 *
 * While TICKING there is a tick every ticker_period; maintenance and retry
 * have their cycles; and with version 4 ingest runs if the database has a
 * slot, copies of tables while it runs.  Each has connections of its own and a trouble of its own.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/database.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "ticker/conn.h"
#include "ticker/copy.h"
#include "ticker/ingest.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/maint.h"
#include "ticker/sources.h"
#include "ticker/tick.h"
#include "ticker/trouble.h"
#include "ticker/watch.h"
#include "ticker/timer.h"

/* Seconds between looks whether a standby was promoted. */
#define STANDBY_PERIOD 5.0

/* Seconds that a ticker run may take, and writing a group of events. */
#define TICK_PATIENCE 6.0
#define INGEST_PATIENCE 10.0

static const char version_sql[] =
	"select pgq.version(), pg_catalog.pg_is_in_recovery()";

/* One that feeds a queue host is not ours; 4.0 knows no such. */
static const char slot_sql[] =
	"select 1 from pgq.slot s where (pg_catalog.to_jsonb(s)"
	" operator(pg_catalog.->>) 'slot_remote') is distinct from 'true' limit 1";

static const char copy_sql[] =
	"select 1 from pgq.copy where copy_state"
	" operator(pg_catalog.=) any ('{waiting,copying,cancelled}') limit 1";

struct Database
{
	struct event_base *base;
	const Config *config;
	char *name;

	Conn *conn;  /* for ticks and looks */
	Conn *fresh; /* to take its place, NULL: none is wanted */
	bool moved;  /* all others must be made anew, too, when this works */
	Tick *tick;
	Maint *maint;
	Maint *retry;
	Ingest *ingest;
	Sources *sources;
	Copy *copy;
	Sample *sample;
	Watch *watch;
	Stats stats;
	Stats *total; /* with what came from sources */

	bool ticking;
	double began_at; /* the same since; clock_seconds() */
	bool no_pgq;     /* that was logged */
	int major;       /* of the extension's version */
	bool can_look;   /* it has pgq.tick_awaited() */
	char *version;   /* that was logged last */
	struct event *period;
	struct event *check;
	bool has_slot; /* as seen last */
	bool standby;  /* the server is one: that was logged */
	bool asking_slot;
	bool asking_copy;

	Trouble trouble;
	Trouble fresh_trouble;
	Trouble silence_trouble; /* no ticks */
	Trouble writing_trouble; /* ingest does not come to an end */
};

/* Stop what needs the extension; the caller sees to the connection. */
static void
stop_work(Database *db)
{
	db->ticking = false;
	trouble_clear(&db->silence_trouble, db->name, NULL);
	trouble_clear(&db->writing_trouble, db->name, NULL);
	event_del(db->period);
	event_del(db->check);
	maint_stop(db->maint);
	maint_stop(db->retry);
	ingest_stop(db->ingest);
	sources_stop(db->sources);
	copy_stop(db->copy);
	sample_stop(db->sample);
	watch_stop(db->watch);
}

static void
drop_fresh(Database *db)
{
	conn_free(db->fresh);
	db->fresh = NULL;
	trouble_clear(&db->fresh_trouble, db->name, NULL);
}

static void
wait_until(Database *db, double seconds)
{
	db->asking_slot = db->asking_copy = false;
	drop_fresh(db);
	tick_interrupt(db->tick);
	conn_open_later(db->conn, seconds);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	Database *db = arg;

	trouble_report(&db->trouble, db->name, "connection: %s", why);
	if (db->ticking)
	{
		/* the other connections notice for themselves, if it concerns them */
		event_del(db->period);
		event_del(db->check);
		trouble_clear(&db->silence_trouble, db->name, NULL);
		trouble_clear(&db->writing_trouble, db->name, NULL);
		sample_forget(db->sample);
		watch_stop(db->watch);
	}
	wait_until(db, conn_back_off(conn));
}

static void
find_no_pgq(Database *db, const char *why)
{
	/* most databases of a server have none; one that was named should */
	if (!db->no_pgq && db->config->database_list[0])
		log_warning("[%s]: no pgq here: %s - \"pgqadm -d %s install\" makes it",
					db->name, why, db->name);
	else if (!db->no_pgq)
		log_info("[%s]: no pgq here: %s", db->name, why);
	db->no_pgq = true;
	trouble_clear(&db->trouble, db->name, NULL);
	text_set(&db->version, NULL);
	stop_work(db);
	wait_until(db, db->config->check_period);
}

static void
take_version(Conn *conn, const PGresult *res, void *arg)
{
	Database *db = arg;
	const char *version;

	if (conn_failed(res) || PQntuples(res) != 1)
	{
		trouble_report(&db->trouble, db->name, "could not read version: %s",
					   PQresultErrorMessage(res));
		stop_work(db);
		wait_until(db, conn_back_off(conn));
		return;
	}
	version = PQgetvalue(res, 0, 0);
	if (conn_is_true(res, 1))
	{
		if (!db->standby)
			log_info("[%s]: the server is a standby: waits for its promotion",
					 db->name);
		db->standby = true;
		trouble_clear(&db->trouble, db->name, NULL);
		stop_work(db);
		wait_until(db, STANDBY_PERIOD);
		return;
	}
	db->standby = false;
	db->major = atoi(version);
	db->can_look = strtod(version, NULL) >= 4.1 - 1e-6;
	if (db->major < 3)
	{
		find_no_pgq(db, *version ? version : "pgq.version() is null");
		return;
	}
	if (db->version == NULL || strcmp(db->version, version) != 0)
	{
		log_info("[%s]: pgq version ok: %s", db->name, version);
		text_set(&db->version, version);
		if (db->ticking && db->major < 4)
			ingest_stop(db->ingest);
	}
	db->no_pgq = false;
	if (db->trouble.text)
		ingest_hurry(db->ingest);
	trouble_clear(&db->trouble, db->name, "connection works again");
	conn_reset_back_off(conn);

	timer_set(db->check, db->config->check_period);
	maint_start(db->maint, db->major);
	maint_start(db->retry, db->major);
	sample_start(db->sample, db->major);
	if (db->ticking && event_pending(db->period, EV_TIMEOUT, NULL))
		return;
	db->ticking = true;
	db->began_at = clock_seconds();
	tick_resume(db->tick);
	timer_set(db->period, 0);
}

/*
 * Nothing of a PgQ that somebody may have made up is called.  Without the
 * extension that is no fault of ours, or any owner of a database could make us
 * look unwell.
 */
static void
leave_alone(Database *db, bool has_extension, const char *why)
{
	trouble_report(&db->trouble, db->name, "is left alone: %s", why);
	db->no_pgq = !has_extension;
	text_set(&db->version, NULL);
	stop_work(db);
	wait_until(db, db->config->check_period);
}

/* Is there an extension pgq, and whose? */
static void
take_trust(Conn *conn, const PGresult *res, void *arg)
{
	Database *db = arg;

	if (conn_failed(res))
		conn_fail(conn, PQresultErrorMessage(res));
	else if (PQgetisnull(res, 0, 0) && PQgetisnull(res, 0, 1))
		find_no_pgq(db, "no extension pgq");
	else if (!PQgetisnull(res, 0, 1))
		leave_alone(db, !PQgetisnull(res, 0, 0), PQgetvalue(res, 0, 1));
	else
		conn_send(conn, version_sql, 0, NULL, take_version, db);
}

static void
became_ready(Conn *conn, void *arg)
{
	Database *db = arg;

	if (db->moved)
		stop_work(db);
	db->moved = false;
	conn_ask_trust(conn, "pgq", take_trust, db);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

/* Put the fresh connection in the old one's place, when nothing is under way. */
static void
take_fresh(Database *db)
{
	Conn *old = db->conn;

	if (db->fresh == NULL || !conn_is_ready(db->fresh) || conn_is_busy(old))
		return;
	db->conn = db->fresh;
	db->fresh = NULL;
	conn_set_hooks(db->conn, &hooks);
	conn_require_trust(db->conn, false); /* take_trust() sees to it */
	tick_set_conn(db->tick, db->conn);
	tick_resume(db->tick);
	conn_free(old);
	db->asking_slot = db->asking_copy = false;
	trouble_clear(&db->fresh_trouble, db->name, "the new connection works");
	became_ready(db->conn, db);
}

static void
fresh_became_ready(Conn *conn, void *arg)
{
	take_fresh(arg);
}

static void
fresh_was_lost(Conn *conn, const char *why, void *arg)
{
	Database *db = arg;

	trouble_report(&db->fresh_trouble, db->name,
				   "no new connection, the old one goes on: %s", why);
	conn_open_later(conn, conn_back_off(conn));
}

static const ConnHooks fresh_hooks = {fresh_became_ready, fresh_was_lost, NULL};

/* Make a connection that will take the place of the one there is. */
static void
make_fresh(Database *db)
{
	db->fresh = conn_create(db->base, db->config, db->name, "tick", false,
							&fresh_hooks, db);
	conn_require_trust(db->fresh, true);
	conn_open(db->fresh);
}

static void
handle_check(evutil_socket_t fd, short what, void *arg)
{
	Database *db = arg;

	conn_ask_trust(db->conn, "pgq", take_trust, db);
}

static void
take_slot(Conn *conn, const PGresult *res, void *arg)
{
	Database *db = arg;

	db->asking_slot = false;
	if (conn_failed(res))
		return;
	db->has_slot = PQntuples(res) > 0;
	if (db->has_slot && db->config->ingest)
		ingest_start(db->ingest);
}

static void
take_copy(Conn *conn, const PGresult *res, void *arg)
{
	Database *db = arg;

	db->asking_copy = false;
	if (!conn_failed(res) && PQntuples(res) > 0)
		copy_start(db->copy);
}

/* 401 for version 4.1. */
static int
find_version(const char *text)
{
	const char *dot = strchr(text, '.');

	return atoi(text) * 100 + (dot ? atoi(dot + 1) : 0);
}

/* Does what we have sent come to an end? */
static void
look_at_progress(Database *db)
{
	double now = clock_seconds();
	double ticked_at = db->stats.ticked_at;
	double writing_since = db->stats.writing_since;

	if (now - (ticked_at > db->began_at ? ticked_at : db->began_at) >
		TICK_PATIENCE + 2 * db->config->ticker_period)
		trouble_report(&db->silence_trouble, db->name,
					   "ticks do not come to an end: see what session "
					   "\"pgqd/tick\", process %d, waits for, or whether it is "
					   "stopped",
					   PQbackendPID(conn_get_pg(db->conn)));
	else
		trouble_clear(&db->silence_trouble, db->name, "ticks go on");
	if (writing_since > 0 && now - writing_since > INGEST_PATIENCE)
		trouble_report(&db->writing_trouble, db->name,
					   "ingest does not come to the end of a group of events; "
					   "pg_blocking_pids() of session \"pgqd/ingest\" tells "
					   "what holds it up, if it is not stopped");
	else
		trouble_clear(&db->writing_trouble, db->name, "ingest goes on");
}

static void
handle_period(evutil_socket_t fd, short what, void *arg)
{
	Database *db = arg;
	Told told[DATABASE_TROUBLES];

	timer_set(db->period, db->config->ticker_period);
	if (db->fresh)
		take_fresh(db);
	else if (conn_age(db->conn) > db->config->connection_lifetime)
	{
		log_debug("[%s]: connection_lifetime is over", db->name);
		make_fresh(db);
	}
	tick_run_period(db->tick, db->major);
	tick_look(db->tick, db->can_look && !ingest_is_running(db->ingest));

	/* so capture begins soon after pgq.start_capture() */
	if (db->major >= 4 && !db->asking_slot && ingest_is_off(db->ingest))
		db->asking_slot = conn_send(db->conn, slot_sql, 0, NULL, take_slot, db);

	if (db->can_look)
		sources_start(db->sources);
	look_at_progress(db);
	watch_tell(db->watch, told, database_get_troubles(db, told));
	watch_start(db->watch, find_version(db->version),
				db->has_slot || !ingest_is_off(db->ingest));

	/* copies belong to whoever reads the slot */
	if (db->major >= 4 && !db->asking_copy && copy_is_off(db->copy) &&
		database_is_ingesting(db))
		db->asking_copy = conn_send(db->conn, copy_sql, 0, NULL, take_copy, db);
}

/* Begin to look after a database; the name is copied. */
Database *
database_create(struct event_base *base, const Config *config, const char *name)
{
	Database *db = memory_make(sizeof(Database));

	db->total = memory_make(sizeof(Stats));
	db->base = base;
	db->config = config;
	db->name = text_copy(name);
	db->conn = conn_create(base, config, name, "tick", false, &hooks, db);
	db->tick = tick_create(base, config, name, db->conn, &db->stats);
	db->maint = maint_create(base, config, name, MAINT_OPERATIONS, &db->stats);
	db->retry = maint_create(base, config, name, MAINT_RETRY, &db->stats);
	db->ingest = ingest_create(base, config, name, NULL, db->tick, &db->stats);
	db->sources = sources_create(base, config, name, db->tick);
	db->copy = copy_create(base, config, name, db->ingest, db->tick,
						   &db->stats);
	db->watch = watch_create(base, config, name, &db->stats);
	db->sample = sample_create(base, config, name, &db->stats, db->watch);
	db->period = timer_make(base, 0, handle_period, db);
	db->check = timer_make(base, 0, handle_check, db);
	conn_open(db->conn);
	return db;
}

/* Stop at once, and free. */
void
database_free(Database *db)
{
	stop_work(db);
	event_free(db->period);
	event_free(db->check);
	maint_free(db->maint);
	maint_free(db->retry);
	copy_free(db->copy);
	ingest_free(db->ingest);
	sources_free(db->sources);
	sample_free(db->sample);
	watch_free(db->watch);
	conn_close(db->conn);
	drop_fresh(db);
	tick_free(db->tick);
	conn_free(db->conn);
	trouble_clear(&db->trouble, db->name, NULL);
	free(db->total);
	free(db->version);
	free(db->name);
	free(db);
}

/* The database's name; it belongs to the object. */
const char *
database_get_name(const Database *db)
{
	return db->name;
}

/*
 * The configuration has changed.  reconnect: so much that all connections
 * must be made anew, once the first one works.
 */
void
database_reload(Database *db, bool reconnect)
{
	db->moved = db->moved || reconnect;
	if (reconnect && db->fresh)
		conn_open(db->fresh);
	else if (reconnect && db->ticking && conn_is_ready(db->conn))
		make_fresh(db);
	else if (!db->ticking || !conn_is_ready(db->conn))
		wait_until(db, 0);
	if (!db->config->ingest)
	{
		ingest_stop(db->ingest);
		copy_stop(db->copy);
	}
	sources_reload(db->sources);
}

/* Begin nothing new; what is under way may end. */
void
database_quiesce(Database *db)
{
	event_del(db->period);
	event_del(db->check);
	/* one look follows the other, so there would be no end */
	tick_look(db->tick, false);
	if (!maint_is_busy(db->maint))
		maint_stop(db->maint);
	if (!maint_is_busy(db->retry))
		maint_stop(db->retry);
	if (!ingest_is_busy(db->ingest))
		ingest_stop(db->ingest);
	sources_quiesce(db->sources);
	/* it would take too long, and starts anew the next time */
	copy_stop(db->copy);
}

/* Is a statement under way? */
bool
database_is_busy(const Database *db)
{
	return conn_is_busy(db->conn) || maint_is_busy(db->maint) ||
		   maint_is_busy(db->retry) || ingest_is_busy(db->ingest) ||
		   sources_are_busy(db->sources);
}

/* A word for the status line. */
const char *
database_get_state(const Database *db)
{
	if (!db->ticking)
		return db->no_pgq    ? "no pgq"
			   : db->standby ? "stands by"
							 : "not connected";
	return ingest_get_state(db->ingest);
}

/* Is the extension there, as far as we know? */
bool
database_has_pgq(const Database *db)
{
	return !db->no_pgq;
}

/* What keeps it from being connected, malloc'd; NULL: nothing remarkable. */
char *
database_find_wait(const Database *db)
{
	char *wait = conn_find_wait(db->conn);

	return wait || !db->fresh ? wait : conn_find_wait(db->fresh);
}

/* Do ticks go on?  A connection that is made anew for its age counts. */
bool
database_is_connected(const Database *db)
{
	return db->ticking && db->trouble.text == NULL;
}

/* Is the slot being read? */
bool
database_is_ingesting(const Database *db)
{
	return ingest_is_running(db->ingest);
}

/* What was done for it; the struct is the object's. */
const Stats *
database_get_stats(const Database *db)
{
	*db->total = db->stats;
	sources_add_stats(db->sources, db->total);
	return db->total;
}

/* The state of its queues, as sampled last; the object's. */
const Sample *
database_get_sample(const Database *db)
{
	return db->sample;
}

/* What keeps its events from moving; the object's. */
const Watch *
database_get_watch(const Database *db)
{
	return db->watch;
}

/* Why it is for another to work now, a constant; NULL: it is not. */
const char *
database_find_standby(const Database *db)
{
	return db->standby ? "the server is a standby"
		   : ingest_is_standing_by(db->ingest)
			   ? "another session reads the slot"
			   : NULL;
}

/*
 * What pgqd itself finds wrong now: up to DATABASE_TROUBLES, valid until the event
 * loop goes on.  Returns their number.
 */
int
database_get_troubles(const Database *db, Told *told)
{
	const Told all[] = {{"connection", true, &db->trouble},
						{"connection", false, &db->fresh_trouble},
						{"tick", true, tick_get_trouble(db->tick)},
						{"tick", true, &db->silence_trouble},
						{"ingest", true, ingest_get_trouble(db->ingest)},
						{"ingest", true, &db->writing_trouble},
						{"maintenance", true, maint_get_trouble(db->maint)},
						{"retry", true, maint_get_trouble(db->retry)},
						{"copy", true, copy_get_trouble(db->copy)},
						{"confirm", false, ingest_get_warning(db->ingest)}};
	int n = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].trouble->text)
			told[n++] = all[i];
	return n +
		   sources_get_troubles(db->sources, told + n, DATABASE_TROUBLES - n);
}
