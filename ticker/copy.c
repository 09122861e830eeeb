/*-------------------------------------------------------------------------
 *
 * copy.c
 *		Copy captured tables of one database into queues, one at a time.
 *
 *	state		event						next		on connection
 *	OFF			a copy is wanted			CONNECTING
 *	CONNECTING	both are ready				LOOKING
 *	LOOKING		none is wanted any more, or	OFF			control
 *				someone else reads the slot
 *				one was cancelled			PUBLISHING	control
 *				one waits, or another pgqd	STARTING	control
 *				began it
 *	STARTING	the table is locked, its	CATCHING_UP	control, work
 *				rows are under a snapshot,
 *				the lock is given back
 *	CATCHING_UP	ingest has passed that		COPYING		work
 *	COPYING		a step is done				COPYING		work
 *				all rows are copied			PUBLISHING	work
 *				it is given up				PAUSED		control
 *	PUBLISHING	committed					LOOKING		work
 *	any			error, connection lost		PAUSED
 *	PAUSED		time is up					CONNECTING
 *
 * Why it is done in this way is told in capture/copy_rows.c.  All rows are
 * copied in one transaction of the work connection, so any end before its
 * commit leaves nothing behind, and the copy starts anew with another id.
 *
 * The control connection looks each second whether the copy is still wanted,
 * and notes how far it is: at growing intervals, because no old version of
 * that row can be removed as long as the copy holds its snapshot.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "ticker/conn.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Seconds between two looks whether the copy is still wanted. */
#define CHECK_PERIOD 1.0

/* Seconds until another one is begun after one that is not wanted any more. */
#define GIVE_UP_PAUSE 1.0

/* Progress is noted when the copy has become so much older. */
#define NOTE_GROWTH 0.01

typedef enum CopyState
{
	COPY_OFF,
	COPY_PAUSED,
	COPY_CONNECTING,
	COPY_LOOKING,
	COPY_STARTING,
	COPY_CATCHING_UP,
	COPY_COPYING,
	COPY_PUBLISHING
} CopyState;

struct Copy
{
	char *dbname;
	const Ingest *ingest;
	Stats *stats;
	Tick *tick;
	Conn *control;
	Conn *work;
	CopyState state;
	struct event *timer; /* ends COPY_PAUSED */

	/* the copy that is under way; texts as the server sent them */
	char *id;     /* NULL: none */
	char *new_id; /* that it gets when its table is locked */
	char *queue;
	char *table;
	char *blocks; /* that there are */
	char *lsn;    /* ingest must pass it */
	uint64_t rows;
	char *bytes;
	char *blocks_done;
	double started_at;
	double checked_at;
	double noted_at;
	bool all_copied;

	Trouble trouble;
};

static const char next_sql[] =
	"select copy_id, is_cancelled from pgq._next_copy()";

static const char caught_up_sql[] =
	"select pgq.wait_ingest(pg_catalog.pg_current_wal_insert_lsn(), '60 s')";

/* Whoever hangs with the table locked must not keep it so. */
static const char begin_start_sql[] =
	"select pg_catalog.set_config('idle_in_transaction_session_timeout',"
	" '5s', true), pg_catalog.set_config('lock_timeout', '6s', true)";

static const char begin_work_sql[] =
	"set local idle_in_transaction_session_timeout = '60s'";

static const char start_sql[] =
	"select copy_id, queue_name, table_oid, table_name"
	" from pgq._start_copy($1)";

static const char snapshot_sql[] = "select pgq._begin_copy($1, $2, $3)";

static const char lsn_sql[] = "select pg_catalog.pg_current_wal_insert_lsn()";

static const char wait_sql[] = "select pgq.wait_ingest($1::pg_lsn, '1 s')";

static const char rows_sql[] =
	"select copied, bytes, blocks, done from pgq._copy_rows()";

static const char publish_sql[] = "select pgq._publish_copy($1)";

static const char check_sql[] = "select pgq._copy_goes_on($1)";

static const char note_sql[] = "select pgq._note_copy($1, $2, $3, $4, $5)";

static const char fail_sql[] = "select pgq._fail_copy($1, $2)";

static const char clean_sql[] = "select pgq._clean_copies()";

static void look(Copy *copy);
static void publish(Copy *copy);

static void
forget_copy(Copy *copy)
{
	char **const texts[] = {&copy->id,    &copy->new_id,     &copy->queue,
							&copy->table, &copy->blocks,     &copy->lsn,
							&copy->bytes, &copy->blocks_done};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		text_set(texts[i], NULL);
	copy->rows = 0;
	copy->all_copied = false;
}

