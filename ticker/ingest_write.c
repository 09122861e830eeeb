/*-------------------------------------------------------------------------
 *
 * ingest_write.c
 *		Write what the slot sends into the queues: exactly once, in order.
 *
 * While running:
 *
 *		frames arrive:			gather them
 *		nothing is being written:
 *			take what has gathered, send it to pgq.ingest() as one transaction
 *			together with the position that it moves from and to
 *		it is committed:
 *			tell the ticker which queues were fed, take what has gathered, ...
 *		it failed, or nobody knows:
 *			close the stream and the connection, read the position, start again
 *
 * So a group is one transaction with one round trip, one is under way, and
 * groups grow by themselves when commits get slow.  A source transaction that
 * is too long for memory is written part by part as it arrives.
 *
 * A group costs as much as a hundred small transactions.  So while the stream is
 * behind, the next one waits for more to come, for a small part of the time that
 * its events are late already.
 *
 * pgq.ingest() moves the position from where we last saw it, in the same
 * transaction as the events: if it is elsewhere by now, somebody else has
 * been writing and the transaction fails.
 *
 * When the server may forget the WAL that was read is told in confirm.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "common/clock.h"
#include "common/log.h"
#include "ticker/timer.h"

/*
 * A group waits for this part of the time since the last commit that came, if
 * that is worth the while, and for not too long: the server's clock may be
 * another one.
 */
#define WAIT_PART 0.0625
#define WAIT_SHORTEST 0.001
#define WAIT_LONGEST 0.01

/* Seconds between complaints about discarded events. */
#define DISCARD_LOG_PERIOD 60.0

/*
 * WAL shows a commit before other sessions see it.  Events must not be
 * readable before the rows that they tell of, so their transactions are
 * waited for before events are committed, not only before they are ticked:
 * a tick for other reasons may come at any time.  The wait is in the transaction
 * of the events, so that they don't come without it, whatever ends it.
 */
static const char wait_sql[] =
	"select pg_catalog.count(*) from pgq.tick('{}'::text[], $1::xid[])";

static const char ingest_sql[] =
	"select pgq.ingest($1, $2::pg_lsn, $3::pg_lsn, $4)";

static const char begin_sql[] = "begin";
static const char commit_sql[] = "commit";

static const char wal_end_sql[] =
	"select pg_catalog.pg_current_wal_insert_lsn()";

/* And the queues of a source, a row each: names in its frames are only its words. */
static const char source_wal_end_sql[] =
	"select pg_catalog.pg_current_wal_insert_lsn(), q.sq_queue"
	" from (values (1)) v left join pgq.source_queue q"
	" on q.sq_source operator(pg_catalog.=) $1";

static void
count_discarded(Ingest *ingest, int64_t n)
{
	double now = clock_seconds();

	if (n <= 0)
		return;
	ingest->stats->discarded += n;
	ingest->discarded += n;
	if (ingest->discard_logged_at > 0 &&
		now - ingest->discard_logged_at < DISCARD_LOG_PERIOD)
		return;
	log_warning("[%s]: discarded %" PRId64 " events of queues that do not "
				"exist",
				ingest->dbname, ingest->discarded);
	ingest->discarded = 0;
	ingest->discard_logged_at = now;
}

/*
 * A statement of a group failed.  Whatever the reason, the way out is the
 * same: the slot has everything still, from the position on.
 */
static void
handle_failure(Ingest *ingest, const PGresult *res)
{
	const char *sqlstate = conn_sqlstate(res);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (text == NULL)
		text = PQresultErrorMessage(res);
	if (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0 ||
		strcmp(sqlstate, "55P03") == 0)
		log_info("[%s]: ingest starts again: %s", ingest->dbname, text);
	else
		trouble_report(&ingest->write_trouble, ingest->dbname,
					   "ingest failed, will be tried again: %s", text);
	ingest_restart(ingest);
}

/* Statements whose result says nothing but that they worked. */
static void
take_nothing(Conn *conn, const PGresult *res, void *arg)
{
	if (conn_failed(res))
		handle_failure(arg, res);
}

