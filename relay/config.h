/*-------------------------------------------------------------------------
 *
 * config.h
 *		The ini file of pgqrelay: section [pgqrelay], and a section
 *		[relay NAME] for each relay.
 *
 * A value may hold ${NAME}, which the environment's value replaces, so that a
 * file that others may read needs no secret in it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_CONFIG_H
#define PGQ_RELAY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/process.h"

/* What to do with an event that the engine will never take. */
typedef enum OnRefused
{
	REFUSED_STOP, /* stand still and say which one it is */
	REFUSED_DEAD  /* make it a dead event of the queue, with the reason */
} OnRefused;

typedef enum RelayFormat
{
	FORMAT_PLAIN,             /* the event's data, the rest in headers */
	FORMAT_JSON,              /* one object that has all fields */
	FORMAT_CLOUDEVENTS,       /* CloudEvents 1.0, structured */
	FORMAT_CLOUDEVENTS_BINARY /* CloudEvents 1.0, attributes in headers */
} RelayFormat;

/* One relay.  Strings are NULL where the file says nothing. */
typedef struct RelayConfig
{
	char *name; /* of the section, without "relay " */

	char *db; /* libpq connect string of the queue's database */
	char *queue;
	char *consumer;
	char *target; /* scheme:address */
	char *format_name;
	char *on_refused_name;
	double stall_release; /* seconds without progress */
	int window_events;    /* most that are under way, not acknowledged */
	size_t window_bytes;

	/* where in the engine; templates have {fields} */
	char *stream;
	char *subject;
	char *topic;
	char *key;
	char *exchange;
	char *routing_key;
	char *positions; /* Kafka's topic of positions */
	char *to_queue;
	bool tombstones;
	int replicas;  /* Redis: how many must have it */
	char *options; /* for the engine's library: name=value, commas between */

	/* who we are to the engine */
	char *user;
	char *password;
	char *password_file;
	char *token;
	char *credentials;
	char *secret;
	char *tls_ca;
	char *tls_cert;
	char *tls_key;
	bool tls;

	RelayFormat format;
	OnRefused on_refused;
	char *shown_target; /* for people: without what ${VARIABLE} stands for */
	char **variables;   /* each ${VARIABLE}, and what it stands for; NULL-ended */
} RelayConfig;

typedef struct Config
{
	ProcessConfig process;
	double stats_period;
	char *http_listen;
	char **http_hosts; /* NULL-ended */

	RelayConfig **relays; /* NULL-ended; who runs them takes them out */
} Config;

/* Can there be such a relay?  If not, *error is why, malloc'd. */
typedef bool (*ConfigCheck)(const RelayConfig *relay, char **error);

extern bool config_load(Config *config, const char *file, ConfigCheck check,
						char **error);
extern const char *config_next_key(const RelayConfig *relay, int *next);
extern void config_free(Config *config);
extern void config_free_relay(RelayConfig *relay);
extern void config_print_sample(void);

#endif /* PGQ_RELAY_CONFIG_H */
