/*-------------------------------------------------------------------------
 *
 * pgq_triggers.c
 *		PgQ 3's library of this name: the trigger functions.
 *
 * Its logtriga, which PgQ 3 does not declare in SQL, is left out.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "queue/pgq3/forward.h"

PGQ_MODULE_MAGIC;

FORWARD_TO_PGQ(pgq_jsontriga);
FORWARD_TO_PGQ(pgq_logutriga);
FORWARD_TO_PGQ(pgq_sqltriga);
