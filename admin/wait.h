/*-------------------------------------------------------------------------
 *
 * wait.h
 *		Nothing waits mutely: for whom the server's session waits, and its end
 *		when the user stops waiting.
 *
 * Around each call that asks the server something stands
 *
 *		wait_begin(a, backend pid);
 *		...
 *		wait_end();
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_WAIT_H
#define PGQADM_WAIT_H

#include "admin/admin.h"

/* Seconds that something may take before it is said what is waited for. */
#define WAIT_PATIENCE 1.0

/*
 * From now on until wait_end() the session of the server's process pid, 0: not
 * known, works for us.  When that takes longer than WAIT_PATIENCE and it waits
 * for others, says who they are, and again when they are others.
 */
extern void wait_begin(const Admin *a, int pid);
extern void wait_end(void);

/*
 * As the two, for a statement in conn: SIGINT and SIGTERM cancel it, unless the
 * program has handlers of its own.  wait_end_statement() then ends the program
 * by that signal.
 */
extern void wait_begin_statement(const Admin *a, PGconn *conn);
extern void wait_end_statement(PGconn *conn);

/*
 * What pgqd does is waited for, in a loop that looks now and then: to be called
 * with each look that finds it not done, *since being 0 at first.  Says once who
 * pgqd is, or that there is none, and for whom it waits, when these are others.
 */
extern void wait_for_pgqd(const Admin *a, double *since);

#endif /* PGQADM_WAIT_H */
