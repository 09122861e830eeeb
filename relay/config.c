/*-------------------------------------------------------------------------
 *
 * config.c
 *		The ini file of pgqrelay: its keys, defaults and checks.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/ini.h"
#include "common/memory.h"
#include "relay/secrets.h"

/* The longest that a batch's transaction waits for progress, in seconds. */
#define MOST_STALL_RELEASE 86400

/* Sections of relays are called so, and their name behind it. */
#define RELAY_SECTION "relay "

#define KEY(struct, name, type, def, help)                                     \
	{                                                                          \
#name, type, offsetof(struct, name), def, help                         \
	}
#define MAIN(name, type, def, help) KEY(Config, name, type, def, help)
#define PROCESS(name, type, def, help)                                         \
	{                                                                          \
#name, type, offsetof(Config, process.name), def, help                 \
	}
#define RELAY(name, type, def, help) KEY(RelayConfig, name, type, def, help)
#define NAMED(name, member, def, help)                                         \
	{                                                                          \
		name, INI_STRING, offsetof(RelayConfig, member), def, help             \
	}

static const IniKey main_keys[] = {
	PROCESS(logfile, INI_FILE, NULL,
			"Log file, appended to; opened anew on SIGHUP."),
	PROCESS(pidfile, INI_FILE, NULL,
			"Where to write the process id; -d, -s, -k and -r need it."),
	PROCESS(syslog, INI_BOOL, "1", "Log to syslog too."),
	PROCESS(syslog_ident, INI_STRING, "pgqrelay",
			"Name of the program in syslog."),
	PROCESS(syslog_facility, INI_STRING, "daemon", "Facility in syslog."),
	MAIN(stats_period, INI_SECONDS, "30", "Seconds between lines of counts."),
	MAIN(http_listen, INI_STRING, NULL,
		 "Serve /metrics and /health there, for example 127.0.0.1:9188;"
		 " empty: nowhere."),
	MAIN(http_hosts, INI_LIST, NULL,
		 "Names that it may be asked by, with commas between, beside localhost"
		 " and addresses."),
	{NULL, INI_IGNORED, 0, NULL, NULL}};

static const IniKey relay_keys[] = {
	RELAY(db, INI_STRING, NULL,
		  "libpq connect string of the queue's database."),
	RELAY(queue, INI_STRING, NULL, "The queue."),
	RELAY(consumer, INI_STRING, NULL,
		  "Consumer to read it as, registered when missing; empty:"
		  " relay_NAME."),
	RELAY(target, INI_STRING, NULL,
		  "Where to: scheme:address, see pgqrelay --version for the schemes."),
	NAMED("format", format_name, "plain",
		  "plain, json, cloudevents or cloudevents-binary."),
	NAMED("on_refused", on_refused_name, "stop",
		  "What to do with an event that the engine will never take: stop, or"
		  " make it a dead event."),
	RELAY(stall_release, INI_SECONDS, "10",
		  "Seconds without progress after which the batch's transaction is"
		  " given up."),
	RELAY(window_events, INI_INT, "1000",
		  "Most messages that are under way, not acknowledged; into Kafka ten"
		  " times as many."),
	RELAY(window_bytes, INI_BYTES, "16MB", "Most bytes of them."),
	RELAY(stream, INI_STRING, NULL,
		  "nats: the stream; redis: template of keys."),
	RELAY(subject, INI_STRING, "{queue}.{schema}.{table}.{op}",
		  "nats: template of subjects."),
	RELAY(topic, INI_STRING, "{queue}.{schema}.{table}",
		  "kafka: template of topics."),
	RELAY(key, INI_STRING, "{key}", "Template of a message's key."),
	RELAY(exchange, INI_STRING, NULL,
		  "amqp: the exchange; empty: the default."),
	RELAY(routing_key, INI_STRING, "{queue}",
		  "amqp: template of routing keys."),
	RELAY(positions, INI_STRING, "pgq.positions",
		  "kafka: compacted topic that has the relays' positions."),
	RELAY(to_queue, INI_STRING, NULL,
		  "postgresql: the queue to write to; empty: of the same name."),
	RELAY(tombstones, INI_BOOL, "0",
		  "kafka: a message without value after each delete."),
	RELAY(replicas, INI_INT, "0",
		  "redis: how many replicas must have a batch before it is finished."),
	RELAY(options, INI_STRING, NULL,
		  "kafka: settings of librdkafka, name=value with commas between."),
	RELAY(user, INI_STRING, NULL, "User at the engine."),
	RELAY(password, INI_STRING, NULL,
		  "His password: better ${VARIABLE} of the environment, or"),
	RELAY(password_file, INI_FILE, NULL, "a file that has it."),
	RELAY(token, INI_STRING, NULL, "nats, https: a token in place of these."),
	RELAY(credentials, INI_FILE, NULL, "nats: a credentials file."),
	RELAY(secret, INI_STRING, NULL,
		  "https: key of the Standard Webhooks signature (whsec_...)."),
	RELAY(tls, INI_BOOL, "0", "Encrypt, and verify the server."),
	RELAY(tls_ca, INI_FILE, NULL,
		  "Certificates to verify it with; empty: the system's."),
	RELAY(tls_cert, INI_FILE, NULL, "Our certificate, and"),
	RELAY(tls_key, INI_FILE, NULL, "its key."),
	{NULL, INI_IGNORED, 0, NULL, NULL}};