/* What the events tell of is visible. */
static void
end_wait(Ingest *ingest)
{
	ingest->waiting_since = 0;
	trouble_clear(&ingest->wait_trouble, ingest->dbname,
				  "source transactions are visible again");
}

static void
take_waited(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res))
		handle_failure(ingest, res);
	else
		end_wait(ingest);
}

static void
take_events(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;
	Group *group = ingest->group;

	if (conn_failed(res) || PQntuples(res) != 1)
	{
		handle_failure(ingest, res);
		return;
	}
	ingest->events += strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	ingest->stats->bytes += group->frames.len;
	names_merge(&ingest->queues, &group->queues);
	if (group->kind == GROUP_PART)
	{
		ingest_drop_group(ingest);
		ingest_pump(ingest);
	}
}

/* The group is committed: its events can be read once there is a tick. */
static void
take_commit(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;
	Group *group = ingest->group;

	if (conn_failed(res) ||
		strcmp(PQcmdStatus((PGresult *) res), "COMMIT") != 0)
	{
		handle_failure(ingest, res);
		return;
	}
	ingest->position = group->end_lsn;
	ingest->stats->groups++;
	ingest->stats->events += ingest->events;
	count_discarded(ingest, group->nevents - ingest->events);
	ingest->fed = ingest->source && ingest->events > 0;
	ingest->events = 0;
	if (ingest->source)
		names_clear(&ingest->queues);
	else if (ingest->queues.count > 0)
		tick_feed(ingest->tick, &ingest->queues, &group->xids);
	trouble_clear(&ingest->trouble, ingest->dbname, "ingest works again");
	trouble_clear(&ingest->write_trouble, ingest->dbname, "ingest works again");
	conn_reset_back_off(ingest->conn);
}

/* Events of a source are committed: tick the queues that it may feed. */
static void
feed_queues(Ingest *ingest, const PGresult *res)
{
	Names queues = {0};
	Xids xids = {0};

	for (int row = 0; ingest->fed && row < PQntuples(res); row++)
		if (!PQgetisnull(res, row, 1))
			names_add(&queues, PQgetvalue(res, row, 1),
					  PQgetlength(res, row, 1));
	ingest->fed = false;
	if (queues.count > 0)
		tick_feed(ingest->tick, &queues, &xids);
}

static void
take_wal_end(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res) || PQntuples(res) < 1 ||
		!stream_parse_lsn(PQgetvalue(res, 0, 0), &ingest->own_wal_end))
	{
		handle_failure(ingest, res);
		return;
	}
	if (ingest->source)
		feed_queues(ingest, res);
	confirm_add(ingest->confirm, ingest->slot, ingest->position,
				ingest->own_wal_end);
	ingest_drop_group(ingest);
	ingest_pump(ingest);
}

/* Send one pgq.ingest() call. */
static void
send_ingest(Ingest *ingest, const Group *group, uint64_t to)
{
	char from_text[32];
	char to_text[32];
	const char *values[4] = {ingest->key, from_text, to_text,
							 group->frames.len ? group->frames.data : ""};
	const int lengths[4] = {0, 0, 0, (int) group->frames.len};
	static const int formats[4] = {0, 0, 0, 1};

	snprintf(from_text, sizeof(from_text), LSN_FORMAT,
			 LSN_ARGS(ingest->position));
	snprintf(to_text, sizeof(to_text), LSN_FORMAT, LSN_ARGS(to));
	conn_send_often(ingest->conn, ingest_sql, 4, values, lengths, formats,
					take_events, ingest);
}

/* What comes behind a group's events: its commit, and where that is in the WAL. */
static void
send_commit(Ingest *ingest)
{
	conn_send_often(ingest->conn, commit_sql, 0, NULL, NULL, NULL, take_commit,
					ingest);
	ingest->in_transaction = false;
	if (ingest->source)
	{
		const char *values[1] = {ingest_source_get_name(ingest->source)};

		conn_send_often(ingest->conn, source_wal_end_sql, 1, values, NULL, NULL,
						take_wal_end, ingest);
	}
	else
		conn_send_often(ingest->conn, wal_end_sql, 0, NULL, NULL, NULL,
						take_wal_end, ingest);
}

