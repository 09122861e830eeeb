/*-------------------------------------------------------------------------
 *
 * debezium.c
 *		The debezium format: a change as the envelope that Debezium's connector
 *		for PostgreSQL writes without schemas, so that what reads its topics
 *		reads ours (https://debezium.io/documentation/reference/connectors/
 *		postgresql.html, "Data change events").
 *
 * Values are as of the json format, which is Debezium's text forms of decimals
 * and times; what Debezium has otherwise is so here, too: floats are numbers,
 * bytea is base64, arrays are arrays.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/base64.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "event/compat.h"
#include "event/event.h"

/* In place of a value that the WAL does not have. */
#define UNAVAILABLE "\"__debezium_unavailable_value\""

/* PgQ's major version, for "source". */
#define SOURCE_VERSION "4"

#define UNIX_EPOCH_USECS                                                       \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void
put_base64(const EventColumn *col, Datum value, StringInfo buf)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);
	int len = VARSIZE_ANY_EXHDR(bytes);
	int room = pg_b64_enc_len(len);
	int n;

	appendStringInfoCharMacro(buf, '"');
	enlargeStringInfo(buf, room + 1);
	n = B64_ENCODE(VARDATA_ANY(bytes), len, buf->data + buf->len, room);
	if (n < 0)
		elog(ERROR, "value of column \"%s\" does not fit into base64",
			 col->name);
	buf->len += n;
	buf->data[buf->len] = '\0';
	appendStringInfoCharMacro(buf, '"');
}

/* JSON has no number for infinities and NaN. */
static void
put_float(const EventColumn *col, Datum value, StringInfo buf)
{
	char local[EVENT_VALUE_BUFLEN];
	int len;
	const char *str = event_value_text(col, value, local, &len);
	const char *digit = *str == '-' ? str + 1 : str;

	if (*digit >= '0' && *digit <= '9')
		appendBinaryStringInfo(buf, str, len);
	else
		event_json_string(buf, str, len);
}

static void put_value(const EventColumn *col, Datum value, StringInfo buf);

/* An array of one dimension; others keep their text. */
static bool
put_array(const EventColumn *col, Datum value, StringInfo buf)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	const EventColumn *element = col->element;
	Datum *values;
	bool *nulls;
	int n;

	if (ARR_NDIM(array) > 1)
		return false;
	deconstruct_array(array, element->typid, element->typlen, element->typbyval,
					  col->element_align, &values, &nulls, &n);
	appendStringInfoCharMacro(buf, '[');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(buf, ',');
		if (nulls[i])
			appendBinaryStringInfo(buf, "null", 4);
		else
			put_value(element, values[i], buf);
	}
	appendStringInfoCharMacro(buf, ']');
	return true;
}

static void
put_value(const EventColumn *col, Datum value, StringInfo buf)
{
	/* event_key() reads keys, which hold nothing nested */
	if (col->element && !col->is_key && put_array(col, value, buf))
		return;
	if (col->typid == FLOAT4OID || col->typid == FLOAT8OID)
		put_float(col, value, buf);
	else if (col->typid == BYTEAOID)
		put_base64(col, value, buf);
	else
		event_json_value(col, value, buf);
}

/*
 * "before" or "after": a row, or null.  Of a new row nothing may be missing.
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

		if ((col->ignored && !col->is_key) || (absent && !is_new))
			continue;
		appendStringInfoCharMacro(buf, lead);
		lead = ',';
		appendBinaryStringInfo(buf, col->label, col->label_len);
		if (absent)
			appendStringInfoString(buf, UNAVAILABLE);
		else if (row->isnull[col->index])
			appendBinaryStringInfo(buf, "null", 4);
		else
			put_value(col, row->values[col->index], buf);
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

/*
 * The column that the elements of an array column are, palloc'd; NULL if it is
 * no array.  Sets col->element_align.
 */
EventColumn *
event_debezium_element(EventColumn *col)
{
	Oid typid = get_element_type(col->typid);
	EventColumn *element;
	Oid output;
	bool isvarlena;

	if (!OidIsValid(typid))
		return NULL;
	element = palloc0(sizeof(EventColumn));
	element->name = col->name;
	element->typid = typid;
	get_typlenbyvalalign(typid, &element->typlen, &element->typbyval,
						 &col->element_align);
	element->kind = event_value_kind(typid);
	getTypeOutputInfo(typid, &output, &isvarlena);
	fmgr_info(output, &element->output);
	return element;
}
