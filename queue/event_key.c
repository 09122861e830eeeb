/*-------------------------------------------------------------------------
 *
 * event_key.c
 *		The key of the row that an event is about; pgq.event_key().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "event/compat.h"
#include "event/key.h"
#include "queue/event_key.h"

PG_FUNCTION_INFO_V1(pgq_event_key);

/* The key of an event of that type and data, palloc'd; NULL if it has none. */
text *
event_key_text(NullableDatum ev_type, NullableDatum ev_data)
{
	text *type;
	text *data;
	text *result;
	long len;

	if (ev_type.isnull || ev_data.isnull)
		return NULL;
	type = DatumGetTextPP(ev_type.value);
	/* most events of other kinds end here, before their data is fetched */
	if (VARSIZE_ANY_EXHDR(type) < 3)
		return NULL;
	data = DatumGetTextPP(ev_data.value);
	result = MemoryContextAllocHuge(
		CurrentMemoryContext,
		VARHDRSZ + EVENT_KEY_ROOM((Size) VARSIZE_ANY_EXHDR(type),
								  (Size) VARSIZE_ANY_EXHDR(data)));
	len = event_key(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data),
					VARDATA(result));
	/* none that is longer than a text may be */
	if (len < 0 || len > (long) (MaxAllocSize - VARHDRSZ))
		return NULL;
	SET_VARSIZE(result, VARHDRSZ + len);
	return result;
}

/*
 * pgq.event_key(ev_type text, ev_data text, ev_extra1 text) returns text
 *
 * ev_extra1 is not looked at: it is there for formats whose key is in it.
 */
Datum
pgq_event_key(PG_FUNCTION_ARGS)
{
	text *key = event_key_text(fcinfo->args[0], fcinfo->args[1]);

	if (key == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(key);
}
