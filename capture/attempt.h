/*-------------------------------------------------------------------------
 *
 * attempt.h
 *		Do something that may fail, and go on if it does.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_ATTEMPT_H
#define PGQ_ATTEMPT_H

#include "utils/elog.h"

extern ErrorData *attempt_run(void (*work)(void *), void *arg);

#endif /* PGQ_ATTEMPT_H */
