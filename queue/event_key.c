/*-------------------------------------------------------------------------
 *
 * event_key.c
 *		pgq.event_key: the key of the row that an event is about.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "event/compat.h"
#include "event/key.h"

PG_FUNCTION_INFO_V1(pgq_event_key);

/*
 * pgq.event_key(ev_type text, ev_data text, ev_extra1 text) returns text
 *
 * ev_extra1 is not looked at: it is there for formats whose key is in it.
 */
Datum
pgq_event_key(PG_FUNCTION_ARGS)
{
	text *type;
	text *data;
	text *result;
	long len;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	type = PG_GETARG_TEXT_PP(0);
	/* most events of other kinds end here, before their data is fetched */
	if (VARSIZE_ANY_EXHDR(type) < 3)
		PG_RETURN_NULL();
	data = PG_GETARG_TEXT_PP(1);
	result = MemoryContextAllocHuge(
		CurrentMemoryContext,
		VARHDRSZ + EVENT_KEY_ROOM((Size) VARSIZE_ANY_EXHDR(type),
								  (Size) VARSIZE_ANY_EXHDR(data)));
	len = event_key(VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type),
					VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data),
					VARDATA(result));
	/* none that is longer than a text may be */
	if (len < 0 || len > (long) (MaxAllocSize - VARHDRSZ))
		PG_RETURN_NULL();
	SET_VARSIZE(result, VARHDRSZ + len);
	PG_RETURN_TEXT_P(result);
}
