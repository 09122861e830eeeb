/*-------------------------------------------------------------------------
 *
 * consume.h
 *		What the files of pgqadm consume share.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_CONSUME_H
#define PGQADM_CONSUME_H

#include "admin/admin.h"
#include "consumer/libpgq.h"

#define CONSUME_FIELDS 10 /* of an event */

typedef enum BatchEnd
{
	BATCH_TAKEN,   /* finish it */
	BATCH_REFUSED, /* the command failed: again later */
	BATCH_BROKEN   /* the session failed: see pgq_status() */
} BatchEnd;

typedef struct Run
{
	Admin *admin;
	const char *queue;
	const char *consumer;
	PgqConsumer *c;
	int fields[CONSUME_FIELDS]; /* which ones to print, in this order */
	int nfields;
	bool puts_aside; /* --on-error is "retry" or "dead" */
	int64_t *ids;    /* of the events of the batch at hand */
	long events;     /* finished so far */
	int pause_ms;    /* after the next failure */
	bool connected;  /* once */
	bool offline;    /* said so already */
	bool pooled;     /* said so already */
	bool looked;     /* whether pgqd is there */
	int worker;      /* its number, from 1 on; 0: there is only this */
	int lease;       /* seconds, that are set */
	FILE *lock;      /* for printing by turns */
	double look_at;
} Run;

/* Says what broke, once for an outage, and waits; or ends the program. */
extern void consume_handle_trouble(Run *run);

/*
 * Runs the command on the n events in the file, a line each, whose ids are
 * run->ids: its exit status decides, and what it answers.  With --on-error, events
 * that it fails on are put aside, each for itself.
 */
extern BatchEnd pipe_batch(Run *run, FILE *file, long n);

/* Sets a number in the command's environment. */
extern void pipe_set_variable(const char *name, long long number);

#endif /* PGQADM_CONSUME_H */
