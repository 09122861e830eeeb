/*-------------------------------------------------------------------------
 *
 * sql.c
 *		The sql format: fragments of statements that a consumer completes.
 *
 * They must work on a copy of the table: generated columns are left out, and
 * identities that are GENERATED ALWAYS are overridden, and never set
 * (doc/compatibility.md, 10).
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "event/event.h"

/* A quoted literal that reads the same whatever the reader's settings are. */
static void
sql_literal(const EventColumn *col, Datum value, StringInfo buf)
{
	char local[EVENT_VALUE_BUFLEN];
	int len;
	const char *str = event_value_text(col, value, local, &len);
	const char *end = str + len;
	const char *plain = str;

	if (memchr(str, '\\', len))
		appendStringInfoCharMacro(buf, 'E');
	appendStringInfoCharMacro(buf, '\'');
	for (; str < end; str++)
	{
		if (*str != '\'' && *str != '\\')
			continue;
		/* copy up to and with it, then once more */
		appendBinaryStringInfo(buf, plain, str + 1 - plain);
		appendStringInfoCharMacro(buf, *str);
		plain = str + 1;
	}
	appendBinaryStringInfo(buf, plain, end - plain);
	appendStringInfoCharMacro(buf, '\'');
}

/* col='value', or what stands for a NULL there */
static void
sql_pair(const EventColumn *col, const EventRow *row, const char *null,
		 StringInfo buf)
{
	appendBinaryStringInfo(buf, col->label, col->label_len);
	if (row->isnull[col->index])
		appendStringInfoString(buf, null);
	else
	{
		appendStringInfoCharMacro(buf, '=');
		sql_literal(col, row->values[col->index], buf);
	}
}

/*
 * Whether a column names the row: one of the key, or any column of a table
 * that has no key.
 */
static inline bool
sql_names_row(const EventPlan *plan, const EventColumn *col)
{
	return plan->has_key ? col->is_key : true;
}

/* k1='1' and k2='2', in the order of the table */
static void
sql_condition(const EventPlan *plan, const EventRow *row, StringInfo buf)
{
	bool first = true;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (!sql_names_row(plan, col) || row->absent[col->index])
			continue;
		if (!first)
			appendBinaryStringInfo(buf, " and ", 5);
		first = false;
		/* json, xml and the like can only be compared as text */
		if (!col->comparable && !row->isnull[col->index])
		{
			appendBinaryStringInfo(buf, col->label, col->label_len);
			appendStringInfoString(buf, "::text=");
			sql_literal(col, row->values[col->index], buf);
		}
		else
			sql_pair(col, row, " is null", buf);
	}
}

/* Append "(c1,c2) values ('v1',null)". */
void
event_sql_insert(const EventPlan *plan, const EventRow *row, StringInfo buf)
{
	bool first = true;

	appendStringInfoString(buf, plan->insert_head);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (col->ignored || col->generated)
			continue;
		if (!first)
			appendStringInfoCharMacro(buf, ',');
		first = false;
		if (row->isnull[col->index] || row->absent[col->index])
			appendBinaryStringInfo(buf, "null", 4);
		else
			sql_literal(col, row->values[col->index], buf);
	}
	appendStringInfoString(buf, plan->insert_tail);
}

/* Whether an update may set a column at all. */
static inline bool
sql_settable(const EventColumn *col)
{
	return !col->generated && !col->fixed;
}

/* A column that a statement may set to what it is, NULL if there is none. */
static const EventColumn *
sql_fallback(const EventPlan *plan, const EventRow *keyrow)
{
	const EventColumn *other = NULL;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (!sql_settable(col) || keyrow->absent[col->index])
			continue;
		if (sql_names_row(plan, col))
			return col;
		if (!other && !col->ignored)
			other = col;
	}
	return other;
}

/*
 * Append "c2='x',c3=NULL where k1='1'".
 *
 * With a complete old row only changed columns are set, else all that are
 * known.  Where nothing is left to set, the first key column is set to what
 * it is, so that the consumer has a valid statement.  oldrow may be NULL: the
 * key did not change.  Returns false, and appends nothing, if no statement can
 * be: there is nothing but an identity, which stays.
 */
bool
event_sql_update(const EventPlan *plan, const EventRow *oldrow,
				 const EventRow *newrow, StringInfo buf)
{
	const EventRow *keyrow = oldrow ? oldrow : newrow;
	bool first = true;

	for (int i = 0; i < plan->ncolumns; i++)
	{
		const EventColumn *col = &plan->columns[i];

		if (col->ignored || col->generated || newrow->absent[col->index])
			continue;
		if (((oldrow && oldrow->complete) || col->fixed) &&
			(!oldrow || event_value_same(col, oldrow, newrow)))
			continue;
		if (!first)
			appendStringInfoCharMacro(buf, ',');
		first = false;
		sql_pair(col, newrow, "=NULL", buf);
	}
	if (first)
	{
		const EventColumn *fallback = sql_fallback(plan, keyrow);

		if (!fallback)
			return false;
		sql_pair(fallback, keyrow, "=NULL", buf);
	}
	appendBinaryStringInfo(buf, " where ", 7);
	sql_condition(plan, keyrow, buf);
	return true;
}

/* Append "k1='1' and k2='2'". */
void
event_sql_delete(const EventPlan *plan, const EventRow *row, StringInfo buf)
{
	sql_condition(plan, row, buf);
}
