/*-------------------------------------------------------------------------
 *
 * urlenc.c
 *		The urlenc format: a row as col=value&col2=value2.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "event/event.h"

static inline bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		   (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/*
 * Append text, url-encoded byte by byte: a blank becomes '+', all outside of
 * A-Za-z0-9_.- becomes %xx in lower case.
 */
void
event_urlenc_string(StringInfo buf, const char *str, int len)
{
	static const char hex[] = "0123456789abcdef";
	const char *end = str + len;
	const char *plain = str;

	for (; str < end; str++)
	{
		unsigned char c = *str;

		if (likely(is_unreserved(c)))
			continue;
		appendBinaryStringInfo(buf, plain, str - plain);
		plain = str + 1;
		if (c == ' ')
			appendStringInfoCharMacro(buf, '+');
		else
		{
			appendStringInfoCharMacro(buf, '%');
			appendStringInfoCharMacro(buf, hex[c >> 4]);
			appendStringInfoCharMacro(buf, hex[c & 15]);
		}
	}
	appendBinaryStringInfo(buf, plain, end - plain);
}

/*
 * Append a row; NULL is a name without '='.  With keys_only just its key
 * columns, even if they are ignored.
 */
void
event_urlenc_row(const EventPlan *plan, const EventRow *row, bool keys_only,
				 StringInfo buf)
{
	bool first = true;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];
		char local[EVENT_VALUE_BUFLEN];
		const char *str;
		int len;

		if ((keys_only ? !col->is_key : col->ignored) ||
			row->absent[col->index])
			continue;
		if (!first)
			appendStringInfoCharMacro(buf, '&');
		first = false;
		/* the labels of the sql format are quoted identifiers */
		if (plan->format == EVENT_FORMAT_SQL)
			event_urlenc_string(buf, col->name, strlen(col->name));
		else
			appendBinaryStringInfo(buf, col->label, col->label_len);
		if (row->isnull[col->index])
			continue;
		appendStringInfoCharMacro(buf, '=');
		str = event_value_text(col, row->values[col->index], local, &len);
		event_urlenc_string(buf, str, len);
	}
}
