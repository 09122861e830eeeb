/*-------------------------------------------------------------------------
 *
 * relay.c
 *		One relay: a thread that moves a queue's batches into an engine.
 *
 *		open the consumer, open the target
 *		for each batch:
 *			read the bookmark, ask the target where it is (before the first batch
 *			keep that as a bookmark)
 *			send the events that it has not, in order
 *			flush; keep the new bookmark and finish the batch, in one transaction
 *		the engine is away:	give the batch up, pause, open the target anew
 *		it must be looked at: give the batch up, say why, look again now and then
 *
 * Whatever dies, the batch comes again and where() tells how much of it is
 * there.  The database's transaction is open while the target makes progress
 * only: its calls end after stall_release seconds without any.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/relay.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/thread.h"
#include "common/utf8.h"
#include "consumer/libpgq.h"
#include "relay/database.h"
#include "relay/message.h"
#include "relay/secrets.h"
#include "relay/target.h"

/* Pauses while an engine is away: the first, the longest; seconds. */
#define PAUSE_MIN 0.2
#define PAUSE_MAX 60.0

/* Between looks at an engine that must be looked at by a person. */
#define PAUSE_STANDSTILL 60.0

/* Between calls of a target's idle(). */
#define IDLE_MSEC 10000

/* The longest that an engine may have us wait, in seconds. */
#define MOST_RETRY_AFTER 3600

struct Relay
{
	RelayConfig *config; /* its own */
	const TargetClass *class;
	bool begun;
	pthread_t thread;

	pthread_mutex_t lock; /* guards the rest of this part */
	pthread_cond_t asked;
	bool stop;
	RelayStatus status;
	PgqConsumer *consumer; /* to be woken; NULL: there is none */

	/* the thread's own */
	Target *target;
	int64_t tick;        /* end of the batch under way */
	int64_t acked_batch; /* the target was closed amid it, */
	int64_t acked_tick;  /* which ended there: a restore gives ids anew, */
	int64_t acked_place; /* and had so much of it for sure */
	int64_t suspect;     /* of the target, then */
	MessageMaker *maker;
	double pause;
	unsigned seed;
};

static const char *const state_names[] = {
	"starting", "running", "database away", "engine away", "stands still"};

/* The name of a state, for people and for metrics. */
const char *
relay_state_name(RelayState state)
{
	return state_names[state];
}

/* ---- what others may ask ---- */

static bool
is_asked_to_stop(Relay *r)
{
	bool stop;

	pthread_mutex_lock(&r->lock);
	stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	return stop;
}

/* Enter a state, which is logged when it is another, or for another reason. */
static void
set_state(Relay *r, RelayState state, const char *error)
{
	char text[sizeof(r->status.error)];
	bool changed;

	snprintf(text, sizeof(text), "%s", error);
	secrets_hide(r->config, text, sizeof(text));
	utf8_make_printable(text);
	pthread_mutex_lock(&r->lock);
	changed = r->status.state != state || strcmp(r->status.error, text) != 0;
	if (r->status.state != state)
		r->status.since = time(NULL);
	r->status.state = state;
	memcpy(r->status.error, text, sizeof(text));
	pthread_mutex_unlock(&r->lock);
	if (!changed)
		return;
	if (state == RELAY_RUNNING)
		log_info("[%s]: running", r->config->name);
	else if (state == RELAY_STANDS_STILL)
		log_error("[%s]: stands still: %s", r->config->name, text);
	else
		log_warning("[%s]: %s: %s", r->config->name, relay_state_name(state),
					text);
}

/* How the relay is now. */
void
relay_get_status(Relay *relay, RelayStatus *status)
{
	pthread_mutex_lock(&relay->lock);
	*status = relay->status;
	pthread_mutex_unlock(&relay->lock);
}

const RelayConfig *
relay_config(const Relay *relay)
{
	return relay->config;
}

/* ---- pauses ---- */

/* Sleep so long, or until the relay is to stop. */
static void
sleep_for(Relay *r, double seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t) seconds;
	until.tv_nsec += (long) ((seconds - (time_t) seconds) * 1e9);
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&r->lock);
	while (!r->stop && pthread_cond_timedwait(&r->asked, &r->lock, &until) == 0)
		;
	pthread_mutex_unlock(&r->lock);
}

/* The next pause: half as long up to as long as it says, so that many relays
 * do not come back at the same moment. */
static void
back_off(Relay *r)
{
	double part = 0.5 + 0.5 * rand_r(&r->seed) / RAND_MAX;

	sleep_for(r, r->pause * part);
	r->pause *= 2;
	if (r->pause > PAUSE_MAX)
		r->pause = PAUSE_MAX;
}

