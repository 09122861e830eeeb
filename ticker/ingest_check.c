/*-------------------------------------------------------------------------
 *
 * ingest_check.c
 *		The stream is open: is it the slot that the position belongs to, and does
 *		anybody wait for it?
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/timer.h"

static const char check_sql[] =
	"select " POSITION_SQL "$1" POSITION_SQL_END ","
	" pg_catalog.pg_current_wal_insert_lsn(), (select r.confirmed_flush_lsn"
	" from pg_catalog.pg_replication_slots r"
	" where r.slot_name operator(pg_catalog.=) $1::pg_catalog.name)";

enum
{
	CHECK_POSITION,
	CHECK_WAL_END,
	CHECK_CONFIRMED /* of a source it is asked there */
};

static const char sync_sql[] =
	"select coalesce(r.sync_state in ('sync', 'quorum'), false)"
	" from pg_catalog.pg_stat_replication r where r.pid = $1";

/*
 * Who holds the lock of pgq.ingest() while we have the stream is a session of
 * a pgqd that hangs or is gone: its transaction will fail, but not before the
 * server notices, which can take hours.
 */
static const char fence_sql[] =
	"select pg_catalog.pg_terminate_backend(l.pid) from pg_catalog.pg_locks l"
	" where l.locktype operator(pg_catalog.=) 'object' and l.granted"
	" and l.classid operator(pg_catalog.=) 'pgq.position'::pg_catalog.regclass"
	" and l.objid operator(pg_catalog.=) (pg_catalog.hashtext($1 collate"
	" pg_catalog.\"C\")::int8 operator(pg_catalog.&) 4294967295)::oid"
	" and l.database operator(pg_catalog.=) (select d.oid"
	" from pg_catalog.pg_database d"
	" where d.datname operator(pg_catalog.=) pg_catalog.current_database())"
	" and l.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid()";

/*
 * The server counts our walsender as a synchronous standby, or no longer:
 * every commit waits until the position is past it.  That is slow, but it must
 * not be for ever.
 */
static void
set_synchronous(Ingest *ingest, bool synchronous)
{
	if (ingest->synchronous == synchronous)
		return;
	ingest->synchronous = synchronous;
	if (synchronous)
		log_warning("[%s]: pgqd's own walsender counts as a synchronous "
					"standby, so that commits wait for ingest: name the "
					"standbys in synchronous_standby_names, do not use '*'",
					ingest->dbname);
	else
		log_info("[%s]: pgqd's own walsender is no synchronous standby any "
				 "more",
				 ingest->dbname);
	ingest_plan_idle(ingest);
}

static void
take_sync(Conn *conn, const PGresult *res, void *arg)
{
	if (!conn_failed(res) && PQntuples(res) == 1 && PQnfields(res) == 1)
		set_synchronous(arg, conn_is_true(res, 0));
}

/* Find out whether our walsender counts as a synchronous standby. */
void
ingest_ask_sync(Ingest *ingest)
{
	char pid[16];
	const char *values[1] = {pid};

	/* an error in the transaction would spoil it */
	if (ingest->in_transaction && ingest->source == NULL)
		return;
	snprintf(pid, sizeof(pid), "%d", stream_get_pid(ingest->stream));
	conn_send(ingest_get_slot_conn(ingest), sync_sql, 1, values, take_sync,
			  ingest);
}

/* Everything that is to be known before the first group. */
static void
judge_check(Ingest *ingest, uint64_t position, uint64_t confirmed)
{
	char *problem;

	if (position != ingest->position)
	{
		log_info("[%s]: position moved while slot \"%s\" was opened: ingest "
				 "starts again",
				 ingest->dbname, ingest->slot);
		ingest_restart(ingest);
		return;
	}
	if (confirmed > position)
	{
		problem = text_format(
			"the replication slot is confirmed up to " LSN_FORMAT
			", past the position " LSN_FORMAT,
			LSN_ARGS(confirmed), LSN_ARGS(position));
		ingest_stand_still(ingest, true, problem);
		free(problem);
		return;
	}

	ingest_clear_problem(ingest);
	if (ingest->timeline != stream_get_timeline(ingest->stream))
		ingest_record_timeline(ingest);
	trouble_clear(&ingest->trouble, ingest->dbname, NULL);
	/* what fails each time is tried each time: said once, too */
	if (ingest->write_trouble.text == NULL)
		log_info("[%s]: ingest reads slot \"%s\" from " LSN_FORMAT,
				 ingest->dbname, ingest->slot, LSN_ARGS(position));
	else
		ingest_plan_idle(ingest);
	ingest->standing_by = false;
	ingest->state = INGEST_RUNNING;
	ingest->stats->heard_at = clock_seconds();
	confirm_add(ingest->confirm, ingest->slot, position, ingest->own_wal_end);
	ingest_ask_sync(ingest);
	ingest_pump(ingest);
}

static void
fail_check(Ingest *ingest, const PGresult *res)
{
	trouble_report(&ingest->trouble, ingest->dbname,
				   "ingest: could not check slot \"%s\": %s", ingest->slot,
				   PQresultErrorMessage(res));
	ingest_restart(ingest);
}

static void
take_check(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;
	uint64_t position;

	if (conn_failed(res) || PQntuples(res) != 1 ||
		!stream_parse_lsn(PQgetvalue(res, 0, CHECK_POSITION), &position) ||
		(ingest->source == NULL &&
		 !stream_parse_lsn(PQgetvalue(res, 0, CHECK_CONFIRMED),
						   &ingest->confirmed)) ||
		!stream_parse_lsn(PQgetvalue(res, 0, CHECK_WAL_END),
						  &ingest->own_wal_end))
		fail_check(ingest, res);
	else
		judge_check(ingest, position, ingest->confirmed);
}

static void
take_confirmed(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;
	const char *values[1] = {ingest->key};

	if (conn_failed(res) || PQntuples(res) != 1 || PQnfields(res) != 1 ||
		!stream_parse_lsn(PQgetvalue(res, 0, 0), &ingest->confirmed))
		fail_check(ingest, res);
	else
		conn_send(ingest->conn, check_sql, 1, values, take_check, ingest);
}

/* Ask where the slot is confirmed, then for the position. */
static bool
ask_check(Ingest *ingest)
{
	const char *values[1] = {ingest->key};

	return ingest->source ? ingest_source_ask_confirmed(
								ingest->source, ingest->slot, take_confirmed)
						  : conn_send(ingest->conn, check_sql, 1, values,
									  take_check, ingest);
}

static void
take_fenced(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res))
		log_warning("[%s]: could not end another pgqd's session, which holds "
					"up ingest: %s",
					ingest->dbname, PQresultErrorMessage(res));
	else if (PQntuples(res) > 0)
		log_info("[%s]: ended another pgqd's session, which held up ingest",
				 ingest->dbname);
}

/* The stream has started: is it the slot that the position belongs to? */
void
ingest_check_slot(Ingest *ingest)
{
	/* as slot_lock_position() names it */
	char *lock = ingest->source
					 ? text_format("source/%s",
								   ingest_source_get_name(ingest->source))
					 : text_copy(ingest->slot);
	const char *values[1] = {lock};

	ingest->state = INGEST_CHECKING;
	if (!conn_send(ingest->conn, fence_sql, 1, values, take_fenced, ingest) ||
		!ask_check(ingest))
		ingest_restart(ingest);
	free(lock);
}
