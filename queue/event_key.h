/*-------------------------------------------------------------------------
 *
 * event_key.h
 *		The key of the row that an event is about, on the server.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_QUEUE_EVENT_KEY_H
#define PGQ_QUEUE_EVENT_KEY_H

#include "utils/palloc.h"

extern text *event_key_text(NullableDatum type, NullableDatum data);

#endif /* PGQ_QUEUE_EVENT_KEY_H */