/* ---- the engine ---- */

static void
close_target(Relay *r)
{
	if (r->target == NULL)
		return;
	r->acked_batch = r->status.batch;
	r->acked_tick = r->tick;
	if (r->target->acked > r->acked_place)
		r->acked_place = r->target->acked;
	r->suspect = r->target->suspect;
	r->class->close(r->target);
	r->target = NULL;
}

/* The engine failed: say so, and pause. */
static void
leave_engine(Relay *r, TargetResult result)
{
	char error[sizeof(r->target->error)];
	long wanted = r->target->retry_after;

	snprintf(error, sizeof(error), "%s", r->target->error);
	close_target(r);
	if (result == TARGET_AWAY)
	{
		set_state(r, RELAY_NO_ENGINE, error);
		if (wanted > 0)
			sleep_for(r, wanted < MOST_RETRY_AFTER ? wanted : MOST_RETRY_AFTER);
		else
			back_off(r);
	}
	else
	{
		set_state(r, RELAY_STANDS_STILL, error);
		sleep_for(r, PAUSE_STANDSTILL);
	}
}

static bool
open_target(Relay *r)
{
	char error[512];

	if (r->target)
		return true;
	if (!secrets_check_files(r->config, error, sizeof(error)))
	{
		set_state(r, RELAY_STANDS_STILL, error);
		sleep_for(r, PAUSE_STANDSTILL);
		return false;
	}
	r->target = r->class->open(r->config);
	if (r->target->result == TARGET_OK)
		return true;
	leave_engine(r, r->target->result);
	return false;
}

/* ---- a batch ---- */

/* What the consumer's failure means; a lost connection is made anew by itself. */
static void
note_database(Relay *r, PgqConsumer *c)
{
	char error[512];
	const char *hint = pgq_hint(c);

	/* it was run_alone(), which said why */
	if (pgq_status(c) == PGQ_OK)
		return;
	snprintf(error, sizeof(error), "%s%s%s", pgq_error(c), hint ? " - " : "",
			 hint ? hint : "");
	set_state(r, RELAY_NO_DATABASE, error);
	/* refused: no reason to ask again at once */
	if (pgq_status(c) == PGQ_ERROR)
		back_off(r);
}

/*
 * Run a statement in a transaction of its own, beside that of the batch.  False:
 * it failed, which is the relay's state now.
 */
static bool
run_alone(Relay *r, const char *sql, int nparams, const char *const *params)
{
	char error[512];

	if (database_run(r->config, sql, nparams, params, error, sizeof(error)))
		return true;
	set_state(r, RELAY_NO_DATABASE, error);
	return false;
}

/*
 * Make an event dead that the engine will never take, in a transaction of its
 * own: what follows it may be in the engine before the batch is finished, and
 * then its place is passed over for good.
 */
static bool
bury(Relay *r, const RelayMessage *message)
{
	char reason[sizeof(r->target->error)];
	char batch[32];
	char event[32];
	const char *params[3] = {batch, event, reason};

	snprintf(reason, sizeof(reason), "%s", r->target->error);
	snprintf(batch, sizeof(batch), "%" PRId64, message->batch);
	snprintf(event, sizeof(event), "%" PRId64, message->ev_id);
	if (!run_alone(r,
				   "select pgq.event_dead($1::pg_catalog.int8,"
				   " $2::pg_catalog.int8, $3::pg_catalog.text)",
				   3, params))
		return false;
	log_warning("[%s]: event %" PRId64 " is dead: %s", r->config->name,
				message->ev_id, reason);
	pthread_mutex_lock(&r->lock);
	r->status.dead++;
	pthread_mutex_unlock(&r->lock);
	return true;
}

/*
 * Before the first event ever: keep where the engine is.  Else nobody could tell
 * what of the first batch was sent from what others had put there before.
 */
static TargetResult
begin_bookmark(Relay *r, int64_t batch_id, bool *db_failed)
{
	char batch[32];
	char *bookmark = NULL;
	const char *params[2] = {batch, NULL};
	TargetResult result = r->class->flush(r->target, &bookmark);

	if (result != TARGET_OK || bookmark == NULL)
		return result;
	snprintf(batch, sizeof(batch), "%" PRId64, batch_id);
	params[1] = bookmark;
	*db_failed = !run_alone(r,
							"select pgq.set_bookmark($1::pg_catalog.int8,"
							" $2::pg_catalog.text)",
							2, params);
	free(bookmark);
	return TARGET_OK;
}

