/*-------------------------------------------------------------------------
 *
 * target_kafka_client.c
 *		The Kafka target's handles: settings, and what their errors mean.
 *
 * The library's settings: https://github.com/confluentinc/librdkafka,
 * CONFIGURATION.md.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target_kafka.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

/* The first that logs in by SCRAM as its standard has it. */
#define SCRAM_VERSION 0x020601ff

/* What "options" may not change, since the promise rests on it. */
static const char *const fixed[] = {"bootstrap.servers",
									"metadata.broker.list",
									"enable.idempotence",
									"acks",
									"request.required.acks",
									"isolation.level",
									"group.id",
									"auto.offset.reset",
									"enable.partition.eof",
									NULL};

/* What follows from keys of ours, so that TLS always verifies. */
static const char *const of_keys[] = {
	"security.protocol", "enable.ssl.certificate.verification",
	"ssl.endpoint.identification.algorithm", NULL};

/*
 * Errors of connections, which the library makes anew.  They are what is told when
 * time has run out.
 */
bool
kafka_is_passing(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__TRANSPORT ||
		   code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
		   code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
		   code == RD_KAFKA_RESP_ERR__RESOLVE;
}

/* ---- callbacks ---- */

/* The library tells why it has no connection, or why it can't go on, here only. */
static void
note_error(rd_kafka_t *client, int code, const char *reason, void *arg)
{
	KafkaTarget *t = arg;
	char text[sizeof(t->error_text)];

	if (code == RD_KAFKA_RESP_ERR__FATAL)
	{
		code = rd_kafka_fatal_error(client, text, sizeof(text));
		reason = text;
	}
	else if (t->error && (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
						  !kafka_is_passing(t->error)))
		return; /* why was told before */
	t->error = code;
	snprintf(t->error_text, sizeof(t->error_text), "%s", reason);
}

static void
note_log(const rd_kafka_t *client, int level, const char *facility,
		 const char *text)
{
	log_debug("librdkafka: %d %s %s", level, facility, text);
}

/* ---- settings ---- */

static bool
set(KafkaTarget *t, rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) ==
		RD_KAFKA_CONF_OK)
		return true;
	target_fail(t, TARGET_STOP, "%s", why);
	return false;
}

static bool
set_number(KafkaTarget *t, rd_kafka_conf_t *conf, const char *name, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return set(t, conf, name, text);
}

/* The end of a value: a comma with another name= behind it, or the text's. */
static char *
find_value_end(char *value)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyz0123456789._";
	char *comma = value;

	while ((comma = strchr(comma, ',')) != NULL)
	{
		const char *next = comma + 1 + strspn(comma + 1, " \t");
		size_t len = strspn(next, name);

		if (len > 0 && next[len + strspn(next + len, " \t")] == '=')
			return comma;
		comma++;
	}
	return value + strlen(value);
}

static char *
trim(char *text)
{
	char *end;

	text += strspn(text, " \t");
	end = text + strlen(text);
	while (end > text && isspace((unsigned char) end[-1]))
		*--end = '\0';
	return text;
}