static const char *const formats[] = {"plain", "json", "cloudevents",
									  "cloudevents-binary", NULL};
static const char *const on_refused[] = {"stop", "dead", NULL};

static bool set_error(char **error, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Always false. */
static bool
set_error(char **error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	*error = text_vformat(fmt, args);
	va_end(args);
	return false;
}

/* Keep what a variable stands for, to be hidden. */
static void
note_variable(RelayConfig *relay, const char *name, const char *value)
{
	int n = 0;

	while (relay->variables && relay->variables[n])
		n += 2;
	relay->variables = memory_resize(relay->variables,
									 (n + 3) * sizeof(char *));
	relay->variables[n] = text_format("${%s}", name);
	relay->variables[n + 1] = text_copy(value);
	relay->variables[n + 2] = NULL;
}

/* ${NAME} in a value stands for the environment's variable. */
static bool
expand_env(RelayConfig *relay, char **value, char **error)
{
	PQExpBuffer out = text_begin();
	const char *text = *value;
	const char *open;

	while ((open = strstr(text, "${")) != NULL)
	{
		const char *end = strchr(open, '}');
		char name[128];
		const char *found;

		if (end == NULL || (size_t) (end - open - 2) >= sizeof(name))
			break;
		snprintf(name, sizeof(name), "%.*s", (int) (end - open - 2), open + 2);
		found = getenv(name);
		if (found == NULL)
		{
			destroyPQExpBuffer(out);
			return set_error(error, "the environment has no variable %s", name);
		}
		appendBinaryPQExpBuffer(out, text, open - text);
		note_variable(relay, name, found);
		appendPQExpBufferStr(out, found);
		text = end + 1;
	}
	appendPQExpBufferStr(out, text);
	free(*value);
	*value = text_end(out);
	return true;
}

/*
 * Secrets that stand in the ini file itself, or in one that it includes: then others
 * must not read that.  The target is told in logs and to the database.
 */
static bool
check_secrets(const char *file, const RelayConfig *relay, char **error)
{
	const char *key;

	if (relay->target && secrets_are_in_target(relay->target))
		return set_error(error,
						 "\"target\" has a password in it: use the keys user "
						 "and password, or token");
	for (int i = 0; (key = secrets_next_key(relay, &i)) != NULL;)
	{
		char *section = text_format(RELAY_SECTION "%s", relay->name);
		char *place = ini_find_file(file, section, INI_PLAIN, relay_keys, key);
		bool open = place && secrets_others_may_read(place);

		if (open)
			set_error(error,
					  "others may read file %s, and key \"%s\" has a secret "
					  "there: chmod 600, or use ${VARIABLE}",
					  place, key);
		free(section);
		free(place);
		if (open)
			return false;
	}
	return true;
}

/* Can libpq read a connect string?  Its message may have a part of a password. */
static bool
check_conninfo(const char *key, const char *value, char **error)
{
	char *why = NULL;
	PQconninfoOption *options = PQconninfoParse(value, &why);
	bool ok = options != NULL;

	PQconninfoFree(options);
	if (!ok && (why == NULL || strcasestr(value, "passw")))
		set_error(error, "key \"%s\" is no connect string of libpq", key);
	else if (!ok)
		set_error(error, "key \"%s\": %.*s", key, (int) strcspn(why, "\n"),
				  why);
	PQfreemem(why);
	return ok;
}

static int
find_word(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (word && strcmp(words[i], word) == 0)
			return i;
	return -1;
}

/*
 * The next key that is set, of those that not every relay has; NULL: there is none
 * left.  *next is 0 to begin with.
 */
const char *
config_next_key(const RelayConfig *relay, int *next)
{
	for (const IniKey *key; (key = &relay_keys[*next])->name;)
	{
		const char *member = (const char *) relay + key->offset;
		bool is_set = false;

		++*next;
		/* those before "stream" are every relay's */
		if (key->offset < offsetof(RelayConfig, stream) ||
			strcmp(key->name, "key") == 0)
			continue;
		if (key->type == INI_STRING || key->type == INI_FILE)
			is_set = *(char *const *) member &&
					 (key->def == NULL ||
					  strcmp(*(char *const *) member, key->def) != 0);
		else if (key->type == INI_BOOL)
			is_set = *(const bool *) member;
		else if (key->type == INI_INT)
			is_set = *(const int *) member != 0;
		if (is_set)
			return key->name;
	}
	return NULL;
}

static bool
check_relay(RelayConfig *relay, const char *file, char **error)
{
	int found;

	if (!check_secrets(file, relay, error))
		return false;
	if (relay->target)
		relay->shown_target = secrets_show_target(relay->target);
	for (const IniKey *key = relay_keys; key->name; key++)
	{
		char **member = (char **) ((char *) relay + key->offset);

		if ((key->type == INI_STRING || key->type == INI_FILE) && *member &&
			!expand_env(relay, member, error))
			return false;
	}
	if (relay->consumer == NULL)
		relay->consumer = text_format("relay_%s", relay->name);
	if (relay->db == NULL || relay->queue == NULL || relay->target == NULL)
		return set_error(error, "key \"%s\" is missing",
						 relay->db == NULL      ? "db"
						 : relay->queue == NULL ? "queue"
												: "target");
	if (!check_conninfo("db", relay->db, error) ||
		(strncmp(relay->target, "postgresql:", strlen("postgresql:")) == 0 &&
		 !check_conninfo("target", relay->target, error)))
		return false;
	found = find_word(formats, relay->format_name);
	if (found < 0)
		return set_error(error,
						 "format \"%s\" is none of plain, json, cloudevents, "
						 "cloudevents-binary",
						 relay->format_name ? relay->format_name : "");
	relay->format = (RelayFormat) found;
	found = find_word(on_refused, relay->on_refused_name);
	if (found < 0)
		return set_error(error, "on_refused must be stop or dead");
	relay->on_refused = (OnRefused) found;
	if (relay->stall_release > MOST_STALL_RELEASE)
		return set_error(error, "stall_release must be a day, %d, or less",
						 MOST_STALL_RELEASE);
	if (relay->window_events < 1 || relay->stall_release < 1 ||
		relay->window_bytes < 1)
		return set_error(error, "%s must be 1 or more",
						 relay->window_events < 1   ? "window_events"
						 : relay->stall_release < 1 ? "stall_release"
													: "window_bytes");
	return true;
}

/* Free a relay's part of what config_load() made. */
void
config_free_relay(RelayConfig *relay)
{
	ini_free(relay_keys, relay);
	for (char **text = relay->variables; text && *text; text++)
		free(*text);
	free(relay->variables);
	free(relay->shown_target);
	free(relay->name);
	free(relay);
}

static RelayConfig *
load_relay(const char *file, const char *section, ConfigCheck check,
		   char **error)
{
	RelayConfig *relay = memory_make(sizeof(RelayConfig));
	char *why = NULL;

	relay->name = text_copy(section + strlen(RELAY_SECTION));
	if (ini_load(file, section, INI_PLAIN, relay_keys, relay, error))
	{
		if (check_relay(relay, file, &why) && check(relay, &why))
			return relay;
		secrets_hide(relay, why, strlen(why) + 1);
		set_error(error, "%s: [%s]: %s", file, section, why);
		free(why);
	}
	config_free_relay(relay);
	return NULL;
}

/*
 * Read the ini file into *config, which must be zeroed or freed.  check is asked
 * about each relay.
 *
 * Returns false, with *config zeroed and a malloc'd message in *error, if the
 * file cannot be read, names no relay, or says something that makes no sense.
 */
bool
config_load(Config *config, const char *file, ConfigCheck check, char **error)
{
	char **sections;
	int n = 0;
	bool ok;

	memset(config, 0, sizeof(*config));
	if (!ini_list_sections(file, RELAY_SECTION, &sections, error))
		return false;
	while (sections[n])
		n++;
	config->relays = memory_make((n + 1) * sizeof(RelayConfig *));
	if (ini_has_section(file, "pgqrelay"))
		ok = ini_load(file, "pgqrelay", INI_PLAIN, main_keys, config, error);
	else
	{
		ini_set_defaults(main_keys, config);
		ok = true;
	}
	if (ok && n == 0)
		ok = set_error(error, "%s: there is no section [relay NAME]", file);
	for (int i = 0; ok && i < n; i++)
	{
		config->relays[i] = load_relay(file, sections[i], check, error);
		ok = config->relays[i] != NULL;
		for (int j = 0; ok && j < i; j++)
			if (strcmp(config->relays[j]->name, config->relays[i]->name) == 0)
				ok = set_error(error, "%s: section [%s] is there twice", file,
							   sections[i]);
	}
	for (int i = 0; i < n; i++)
		free(sections[i]);
	free(sections);
	if (!ok)
		config_free(config);
	return ok;
}

/* Free what config_load() made, and zero the struct. */
void
config_free(Config *config)
{
	for (RelayConfig **relay = config->relays; relay && *relay; relay++)
		config_free_relay(*relay);
	free(config->relays);
	ini_free(main_keys, config);
	memset(config, 0, sizeof(*config));
}

/* Print a sample ini file to stdout. */
void
config_print_sample(void)
{
	static const char *const main_set[] = {"pidfile", "~/pgqrelay.pid", NULL};
	static const char *const relay_set[] = {
		"db",     "dbname=shop", "queue",
		"orders", "target",      "file:orders.jsonl",
		"format", "json",        NULL};

	printf(
		"# Sample configuration of pgqrelay.  Keys stand with their defaults;\n"
		"# seconds may be fractions, sizes may have units (kB, MB, GB).\n\n");
	ini_print_sample(stdout, "pgqrelay", main_keys, main_set);
	printf("\n# One such section for each relay.\n");
	ini_print_sample(stdout, "relay orders", relay_keys, relay_set);
}
