/*-------------------------------------------------------------------------
 *
 * confirm.c
 *		Which positions the server may forget the WAL of.
 *
 * Ingest commits are asynchronous, and a standby that takes over may have the
 * slot's new position without our last commits.  So a position is confirmed
 * when the WAL of the commit that moved it is safe: flushed by the server, by
 * the standbys that a failover slot waits for, and by those that confirm_after
 * names.  What came from a source waits for the standbys that any failover slot
 * here would.
 *
 * Whether it is does not depend on how far the stream has come, so WAL goes
 * while a backlog shrinks, although the commits lie far behind it.
 *
 * While positions wait, the server is asked each second.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/confirm.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "ticker/names.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Seconds between questions. */
#define ASK_PERIOD 1.0

/* Positions that come closer together than this are confirmed as one. */
#define SPACING 0.05

/* Say what holds up the oldest position after so many seconds. */
#define PATIENCE 6.0

/*
 * A row for each place that WAL must be at: who wants it there, the place, and
 * up to where it has WAL, NULL if it is not there; the nearest first.
 *
 * A slot of a standby moves when the standby has flushed.  Several standbys
 * may have one name.
 */
static const char safe_sql[] =
	"with slot as materialized (select r.slot_name, r.slot_type, r.temporary,"
	" r.active_pid, r.restart_lsn, pg_catalog.to_jsonb(r)"
	" operator(pg_catalog.->>) 'failover' as failover"
	" from pg_catalog.pg_replication_slots r),"
	/* flush_lsn is NULL while a backup is taken */
	" standby as materialized (select r.application_name as name, r.flush_lsn"
	" from pg_catalog.pg_stat_replication r"
	" where (r.state is null or r.state operator(pg_catalog.=)"
	" any (array['catchup', 'streaming'])) and not exists (select from slot s"
	" where s.active_pid operator(pg_catalog.=) r.pid"
	" and s.slot_type operator(pg_catalog.=) 'logical')),"
	" place as materialized (select s.slot_name::text as name,"
	" s.restart_lsn as lsn, true as is_slot from slot s"
	" where s.slot_type operator(pg_catalog.=) 'physical'"
	" and not s.temporary"
	" union all select s.name, s.flush_lsn, false from standby s),"
	" wanted (name, by) as (select n, 'confirm_after'"
	" from pg_catalog.unnest($2::text[]) n"
	" where n operator(pg_catalog.<>) 'all'"
	" union all select pg_catalog.btrim(n, ' \"'),"
	" 'synchronized_standby_slots'"
	" from pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog"
	".current_setting('synchronized_standby_slots', true), ',')) n"
	" where ($3::bool or exists (select from slot s where s.slot_name"
	" operator(pg_catalog.=) $1::pg_catalog.name"
	" and s.failover operator(pg_catalog.=) 'true'))"
	" and pg_catalog.btrim(n, ' \"') operator(pg_catalog.<>) '')"
	" select null as by, null as name,"
	" pg_catalog.pg_current_wal_flush_lsn() as lsn"
	" union all select w.by, w.name, (select pg_catalog.min(p.lsn)"
	" from place p where p.name operator(pg_catalog.=) w.name"
	" and (p.is_slot or w.by operator(pg_catalog.=) 'confirm_after'))"
	" from wanted w"
	" union all select 'confirm_after', p.name, p.lsn from place p"
	" where 'all' operator(pg_catalog.=) any ($2::text[])"
	/* one that was never used keeps nothing for anybody */
	" and not (p.is_slot and p.lsn is null)"
	" order by lsn nulls first";

enum
{
	SAFE_BY,
	SAFE_NAME,
	SAFE_LSN
};

/* "position" has been committed, and its WAL ends before "wal_end". */
typedef struct Pending
{
	uint64_t position;
	uint64_t wal_end;
	double since;
} Pending;

#define MAX_PENDING 256

struct Confirm
{
	const Config *config;
	char *dbname;
	Conn *conn;     /* not ours */
	Stream *stream; /* not ours */
	struct event *timer;
	bool asking;

	char *slot;
	Pending pending[MAX_PENDING]; /* oldest first */
	int npending;

	Trouble trouble;
};

static void handle_timer(evutil_socket_t fd, short what, void *arg);

/*
 * Make the confirming of one database's positions.  conn and stream are asked
 * and told; they must outlive it, and confirm_reset() be called when either
 * was closed.  who is the source that the stream is of, and outlives it too; NULL
 * if that is conn's server.
 */
Confirm *
confirm_create(struct event_base *base, const Config *config,
			   const char *dbname, const char *who, Conn *conn, Stream *stream)
{
	Confirm *confirm = memory_make(sizeof(Confirm));

	confirm->config = config;
	confirm->dbname = text_copy(dbname);
	confirm->conn = conn;
	confirm->stream = stream;
	confirm->trouble.who = who;
	confirm->timer = timer_make(base, 0, handle_timer, confirm);
	return confirm;
}

