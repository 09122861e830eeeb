/*-------------------------------------------------------------------------
 *
 * debezium_value.c
 *		A value of a row as Debezium's connector for PostgreSQL writes it in JSON
 *		without schemas (see debezium.c for its settings).
 *
 * What differs from Debezium, all where readers would be worse off with the
 * same: dates, times and timestamps that have no zone do not say that it is UTC;
 * infinite ones, NaN, arrays of more dimensions, points and types that it does not
 * know are PostgreSQL's text.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/varbit.h"

#include "event/compat.h"
#include "event/event.h"

/* ---- bytes ---- */

static void
put_base64(const EventColumn *col, const char *bytes, int len, StringInfo buf)
{
	int room = pg_b64_enc_len(len);
	int n;

	appendStringInfoCharMacro(buf, '"');
	enlargeStringInfo(buf, room + 1);
	n = B64_ENCODE(bytes, len, buf->data + buf->len, room);
	if (n < 0)
		elog(ERROR, "value of column \"%s\" does not fit into base64",
			 col->name);
	buf->len += n;
	buf->data[buf->len] = '\0';
	appendStringInfoCharMacro(buf, '"');
}

static void
put_bytea(const EventColumn *col, Datum value, StringInfo buf)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

	put_base64(col, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), buf);
}

/*
 * A bit(1) is a boolean; more are a number of which the lowest byte is first, and which
 * ends with the last byte that is not 0.
 */
static void
put_bits(const EventColumn *col, Datum value, StringInfo buf)
{
	VarBit *bits = DatumGetVarBitP(value);
	int n = VARBITLEN(bits);
	int len = VARBITBYTES(bits);
	int pad = len * BITS_PER_BYTE - n;
	uint8 *from = VARBITS(bits);
	char *bytes;

	if (col->typid == BITOID && n == 1)
	{
		appendStringInfoString(buf, *from ? "true" : "false");
		return;
	}
	bytes = palloc(len + 1);
	for (int i = 0; i < len; i++)
	{
		unsigned pair = from[i] | (i > 0 ? from[i - 1] << BITS_PER_BYTE : 0);

		bytes[len - 1 - i] = (char) (pair >> pad);
	}
	while (len > 0 && bytes[len - 1] == 0)
		len--;
	put_base64(col, bytes, len, buf);
	pfree(bytes);
}

/* ---- numbers ---- */

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

/* The amount without a currency. */
static void
put_money(Datum value, StringInfo buf)
{
	Datum amount = DirectFunctionCall1(cash_numeric, value);

	appendStringInfo(buf, "\"%s\"",
					 DatumGetCString(DirectFunctionCall1(numeric_out, amount)));
}

/* ---- dates and times, as of ISO 8601 ---- */

/* A year before 0 or after 9999 has a sign; 0 is 1 BC. */
static void
put_date(const struct pg_tm *tm, StringInfo buf)
{
	appendStringInfo(buf, "%s%04d-%02d-%02d",
					 tm->tm_year < 0      ? "-"
					 : tm->tm_year > 9999 ? "+"
										  : "",
					 abs(tm->tm_year), tm->tm_mon, tm->tm_mday);
}

/* ".5" of so many microseconds, nothing of 0 */
static void
put_fraction(int64 usecs, StringInfo buf)
{
	if (usecs == 0)
		return;
	appendStringInfo(buf, ".%06d", (int) usecs);
	while (buf->data[buf->len - 1] == '0')
		buf->data[--buf->len] = '\0';
}

static void
put_time(int64 usecs, StringInfo buf)
{
	appendStringInfo(buf, "%02d:%02d:%02d", (int) (usecs / USECS_PER_HOUR),
					 (int) (usecs / USECS_PER_MINUTE % MINS_PER_HOUR),
					 (int) (usecs / USECS_PER_SEC % SECS_PER_MINUTE));
	put_fraction(usecs % USECS_PER_SEC, buf);
}

/*
 * A timestamp with a zone is in UTC, with as many digits as its type has.  False:
 * infinite.
 */