/* Send all statements of a group; their answers come in the same order. */
static void
send_statements(Ingest *ingest, bool wait)
{
	Group *group = ingest->group;

	if (!ingest->in_transaction)
		conn_send_often(ingest->conn, begin_sql, 0, NULL, NULL, NULL,
						take_nothing, ingest);
	ingest->in_transaction = true;
	if (wait)
	{
		char *xids = xids_to_array(&group->xids);
		const char *values[1] = {xids};

		conn_send_often(ingest->conn, wait_sql, 1, values, NULL, NULL,
						take_waited, ingest);
		free(xids);
	}
	send_ingest(ingest, group,
				group->kind == GROUP_PART ? ingest->position : group->end_lsn);
	if (group->kind != GROUP_PART)
		send_commit(ingest);
}

/* The source's transactions are visible there. */
static void
end_source_wait(Ingest *ingest)
{
	if (ingest->group == NULL)
		return;
	end_wait(ingest);
	send_statements(ingest, false);
}

/*
 * Write a group.  A source is asked first whether it is visible there what the
 * events tell of: it may say no for ever, and must not hold a transaction open here.
 */
static void
send_group(Ingest *ingest)
{
	Group *group = ingest->group;
	bool wait = group->kind != GROUP_PART && group->xids.count > 0;

	if (wait)
		ingest->waiting_since = clock_seconds();
	if (wait && ingest->source)
		ingest_source_wait(ingest->source, &group->xids, end_source_wait);
	else
		send_statements(ingest, wait);
}

/* Seconds since the last transaction that came was committed. */
static double
commit_age(const Ingest *ingest)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return (double) (now.tv_sec - POSTGRES_EPOCH) + now.tv_usec / 1e6 -
		   ingest->gather.commit_time / 1e6;
}

/* Should the next group wait for more to come? */
static bool
wait_for_more(Ingest *ingest)
{
	const Group *group = ingest->gather.first;
	double wait;

	if (group && group->next == NULL && group->kind == GROUP_WHOLE &&
		group->frames.len > 0 && !ingest->waited)
	{
		if (event_pending(ingest->more, EV_TIMEOUT, NULL))
			return true;
		wait = commit_age(ingest) * WAIT_PART;
		if (wait >= WAIT_SHORTEST)
		{
			timer_set(ingest->more, wait < WAIT_LONGEST ? wait : WAIT_LONGEST);
			return true;
		}
	}
	event_del(ingest->more);
	ingest->waited = false;
	return false;
}

/* Timer callback: the group has waited long enough. */
void
ingest_end_gathering(evutil_socket_t fd, short what, void *arg)
{
	Ingest *ingest = arg;

	ingest->waited = true;
	ingest_pump(ingest);
}

/*
 * Do what can be done now: write the next group if none is being written, and
 * read on or stop reading, as memory allows.
 */
void
ingest_pump(Ingest *ingest)
{
	size_t held;

	while (ingest->state == INGEST_RUNNING && ingest->group == NULL &&
		   !wait_for_more(ingest))
	{
		Group *group = gather_take(&ingest->gather);

		if (group == NULL)
			break;
		if (group->frames.len == 0 && group->end_lsn <= ingest->position)
		{
			gather_free_group(group);
			continue;
		}
		ingest->group = group;
		ingest->stats->writing_since = clock_seconds();
		send_group(ingest);
	}

	if (ingest->state != INGEST_RUNNING && ingest->state != INGEST_CHECKING)
		return;
	held = ingest->gather.bytes +
		   (ingest->group ? ingest->group->frames.len : 0);

	/* a frame that is longer than the limit must come in nevertheless */
	stream_pause(ingest->stream, held > ingest->config->ingest_memory &&
									 (ingest->group || ingest->gather.first));
}
