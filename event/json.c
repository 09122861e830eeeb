/*-------------------------------------------------------------------------
 *
 * json.c
 *		The json format: a row as one JSON object.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"

#include "event/event.h"

/* What follows the backslash; 'u' means \u00xx, 0 that none is needed. */
static const char json_escape[256] = {
	'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b',         't',          'n', 'u',
	'f', 'r', 'u', 'u', 'u', 'u', 'u', 'u', 'u',         'u',          'u', 'u',
	'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', ['"'] = '"', ['\\'] = '\\'};

/*
 * Append a JSON string in quotes.  All server encodings keep ASCII bytes for
 * ASCII characters, so a byte-wise look is enough.
 */
void
event_json_string(StringInfo buf, const char *str, int len)
{
	const char *end = str + len;
	const char *plain = str;

	appendStringInfoCharMacro(buf, '"');
	for (; str < end; str++)
	{
		char esc = json_escape[(unsigned char) *str];

		if (likely(!esc))
			continue;
		appendBinaryStringInfo(buf, plain, str - plain);
		if (esc == 'u')
			appendStringInfo(buf, "\\u%04x", (unsigned char) *str);
		else
		{
			appendStringInfoCharMacro(buf, '\\');
			appendStringInfoCharMacro(buf, esc);
		}
		plain = str + 1;
	}
	appendBinaryStringInfo(buf, plain, end - plain);
	appendStringInfoCharMacro(buf, '"');
}

/* Append one value that is not NULL. */
void
event_json_value(const EventColumn *col, Datum value, StringInfo buf)
{
	char local[Max(EVENT_VALUE_BUFLEN, MAXDATELEN + 1)];
	const char *str;
	int len;

	switch (col->kind)
	{
		case VALUE_BOOL:
			appendStringInfoString(buf, DatumGetBool(value) ? "true" : "false");
			return;
		case VALUE_DATE:
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
			JsonEncodeDateTime(local, value, col->typid, NULL);
			appendStringInfoCharMacro(buf, '"');
			appendStringInfoString(buf, local);
			appendStringInfoCharMacro(buf, '"');
			return;
		case VALUE_INT2:
		case VALUE_INT4:
		case VALUE_INT8:
			str = event_value_text(col, value, local, &len);
			appendBinaryStringInfo(buf, str, len);
			return;
		case VALUE_OUTPUT:
		case VALUE_VARLENA:
			str = event_value_text(col, value, local, &len);
			event_json_string(buf, str, len);
			return;
	}
}

/*
 * Append a row as {"col":value,…}; with keys_only just its key columns, even
 * if they are ignored.
 */
void
event_json_row(const EventPlan *plan, const EventRow *row, bool keys_only,
			   StringInfo buf)
{
	char lead = '{';

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if ((keys_only ? !col->is_key : col->ignored) ||
			row->absent[col->index])
			continue;
		appendStringInfoCharMacro(buf, lead);
		lead = ',';
		appendBinaryStringInfo(buf, col->label, col->label_len);
		if (row->isnull[col->index])
			appendBinaryStringInfo(buf, "null", 4);
		else
			event_json_value(col, row->values[col->index], buf);
	}
	if (lead == '{')
		appendStringInfoCharMacro(buf, '{');
	appendStringInfoCharMacro(buf, '}');
}
