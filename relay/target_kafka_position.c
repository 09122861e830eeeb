/*-------------------------------------------------------------------------
 *
 * target_kafka_position.c
 *		How far a relay into Kafka is.
 *
 * The position is a record in a compacted topic, which is written in the
 * transaction of the events that it tells of:
 *
 *		key		transactional.id
 *		value	{"batch":118,"tick":1796084021102286,"place":2000,"whole":true}
 *
 * Partition 0 alone has positions, so that they have one order.  The bookmark
 * tells the record's offset, and the last offsets that were written to in
 * partitions of the events' topics:
 *
 *		OFFSET[ TOPIC:PARTITION:OFFSET]...
 *
 * Whatever ends before that was restored, emptied or made anew.  A record that is
 * gone from its offset was compacted away for a newer one, behind it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target_kafka.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <libpq-fe.h>

#include "common/clock.h"
#include "common/memory.h"

/* ---- the topic of positions ---- */

/* Is the topic compacted, as far as we may know? */
static TargetResult
judge_policy(KafkaTarget *t, rd_kafka_event_t *event)
{
	const char *topic = t->base.config->positions;
	const rd_kafka_DescribeConfigs_result_t *result =
		event ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
	const rd_kafka_ConfigResource_t **resources = NULL;
	const rd_kafka_ConfigEntry_t **entries = NULL;
	size_t n = 0;

	if (result)
		resources = rd_kafka_DescribeConfigs_result_resources(result, &n);
	if (n == 1)
		entries = rd_kafka_ConfigResource_configs(resources[0], &n);
	for (size_t i = 0; entries && i < n; i++)
	{
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);

		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "cleanup.policy") ==
				0 &&
			value && strcmp(value, "compact") != 0)
			return target_fail(
				t, TARGET_STOP,
				"topic \"%s\" has cleanup.policy=%s, which loses "
				"positions - make it cleanup.policy=compact",
				topic, value);
	}
	return TARGET_OK;
}

static TargetResult
check_policy(KafkaTarget *t)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(t->reader);
	rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(
		RD_KAFKA_RESOURCE_TOPIC, t->base.config->positions);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(
		t->reader, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	int msec = (int) (t->base.config->stall_release * 1000);
	rd_kafka_event_t *event;
	TargetResult result;

	(void) rd_kafka_AdminOptions_set_request_timeout(options, msec, NULL, 0);
	rd_kafka_DescribeConfigs(t->reader, &resource, 1, options, queue);
	event = rd_kafka_queue_poll(queue, msec);
	/* who may not ask is not told */
	result = judge_policy(t, event);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ConfigResource_destroy(resource);
	rd_kafka_queue_destroy(queue);
	return result;
}