/* Free it; its connection must be closed, or asked no more. */
void
confirm_free(Confirm *confirm)
{
	if (confirm == NULL)
		return;
	confirm_reset(confirm);
	event_free(confirm->timer);
	free(confirm->dbname);
	free(confirm);
}

/* Forget all positions: connection and stream were closed. */
void
confirm_reset(Confirm *confirm)
{
	event_del(confirm->timer);
	confirm->asking = false;
	confirm->npending = 0;
	text_set(&confirm->slot, NULL);
	trouble_clear(&confirm->trouble, confirm->dbname, NULL);
}

/*
 * "position" of a slot has been committed, and its WAL ends before "wal_end":
 * confirm it when that is safe.
 *
 * It takes the place of the one before when that is as young, or there is no
 * room: to confirm a position later than needed is harmless.
 */
void
confirm_add(Confirm *confirm, const char *slot, uint64_t position,
			uint64_t wal_end)
{
	double now = clock_seconds();
	Pending *last = confirm->pending + confirm->npending - 1;

	if (confirm->slot == NULL)
		confirm->slot = text_copy(slot);
	if (confirm->npending == 0 ||
		(confirm->npending < MAX_PENDING && now - last->since >= SPACING))
	{
		last++;
		last->since = now;
		confirm->npending++;
	}
	last->position = position;
	last->wal_end = wal_end;
	if (!confirm->asking && !event_pending(confirm->timer, EV_TIMEOUT, NULL))
		timer_set(confirm->timer, ASK_PERIOD);
}

/* All WAL before "safe" is where it must be. */
static void
confirm_before(Confirm *confirm, uint64_t safe)
{
	int n = 0;

	while (n < confirm->npending && confirm->pending[n].wal_end <= safe)
		n++;
	if (n == 0)
		return;
	stream_confirm(confirm->stream, confirm->pending[n - 1].position);
	confirm->npending -= n;
	memmove(confirm->pending, confirm->pending + n,
			confirm->npending * sizeof(Pending));
}

/* Has the oldest position waited for long, and not for the server itself? */
static void
report_wait(Confirm *confirm, const PGresult *res)
{
	if (confirm->npending == 0 ||
		clock_seconds() - confirm->pending[0].since < PATIENCE ||
		PQgetisnull(res, 0, SAFE_BY))
		trouble_clear(&confirm->trouble, confirm->dbname,
					  "positions of the slot are confirmed again");
	else if (PQgetisnull(res, 0, SAFE_LSN))
		trouble_report(&confirm->trouble, confirm->dbname,
					   "the server keeps WAL for slot \"%s\", because standby "
					   "or slot \"%s\" of %s is not there; without "
					   "pg_read_all_stats pgqd's role sees slots only",
					   confirm->slot, PQgetvalue(res, 0, SAFE_NAME),
					   PQgetvalue(res, 0, SAFE_BY));
	else
		trouble_report(&confirm->trouble, confirm->dbname,
					   "the server keeps WAL for slot \"%s\", because standby "
					   "or slot \"%s\" of %s has not received what was "
					   "ingested",
					   confirm->slot, PQgetvalue(res, 0, SAFE_NAME),
					   PQgetvalue(res, 0, SAFE_BY));
}

static void
take_safe(Conn *conn, const PGresult *res, void *arg)
{
	Confirm *confirm = arg;
	uint64_t safe;

	confirm->asking = false;
	if (conn_failed(res) || PQntuples(res) == 0)
		trouble_report(&confirm->trouble, confirm->dbname,
					   "could not ask which WAL is safe: %s",
					   PQresultErrorMessage(res));
	else
	{
		if (stream_parse_lsn(PQgetvalue(res, 0, SAFE_LSN), &safe))
			confirm_before(confirm, safe);
		report_wait(confirm, res);
	}
	if (confirm->npending > 0)
		timer_set(confirm->timer, ASK_PERIOD);
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Confirm *confirm = arg;
	Names names = {0};
	char *array;
	const char *values[3] = {confirm->slot, NULL,
							 confirm->trouble.who ? "t" : "f"};

	for (char **name = confirm->config->confirm_after; *name; name++)
		names_add(&names, *name, strlen(*name));
	values[1] = array = names_to_array(&names);
	confirm->asking = conn_send_often(confirm->conn, safe_sql, 3, values, NULL,
									  NULL, take_safe, confirm);
	free(array);
	names_clear(&names);
}

/* What holds WAL that was ingested, NULL: nothing.  The text is the object's. */
const Trouble *
confirm_get_trouble(const Confirm *confirm)
{
	return &confirm->trouble;
}
