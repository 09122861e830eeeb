/*-------------------------------------------------------------------------
 *
 * target_kafka_message.c
 *		From a message of the relay to one of Kafka's: its topic, its headers.
 *
 * https://github.com/cloudevents/spec, bindings/kafka-protocol-binding.md, has the
 * headers of CloudEvents.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target_kafka.h"

#include <ctype.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"

/*
 * Seconds that a topic has to come into being where others are missing, too, and that
 * an absence is kept.
 */
#define MAKING 1.0
#define ABSENCE 60.0

/* The longest name of a topic. */
#define NAME_MOST 249

/* CloudEvents' headers, here with another separator. */
#define CE_HEADER "ce-"

typedef struct KafkaTopic
{
	char *name;
	rd_kafka_topic_t *handle; /* NULL: it was not there, */
	double missing_seen;      /* then, on the clock */
} KafkaTopic;

/* ---- topics ---- */

/* Is it the message that the broker does not take? */
bool
kafka_is_refusal(rd_kafka_resp_err_t code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		case RD_KAFKA_RESP_ERR_INVALID_RECORD:
		case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
		case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return true;
		default:
			return kafka_is_absence(code);
	}
}

/* Is it said that the topic is not there?  Brokers that have just begun say so, too. */
bool
kafka_is_absence(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
		   code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		   code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

/* What a topic's name can't have becomes "_". */
void
kafka_escape(PQExpBuffer out, const char *text)
{
	for (; *text; text++)
		appendPQExpBufferChar(out, isalnum((unsigned char) *text) && *text > 0
									   ? *text
								   : strchr("._-", *text) ? *text
														  : '_');
}

static void
free_topic(void *node)
{
	KafkaTopic *topic = node;

	if (topic->handle)
		rd_kafka_topic_destroy(topic->handle);
	free(topic->name);
	free(topic);
}

/* Forget all topics, before their producer is closed. */
void
kafka_forget_topics(KafkaTarget *t)
{
	tdestroy(t->topics, free_topic);
	t->topics = NULL;
	t->topic = NULL;
}

static int
compare_topics(const void *a, const void *b)
{
	return strcmp(((const KafkaTopic *) a)->name,
				  ((const KafkaTopic *) b)->name);
}

static TargetResult
refuse_topic(KafkaTarget *t, const char *name, rd_kafka_resp_err_t code)
{
	return target_fail(t, TARGET_REFUSED, "topic \"%s\": %s", name,
					   rd_kafka_err2str(code));
}

/* Can there be a topic of that name, for events? */
static TargetResult
check_name(KafkaTarget *t, const char *name)
{
	if (strlen(name) > NAME_MOST || *name == '\0' || strcmp(name, ".") == 0 ||
		strcmp(name, "..") == 0)
		return target_fail(t, TARGET_REFUSED, "\"%s\" is no name of a topic",
						   name);
	/* an event could be one of the positions there */
	if (strcmp(name, t->base.config->positions) == 0)
		return target_fail(t, TARGET_REFUSED,
						   "topic \"%s\" is the one of positions", name);
	return TARGET_OK;
}

/* Get the handle of a topic; REFUSED if it is not there, whoever is asked. */
static TargetResult
look_up(KafkaTarget *t, KafkaTopic *topic)
{
	double now = clock_seconds();
	double patience = now - t->absence < ABSENCE ? MAKING
												 : t->base.config->stall_release;
	rd_kafka_resp_err_t outcome = RD_KAFKA_RESP_ERR_NO_ERROR;
	TargetResult result;

	if (topic->missing_seen > 0 && now - topic->missing_seen < ABSENCE)
		return refuse_topic(t, topic->name,
							RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
	topic->handle = rd_kafka_topic_new(t->producer, topic->name, NULL);
	if (topic->handle == NULL)
		abort();
	result = kafka_look_up(t, t->producer, topic->handle, patience, &outcome);
	if (result == TARGET_OK && outcome == RD_KAFKA_RESP_ERR_NO_ERROR)
		return TARGET_OK;
	rd_kafka_topic_destroy(topic->handle);
	topic->handle = NULL;
	if (result != TARGET_OK)
		return result;
	if (!kafka_is_refusal(outcome))
		return kafka_fail(t, outcome, topic->name, NULL);
	if (kafka_is_absence(outcome))
		topic->missing_seen = t->absence = clock_seconds();
	return refuse_topic(t, topic->name, outcome);
}

/* Get t->topic, which must be there. */
TargetResult
kafka_find_topic(KafkaTarget *t, const char *name)
{
	KafkaTopic wanted = {.name = (char *) name};
	KafkaTopic *topic;
	void *node;
	TargetResult result;

	if (t->topic && strcmp(((const KafkaTopic *) t->topic)->name, name) == 0)
		return TARGET_OK;
	node = tfind(&wanted, &t->topics, compare_topics);
	if (node)
		topic = *(KafkaTopic **) node;
	else
	{
		result = check_name(t, name);
		if (result != TARGET_OK)
			return result;
		topic = memory_make(sizeof(KafkaTopic));
		topic->name = text_copy(name);
		if (tsearch(topic, &t->topics, compare_topics) == NULL)
			abort();
	}
	if (topic->handle == NULL)
	{
		result = look_up(t, topic);
		if (result != TARGET_OK)
			return result;
	}
	t->topic = topic;
	return TARGET_OK;
}

/*
 * The same for a topic that was found before, and is said not to be there: it is
 * asked for until that is sure.
 */
TargetResult
kafka_find_topic_again(KafkaTarget *t, const char *name)
{
	KafkaTopic wanted = {.name = (char *) name};
	void *node = tfind(&wanted, &t->topics, compare_topics);

	t->topic = NULL;
	if (node)
	{
		KafkaTopic *topic = *(KafkaTopic **) node;

		tdelete(&wanted, &t->topics, compare_topics);
		free_topic(topic);
	}
	return kafka_find_topic(t, name);
}

/* ---- messages ---- */

static int
hex_value(char c)
{
	return isdigit((unsigned char) c) ? c - '0'
									  : tolower((unsigned char) c) - 'a' + 10;
}

/* Kafka's binding of CloudEvents has ce_ for ce-, and values as they are. */
static void
add_cloudevent_header(rd_kafka_headers_t *headers, const MessageHeader *header)
{
	size_t len = 0;
	char name[32];
	char *value = memory_make(strlen(header->value) + 1);

	snprintf(name, sizeof(name), "ce_%s", header->name + strlen(CE_HEADER));
	for (const char *p = header->value; *p; p++)
	{
		if (*p == '%' && isxdigit((unsigned char) p[1]) &&
			isxdigit((unsigned char) p[2]))
		{
			value[len++] = (char) (hex_value(p[1]) * 16 + hex_value(p[2]));
			p += 2;
		}
		else
			value[len++] = *p;
	}
	rd_kafka_header_add(headers, name, -1, value, (ssize_t) len);
	free(value);
}

static rd_kafka_headers_t *
make_headers(const RelayMessage *message)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(message->nheaders + 2);

	rd_kafka_header_add(headers, "Pgq-Id", -1, message->id, -1);
	rd_kafka_header_add(headers, "content-type", -1, message->content_type, -1);
	for (int i = 0; i < message->nheaders; i++)
	{
		const MessageHeader *header = &message->headers[i];

		if (strncmp(header->name, CE_HEADER, strlen(CE_HEADER)) == 0)
			add_cloudevent_header(headers, header);
		else
			rd_kafka_header_add(headers, header->name, -1, header->value, -1);
	}
	return headers;
}

/*
 * Give the library one message.  body: NULL makes it a tombstone, which has no
 * headers.  QUEUE_FULL: again, later.
 */
rd_kafka_resp_err_t
kafka_produce(KafkaTarget *t, const RelayMessage *message, const char *body)
{
	rd_kafka_headers_t *headers = body ? make_headers(message) : NULL;
	rd_kafka_resp_err_t code = rd_kafka_producev(
		t->producer, RD_KAFKA_V_RKT(((const KafkaTopic *) t->topic)->handle),
		RD_KAFKA_V_KEY(message->key, message->key ? strlen(message->key) : 0),
		RD_KAFKA_V_VALUE((void *) body, body ? message->body_len : 0),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		RD_KAFKA_V_OPAQUE((void *) (intptr_t) message->place),
		RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);

	/* they are the library's only if the message is */
	if (code && headers)
		rd_kafka_headers_destroy(headers);
	return code;
}
