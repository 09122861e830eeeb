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

/* A queue that a source may feed. */
typedef struct SourceQueue
{
	char *name;
	int32 id;
	int extra; /* which ev_extra names the source; 0: none */
} SourceQueue;

/* A row of pgq.source, and its queues. */
typedef struct Source
{
	char *name;
	int encoding; /* of what it sends; that of this database: no conversion */
	List *queues; /* of SourceQueue *, by rising ids */
} Source;

extern bool source_is_key(const char *key);
extern Source *source_open(const char *key);
extern void source_lock_queues(const Source *source, bool lock);
extern const SourceQueue *source_find_queue(const Source *source,
											const EventField *queue);
extern EventField source_convert_field(const Source *source,
									   const EventField *field);
extern void source_convert_event(const Source *source, const SourceQueue *queue,
								 Event *event);
extern bool source_convert_warning(const Source *source, FrameWarning *warning);

#endif /* PGQ_SOURCE_H */
