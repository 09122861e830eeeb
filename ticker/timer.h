/*-------------------------------------------------------------------------
 *
 * timer.h
 *		Timers of the event loop, in seconds.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_TIMER_H
#define PGQD_TIMER_H

#include <stdlib.h>

#include <event2/event.h>

/* Make a timer that is not set; what is EV_PERSIST or 0.  For event_free(). */
static inline struct event *
timer_make(struct event_base *base, short what, event_callback_fn handler,
		   void *arg)
{
	struct event *timer = event_new(base, -1, what, handler, arg);

	if (timer == NULL)
		abort();
	return timer;
}

/* Let it go off in so many seconds; at once if they are not above 0. */
static inline void
timer_set(struct event *timer, double seconds)
{
	struct timeval tv = {0, 0};

	if (seconds > 0)
	{
		tv.tv_sec = (time_t) seconds;
		tv.tv_usec = (suseconds_t) ((seconds - (double) tv.tv_sec) * 1e6);
	}
	event_add(timer, &tv);
}

#endif /* PGQD_TIMER_H */