/* Is there a topic fit for positions?  With t->reader, which never makes one. */
TargetResult
kafka_check_positions(KafkaTarget *t)
{
	const char *name = t->base.config->positions;
	rd_kafka_topic_t *topic = rd_kafka_topic_new(t->reader, name, NULL);
	rd_kafka_resp_err_t outcome = RD_KAFKA_RESP_ERR_NO_ERROR;
	TargetResult result;

	if (topic == NULL)
		return target_fail(t, TARGET_STOP, "\"%s\" is no name of a topic",
						   name);
	result = kafka_look_up(t, t->reader, topic, 0, &outcome);
	rd_kafka_topic_destroy(topic);
	if (result != TARGET_OK)
		return result;
	if (outcome == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return target_fail(
			t, TARGET_STOP,
			"there is no topic \"%s\", which keeps the position - "
			"make it, with one partition and "
			"cleanup.policy=compact",
			name);
	if (outcome != RD_KAFKA_RESP_ERR_NO_ERROR)
		return target_fail(t, TARGET_STOP, "topic \"%s\": %s", name,
						   rd_kafka_err2str(outcome));
	return check_policy(t);
}

/* ---- reading it ---- */

/* Take a record that is ours. */
static void
note_record(KafkaTarget *t, const rd_kafka_message_t *message)
{
	json_t *value = json_loadb(message->payload ? message->payload : "",
							   message->payload ? message->len : 0, 0, NULL);

	if (value == NULL)
		return;
	t->position.offset = message->offset;
	t->position.batch = json_integer_value(json_object_get(value, "batch"));
	t->position.tick = json_integer_value(json_object_get(value, "tick"));
	t->position.place = json_integer_value(json_object_get(value, "place"));
	t->position.whole = json_is_true(json_object_get(value, "whole"));
	json_decref(value);
}

/*
 * Read all before offset "end", some of which may be in transactions that are still
 * open: other relays' may.  What they write meanwhile is behind it.  *outcome gets
 * OFFSET_OUT_OF_RANGE if there is nothing at the offset that it began at.
 */
static TargetResult
read_records(KafkaTarget *t, rd_kafka_topic_t *topic, int64_t end,
			 rd_kafka_resp_err_t *outcome)
{
	size_t idlen = strlen(t->id);
	double progress = clock_seconds();

	*outcome = RD_KAFKA_RESP_ERR_NO_ERROR;
	for (;;)
	{
		rd_kafka_message_t *message = rd_kafka_consume(
			topic, POSITION_PARTITION, KAFKA_SLICE);
		rd_kafka_resp_err_t code = message ? message->err : 0;
		int64_t offset = message ? message->offset : -1;

		rd_kafka_poll(t->reader, 0);
		if (message && code == 0 && message->key_len == idlen &&
			memcmp(message->key, t->id, idlen) == 0)
			note_record(t, message);
		if (message)
			rd_kafka_message_destroy(message);
		/* there EOF is the end of what is decided */
		if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF
				? offset >= end
				: message && code == 0 && offset >= end - 1)
			return TARGET_OK;
		if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			;
		else if (code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
				 code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		{
			*outcome = RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
			return TARGET_OK;
		}
		else if (code)
			return kafka_fail(t, code, "reading positions", NULL);
		else if (message)
			progress = clock_seconds();
		if (clock_seconds() - progress > t->base.config->stall_release)
			return kafka_fail(t, RD_KAFKA_RESP_ERR__TIMED_OUT,
							  "reading positions, with another relay's "
							  "transaction open",
							  NULL);
	}
}

static TargetResult
read_from(KafkaTarget *t, int64_t offset, int64_t end,
		  rd_kafka_resp_err_t *outcome)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(
		t->reader, t->base.config->positions, NULL);
	TargetResult result;

	if (topic == NULL ||
		rd_kafka_consume_start(topic, POSITION_PARTITION, offset) < 0)
		result = kafka_fail(t, rd_kafka_last_error(), "reading positions",
							NULL);
	else
	{
		result = read_records(t, topic, end, outcome);
		rd_kafka_consume_stop(topic, POSITION_PARTITION);
	}
	if (topic)
		rd_kafka_topic_destroy(topic);
	return result;
}

/* ---- the bookmark ---- */

/* Read it into t->marks; returns the offset of the position. */
static int64_t
read_bookmark(KafkaTarget *t, const char *text)
{
	int64_t offset = strtoll(text, NULL, 10);

	t->nmarks = 0;
	while ((text = strchr(text, ' ')) != NULL && t->nmarks < KAFKA_MARKS)
	{
		KafkaMark *mark = &t->marks[t->nmarks];

		text++;
		if (sscanf(text, "%249[^: ]:%" SCNd32 ":%" SCNd64, mark->topic,
				   &mark->partition, &mark->offset) == 3)
			t->nmarks++;
	}
	return offset;
}

/* The bookmark of where the relay is; NULL: it has no position. */
char *
kafka_bookmark(const KafkaTarget *t)
{
	PQExpBuffer out;

	if (t->position.offset < 0)
		return NULL;
	out = text_begin();
	appendPQExpBuffer(out, "%" PRId64, t->position.offset);
	for (int i = 0; i < t->nmarks; i++)
		appendPQExpBuffer(out, " %s:%" PRId32 ":%" PRId64, t->marks[i].topic,
						  t->marks[i].partition, t->marks[i].offset);
	return text_end(out);
}

static TargetResult
fail_lost(KafkaTarget *t, const char *topic, int32_t partition, int64_t end,
		  int64_t last)
{
	return target_fail(t, TARGET_STOP,
					   "topic \"%s\" has lost events: its partition %" PRId32
					   " ends at offset %" PRId64
					   ", and the relay wrote offset "
					   "%" PRId64 " before batch %" PRId64,
					   topic, partition, end, last, t->batch);
}

/* Keep that a message is there; offsets of a partition can only grow. */
void
kafka_note_mark(KafkaTarget *t, const rd_kafka_message_t *message)
{
	const char *topic = rd_kafka_topic_name(message->rkt);
	KafkaMark mark;
	int i = 0;

	if (message->offset < 0)
		return; /* sent again, and there since the first time */
	while (i < t->nmarks && (t->marks[i].partition != message->partition ||
							 strcmp(t->marks[i].topic, topic) != 0))
		i++;
	if (i < t->nmarks && t->marks[i].offset >= message->offset)
	{
		fail_lost(t, topic, message->partition, message->offset,
				  t->marks[i].offset);
		return;
	}
	if (i == 0 && t->nmarks > 0)
	{
		t->marks[0].offset = message->offset;
		return;
	}
	if (i == t->nmarks && t->nmarks < KAFKA_MARKS)
		t->nmarks++;
	else if (i == KAFKA_MARKS)
		i--;
	snprintf(mark.topic, sizeof(mark.topic), "%s", topic);
	mark.partition = message->partition;
	mark.offset = message->offset;
	memmove(&t->marks[1], &t->marks[0], i * sizeof(KafkaMark));
	t->marks[0] = mark;
}

