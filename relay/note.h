/*-------------------------------------------------------------------------
 *
 * note.h
 *		Tells the queue's database how its relay is.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_NOTE_H
#define PGQ_RELAY_NOTE_H

#include "relay/relay.h"

typedef struct Noter Noter;

extern Noter *noter_start(Relay *relay);
extern bool noter_end(Noter *noter, double end);

#endif /* PGQ_RELAY_NOTE_H */