static void
close_all(Copy *copy)
{
	conn_close(copy->control);
	conn_close(copy->work);
	forget_copy(copy);
}

static void
pause_after_failure(Copy *copy)
{
	close_all(copy);
	copy->state = COPY_PAUSED;
	timer_set(copy->timer, conn_back_off(copy->work));
}

static void
failure_noted(Conn *conn, const PGresult *res, void *arg)
{
	pause_after_failure(arg);
}

/*
 * Something failed.  What the work connection wrote is gone with it; say why in
 * the log and where SQL shows it, and try again later.
 */
static void
fail(Copy *copy, const char *why)
{
	const char *values[2] = {copy->id, why};

	if (copy->table)
		trouble_report(&copy->trouble, copy->dbname,
					   "could not copy table %s into queue %s, will be tried "
					   "again: %s",
					   copy->table, copy->queue, why);
	else
		trouble_report(&copy->trouble, copy->dbname, "copy: %s", why);
	conn_close(copy->work);
	copy->state = COPY_PAUSED;
	if (copy->id == NULL || !conn_is_ready(copy->control))
	{
		pause_after_failure(copy);
		return;
	}
	conn_send(copy->control, "rollback", 0, NULL, NULL, NULL);
	conn_send(copy->control, fail_sql, 2, values, failure_noted, copy);
}

static void
fail_with(Copy *copy, const PGresult *res)
{
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	fail(copy, text ? text : PQresultErrorMessage(res));
}

#define WHILE(state) (1 << (state))
#define WHILE_COPYING (WHILE(COPY_COPYING) | WHILE(COPY_CATCHING_UP))

/*
 * Is it what one of these states asked for?  An answer that comes too late is
 * passed over, a failure dealt with.
 */
static bool
is_answer(Copy *copy, int states, const PGresult *res)
{
	if (!(WHILE(copy->state) & states))
		return false;
	if (!conn_failed(res) && PQntuples(res) == 1)
		return true;
	fail_with(copy, res);
	return false;
}

/* Statements whose result says nothing but that they worked. */
static void
take_nothing(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;

	if (conn_failed(res) && copy->state > COPY_CONNECTING)
		fail_with(copy, res);
}

/*
 * Someone wants it no more, or has begun it anew: that would be another pgqd,
 * and ingest will have noticed when the pause is over.
 */
static void
give_up(Copy *copy)
{
	log_info("[%s]: copy of table %s into queue %s was given up", copy->dbname,
			 copy->table, copy->queue);
	close_all(copy);
	copy->state = COPY_PAUSED;
	timer_set(copy->timer, GIVE_UP_PAUSE);
}

/* All is copied, and nothing that could be in the way of the end is asked. */
static void
go_on(Copy *copy)
{
	if (copy->all_copied && !conn_is_busy(copy->control))
		publish(copy);
}

static void
take_check(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;

	if (!is_answer(copy, WHILE_COPYING, res))
		return;
	if (!conn_is_true(res, 0))
		give_up(copy);
	else
		go_on(copy);
}

static void
take_noted(Conn *conn, const PGresult *res, void *arg)
{
	if (is_answer(arg, WHILE_COPYING, res))
		go_on(arg);
}

/* Look whether it is still wanted, and note how far it is, if it is time. */
static void
check(Copy *copy)
{
	double now = clock_seconds();
	const char *values[5] = {copy->id, NULL, copy->bytes, copy->blocks,
							 copy->blocks_done};
	char rows[24];

	if (now - copy->checked_at < CHECK_PERIOD || conn_is_busy(copy->control))
		return;
	copy->checked_at = now;
	conn_send(copy->control, check_sql, 1, values, take_check, copy);
	if (now - copy->noted_at > (now - copy->started_at) * NOTE_GROWTH)
	{
		copy->noted_at = now;
		snprintf(rows, sizeof(rows), "%" PRIu64, copy->rows);
		values[1] = rows;
		conn_send(copy->control, note_sql, 5, values, take_noted, copy);
	}
}