/* Are the partitions that were written to as long as they were? */
static TargetResult
check_marks(KafkaTarget *t)
{
	int msec = (int) (t->base.config->stall_release * 1000);

	for (int i = 0; i < t->nmarks; i++)
	{
		const KafkaMark *mark = &t->marks[i];
		int64_t low = 0;
		int64_t high = 0;
		rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
			t->producer, mark->topic, mark->partition, &low, &high, msec);

		if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
			code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
			code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
			high = 0;
		else if (code)
			return kafka_fail(t, code, mark->topic, NULL);
		if (high <= mark->offset)
			return fail_lost(t, mark->topic, mark->partition, high,
							 mark->offset);
	}
	return TARGET_OK;
}

/*
 * Find out how far the relay is, once the producer has fenced all others; STOP
 * if Kafka has lost what it had before the batch.
 */
TargetResult
kafka_read_position(KafkaTarget *t, const TargetBatch *batch)
{
	int64_t offset = batch->bookmark ? read_bookmark(t, batch->bookmark) : -1;
	rd_kafka_resp_err_t outcome = RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_resp_err_t code;
	TargetResult result;
	int64_t low;
	int64_t end;

	t->position = (KafkaPosition){.offset = -1};
	/* the producer tells of all that is there, the reader of what is decided */
	code = rd_kafka_query_watermark_offsets(
		t->producer, t->base.config->positions, POSITION_PARTITION, &low, &end,
		(int) (t->base.config->stall_release * 1000));
	if (code)
		return kafka_fail(t, code, "reading positions", NULL);
	result = read_from(t, offset < 0 ? RD_KAFKA_OFFSET_BEGINNING : offset, end,
					   &outcome);
	/* the topic begins behind the offset, or ends before it */
	if (result == TARGET_OK && outcome && offset >= 0)
		result = read_from(t, RD_KAFKA_OFFSET_BEGINNING, end, &outcome);
	if (result != TARGET_OK)
		return result;
	if (offset >= 0 && t->position.offset < offset)
		return target_fail(t, TARGET_STOP,
						   "topic \"%s\" has lost the relay's position: it was "
						   "at offset %" PRId64 " before batch %" PRId64,
						   t->base.config->positions, offset, batch->id);
	result = check_marks(t);
	t->is_known = result == TARGET_OK;
	return result;
}

/*
 * Compare it with the batch.  A record behind the bookmark that is not of this
 * batch is of one that the database knows nothing of any more.
 */
TargetResult
kafka_compare_position(KafkaTarget *t, const TargetBatch *batch, int64_t *done)
{
	int64_t before = batch->bookmark ? strtoll(batch->bookmark, NULL, 10) : -1;
	const KafkaPosition *p = &t->position;
	const char *topic = t->base.config->positions;

	*done = 0;
	if (p->offset < 0)
		return TARGET_OK;
	if (p->batch > batch->id ||
		(before >= 0 && p->offset > before && p->batch != batch->id))
		return target_fail(t, TARGET_STOP,
						   "the position in topic \"%s\" is batch %" PRId64
						   ", and this is batch %" PRId64 ": " TARGET_WENT_BACK,
						   topic, p->batch, batch->id);
	if (p->batch == batch->id && p->tick != batch->tick)
		return target_fail(t, TARGET_STOP,
						   "the position in topic \"%s\" is batch %" PRId64
						   ", which is of other events now: " TARGET_WENT_BACK,
						   topic, p->batch);
	if (p->batch == batch->id)
		*done = p->whole ? INT64_MAX : p->place;
	return TARGET_OK;
}

/* ---- writing it ---- */

/*
 * Put the position behind the events, in their transaction.  QUEUE_FULL: to be
 * done again later.
 */
rd_kafka_resp_err_t
kafka_produce_position(KafkaTarget *t, bool whole)
{
	char value[128];

	snprintf(value, sizeof(value),
			 "{\"batch\":%" PRId64 ",\"tick\":%" PRId64 ",\"place\":%" PRId64
			 ",\"whole\":%s}",
			 t->batch, t->tick, t->place, whole ? "true" : "false");
	t->position_offset = -1;
	return rd_kafka_producev(t->producer,
							 RD_KAFKA_V_TOPIC(t->base.config->positions),
							 RD_KAFKA_V_PARTITION(POSITION_PARTITION),
							 RD_KAFKA_V_KEY(t->id, strlen(t->id)),
							 RD_KAFKA_V_VALUE(value, strlen(value)),
							 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							 RD_KAFKA_V_OPAQUE(NULL), RD_KAFKA_V_END);
}
