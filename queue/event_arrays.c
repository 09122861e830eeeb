/*-------------------------------------------------------------------------
 *
 * event_arrays.c
 *		Events in the arguments of a SQL function: texts, and arrays of them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "event/compat.h"
#include "queue/event_arrays.h"

/* A text as a field of an event, good as long as the text is. */
EventField
event_field_of_text(Datum value, bool isnull)
{
	EventField field = {NULL, -1};

	if (!isnull)
	{
		text *t = DatumGetTextPP(value);

		field.str = VARDATA_ANY(t);
		field.len = VARSIZE_ANY_EXHDR(t);
	}
	return field;
}

/*
 * Read the arrays, all of texts, that begin with argument "first": types and
 * data, which must be there, and extra fields, which may be missing.  Raises
 * 22004 for NULL in place of the first two and 2202E for different lengths.
 */
void
event_arrays_read(FunctionCallInfo fcinfo, int first, EventArrays *arrays)
{
	memset(arrays, 0, sizeof(EventArrays));
	for (int f = 0; f < FRAME_EVENT_FIELDS && first + f < PG_NARGS(); f++)
	{
		int n;

		if (PG_ARGISNULL(first + f))
		{
			if (f > EVENT_DATA)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("arrays of types and data must not be null")));
		}
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(first + f), TEXTOID, -1, false,
						  TYPALIGN_INT, &arrays->values[f], &arrays->nulls[f],
						  &n);
		if (f == EVENT_TYPE)
			arrays->n = n;
		else if (n != arrays->n)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 f == EVENT_DATA
						 ? errmsg("arrays of types and data differ in length")
						 : errmsg("arrays of types and ev_extra%d differ in length",
								  f - EVENT_DATA),
					 errdetail("There are %d types and %d %s.", arrays->n, n,
							   f == EVENT_DATA ? "data" : "extra fields")));
	}
}

/* Put the event at a place, from 0 on, into FRAME_EVENT_FIELDS fields. */
void
event_arrays_get(const EventArrays *arrays, int place, EventField *fields)
{
	for (int f = 0; f < FRAME_EVENT_FIELDS; f++)
	{
		bool isnull = arrays->nulls[f] == NULL || arrays->nulls[f][place];

		fields[f] = event_field_of_text(
			isnull ? (Datum) 0 : arrays->values[f][place], isnull);
	}
}
