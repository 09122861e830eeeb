/*-------------------------------------------------------------------------
 *
 * ingest_start.c
 *		Find slot and position, open the stream, and deal with what is wrong.
 *
 *	state		event						next		logged
 *	OFF			the database has a slot		CONNECTING
 *	PAUSED		time is up					CONNECTING, or LOOKING
 *	CONNECTING	connected					LOOKING
 *	LOOKING		no slot						OFF
 *				slot is read by another		PAUSED		"stands by"
 *				slot missing, lost, or not	PAUSED		"stands still", problem
 *				of this database or system
 *				slot and position found		OPENING
 *	OPENING		stream started				CHECKING
 *				refused, not our system,	PAUSED		problem
 *				or not our timeline
 *	CHECKING	position moved meanwhile	CONNECTING
 *				confirmed past position		PAUSED		"stands still", problem
 *				all is well					RUNNING		"reads slot"
 *	any			connection or stream lost	PAUSED		the reason
 *
 * The stream is opened before the slot is checked, because from then on
 * nobody else can move the slot.
 *
 * A problem is written to pgq.slot for people to see, and looked at again
 * soon.  Changes that are missing stay missing: the cause goes away only when
 * someone gives the slot a new position.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/clock.h"
#include "ticker/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/wal_level.h"
#include "ticker/timer.h"

/* Longest pause between looks whether another's stream has ended, seconds. */
#define STAND_BY_PAUSE 2.0

/*
 * A queue costs a group nearly three locks, to its end.  A group may take a fifth
 * of what the server has room for: of so many locks there is one queue.
 */
#define LOCKS_FOR_QUEUE "13"

static const char look_sql[] =
	"select s.slot_name, s.slot_sysid, s.slot_problem,"
	" " POSITION_SQL "s.slot_name" POSITION_SQL_END ","
	" r.slot_name is not null,"
	" (r.plugin operator(pg_catalog.=) 'pgq' and r.database"
	" operator(pg_catalog.=) pg_catalog.current_database()) is true,"
	" s.slot_sysid operator(pg_catalog.=) (select c.system_identifier"
	" from pg_catalog.pg_control_system() c), r.active_pid, r.wal_status,"
	" (select a.rolreplication or a.rolsuper from pg_catalog.pg_roles a"
	" where a.rolname operator(pg_catalog.=) current_user),"
	" " WAL_LEVEL_SUFFICES ","
	" s.slot_timeline, pgq.version() operator(pg_catalog.<>) '4.0',"
	" pg_catalog.current_setting('max_locks_per_transaction')::int4"
	" operator(pg_catalog.*)"
	" pg_catalog.current_setting('max_connections')::int4"
	" operator(pg_catalog./) " LOCKS_FOR_QUEUE
	" from pgq.slot s left join pg_catalog.pg_replication_slots r"
	" on r.slot_name operator(pg_catalog.=) s.slot_name::pg_catalog.name";

enum
{
	LOOK_SLOT,
	LOOK_SYSID,
	LOOK_PROBLEM,
	LOOK_POSITION,
	LOOK_EXISTS,
	LOOK_OURS,
	LOOK_SAME_SYSTEM,
	LOOK_ACTIVE_PID,
	LOOK_WAL_STATUS,
	LOOK_MAY_REPLICATE,
	LOOK_DECODES,
	LOOK_TIMELINE,
	LOOK_HOLDS_BACK,
	LOOK_MAX_QUEUES
};

static void look(Ingest *ingest);
static void connect_source(Ingest *ingest);

/* Switch on, if it is off. */
void
ingest_start(Ingest *ingest)
{
	if (ingest->state != INGEST_OFF)
		return;
	ingest->state = INGEST_CONNECTING;
	conn_open(ingest->conn);
}

/* Timer callback: the pause is over. */
void
ingest_end_pause(evutil_socket_t fd, short what, void *arg)
{
	Ingest *ingest = arg;

	if (conn_is_ready(ingest->conn))
		connect_source(ingest);
	else
	{
		ingest->state = INGEST_CONNECTING;
		conn_open(ingest->conn);
	}
}

