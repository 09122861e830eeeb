/*-------------------------------------------------------------------------
 *
 * seek.h
 *		pgqadm: places in a queue, and moving a consumer there.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_SEEK_H
#define PGQADM_SEEK_H

#include "admin/admin.h"

/* Fails unless one place is given or, if "optional", none. */
extern void seek_check_options(const Admin *a, bool optional);

/* Moves the consumer to the place, in a transaction that is open. */
extern void seek_move(Admin *a, const char *queue, const char *consumer);

#endif /* PGQADM_SEEK_H */