static bool
put_timestamp(const EventColumn *col, Timestamp value, StringInfo buf)
{
	bool has_zone = col->typid == TIMESTAMPTZOID;
	int spare = col->typmod >= 0 ? MAX_TIMESTAMP_PRECISION - col->typmod : 0;
	struct pg_tm tm;
	fsec_t fsec;

	if (TIMESTAMP_NOT_FINITE(value) ||
		timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	appendStringInfoCharMacro(buf, '"');
	put_date(&tm, buf);
	appendStringInfo(buf, "T%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
	if (has_zone)
	{
		appendStringInfo(buf, ".%06d", (int) fsec);
		/* the point goes with the last of them */
		buf->len -= spare + (spare == MAX_TIMESTAMP_PRECISION ? 1 : 0);
		buf->data[buf->len] = '\0';
		appendStringInfoCharMacro(buf, 'Z');
	}
	else
		put_fraction(fsec, buf);
	appendStringInfoCharMacro(buf, '"');
	return true;
}

static bool
put_day(DateADT value, StringInfo buf)
{
	struct pg_tm tm;

	if (DATE_NOT_FINITE(value))
		return false;
	j2date(value + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	appendStringInfoCharMacro(buf, '"');
	put_date(&tm, buf);
	appendStringInfoCharMacro(buf, '"');
	return true;
}

/* In UTC. */
static void
put_timetz(const TimeTzADT *value, StringInfo buf)
{
	int64 usecs = (value->time + value->zone * USECS_PER_SEC) % USECS_PER_DAY;

	appendStringInfoCharMacro(buf, '"');
	put_time(usecs < 0 ? usecs + USECS_PER_DAY : usecs, buf);
	appendStringInfoString(buf, "Z\"");
}

/* P1Y2M3DT4H5M6.7S: each part is there, with its sign. */
static bool
put_interval(const Interval *value, StringInfo buf)
{
	int64 time = value->time;
	int64 secs = time / USECS_PER_SEC % SECS_PER_MINUTE;
	int64 fraction = time % USECS_PER_SEC;

	if (!INTERVAL_IS_FINITE(value))
		return false;
	appendStringInfo(buf, "\"P%dY%dM%dDT" INT64_FORMAT "H%dM%s%d",
					 value->month / MONTHS_PER_YEAR,
					 value->month % MONTHS_PER_YEAR, value->day,
					 time / USECS_PER_HOUR,
					 (int) (time / USECS_PER_MINUTE % MINS_PER_HOUR),
					 secs == 0 && fraction < 0 ? "-" : "", (int) secs);
	put_fraction(fraction < 0 ? -fraction : fraction, buf);
	appendStringInfoString(buf, "S\"");
	return true;
}

/* ---- all ---- */

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
			event_debezium_value(element, values[i], buf);
	}
	appendStringInfoCharMacro(buf, ']');
	return true;
}

/* False: it has no form of its own. */
static bool
put_special(const EventColumn *col, Datum value, StringInfo buf)
{
	switch (col->typid)
	{
		case FLOAT4OID:
		case FLOAT8OID:
			put_float(col, value, buf);
			return true;
		case OIDOID:
			appendStringInfo(buf, "%u", DatumGetObjectId(value));
			return true;
		case CASHOID:
			put_money(value, buf);
			return true;
		case BYTEAOID:
			put_bytea(col, value, buf);
			return true;
		case BITOID:
		case VARBITOID:
			put_bits(col, value, buf);
			return true;
		case DATEOID:
			return put_day(DatumGetDateADT(value), buf);
		case TIMESTAMPOID:
			return put_timestamp(col, DatumGetTimestamp(value), buf);
		case TIMESTAMPTZOID:
			return put_timestamp(col, DatumGetTimestampTz(value), buf);
		case TIMETZOID:
			put_timetz(DatumGetTimeTzADTP(value), buf);
			return true;
		case INTERVALOID:
			return put_interval(DatumGetIntervalP(value), buf);
		default:
			/* event_key() reads keys, which hold nothing nested */
			return col->element && !col->is_key && put_array(col, value, buf);
	}
}

/*
 * Append a value that is not NULL.  Raises what its type's output raises.
 */
void
event_debezium_value(const EventColumn *col, Datum value, StringInfo buf)
{
	if (!put_special(col, value, buf))
		event_json_value(col, value, buf);
}

/* A domain's values are those of its type. */
static void
set_type(EventColumn *col, Oid typid)
{
	col->typid = getBaseTypeAndTypmod(typid, &col->typmod);
	col->kind = event_value_kind(col->typid);
}

/*
 * Prepare a column for event_debezium_value(): its type, and what its elements
 * are, palloc'd, if it is an array.
 */
void
event_debezium_column(EventColumn *col)
{
	EventColumn *element;
	Oid typid;
	Oid output;
	bool isvarlena;

	set_type(col, col->typid);
	typid = get_element_type(col->typid);
	if (!OidIsValid(typid))
		return;
	element = palloc0(sizeof(EventColumn));
	element->name = col->name;
	element->typmod = col->typmod;
	get_typlenbyvalalign(typid, &element->typlen, &element->typbyval,
						 &col->element_align);
	set_type(element, typid);
	getTypeOutputInfo(typid, &output, &isvarlena);
	fmgr_info(output, &element->output);
	col->element = element;
}
