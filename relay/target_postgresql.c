/*-------------------------------------------------------------------------
 *
 * target_postgresql.c
 *		Events into a queue of another PgQ database, exactly once.
 *
 * All of a batch and a note of it, kept by the extension pgq_ext there, are one
 * transaction: both are there or neither.  A lock keeps relays of one consumer
 * apart, so that none reads the note before another's transaction has ended.  The
 * bookmark is the batch's id, by which a database that went back is noticed.
 * Nothing is kept in the session, so that it may be a pooler's.
 *
 * An event that the other database can't take (its encoding lacks a character, a
 * constraint refuses it) fails the whole transaction. So all up to it are sent again,
 * each alone behind a savepoint, until it is known which one it is.
 *
 * Events keep type, data, extras and time; their ids are the other queue's.  PgQ
 * 3.5 will do there.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/memory.h"
#include "common/session.h"
#include "consumer/statement.h"

typedef struct PgTarget
{
	Target base;
	PGconn *conn;
	int64_t batch;
	int64_t tick;
	int pending;   /* statements sent, whose results were not read */
	int64_t place; /* of the last event sent */
} PgTarget;

static const char lock_sql[] =
	"select pg_catalog.pg_advisory_xact_lock("
	"pg_catalog.hashtextextended($1::pg_catalog.text, 0))";

/* beside the batch, when its end was ticked: ids may be given anew, not this */
static const char last_sql[] =
	"select pgq_ext.get_last_tick($1::pg_catalog.text), "
	"pgq_ext.get_last_tick($1::pg_catalog.text, 'time')";

static const char note_sql[] =
	"select pgq_ext.set_last_tick($1::pg_catalog.text, $2::pg_catalog.int8), "
	"pgq_ext.set_last_tick($1::pg_catalog.text, 'time', $3::pg_catalog.int8)";

/* the time is the event's, its id is new */
static const char insert_sql[] =
	"select pgq.insert_event_raw($1::pg_catalog.text, null, "
	"$2::pg_catalog.timestamptz, null, null, $3::pg_catalog.text, "
	"$4::pg_catalog.text, $5::pg_catalog.text, $6::pg_catalog.text, "
	"$7::pg_catalog.text, $8::pg_catalog.text)";

static TargetResult
fail_conn(PgTarget *t, const PGresult *res)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *text = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY)
						   : NULL;
	char message[400];

	snprintf(message, sizeof(message), "%s",
			 text ? text : PQerrorMessage(t->conn));
	message[strcspn(message, "\n")] = '\0';
	/* what is refused for good: syntax and names, rights, data */
	if (state && (strncmp(state, "42", 2) == 0 ||
				  strncmp(state, "28", 2) == 0 || strncmp(state, "22", 2) == 0))
		return target_fail(t, TARGET_STOP, "%s (SQLSTATE %s)", message, state);
	return target_fail(t, TARGET_AWAY, "%s", message);
}

/* Is it the event's data that the failed statement could not take? */
static bool
is_data_refused(const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	/* data, constraints, limits */
	return state &&
		   (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
			strncmp(state, "54", 2) == 0);
}

/* Run a statement; NULL, with the failure noted, unless it is done. */
static PGresult *
run(PgTarget *t, const char *sql, int n, const char *const *params)
{
	PGresult *res = PQexecParams(t->conn, sql, n, NULL, params, NULL, NULL, 0);

	if (libpgq_is_good(res))
		return res;
	fail_conn(t, res);
	PQclear(res);
	return NULL;
}

static bool
run_only(PgTarget *t, const char *sql, int n, const char *const *params)
{
	PGresult *res = run(t, sql, n, params);

	PQclear(res);
	return res != NULL;
}

/*
 * Begin a transaction with settings of its own: the session may be a pooler's, in
 * which nothing may stay.  A statement that gets no lock ends: the batch's
 * transaction is open meanwhile.
 */
