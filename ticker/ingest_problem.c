/*-------------------------------------------------------------------------
 *
 * ingest_problem.c
 *		What is wrong with the slot or its position, written down where SQL shows
 *		it, and looked at again later.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/ingest_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"

/* Seconds until a problem is looked at again, if check_period is longer. */
#define STILL_PERIOD 2.0

static const char problem_sql[] =
	"select pgq.ingest_problem($1, $2, $3::pg_lsn)";

static const char source_problem_sql[] =
	"select pgq._note_source($1, $2, $3::pg_lsn, null)";

static const char timeline_sql[] = "select pgq.ingest_timeline($1, $2::int4)";

static const char source_timeline_sql[] =
	"select pgq._note_source($1, null, null, $2::int4)";

/* Close everything, and look again when the cause may be gone. */
void
ingest_rest(Ingest *ingest)
{
	double pause = ingest->config->check_period;

	ingest_pause(ingest, pause < STILL_PERIOD ? pause : STILL_PERIOD);
}

static void
problem_recorded(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res))
		log_warning("[%s]: could not record the problem: %s", ingest->dbname,
					PQresultErrorMessage(res));
	ingest_rest(ingest);
}

/* Write it down where SQL shows it; a problem of NULL: there is none. */
static void
record_problem(Ingest *ingest, const char *problem, const char *missing_from,
			   ConnAnswer answer)
{
	const char *values[3] = {
		ingest->source ? ingest_source_get_name(ingest->source) : ingest->slot,
		problem, missing_from};

	conn_send(ingest->conn, ingest->source ? source_problem_sql : problem_sql,
			  3, values, answer, ingest);
}

/*
 * Ingest can't go on.  Say so once, write it down where SQL shows it, and look
 * again later.  missing: changes from the position on are lost.
 */
void
ingest_stand_still(Ingest *ingest, bool missing, const char *problem)
{
	char lsn[32];

	snprintf(lsn, sizeof(lsn), LSN_FORMAT, LSN_ARGS(ingest->position));
	trouble_report(&ingest->trouble, ingest->dbname,
				   "ingest stands still: %s%s%s; ticks go on", problem,
				   missing ? "; changes are missing from " : "",
				   missing ? lsn : "");
	stream_close(ingest->stream);
	ingest_drop_all(ingest);
	ingest->standing_by = false;

	/* write it once, not every check_period */
	if (!conn_is_ready(ingest->conn) ||
		(ingest->recorded_problem &&
		 strcmp(ingest->recorded_problem, problem) == 0))
		ingest_rest(ingest);
	else
	{
		ingest->state = INGEST_PAUSED;
		record_problem(ingest, problem, missing ? lsn : NULL, problem_recorded);
	}
}

static void
problem_cleared(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res))
		log_warning("[%s]: could not clear the problem of slot \"%s\": %s",
					ingest->dbname, ingest->slot, PQresultErrorMessage(res));
}

static void
timeline_recorded(Conn *conn, const PGresult *res, void *arg)
{
	Ingest *ingest = arg;

	if (conn_failed(res))
		log_warning("[%s]: could not note the timeline of slot \"%s\": %s",
					ingest->dbname, ingest->slot, PQresultErrorMessage(res));
}

/* The server went on to another timeline, after our position. */
void
ingest_record_timeline(Ingest *ingest)
{
	char timeline[16];
	const char *values[2] = {
		ingest->source ? ingest_source_get_name(ingest->source) : ingest->slot,
		timeline};

	snprintf(timeline, sizeof(timeline), "%u",
			 stream_get_timeline(ingest->stream));
	/* of a source that was just met it is not known before */
	if (ingest->timeline > 0)
		log_info("[%s]: the server is on timeline %s now", ingest->dbname,
				 timeline);
	ingest->timeline = stream_get_timeline(ingest->stream);
	conn_send(ingest->conn, ingest->source ? source_timeline_sql : timeline_sql,
			  2, values, timeline_recorded, ingest);
}

/* The problem that was written down is no more. */
void
ingest_clear_problem(Ingest *ingest)
{
	if (ingest->recorded_problem == NULL)
		return;
	record_problem(ingest, NULL, NULL, problem_cleared);
	text_set(&ingest->recorded_problem, NULL);
}