static bool
is_one_of(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

/* May the ini file set it? */
static bool
check_option(KafkaTarget *t, const char *name)
{
	if (is_one_of(name, fixed))
		target_fail(t, TARGET_STOP,
					"options: %s can't be changed: it is what the promise "
					"rests on",
					name);
	else if (is_one_of(name, of_keys))
		target_fail(t, TARGET_STOP,
					"options: %s can't be changed: it follows from the keys "
					"tls and user - tls_ca names who has signed the brokers' "
					"certificates",
					name);
	else
		return true;
	return false;
}

/* name=value, commas between. */
static bool
set_options(KafkaTarget *t, rd_kafka_conf_t *conf)
{
	char *copy = text_copy(t->base.config->options ? t->base.config->options
												   : "");
	char *rest = copy;
	bool ok = true;

	while (ok && *trim(rest))
	{
		char *value = strchr(rest, '=');
		char *name;
		char *end;

		if (value == NULL)
		{
			target_fail(t, TARGET_STOP, "options: \"%s\" is no name=value",
						trim(rest));
			ok = false;
			break;
		}
		*value++ = '\0';
		end = find_value_end(value);
		if (*end)
			*end++ = '\0';
		name = trim(rest);
		ok = check_option(t, name) && set(t, conf, name, trim(value));
		rest = end;
	}
	free(copy);
	return ok;
}

static bool
set_identity(KafkaTarget *t, rd_kafka_conf_t *conf)
{
	const RelayConfig *config = t->base.config;
	char *password = target_password(config);
	bool ok;

	if (config->tls_ca && access(config->tls_ca, R_OK) != 0)
	{
		target_fail(t, TARGET_STOP, "could not read certificates of %s",
					config->tls_ca);
		free(password);
		return false;
	}
	ok = set(t, conf, "security.protocol",
			 config->tls ? (config->user ? "sasl_ssl" : "ssl")
						 : (config->user ? "sasl_plaintext" : "plaintext"));
	/* of a build without TLS these are unknown */
	if (ok && config->tls)
		ok = set(t, conf, "enable.ssl.certificate.verification", "true") &&
			 set(t, conf, "ssl.endpoint.identification.algorithm", "https");
	if (ok && config->tls_ca)
		ok = set(t, conf, "ssl.ca.location", config->tls_ca);
	if (ok && config->tls_cert)
		ok = set(t, conf, "ssl.certificate.location", config->tls_cert);
	if (ok && config->tls_key)
		ok = set(t, conf, "ssl.key.location", config->tls_key);
	if (ok && config->user)
		ok = set(t, conf, "sasl.mechanism", "SCRAM-SHA-512") &&
			 set(t, conf, "sasl.username", config->user) &&
			 set(t, conf, "sasl.password", password ? password : "");
	free(password);
	return ok;
}

/* What both handles have in common.  NULL, with the failure noted. */
static rd_kafka_conf_t *
make_settings(KafkaTarget *t)
{
	const RelayConfig *config = t->base.config;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const char *brokers = strstr(config->target, ":") + 1;

	brokers += strspn(brokers, "/");
	rd_kafka_conf_set_opaque(conf, t);
	rd_kafka_conf_set_error_cb(conf, note_error);
	rd_kafka_conf_set_log_cb(conf, note_log);
	if (*brokers == '\0')
		target_fail(t, TARGET_STOP,
					"%s is no address like kafka://localhost:9092",
					config->shown_target);
	else if (set(t, conf, "bootstrap.servers", brokers) &&
			 set(t, conf, "client.id", config->consumer) &&
			 set(t, conf, "log.connection.close", "false") &&
			 /* an address of IPv6 that nobody listens on costs a second */
			 set(t, conf, "reconnect.backoff.max.ms", "1000") &&
			 set_number(t, conf, "socket.timeout.ms",
						(long) (config->stall_release * 1000)) &&
			 set_number(t, conf, "socket.connection.setup.timeout.ms",
						(long) (config->stall_release * 1000)) &&
			 set_identity(t, conf))
		return conf;
	rd_kafka_conf_destroy(conf);
	return NULL;
}

static rd_kafka_t *
make_client(KafkaTarget *t, rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char why[256];
	rd_kafka_t *client = rd_kafka_new(type, conf, why, sizeof(why));

	t->error = RD_KAFKA_RESP_ERR_NO_ERROR;
	t->refused = 0;
	t->progress = clock_seconds();
	if (client)
		return client;
	rd_kafka_conf_destroy(conf);
	target_fail(t, TARGET_STOP, "%s", why);
	return NULL;
}

/* Make t->reader.  False, with the failure noted. */
bool
kafka_make_reader(KafkaTarget *t)
{
	rd_kafka_conf_t *conf = make_settings(t);

	if (conf == NULL)
		return false;
	if (set_options(t, conf) &&
		set(t, conf, "isolation.level", "read_committed") &&
		set(t, conf, "enable.partition.eof", "true") &&
		set(t, conf, "auto.offset.reset", "error") &&
		set(t, conf, "queued.max.messages.kbytes", "1024") &&
		set(t, conf, "fetch.message.max.bytes", "262144") &&
		set(t, conf, "fetch.wait.max.ms", "50"))
	{
		t->reader = make_client(t, RD_KAFKA_CONSUMER, conf);
		return t->reader != NULL;
	}
	rd_kafka_conf_destroy(conf);
	return false;
}

/*
 * Make t->producer, and t->id, which is "pgq/" and t->source unless the ini file
 * names another.  False, with the failure noted.
 */
bool
kafka_make_producer(KafkaTarget *t,
					void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *,
									  void *))
{
	const RelayConfig *config = t->base.config;
	rd_kafka_conf_t *conf = make_settings(t);
	long kbytes = (long) (config->window_bytes / 1024);
	char id[512];
	size_t size = sizeof(id);
	bool ok;

	if (conf == NULL)
		return false;
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	snprintf(id, sizeof(id), "pgq/%s", t->source);
	ok = set(t, conf, "transactional.id", id) &&
		 /* as Java's, so that other writers' keys go where ours do */
		 set(t, conf, "partitioner", "murmur2_random") &&
		 /*
		  * The library spins while a broker has as many requests as it takes and
		  * more messages wait: requests are to be few and large.
		  */
		 set(t, conf, "linger.ms", "20") && set_options(t, conf) &&
		 set(t, conf, "enable.idempotence", "true") &&
		 /* what a partition's end is does not depend on others' transactions */
		 set(t, conf, "isolation.level", "read_uncommitted") &&
		 set_number(t, conf, "queue.buffering.max.messages",
					10L * config->window_events) &&
		 set_number(t, conf, "queue.buffering.max.kbytes",
					kbytes > 0 ? kbytes : 1);
	if (ok && t->single)
		ok = set(t, conf, "batch.num.messages", "1");
	if (ok && rd_kafka_conf_get(conf, "transactional.id", id, &size) ==
				  RD_KAFKA_CONF_OK)
	{
		text_set(&t->id, id);
		t->producer = make_client(t, RD_KAFKA_PRODUCER, conf);
		return t->producer != NULL;
	}
	rd_kafka_conf_destroy(conf);
	return false;
}

