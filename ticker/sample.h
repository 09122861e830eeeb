/*-------------------------------------------------------------------------
 *
 * sample.h
 *		The state of a database's queues, read every stats_period.
 *
 * Only while http_listen is set; it has a connection of its own, so that
 * ticks never wait for it.  What was read is forgotten when it is too old to be
 * true, or the next look fails.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_SAMPLE_H
#define PGQD_SAMPLE_H

#include <stdbool.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "ticker/config.h"
#include "ticker/stats.h"
#include "ticker/watch.h"

/* Points of the curves, oldest first. */
#define SAMPLE_POINTS 240

typedef struct SamplePoint
{
	double at;           /* clock_seconds() */
	double events;       /* ingested since pgqd began */
	double slot_lag;     /* bytes */
	double consumer_lag; /* seconds, of the one farthest behind */
} SamplePoint;

/* Results of the last look, NULL if there is none that counts. */
typedef struct Sample
{
	double at;        /* clock_seconds() of it */
	PGresult *queues; /* columns as in sample.c's queries */
	PGresult *consumers;
	PGresult *sizes; /* NULL before PgQ 4, and below */
	PGresult *captures;
	PGresult *dead;
	SamplePoint points[SAMPLE_POINTS];
	int npoints;

	/* how it is made */
	struct SampleWork *work;
} Sample;

extern Sample *sample_create(struct event_base *base, const Config *config,
							 const char *dbname, const Stats *stats,
							 const Watch *watch);
extern void sample_free(Sample *sample);
extern void sample_start(Sample *sample, int major);
extern void sample_forget(Sample *sample);
extern void sample_stop(Sample *sample);

#endif /* PGQD_SAMPLE_H */