static void
note_sent(Relay *r, const RelayMessage *message)
{
	pthread_mutex_lock(&r->lock);
	r->status.place = message->place;
	r->status.events++;
	r->status.bytes += (int64_t) message->body_len;
	pthread_mutex_unlock(&r->lock);
}

/* Send the events behind place "done".  On TARGET_REFUSED *ev_id is the one. */
static TargetResult
send_events(Relay *r, PgqConsumer *c, int64_t done, bool *db_failed)
{
	PgqEvent event;
	PgqResult rc;
	int64_t place = 0;

	while ((rc = pgq_next_event(c, &event)) == PGQ_OK)
	{
		RelayMessage message;
		TargetResult result;

		if (++place <= done)
			continue;
		if (is_asked_to_stop(r))
			return TARGET_AWAY;
		message_make(r->maker, &event, pgq_batch_id(c), pgq_batch_time(c),
					 place, &message);
		result = r->class->send(r->target, &message);
		if (result == TARGET_REFUSED && r->config->on_refused == REFUSED_DEAD)
		{
			if (!bury(r, &message))
			{
				*db_failed = true;
				return TARGET_OK;
			}
			continue;
		}
		if (result == TARGET_REFUSED)
		{
			char error[sizeof(r->target->error)];

			snprintf(error, sizeof(error), "%s", r->target->error);
			return target_fail(r->target, TARGET_STOP,
							   "the engine will not take event %" PRId64
							   ": %s - on_refused = dead passes it over",
							   event.ev_id, error);
		}
		if (result != TARGET_OK)
			return result;
		note_sent(r, &message);
	}
	*db_failed = rc != PGQ_NONE;
	return TARGET_OK;
}

/* Move the open batch.  False: not finished, and it was said why. */
static bool
move_batch(Relay *r, PgqConsumer *c)
{
	TargetBatch batch = {.id = pgq_batch_id(c), .tick = pgq_batch_time(c)};
	TargetResult result;
	char *bookmark = NULL;
	int64_t done = 0;
	bool db_failed = false;
	PgqResult rc;

	if (pgq_get_bookmark(c, &batch.bookmark) != PGQ_OK)
	{
		note_database(r, c);
		return false;
	}
	r->tick = batch.tick;
	if (r->acked_batch != batch.id || r->acked_tick != batch.tick)
		r->acked_place = r->suspect = 0;
	batch.acked = r->acked_place;
	batch.suspect = r->suspect;
	batch.source = message_maker_source(r->maker);
	r->target->acked = batch.acked;
	r->target->suspect = batch.suspect;
	result = r->class->where(r->target, &batch, &done);
	if (result == TARGET_OK && batch.bookmark == NULL &&
		r->class->starts_with_bookmark && done == 0)
		result = begin_bookmark(r, batch.id, &db_failed);
	if (result == TARGET_OK && !db_failed)
		result = send_events(r, c, done, &db_failed);
	if (result == TARGET_OK && !db_failed)
		result = r->class->flush(r->target, &bookmark);
	if (result != TARGET_OK)
	{
		pgq_abandon(c);
		if (is_asked_to_stop(r))
			close_target(r);
		else
			leave_engine(r, result);
		return false;
	}
	if (!db_failed && bookmark)
		db_failed = pgq_set_bookmark(c, bookmark) != PGQ_OK;
	if (!db_failed)
	{
		rc = pgq_finish(c);
		db_failed = rc != PGQ_OK;
	}
	if (db_failed)
	{
		bool was_alone = pgq_status(c) == PGQ_OK;

		free(bookmark);
		note_database(r, c);
		pgq_abandon(c);
		/* answers to what was sent must not be taken for those of what comes */
		close_target(r);
		if (was_alone)
			back_off(r);
		return false;
	}
	pthread_mutex_lock(&r->lock);
	r->status.last_batch = batch.id;
	r->status.batch = r->status.place = 0;
	r->status.batches++;
	snprintf(r->status.bookmark, sizeof(r->status.bookmark), "%s",
			 bookmark ? bookmark : "");
	pthread_mutex_unlock(&r->lock);
	free(bookmark);
	r->pause = PAUSE_MIN;
	return true;
}

/* Wait for a batch, while the target's connection is kept alive. */
static PgqResult
wait_for_batch(Relay *r, PgqConsumer *c)
{
	PgqResult rc = pgq_wait(c, r->class->idle ? IDLE_MSEC : 60000);
	TargetResult result;

	if (rc != PGQ_NONE || r->class->idle == NULL || is_asked_to_stop(r))
		return rc;
	result = r->class->idle(r->target);
	if (result != TARGET_OK)
		leave_engine(r, result);
	return rc;
}