/* The server can be reached again: do not wait out a pause until it is. */
void
ingest_hurry(Ingest *ingest)
{
	if (ingest->state != INGEST_PAUSED || conn_is_ready(ingest->conn))
		return;
	event_del(ingest->timer);
	conn_reset_back_off(ingest->conn);
	ingest_end_pause(-1, 0, ingest);
}

static void
conn_became_ready(Conn *conn, void *arg)
{
	connect_source(arg);
}

static void
conn_was_lost(Conn *conn, const char *why, void *arg)
{
	Ingest *ingest = arg;

	trouble_report(&ingest->trouble, ingest->dbname, "ingest: connection: %s",
				   why);
	ingest_restart(ingest);
}

const ConnHooks ingest_conn_hooks = {conn_became_ready, conn_was_lost, NULL};

/* The queues' database is connected: to the source, if that is another. */
static void
connect_source(Ingest *ingest)
{
	ingest->state = INGEST_CONNECTING;
	if (ingest->source == NULL || ingest_source_connect(ingest->source))
		look(ingest);
}

static void
source_failed(Ingest *ingest, const char *what, const char *why)
{
	trouble_report(&ingest->trouble, ingest->dbname, "ingest: %s: %s", what,
				   why);
	ingest_restart(ingest);
}

const IngestSourceHooks ingest_source_hooks = {look, source_failed};

static void
termination_sent(Conn *conn, const PGresult *res, void *arg)
{
	ingest_sleep(arg, 0.1);
}

/* Another session reads the slot: ours from before, or another pgqd's. */
static void
stand_by(Ingest *ingest, const char *pid)
{
	double pause = conn_back_off(ingest->conn);

	if (atoi(pid) == stream_get_pid(ingest->stream))
	{
		const char *values[1] = {pid};

		/* what we lost touch with must not keep the slot from us */
		log_info("[%s]: ending our former walsender, PID %s", ingest->dbname,
				 pid);
		ingest->state = INGEST_PAUSED;
		conn_send(ingest_get_slot_conn(ingest),
				  "select pg_catalog.pg_terminate_backend($1::int4)", 1, values,
				  termination_sent, ingest);
		return;
	}
	if (!ingest->standing_by)
		log_info("[%s]: slot \"%s\" is active for PID %s: stands by to take "
				 "over",
				 ingest->dbname, ingest->slot, pid);
	ingest->standing_by = true;
	ingest_forget_troubles(ingest);
	ingest_sleep(ingest, pause < STAND_BY_PAUSE ? pause : STAND_BY_PAUSE);
}

/* Slot and position are known: can the stream be opened? */
static void
judge_look(Ingest *ingest, const IngestLook *look)
{
	if (look->error)
	{
		trouble_report(&ingest->trouble, ingest->dbname,
					   "ingest: could not read slot and position: %s",
					   look->error);
		ingest_rest(ingest);
		return;
	}
	text_set(&ingest->slot, look->slot);
	text_set(&ingest->key, look->key ? look->key : look->slot);
	text_set(&ingest->recorded_problem, look->problem);
	ingest->may_replicate = look->may_replicate;
	ingest->gather.max_queues = look->max_queues;
	ingest->position = 0;

	if (look->foreign && ingest->source)
		ingest_stand_still(ingest, false, look->foreign);
	else if (!stream_parse_lsn(look->position, &ingest->position))
		ingest_stand_still(ingest, false,
						   "pgq.position has no row for the slot");
	else if (look->foreign)
		ingest_stand_still(ingest, true, look->foreign);
	else if (!look->exists)
		ingest_stand_still(
			ingest, true,
			look->decodes ? "the replication slot is missing"
						  : "the replication slot is missing, and wal_level is "
							"not logical");
	else if (!look->ours)
		ingest_stand_still(
			ingest, true,
			"the replication slot of that name is of another database "
			"or another plugin");
	else if (look->lost)
		ingest_stand_still(ingest, true,
						   "the replication slot has lost WAL that it needs");
	else if (look->active_pid)
		stand_by(ingest, look->active_pid);
	else
	{
		char sysid[32];

		/* SQL has it as a signed number */
		snprintf(sysid, sizeof(sysid), "%llu",
				 (unsigned long long) strtoll(look->sysid, NULL, 10));
		ingest->timeline = strtoul(look->timeline, NULL, 10);
		ingest->state = INGEST_OPENING;
		stream_open(ingest->stream, ingest->slot, ingest->position, sysid,
					ingest->timeline, look->holds_back);
	}
}

