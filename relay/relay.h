/*-------------------------------------------------------------------------
 *
 * relay.h
 *		One relay: a thread that moves a queue's batches into an engine.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_H
#define PGQ_RELAY_H

#include <stdint.h>
#include <time.h>

#include "relay/config.h"

typedef struct Relay Relay;

typedef enum RelayState
{
	RELAY_STARTING,
	RELAY_RUNNING, /* or waiting for events: nothing is wrong */
	RELAY_NO_DATABASE,
	RELAY_NO_ENGINE,
	RELAY_STANDS_STILL /* until a person has looked */
} RelayState;

/* How a relay is, at one moment. */
typedef struct RelayStatus
{
	RelayState state;
	time_t since;       /* the state, in seconds of 1970 */
	char error[1024];   /* why it is not running, "" */
	int64_t batch;      /* under way, 0: none */
	int64_t place;      /* of the event sent last in it */
	int64_t last_batch; /* finished last, 0: none yet */
	char bookmark[128]; /* the engine's position after it, "" */
	int64_t events;     /* since the start */
	int64_t bytes;
	int64_t batches;
	int64_t dead; /* events that the engine would not take */
} RelayStatus;

extern Relay *relay_create(RelayConfig *config);
extern void relay_begin(Relay *relay);
extern void relay_ask_to_stop(Relay *relay);
extern bool relay_end(Relay *relay, double end);
extern const RelayConfig *relay_config(const Relay *relay);
extern void relay_get_status(Relay *relay, RelayStatus *status);
extern const char *relay_state_name(RelayState state);
extern bool relay_check(const RelayConfig *config, char **error);

#endif /* PGQ_RELAY_H */