static bool
begin(PgTarget *t)
{
	char *start = session_make_begin(t->conn);
	char *sql = text_format("%s; set local statement_timeout = %.0f", start,
							t->base.config->stall_release * 1000);
	PGresult *res = PQexec(t->conn, sql);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK;

	if (!ok)
		fail_conn(t, res);
	PQclear(res);
	free(sql);
	free(start);
	return ok;
}

static Target *
postgresql_open(const RelayConfig *config)
{
	PgTarget *t = target_make(sizeof(PgTarget), config);
	char *password;
	char patience[32];
	const char *keys[11] = {
		"fallback_application_name", "connect_timeout",  "keepalives_idle",
		"keepalives_interval",       "keepalives_count", "tcp_user_timeout",
		"dbname",                    "client_encoding"};
	const char *values[11] = {"pgqrelay", "10",     "60",           "10",
							  "6",        patience, config->target, "UTF8"};
	int n = 8;
	PGresult *res;

	snprintf(patience, sizeof(patience), "%.0f", config->stall_release * 1000);
	password = target_password(config);
	if (config->user)
	{
		keys[n] = "user";
		values[n++] = config->user;
	}
	if (password)
	{
		keys[n] = "password";
		values[n++] = password;
	}
	t->conn = PQconnectdbParams(keys, values, 1);
	free(password);
	if (PQstatus(t->conn) != CONNECTION_OK)
	{
		target_fail(t, TARGET_AWAY, "%s", PQerrorMessage(t->conn));
		t->base.error[strcspn(t->base.error, "\n")] = '\0';
		return &t->base;
	}
	/* is it a database with queues? */
	if (begin(t))
	{
		res = PQprepare(t->conn, "", insert_sql, 0, NULL);
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			fail_conn(t, res);
		PQclear(res);
		PQclear(PQexec(t->conn, "rollback"));
	}
	return &t->base;
}

static void
postgresql_close(Target *target)
{
	PgTarget *t = (PgTarget *) target;

	PQfinish(t->conn);
	free(t);
}

static TargetResult
postgresql_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	PgTarget *t = (PgTarget *) target;
	const char *consumer = t->base.config->consumer;
	PGresult *res;
	int64_t last;
	int64_t tick;
	TargetResult result;

	t->batch = batch->id;
	t->tick = batch->tick;
	/* of a batch that was given up */
	if (PQtransactionStatus(t->conn) != PQTRANS_IDLE)
		return target_fail(t, TARGET_AWAY, "a transaction was left open");
	if (!begin(t) || !run_only(t, lock_sql, 1, &consumer) ||
		(res = run(t, last_sql, 1, &consumer)) == NULL)
		return t->base.result;
	last = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	tick = strtoll(PQgetvalue(res, 0, 1), NULL, 10);
	PQclear(res);
	result = target_compare_batches(t, "the database", last, tick, batch, done);
	if (result != TARGET_OK)
		return result;
	return TARGET_OK;
}

/* Statements are sent without a wait for their results from here on. */
static TargetResult
begin_pipeline(PgTarget *t)
{
	if (PQpipelineStatus(t->conn) != PQ_PIPELINE_OFF)
		return TARGET_OK;
	/* without a name nothing of it stays in a pooler's session */
	if (!PQenterPipelineMode(t->conn) ||
		!PQsendPrepare(t->conn, "", insert_sql, 0, NULL))
		return fail_conn(t, NULL);
	t->pending = 1;
	return TARGET_OK;
}

/* Read results of the pipeline until "most" are left. */
static TargetResult
read_results(PgTarget *t, int most)
{
	while (t->pending > most)
	{
		PGresult *res = PQgetResult(t->conn);

		/* NULL stands between the results of two statements */
		if (res == NULL)
		{
			if (PQstatus(t->conn) == CONNECTION_BAD)
				return fail_conn(t, NULL);
			t->pending--;
			continue;
		}
		if (!libpgq_is_good(res))
		{
			TargetResult result = fail_conn(t, res);

			if (is_data_refused(res))
			{
				/* one of those that are under way */
				t->base.suspect = t->place;
				result = TARGET_AWAY;
			}
			PQclear(res);
			return result;
		}
		PQclear(res);
	}
	return TARGET_OK;
}