static const char *
get_value(const PGresult *res, int column)
{
	return PQgetisnull(res, 0, column) ? NULL : PQgetvalue(res, 0, column);
}

static void
take_look(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;
	IngestLook look = {0};

	if (conn_failed(res))
		look.error = PQresultErrorMessage(res);
	else if (PQntuples(res) == 0)
	{
		ingest_stop(ingest);
		return;
	}
	else
	{
		look.slot = PQgetvalue(res, 0, LOOK_SLOT);
		look.sysid = PQgetvalue(res, 0, LOOK_SYSID);
		look.problem = get_value(res, LOOK_PROBLEM);
		look.position = PQgetvalue(res, 0, LOOK_POSITION);
		look.timeline = PQgetvalue(res, 0, LOOK_TIMELINE);
		if (!conn_is_true(res, LOOK_SAME_SYSTEM))
			look.foreign = "the position is of another server: this database "
						   "was restored here";
		look.active_pid = get_value(res, LOOK_ACTIVE_PID);
		look.exists = conn_is_true(res, LOOK_EXISTS);
		look.ours = conn_is_true(res, LOOK_OURS);
		look.lost = strcmp(PQgetvalue(res, 0, LOOK_WAL_STATUS), "lost") == 0;
		look.may_replicate = conn_is_true(res, LOOK_MAY_REPLICATE);
		look.decodes = conn_is_true(res, LOOK_DECODES);
		look.holds_back = conn_is_true(res, LOOK_HOLDS_BACK);
		look.max_queues = atoi(PQgetvalue(res, 0, LOOK_MAX_QUEUES));
	}
	judge_look(ingest, &look);
}

/* Read slot, position and what the server says of the slot. */
static void
look(Ingest *ingest)
{
	ingest->state = INGEST_LOOKING;
	ingest->gather.max_bytes = ingest->config->ingest_max_bytes;
	if (ingest->source)
		ingest_source_look(ingest->source, judge_look);
	else
		conn_send(ingest->conn, look_sql, 0, NULL, take_look, ingest);
}

/* What to do about a refusal, where we know better than the server. */
static const char *
refusal_hint(const Ingest *ingest, const char *sqlstate, const char *why)
{
	if (strstr(why, "output_plugin_libraries") ||
		strcmp(sqlstate, "58P01") == 0)
		return "; install PgQ's library, and add pgq to "
			   "output_plugin_libraries where the server has that setting";
	if (strstr(why, "wal_level"))
		return "; set wal_level = logical and restart the server";
	if (strcmp(sqlstate, "42501") == 0 || !ingest->may_replicate)
		return "; the role needs REPLICATION: ALTER ROLE ... REPLICATION";
	return "";
}

/* Stream hook: it could not be opened, or has ended. */
void
ingest_handle_end(StreamEnd end, const char *sqlstate, const char *why,
				  void *arg)
{
	Ingest *ingest = arg;
	size_t len;
	char *text;

	switch (end)
	{
		case STREAM_OTHER_SYSTEM:
		case STREAM_BEHIND:
			ingest_stand_still(ingest, true, why);
			return;
		case STREAM_REFUSED:
			/* taken, dropped or lost since we looked: look again */
			if (strcmp(sqlstate, "55006") == 0 ||
				strcmp(sqlstate, "42704") == 0)
			{
				ingest_restart(ingest);
				return;
			}
			break;
		case STREAM_BROKEN:
			/* not the role's fault if it worked before */
			if (ingest->state != INGEST_OPENING || ingest->may_replicate)
			{
				trouble_report(&ingest->trouble, ingest->dbname,
							   "ingest: stream: %s", why);
				ingest_restart(ingest);
				return;
			}
			break;
	}
	/* libpq's own messages end in a newline */
	len = strlen(why);
	while (len > 0 && why[len - 1] == '\n')
		len--;
	text = text_format("%.*s%s", (int) len, why,
					   refusal_hint(ingest, sqlstate, why));
	ingest_stand_still(ingest, false, text);
	free(text);
}