/* One turn: a batch, or a wait for one. */
static void
turn(Relay *r, PgqConsumer *c)
{
	PgqResult rc;

	if (!open_target(r))
		return;
	rc = pgq_next_batch(c);
	if (rc == PGQ_NONE)
	{
		set_state(r, RELAY_RUNNING, "");
		rc = wait_for_batch(r, c);
		if (rc == PGQ_OK || rc == PGQ_NONE)
			return;
	}
	if (rc == PGQ_LOST || rc == PGQ_ERROR)
	{
		note_database(r, c);
		if (rc == PGQ_LOST)
			(void) pgq_wait(c, 60000);
		return;
	}
	pthread_mutex_lock(&r->lock);
	r->status.batch = pgq_batch_id(c);
	r->status.place = 0;
	pthread_mutex_unlock(&r->lock);
	if (move_batch(r, c))
		set_state(r, RELAY_RUNNING, "");
}

/* ---- the thread ---- */

static void *
relay_main(void *arg)
{
	Relay *r = arg;
	const RelayConfig *config = r->config;
	PgqConsumer *c = pgq_open(config->db, config->queue, config->consumer,
							  PGQ_REGISTER | PGQ_BOOKMARK);

	if (c == NULL)
		abort();
	pthread_mutex_lock(&r->lock);
	r->consumer = c;
	pthread_mutex_unlock(&r->lock);

	while (!is_asked_to_stop(r))
	{
		char *error = NULL;

		if (r->maker == NULL && pgq_database(c) != NULL)
		{
			/* config_load() has read the templates: they can be */
			r->maker = target_make_messages(config, pgq_database(c), &error);
			if (r->maker == NULL)
				abort();
		}
		if (r->maker)
			turn(r, c);
		else
		{
			note_database(r, c);
			(void) pgq_wait(c, 60000);
		}
	}

	close_target(r);
	message_maker_free(r->maker);
	pthread_mutex_lock(&r->lock);
	r->consumer = NULL;
	pthread_mutex_unlock(&r->lock);
	pgq_close(c);
	return NULL;
}

/*
 * Make a relay, which waits for relay_begin().  config is the relay's from now on.
 * Returns it, to be given to relay_end().
 */
Relay *
relay_create(RelayConfig *config)
{
	Relay *r = memory_make(sizeof(Relay));

	r->config = config;
	r->class = target_find(config->target);
	r->pause = PAUSE_MIN;
	r->seed = (unsigned) (time(NULL) ^ (uintptr_t) r);
	r->status.since = time(NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->asked, NULL);
	return r;
}

/* Have it work, in a thread of its own. */
void
relay_begin(Relay *relay)
{
	if (pthread_create(&relay->thread, NULL, relay_main, relay) != 0)
		abort();
	relay->begun = true;
}

/* Have a relay stop soon; it gives its batch up. */
void
relay_ask_to_stop(Relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	relay->stop = true;
	if (relay->consumer)
		pgq_wake(relay->consumer);
	pthread_cond_signal(&relay->asked);
	pthread_mutex_unlock(&relay->lock);
}

/*
 * Wait for a relay that was asked to stop, until clock_seconds() is "end", and free it.
 * Returns false, and leaves it, if it has not ended by then: its database or its engine
 * may be silent.
 */
bool
relay_end(Relay *relay, double end)
{
	if (relay->begun && !thread_join(relay->thread, end))
		return false;
	pthread_mutex_destroy(&relay->lock);
	pthread_cond_destroy(&relay->asked);
	config_free_relay(relay->config);
	free(relay);
	return true;
}

/*
 * Try queue and target of a relay, and send nothing.
 *
 * Returns false with a malloc'd message in *error.
 */
bool
relay_check(const RelayConfig *config, char **error)
{
	const TargetClass *class = target_find(config->target);
	PgqConsumer *c = pgq_open(config->db, config->queue, config->consumer, 0);
	Target *target;
	char why[512];
	bool ok = true;

	if (c == NULL)
		abort();
	if (pgq_status(c) != PGQ_OK)
	{
		const char *hint = pgq_hint(c);

		ok = false;
		snprintf(why, sizeof(why), "%s%s%s", pgq_error(c), hint ? " - " : "",
				 hint ? hint : "");
		secrets_hide(config, why, sizeof(why));
		*error = text_format("database: %s", why);
	}
	pgq_close(c);
	if (!ok)
		return false;
	if (!secrets_check_files(config, why, sizeof(why)))
	{
		*error = text_format("target: %s", why);
		return false;
	}
	target = class->open(config);
	if (target->result != TARGET_OK)
	{
		ok = false;
		*error = text_format("target: %s", target->error);
	}
	class->close(target);
	return ok;
}
