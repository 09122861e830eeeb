/*-------------------------------------------------------------------------
 *
 * targets.c
 *		The list of targets, and what a relay may ask of each.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <stdio.h>
#include <string.h>

#include "common/memory.h"

static const struct
{
	const char *scheme;
	const TargetClass *class; /* NULL: its library was missing at build time */
	const char *missing;
} targets[] = {
	{"file:", &target_file, NULL},
#ifdef HAVE_NATS
	{"nats:", &target_nats, NULL},
	{"tls:", &target_nats, NULL},
#else
	{"nats:", NULL, "libnats"},
#endif
#ifdef HAVE_RDKAFKA
	{"kafka:", &target_kafka, NULL},
#else
	{"kafka:", NULL, "librdkafka"},
#endif
#ifdef HAVE_HIREDIS
	{"redis:", &target_redis, NULL},
	{"rediss:", &target_redis, NULL},
#else
	{"redis:", NULL, "hiredis"},
#endif
	{"postgresql:", &target_postgresql, NULL},
#ifdef HAVE_AMQP
	{"amqp:", &target_amqp, NULL},
	{"amqps:", &target_amqp, NULL},
#else
	{"amqp:", NULL, "librabbitmq"},
#endif
#ifdef HAVE_CURL
	{"https:", &target_https, NULL},
	{"http:", &target_https, NULL},
#else
	{"https:", NULL, "libcurl"},
#endif
};

#define NTARGETS (sizeof(targets) / sizeof(targets[0]))

/* The class that an address is for, NULL: there is none. */
const TargetClass *
target_find(const char *address)
{
	/* "-" is stdout */
	if (strcmp(address, "-") == 0)
		return &target_file;
	for (size_t i = 0; i < NTARGETS; i++)
		if (strncmp(address, targets[i].scheme, strlen(targets[i].scheme)) == 0)
			return targets[i].class;
	return NULL;
}

/* Does a key of the ini file mean something to this target? */
static bool
knows_key(const TargetClass *class, const char *key)
{
	for (const char *const *k = class->keys; k && *k; k++)
		if (strcmp(*k, key) == 0)
			return true;
	return false;
}

/* The address' template of a relay, NULL: its messages have none. */
static const char *
find_address(const RelayConfig *relay, const TargetClass *class)
{
	return class->address_offset
			   ? *(char *const *) ((const char *) relay + class->address_offset)
			   : NULL;
}

/* Where a name is wanted, is there one, and no template? */
static bool
check_names(const RelayConfig *relay, const char *address, char **error)
{
	const char *const names[][2] = {{"target", relay->target},
									{"stream", relay->stream},
									{"exchange", relay->exchange},
									{"positions", relay->positions},
									{"to_queue", relay->to_queue}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const char *name = names[i][1];
		const char *field;
		int len;

		if (name == NULL || name == address ||
			(field = template_find_field(name, &len)) == NULL)
			continue;
		*error = text_format("key \"%s\" is one name, and no template: %.*s is "
							 "not filled in there",
							 names[i][0], len, field);
		return false;
	}
	return true;
}

/*
 * What makes messages for the target of a relay, see message_maker_create().
 * source: database/queue/consumer.
 */
MessageMaker *
target_make_messages(const RelayConfig *relay, const char *source, char **error)
{
	const TargetClass *class = target_find(relay->target);
	bool is_name = class->is_name && class->is_name(relay);

	return message_maker_create(relay, source, find_address(relay, class),
								is_name ? NULL : class->escape, error);
}

/*
 * Is there such a target, does it know all keys, and can the templates be filled?
 * See ConfigCheck.
 */
bool
target_check_config(const RelayConfig *relay, char **error)
{
	const TargetClass *class = target_find(relay->target);
	MessageMaker *maker;
	const char *key;

	if (class == NULL)
	{
		*error = text_format("no target of the kind \"%s\" here; pgqrelay "
							 "--version lists those that there are",
							 relay->shown_target);
		return false;
	}
	/* a key that the target makes nothing of is a mistake */
	for (int i = 0; (key = config_next_key(relay, &i)) != NULL;)
	{
		if (knows_key(class, key))
			continue;
		*error = text_format("key \"%s\" means nothing to a %s: target", key,
							 class->scheme);
		return false;
	}
	if (!check_names(relay, find_address(relay, class), error))
		return false;
	maker = target_make_messages(relay, "", error);
	message_maker_free(maker);
	return maker != NULL;
}

/* Print what targets there are, with their libraries, and which are missing. */
void
target_print_all(void)
{
	for (size_t i = 0; i < NTARGETS; i++)
	{
		const TargetClass *class = targets[i].class;

		if (class == NULL)
			printf("  %-13s not built in: %s was missing\n", targets[i].scheme,
				   targets[i].missing);
		else
			printf("  %-13s %s%s%s%s\n", targets[i].scheme, class->promise,
				   class->library ? " (" : "",
				   class->library ? class->library() : "",
				   class->library ? ")" : "");
	}
}
