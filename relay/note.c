/*-------------------------------------------------------------------------
 *
 * note.c
 *		Tells the queue's database how its relay is.
 *
 * A thread looks at a relay once a second and writes what get_relay_info()
 * shows: when its state has changed, and once a minute, which tells that the
 * relay is there.  The relay never waits for it, nor for that of another, whose
 * database may be silent.  What can't be written is not: who looks sees by the
 * row's age that nothing is heard of the relay.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/note.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/thread.h"
#include "relay/database.h"

/* Seconds between notes of a relay whose state is the same. */
#define PERIOD 60

/* What was noted of a relay last. */
typedef struct Note
{
	RelayState state;
	char error[sizeof(((RelayStatus *) NULL)->error)];
	double time; /* by the clock, 0: never */
	int64_t events;
} Note;

struct Noter
{
	Relay *relay;
	Note last;
	pthread_t thread;

	pthread_mutex_t lock; /* guards "stop" */
	pthread_cond_t asked;
	bool stop;
};

static const char note_sql[] =
	"select pgq.note_relay($1::pg_catalog.text, $2::pg_catalog.text, "
	"$3::pg_catalog.text, $4::pg_catalog.text, $5::pg_catalog.text, "
	"$6::pg_catalog.float8)";

static void
write_note(const RelayConfig *config, const char *state, const char *error,
		   double rate)
{
	char rate_text[32];
	const char *params[6] = {
		config->queue, config->consumer, config->shown_target, state,
		error,         rate_text};
	char why[256];

	snprintf(rate_text, sizeof(rate_text), "%.1f", rate);
	if (!database_run(config, note_sql, 6, params, why, sizeof(why)))
		log_debug("[%s]: the database was not told how it is: %s", config->name,
				  why);
}

/* Note how a relay is, if that is new or a minute old. */
static void
note_relay(Relay *relay, Note *last)
{
	double now = clock_seconds();
	RelayStatus status;

	relay_get_status(relay, &status);
	/* the database that is away can't be told so */
	if (status.state == RELAY_NO_DATABASE || status.state == RELAY_STARTING)
		return;
	if (last->time != 0 && now - last->time < PERIOD &&
		last->state == status.state && strcmp(last->error, status.error) == 0)
		return;
	write_note(relay_config(relay), relay_state_name(status.state),
			   status.error,
			   last->time == 0 ? 0
							   : (double) (status.events - last->events) /
									 (now - last->time));
	last->state = status.state;
	snprintf(last->error, sizeof(last->error), "%s", status.error);
	last->time = now;
	last->events = status.events;
}

/* Sleep for a second; true: it is to stop. */
static bool
sleep_second(Noter *n)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_mutex_lock(&n->lock);
	while (!n->stop &&
		   pthread_cond_timedwait(&n->asked, &n->lock, &until) != ETIMEDOUT)
		;
	stop = n->stop;
	pthread_mutex_unlock(&n->lock);
	return stop;
}

static void *
noter_main(void *arg)
{
	Noter *n = arg;
	RelayStatus status;

	do
		note_relay(n->relay, &n->last);
	while (!sleep_second(n));
	relay_get_status(n->relay, &status);
	if (n->last.time != 0 && status.state != RELAY_NO_DATABASE)
		write_note(relay_config(n->relay), "ended", "", 0);
	return NULL;
}

/*
 * Start to note how a relay is, which outlives the noter.  Returns it, to be given
 * to noter_end().
 */
Noter *
noter_start(Relay *relay)
{
	Noter *n = memory_make(sizeof(Noter));

	n->relay = relay;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->asked, NULL);
	if (pthread_create(&n->thread, NULL, noter_main, n) != 0)
		abort();
	return n;
}

/*
 * Note that the relay has ended, until clock_seconds() is "end" at the latest, and
 * free it.  Returns false, and leaves it, if it has not ended by then.
 */
bool
noter_end(Noter *noter, double end)
{
	pthread_mutex_lock(&noter->lock);
	noter->stop = true;
	pthread_cond_signal(&noter->asked);
	pthread_mutex_unlock(&noter->lock);
	if (!thread_join(noter->thread, end))
		return false;
	pthread_mutex_destroy(&noter->lock);
	pthread_cond_destroy(&noter->asked);
	free(noter);
	return true;
}
