/*-------------------------------------------------------------------------
 *
 * stats.h
 *		What pgqd has counted for one database since it began with it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_STATS_H
#define PGQD_STATS_H

#include <stdint.h>

typedef struct Stats
{
	uint64_t ticks;     /* ticker runs, and ticks by commit */
	uint64_t maint;     /* maintenance functions run */
	uint64_t retry;     /* retry events moved */
	uint64_t groups;    /* ingest transactions */
	uint64_t events;    /* written by them */
	uint64_t bytes;     /* of frames */
	uint64_t discarded; /* events of queues that are not there */
	uint64_t copied;    /* rows of tables, published or not */

	/* by clock_seconds(); 0: never */
	double ticked_at;     /* a ticker run was done */
	double heard_at;      /* the slot's stream said something */
	double writing_since; /* ingest writes a group; 0: it waits for one */
} Stats;

#endif /* PGQD_STATS_H */
