/*-------------------------------------------------------------------------
 *
 * thread.h
 *		Threads for what may block, that nobody waits for, or not for long.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_THREAD_H
#define PGQ_THREAD_H

#include <pthread.h>
#include <stdbool.h>

extern int thread_start(void (*run)(void *arg), void *arg);
extern bool thread_is_any_running(void);
extern bool thread_join(pthread_t thread, double end);

#endif /* PGQ_THREAD_H */
