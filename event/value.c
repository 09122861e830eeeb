/*-------------------------------------------------------------------------
 *
 * value.c
 *		The text of one value, and whether two values are the same.
 *
 * The common types are written here, without a call of their output function
 * and without a copy.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "event/event.h"

/*
 * How values of a type are written.  Only the exact type counts: a domain
 * over int4 is not an int4, as of PgQ 3.5.
 */
ValueKind
event_value_kind(Oid typid)
{
	switch (typid)
	{
		case BOOLOID:
			return VALUE_BOOL;
		case INT2OID:
			return VALUE_INT2;
		case INT4OID:
			return VALUE_INT4;
		case INT8OID:
			return VALUE_INT8;
		case DATEOID:
			return VALUE_DATE;
		case TIMESTAMPOID:
			return VALUE_TIMESTAMP;
		case TIMESTAMPTZOID:
			return VALUE_TIMESTAMPTZ;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return VALUE_VARLENA;
		default:
			return VALUE_OUTPUT;
	}
}

/*
 * The text output of a value that is not NULL.
 *
 * The result is in buf (EVENT_VALUE_BUFLEN bytes), in the value itself, or
 * palloc'd; its length goes to *len.  It need not end with a zero.  Raises
 * what the output function raises.
 */
const char *
event_value_text(const EventColumn *col, Datum value, char *buf, int *len)
{
	char *str;

	switch (col->kind)
	{
		case VALUE_VARLENA:
		{
			struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

			*len = VARSIZE_ANY_EXHDR(text);
			return VARDATA_ANY(text);
		}
		case VALUE_BOOL:
			*len = 1;
			return DatumGetBool(value) ? "t" : "f";
		case VALUE_INT2:
			*len = pg_itoa(DatumGetInt16(value), buf);
			return buf;
		case VALUE_INT4:
			*len = pg_ltoa(DatumGetInt32(value), buf);
			return buf;
		case VALUE_INT8:
			*len = pg_lltoa(DatumGetInt64(value), buf);
			return buf;
		case VALUE_OUTPUT:
		case VALUE_DATE:
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
			break;
	}
	str = OutputFunctionCall((FmgrInfo *) &col->output, value);
	*len = strlen(str);
	return str;
}

/*
 * Whether a column has the same value in two rows, byte for byte.
 *
 * The type's own equality would call 1.0 and 1.00 the same and lose the
 * change (doc/compatibility.md, 9), and could run anybody's code.  Values that
 * are absent on a side count as the same.
 */
bool
event_value_same(const EventColumn *col, const EventRow *a, const EventRow *b)
{
	int i = col->index;

	if (a->absent[i] || b->absent[i])
		return true;
	if (a->isnull[i] || b->isnull[i])
		return a->isnull[i] == b->isnull[i];
	return datum_image_eq(a->values[i], b->values[i], col->typbyval,
						  col->typlen);
}
