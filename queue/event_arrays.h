/*-------------------------------------------------------------------------
 *
 * event_arrays.h
 *		Events in the arguments of a SQL function: texts, and arrays of them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EVENT_ARRAYS_H
#define PGQ_EVENT_ARRAYS_H

#include "fmgr.h"

#include "event/frame.h"

/* An array for each field of an event; NULL for one that is not given. */
typedef struct EventArrays
{
	int n; /* events: all arrays have so many */
	Datum *values[FRAME_EVENT_FIELDS];
	bool *nulls[FRAME_EVENT_FIELDS];
} EventArrays;

extern EventField event_field_of_text(Datum value, bool isnull);
extern void event_arrays_read(FunctionCallInfo fcinfo, int first,
							  EventArrays *arrays);
extern void event_arrays_get(const EventArrays *arrays, int place,
							 EventField *fields);

#endif /* PGQ_EVENT_ARRAYS_H */
