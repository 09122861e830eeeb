/*-------------------------------------------------------------------------
 *
 * source.h
 *		A database of another server that feeds queues of this one.
 *
 * Its owner may be anybody: what it sends counts only for the queues that it
 * was given, and is looked at like any client's input.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SOURCE_H
#define PGQ_SOURCE_H

#include "event/frame.h"
#include "nodes/pg_list.h"

/* A row of pgq.source, and the queues that it may feed. */
typedef struct Source
{
	char *name;
	int encoding; /* of what it sends; that of this database: no conversion */
	List *queues; /* of char * */
} Source;

extern bool source_is_key(const char *key);
extern Source *source_open(const char *key);
extern bool source_may_feed(const Source *source, const char *queue, int len);
extern EventField source_convert_field(const Source *source,
									   const EventField *field);
extern void source_convert_event(const Source *source, Event *event);
extern bool source_convert_warning(const Source *source, FrameWarning *warning);

#endif /* PGQ_SOURCE_H */
