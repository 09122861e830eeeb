/*-------------------------------------------------------------------------
 *
 * debezium.c
 *		The debezium format: a change as the envelope that Debezium's connector
 *		for PostgreSQL writes without schemas, so that what reads its topics
 *		reads ours (https://debezium.io/documentation/reference/connectors/
 *		postgresql.html, "Data change events").
 *
 * Debezium has ways to write values; ours are those of its settings
 * decimal.handling.mode=string, interval.handling.mode=string,
 * binary.handling.mode=base64 and, but for the zone, time.precision.mode=isostring.
 * See debezium_value.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "event/event.h"

/* In place of a value that the WAL does not have. */
#define UNAVAILABLE "\"__debezium_unavailable_value\""

/* PgQ's major version, for "source". */
#define SOURCE_VERSION "4"

#define UNIX_EPOCH_USECS                                                       \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/*
 * "before" or "after": a row, or null.  All columns are there: what the WAL does
 * not have of an old row is null.
 */
static void
put_row(const EventPlan *plan, const EventRow *row, bool is_new, StringInfo buf)
{
	char lead = '{';

	if (row == NULL)
	{
		appendBinaryStringInfo(buf, "null", 4);
		return;
	}
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];
		bool absent = row->absent[col->index];

		if (col->ignored && !col->is_key)
			continue;
		appendStringInfoCharMacro(buf, lead);
		lead = ',';
		appendBinaryStringInfo(buf, col->label, col->label_len);
		if (absent && is_new)
			appendStringInfoString(buf, UNAVAILABLE);
		else if (absent || row->isnull[col->index])
			appendBinaryStringInfo(buf, "null", 4);
		else
			event_debezium_value(col, row->values[col->index], buf);
	}
	if (lead == '{')
		appendStringInfoCharMacro(buf, '{');
	appendStringInfoCharMacro(buf, '}');
}

/* "ts_ms", "ts_us" and "ts_ns". */
static void
put_times(TimestampTz time, StringInfo buf)
{
	int64 usecs = time + UNIX_EPOCH_USECS;

	appendStringInfo(buf,
					 "\"ts_ms\":" INT64_FORMAT ",\"ts_us\":" INT64_FORMAT
					 ",\"ts_ns\":" INT64_FORMAT "000",
					 usecs / 1000, usecs, usecs);
}

static void
put_source(const EventPlan *plan, const EventSource *source, StringInfo buf)
{
	appendBinaryStringInfo(buf, plan->source.str, plan->source.len);
	appendStringInfo(buf,
					 "\"snapshot\":\"%s\",\"sequence\":\"[\\\"" UINT64_FORMAT
					 "\\\",\\\"" UINT64_FORMAT "\\\"]\",",
					 source->is_copy ? "true" : "false", source->commit_lsn,
					 source->lsn);
	put_times(source->commit_time, buf);
	if (TransactionIdIsValid(source->xid))
		appendStringInfo(buf, ",\"txId\":%u", source->xid);
	else
		appendStringInfoString(buf, ",\"txId\":null");
	appendStringInfo(buf, ",\"lsn\":" UINT64_FORMAT ",\"xmin\":null}",
					 source->lsn);
}

/*
 * Append an envelope.  before and after may be NULL: there is none.  The events
 * of a copy are those of a read.
 */
void
event_debezium_change(const EventPlan *plan, const EventSource *source,
					  EventOp op, const EventRow *before, const EventRow *after,
					  StringInfo buf)
{
	char letter = op == EVENT_OP_UPDATE     ? 'u'
				  : op == EVENT_OP_DELETE   ? 'd'
				  : op == EVENT_OP_TRUNCATE ? 't'
				  : source->is_copy         ? 'r'
											: 'c';

	appendStringInfoString(buf, "{\"before\":");
	put_row(plan, before, false, buf);
	appendStringInfoString(buf, ",\"after\":");
	put_row(plan, after, true, buf);
	put_source(plan, source, buf);
	appendStringInfo(buf, ",\"transaction\":null,\"op\":\"%c\",", letter);
	put_times(GetCurrentTimestamp(), buf);
	appendStringInfoCharMacro(buf, '}');
}

/*
 * What "source" tells of a table, up to what differs from row to row; palloc'd
 * in buf.
 */
void
event_debezium_source(const char *schema, const char *table, StringInfo buf)
{
	const char *db = get_database_name(MyDatabaseId);

	if (db == NULL)
		db = "";
	appendStringInfoString(buf, ",\"source\":{\"version\":\"" SOURCE_VERSION
								"\",\"connector\":\"postgresql\",\"name\":");
	event_json_string(buf, db, strlen(db));
	appendStringInfoString(buf, ",\"db\":");
	event_json_string(buf, db, strlen(db));
	appendStringInfoString(buf, ",\"schema\":");
	event_json_string(buf, schema, strlen(schema));
	appendStringInfoString(buf, ",\"table\":");
	event_json_string(buf, table, strlen(table));
	appendStringInfoChar(buf, ',');
}
