/*-------------------------------------------------------------------------
 *
 * insert.h
 *		Producing events from C: for the trigger functions.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_INSERT_H
#define PGQ_INSERT_H

#include "fmgr.h"

/* queue name, ev_type, ev_data, ev_extra1 .. ev_extra4: all text */
#define INSERT_EVENT_NARGS 7

extern void insert_event_check_rights(void);
extern int64 insert_event(const NullableDatum *args);

#endif /* PGQ_INSERT_H */
