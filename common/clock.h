/*-------------------------------------------------------------------------
 *
 * clock.h
 *		The clock by which pgqd and pgqadm wait and measure.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_CLOCK_H
#define PGQ_CLOCK_H

#include <time.h>

/* Seconds of a clock that is never set; only differences mean anything. */
static inline double
clock_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

#endif /* PGQ_CLOCK_H */