static void
take_published(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	Names queues = {0};
	Xids xids = {0};

	if (copy->state != COPY_PUBLISHING)
		return;
	if (conn_failed(res) ||
		strcmp(PQcmdStatus((PGresult *) res), "COMMIT") != 0)
	{
		fail(copy, conn_failed(res) ? PQresultErrorMessage(res)
									: "the transaction was rolled back");
		return;
	}
	if (copy->table)
		log_info("[%s]: copied table %s into queue %s: %" PRIu64
				 " rows in %.0f s",
				 copy->dbname, copy->table, copy->queue, copy->rows,
				 clock_seconds() - copy->started_at);
	trouble_clear(&copy->trouble, copy->dbname, NULL);
	conn_reset_back_off(copy->work);
	names_add(&queues, copy->queue, strlen(copy->queue));
	tick_feed(copy->tick, &queues, &xids);
	look(copy);
}

static void
take_queue(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;

	if (conn_failed(res))
		fail_with(copy, res);
	else
		text_set(&copy->queue, PQgetvalue(res, 0, 0));
}

/* Make the rows and what was held seen by all, or what was held alone. */
static void
publish(Copy *copy)
{
	const char *values[1] = {copy->id};

	copy->state = COPY_PUBLISHING;
	conn_send(copy->work, publish_sql, 1, values, take_queue, copy);
	conn_send(copy->work, "commit", 0, NULL, take_published, copy);
}

static void
take_rows(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	uint64_t rows;

	if (!is_answer(copy, WHILE(COPY_COPYING), res))
		return;
	rows = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	copy->stats->copied += rows - copy->rows;
	copy->rows = rows;
	text_set(&copy->bytes, PQgetvalue(res, 0, 1));
	text_set(&copy->blocks_done, PQgetvalue(res, 0, 2));
	copy->all_copied = conn_is_true(res, 3);

	check(copy);
	if (copy->state != COPY_COPYING)
		return;
	if (!copy->all_copied)
		conn_send(copy->work, rows_sql, 0, NULL, take_rows, copy);
	else
		go_on(copy);
}

static void
take_waited(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	const char *values[1] = {copy->lsn};

	if (!is_answer(copy, WHILE(COPY_CATCHING_UP), res))
		return;
	if (conn_is_true(res, 0))
	{
		copy->state = COPY_COPYING;
		conn_send(copy->work, rows_sql, 0, NULL, take_rows, copy);
		return;
	}
	check(copy);
	conn_send(copy->work, wait_sql, 1, values, take_waited, copy);
}

static void
take_lsn(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	const char *values[1];

	if (!is_answer(copy, WHILE(COPY_STARTING), res))
		return;
	text_set(&copy->lsn, PQgetvalue(res, 0, 0));
	text_set(&copy->id, copy->new_id);
	log_info("[%s]: copies table %s into queue %s", copy->dbname, copy->table,
			 copy->queue);
	copy->state = COPY_CATCHING_UP;
	copy->started_at = clock_seconds();
	copy->checked_at = copy->noted_at = 0;
	text_set(&copy->bytes, "0");
	text_set(&copy->blocks_done, "0");
	values[0] = copy->lsn;
	conn_send(copy->work, wait_sql, 1, values, take_waited, copy);
}

static void
take_snapshot(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;

	if (!is_answer(copy, WHILE(COPY_STARTING), res))
		return;
	if (PQgetisnull(res, 0, 0))
	{
		fail(copy, "a session waits for a lock on the table");
		return;
	}
	text_set(&copy->blocks, PQgetvalue(res, 0, 0));
	conn_send(copy->control, "commit", 0, NULL, take_nothing, copy);
	conn_send(copy->control, lsn_sql, 0, NULL, take_lsn, copy);
}

static void
take_started(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	const char *values[3];

	if (!is_answer(copy, WHILE(COPY_STARTING), res))
		return;
	if (PQgetisnull(res, 0, 0))
	{
		conn_send(copy->control, "rollback", 0, NULL, take_nothing, copy);
		look(copy);
		return;
	}
	values[0] = PQgetvalue(res, 0, 0);
	values[1] = PQgetvalue(res, 0, 1);
	values[2] = PQgetvalue(res, 0, 2);
	text_set(&copy->queue, values[1]);
	text_set(&copy->table, PQgetvalue(res, 0, 3));
	conn_send(copy->work, "begin isolation level repeatable read", 0, NULL,
			  take_nothing, copy);
	conn_send(copy->work, begin_work_sql, 0, NULL, take_nothing, copy);
	conn_send(copy->work, snapshot_sql, 3, values, take_snapshot, copy);
	/* the new id counts when the control connection has committed */
	text_set(&copy->new_id, values[0]);
}