/* All results are read. */
static TargetResult
end_pipeline(PgTarget *t)
{
	PGresult *res;
	TargetResult result;

	if (PQpipelineStatus(t->conn) == PQ_PIPELINE_OFF)
		return TARGET_OK;
	if (!PQpipelineSync(t->conn))
		return fail_conn(t, NULL);
	result = read_results(t, 0);
	if (result != TARGET_OK)
		return result;
	res = PQgetResult(t->conn);
	if (PQresultStatus(res) != PGRES_PIPELINE_SYNC)
		result = fail_conn(t, res);
	PQclear(res);
	if (result == TARGET_OK && !PQexitPipelineMode(t->conn))
		return fail_conn(t, NULL);
	return result;
}

/* An event that may be the one that is refused. */
static TargetResult
send_alone(PgTarget *t, const char *const *params)
{
	PGresult *res;
	bool refused;

	if (!run_only(t, "savepoint event", 0, NULL))
		return t->base.result;
	res = PQexecParams(t->conn, insert_sql, 8, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
	{
		PQclear(res);
		return run_only(t, "release savepoint event", 0, NULL) ? TARGET_OK
															   : t->base.result;
	}
	refused = is_data_refused(res);
	fail_conn(t, res);
	PQclear(res);
	if (!refused)
		return t->base.result;
	return run_only(t, "rollback to savepoint event", 0, NULL) ? TARGET_REFUSED
															   : t->base.result;
}

static TargetResult
postgresql_send(Target *target, const RelayMessage *message)
{
	PgTarget *t = (PgTarget *) target;
	const RelayConfig *config = t->base.config;
	const PgqEvent *event = message->event;
	const char *params[8] = {config->to_queue ? config->to_queue
											  : config->queue,
							 event->ev_time,
							 event->ev_type,
							 event->ev_data,
							 event->ev_extra1,
							 event->ev_extra2,
							 event->ev_extra3,
							 event->ev_extra4};

	TargetResult result;

	t->place = message->place;
	if (message->place <= t->base.suspect)
		return send_alone(t, params);
	result = begin_pipeline(t);
	if (result != TARGET_OK)
		return result;
	if (!PQsendQueryPrepared(t->conn, "", 8, params, NULL, NULL, 0))
		return fail_conn(t, NULL);
	t->pending++;
	if (t->pending < config->window_events)
		return TARGET_OK;
	/* half of the window is answered before more is sent */
	if (!PQsendFlushRequest(t->conn) || PQflush(t->conn) < 0)
		return fail_conn(t, NULL);
	return read_results(t, config->window_events / 2);
}

static TargetResult
postgresql_flush(Target *target, char **bookmark)
{
	PgTarget *t = (PgTarget *) target;
	char batch[32];
	char tick[32];
	const char *params[3] = {t->base.config->consumer, batch, tick};
	TargetResult result = end_pipeline(t);

	snprintf(batch, sizeof(batch), "%" PRId64, t->batch);
	snprintf(tick, sizeof(tick), "%" PRId64, t->tick);
	if (result != TARGET_OK)
		return result;
	if (!run_only(t, note_sql, 3, params) || !run_only(t, "commit", 0, NULL))
		return t->base.result;
	*bookmark = text_copy(batch);
	return TARGET_OK;
}

const TargetClass target_postgresql = {
	.scheme = "postgresql",
	.promise = "a queue of another PgQ database, exactly once",
	.keys = (const char *const[]){"to_queue", "user", "password",
								  "password_file", NULL},
	.open = postgresql_open,
	.where = postgresql_where,
	.send = postgresql_send,
	.flush = postgresql_flush,
	.close = postgresql_close};
