/*-------------------------------------------------------------------------
 *
 * pgq_lowlevel.c
 *		PgQ 3's library of this name: pgq.insert_event_raw().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "queue/pgq3/forward.h"

PGQ_MODULE_MAGIC;

FORWARD_TO_PGQ(pgq_insert_event_raw);