/* Ingest is close behind the WAL: so the copy will not have to wait long. */
static void
take_caught_up(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;
	const char *values[1] = {copy->id};

	if (!is_answer(copy, WHILE(COPY_STARTING) | WHILE(COPY_PUBLISHING), res))
		return;
	if (!conn_is_true(res, 0))
		fail(copy, "ingest is behind");
	else if (copy->state == COPY_PUBLISHING)
	{
		conn_send(copy->work, "begin", 0, NULL, take_nothing, copy);
		publish(copy);
	}
	else
	{
		conn_send(copy->control, "begin", 0, NULL, take_nothing, copy);
		conn_send(copy->control, begin_start_sql, 0, NULL, take_nothing, copy);
		conn_send(copy->control, start_sql, 1, values, take_started, copy);
	}
}

static void
take_next(Conn *conn, const PGresult *res, void *arg)
{
	Copy *copy = arg;

	if (!is_answer(copy, WHILE(COPY_LOOKING), res))
		return;
	if (PQgetisnull(res, 0, 0))
		copy_stop(copy);
	else
	{
		text_set(&copy->id, PQgetvalue(res, 0, 0));
		copy->state = conn_is_true(res, 1) ? COPY_PUBLISHING : COPY_STARTING;
		conn_send(copy->control, caught_up_sql, 0, NULL, take_caught_up, copy);
	}
}

/*
 * What is there to do?  Copies are the business of whoever reads the slot:
 * another pgqd would take one that is under way for a dead one.
 */
static void
look(Copy *copy)
{
	if (!ingest_is_running(copy->ingest))
	{
		copy_stop(copy);
		return;
	}
	forget_copy(copy);
	copy->state = COPY_LOOKING;
	conn_send(copy->control, clean_sql, 0, NULL, take_nothing, copy);
	conn_send(copy->control, next_sql, 0, NULL, take_next, copy);
}

static void
became_ready(Conn *conn, void *arg)
{
	Copy *copy = arg;

	/* a user's transaction may hold the row of the copy */
	if (conn == copy->control)
		conn_send(conn, "set lock_timeout = '5s'", 0, NULL, take_nothing, copy);
	if (conn_is_ready(copy->control) && conn_is_ready(copy->work))
		look(copy);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	fail(arg, why);
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static void
begin(evutil_socket_t fd, short what, void *arg)
{
	Copy *copy = arg;

	copy->state = COPY_CONNECTING;
	conn_open(copy->control);
	conn_open(copy->work);
}

/*
 * Make the copying of one database, switched off.  It works only while ingest
 * runs; tick gets to know which queues were fed.
 */
Copy *
copy_create(struct event_base *base, const Config *config, const char *dbname,
			const Ingest *ingest, Tick *tick, Stats *stats)
{
	Copy *copy = memory_make(sizeof(Copy));

	copy->dbname = text_copy(dbname);
	copy->ingest = ingest;
	copy->stats = stats;
	copy->tick = tick;
	copy->control = conn_create(base, config, dbname, "copy control", false,
								&hooks, copy);
	copy->work = conn_create(base, config, dbname, "copy", false, &hooks, copy);
	conn_require_trust(copy->control, true);
	conn_require_trust(copy->work, true);
	copy->timer = timer_make(base, 0, begin, copy);
	return copy;
}

/* Stop and free. */
void
copy_free(Copy *copy)
{
	if (copy == NULL)
		return;
	copy_stop(copy);
	event_free(copy->timer);
	conn_free(copy->control);
	conn_free(copy->work);
	trouble_clear(&copy->trouble, copy->dbname, NULL);
	free(copy->dbname);
	free(copy);
}

/* Begin with the copies that are wanted, if it is off. */
void
copy_start(Copy *copy)
{
	if (copy->state == COPY_OFF)
		begin(-1, 0, copy);
}

/* Switch off at once: what is not committed is copied anew the next time. */
void
copy_stop(Copy *copy)
{
	event_del(copy->timer);
	close_all(copy);
	trouble_clear(&copy->trouble, copy->dbname, NULL);
	copy->state = COPY_OFF;
}

/* Is nothing being copied, and none waited for? */
bool
copy_is_off(const Copy *copy)
{
	return copy->state == COPY_OFF;
}

/* What is wrong with it, NULL: nothing.  The text is the object's. */
const Trouble *
copy_get_trouble(const Copy *copy)
{
	return &copy->trouble;
}