/* Close a handle, of which nothing is waited for.  *client may be NULL. */
void
kafka_destroy(rd_kafka_t **client)
{
	if (*client == NULL)
		return;
	rd_kafka_destroy_flags(*client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	*client = NULL;
}

/* ---- errors ---- */

/* Errors that time does not mend. */
static bool
is_for_a_person(rd_kafka_resp_err_t code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
		case RD_KAFKA_RESP_ERR__INVALID_ARG:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
		case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
			return true;
		default:
			return false;
	}
}

static bool
is_fenced(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__FENCED ||
		   code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
		   code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

/*
 * A call failed: note it, with what callbacks have told of its reason.
 *
 * what: that could not be done.  text: why; NULL: the code's own.
 */
TargetResult
kafka_fail(KafkaTarget *t, rd_kafka_resp_err_t code, const char *what,
		   const char *text)
{
	const char *hint = "";

	if (text == NULL)
		text = rd_kafka_err2str(code);
	/* that time ran out, or that there was an error before, tells nothing */
	if (t->error &&
		(kafka_is_passing(code) || code == RD_KAFKA_RESP_ERR__FATAL ||
		 code == RD_KAFKA_RESP_ERR__STATE))
	{
		code = t->error;
		text = t->error_text;
	}
	if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION && strstr(text, "SCRAM") &&
		rd_kafka_version() < SCRAM_VERSION)
		hint =
			" - librdkafka before 2.6.1 sends a nonce that brokers from Kafka "
			"4.0 on refuse: take a newer one, or options = "
			"sasl.mechanism=PLAIN with tls = 1";
	/* the library's advice is about its own setting, and about one cause */
	if (code == RD_KAFKA_RESP_ERR__SSL && strstr(text, "verify failed"))
		text = "the certificate has expired, is of another host, or of no "
			   "authority that tls_ca names";
	if (is_fenced(code))
		return target_fail(t, TARGET_AWAY,
						   "another relay has begun to write as \"%s\", or a "
						   "transaction took longer than "
						   "transaction.timeout.ms",
						   t->id);
	return target_fail(t, is_for_a_person(code) ? TARGET_STOP : TARGET_AWAY,
					   "%s: %s%s%s (%s)%s", t->base.config->shown_target, what,
					   *what ? ": " : "", text, rd_kafka_err2name(code), hint);
}

/* The same of an error object, which is freed. */
TargetResult
kafka_fail_error(KafkaTarget *t, rd_kafka_error_t *error, const char *what)
{
	TargetResult result = kafka_fail(t, rd_kafka_error_code(error), what,
									 rd_kafka_error_string(error));

	rd_kafka_error_destroy(error);
	return result;
}

/*
 * Ask for metadata, of one topic, or NULL: of none.  *found gets what the caller
 * destroys.
 */
static TargetResult
ask_metadata(KafkaTarget *t, rd_kafka_t *client, rd_kafka_topic_t *topic,
			 const struct rd_kafka_metadata **found)
{
	double start = clock_seconds();

	for (;;)
	{
		rd_kafka_resp_err_t code = rd_kafka_metadata(client, 0, topic, found,
													 KAFKA_SLICE);
		double waited = clock_seconds() - start;

		rd_kafka_poll(client, 0);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			break;
		if (is_for_a_person(t->error) ||
			t->error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
			(t->error == RD_KAFKA_RESP_ERR__TRANSPORT && waited > 1) ||
			waited > t->base.config->stall_release)
			return kafka_fail(t, code, "no connection", NULL);
	}
	if (kafka_is_passing(t->error))
		t->error = RD_KAFKA_RESP_ERR_NO_ERROR;
	return TARGET_OK;
}

/* Wait until a client has a connection. */
TargetResult
kafka_connect(KafkaTarget *t, rd_kafka_t *client)
{
	const struct rd_kafka_metadata *found;
	TargetResult result = ask_metadata(t, client, NULL, &found);

	if (result == TARGET_OK)
		rd_kafka_metadata_destroy(found);
	return result;
}

/*
 * Look a topic up.  *outcome gets what the cluster says of it; a topic that is
 * not there may be about to be made, and is asked for again for "patience"
 * seconds.
 */
TargetResult
kafka_look_up(KafkaTarget *t, rd_kafka_t *client, rd_kafka_topic_t *topic,
			  double patience, rd_kafka_resp_err_t *outcome)
{
	double start = clock_seconds();

	for (;;)
	{
		const struct rd_kafka_metadata *found;
		TargetResult result = ask_metadata(t, client, topic, &found);
		double waited = clock_seconds() - start;

		if (result != TARGET_OK)
			return result;
		*outcome = found->topic_cnt == 1
					   ? found->topics[0].err
					   : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		rd_kafka_metadata_destroy(found);
		if (*outcome == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		{
			if (waited > t->base.config->stall_release)
				return kafka_fail(t, *outcome, rd_kafka_topic_name(topic),
								  NULL);
		}
		else if (*outcome != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
				 waited > patience)
			return TARGET_OK;
		rd_kafka_poll(client, 50);
	}
}
