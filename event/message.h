/*-------------------------------------------------------------------------
 *
 * message.h
 *		Events that travel as logical messages: what pgq.emit_event() writes
 *		to the WAL and the output plugin reads back.
 *
 * Anybody may write logical messages with any prefix.  Ours begin with the
 * database's secret, EVENT_SECRET_LEN bytes out of table pgq.secret, which
 * nobody may read; an E frame (frame_format.h) with one event follows, its
 * ev_time without meaning.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_MESSAGE_H
#define PGQ_MESSAGE_H

#define EVENT_MESSAGE_PREFIX "pgq.event"
#define EVENT_SECRET_LEN 32

#include "utils/relcache.h"

extern bool event_secret_read(Relation rel, char *secret);

#endif /* PGQ_MESSAGE_H */
