/*-------------------------------------------------------------------------
 *
 * guard.h
 *		Let what fails for one mark fail for that mark alone.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_GUARD_H
#define PGQ_GUARD_H

#include "utils/elog.h"

typedef void (*GuardedWork)(void *arg);

extern ErrorData *guard_run(GuardedWork work, void *arg);
extern ErrorData *guard_run_light(GuardedWork work, void *arg);
extern char *guard_reason(const ErrorData *error);

#endif /* PGQ_GUARD_H */
