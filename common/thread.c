/*-------------------------------------------------------------------------
 *
 * thread.c
 *		Threads for what may block, that nobody waits for, or not for long.
 *
 * A name server that is silent would stop the event loop, so whatever asks one
 * has a thread, which ends with it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/thread.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/memory.h"

/* Enough for the libraries that look names up and encrypt. */
#define STACK_SIZE (1024 * 1024)

typedef struct Work
{
	void (*run)(void *arg);
	void *arg;
} Work;

static int running;

static void *
run_work(void *arg)
{
	Work work = *(Work *) arg;

	free(arg);
	work.run(work.arg);
	__atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Start a thread that calls run(arg); signals are for the loop alone.  Returns an errno. */
int
thread_start(void (*run)(void *arg), void *arg)
{
	Work *work = memory_make(sizeof(Work));
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all;
	sigset_t before;
	int rc;

	work->run = run;
	work->arg = arg;
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	__atomic_add_fetch(&running, 1, __ATOMIC_RELAXED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, run_work, work);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
	{
		__atomic_sub_fetch(&running, 1, __ATOMIC_RELAXED);
		free(work);
	}
	return rc;
}

/* Is there such a thread still? */
bool
thread_is_any_running(void)
{
	return __atomic_load_n(&running, __ATOMIC_ACQUIRE) > 0;
}

/*
 * Wait for a thread to end, until clock_seconds() is "end" at the latest; HUGE_VAL:
 * as long as it takes.  Returns whether it has ended.
 */
bool
thread_join(pthread_t thread, double end)
{
	double left = end - clock_seconds();
	struct timespec until;

	if (isinf(left))
		return pthread_join(thread, NULL) == 0;
	clock_gettime(CLOCK_REALTIME, &until);
	if (left > 0)
	{
		until.tv_sec += (time_t) left;
		until.tv_nsec += (long) ((left - (time_t) left) * 1e9);
		if (until.tv_nsec >= 1000000000)
		{
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
	}
	return pthread_timedjoin_np(thread, NULL, &until) == 0;
}
