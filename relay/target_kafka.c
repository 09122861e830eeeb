/*-------------------------------------------------------------------------
 *
 * target_kafka.c
 *		Messages into topics of Apache Kafka, exactly once.
 *
 * Events go in transactions, with the relay's position in the last record of
 * each.  The transactional id belongs to the queue's consumer: who begins to
 * write as it ends the open transaction of whoever did before, and shuts him out.
 * Then it reads the position, and goes on behind it.
 *
 *		where:		take the id, read the position (of a new connection)
 *		send:		begin a transaction, produce ...
 *		flush:		produce the position, commit
 *
 * A transaction ends with its batch, or after a while: readers see none of it
 * before.  What the brokers refuse they tell later, and of a whole request: then
 * the relay comes again, and each event up to there goes alone.
 *
 * https://kafka.apache.org/documentation/#semantics has the rules.
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

#include "common/clock.h"
#include "common/memory.h"

/* The longest that a transaction takes in events, in seconds. */
#define TRANSACTION_SECONDS 5

/* Milliseconds that closing waits for an abort. */
#define LAST_WAIT 1000

/* ---- what became of messages ---- */

/* Called by the library in our calls of rd_kafka_poll() and others. */
static void
note_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message,
			  void *arg)
{
	KafkaTarget *t = arg;
	int64_t place = (int64_t) (intptr_t) message->_private;

	t->progress = clock_seconds();
	if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (place == 0)
			t->position_offset = message->offset;
		else
			kafka_note_mark(t, message);
		return;
	}
	if (place > 0 && kafka_is_refusal(message->err) && place > t->refused)
		t->refused = place;
	/* those that were thrown away tell of the others' failure only */
	if ((t->error == RD_KAFKA_RESP_ERR_NO_ERROR ||
		 kafka_is_passing(t->error)) &&
		message->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE &&
		message->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
	{
		t->error = message->err;
		snprintf(t->error_text, sizeof(t->error_text), "topic \"%s\": %s",
				 rd_kafka_topic_name(message->rkt),
				 rd_kafka_err2str(message->err));
	}
}

static bool
is_failed(const KafkaTarget *t)
{
	return t->base.result == TARGET_STOP || t->refused ||
		   (t->error && !kafka_is_passing(t->error));
}

/* The failure of what was sent before. */
static TargetResult
fail_sent(KafkaTarget *t)
{
	if (t->base.result == TARGET_STOP)
		return TARGET_STOP;
	if (t->refused)
	{
		t->base.suspect = t->refused;
		return target_fail(t, TARGET_AWAY,
						   "%s - the events are sent again, one "
						   "by one",
						   t->error_text);
	}
	return kafka_fail(t, t->error, "", t->error_text);
}

/* Wait until no more than "most" messages are under way. */
static TargetResult
wait_for_deliveries(KafkaTarget *t, int most)
{
	double patience = t->base.config->stall_release;
	double start = clock_seconds();

	while (!is_failed(t) && rd_kafka_outq_len(t->producer) > most)
	{
		double now;

		/* what is waited for to the end does not wait for more to go with it */
		if (most == 0)
			(void) rd_kafka_flush(t->producer, KAFKA_SLICE);
		else
			rd_kafka_poll(t->producer, KAFKA_SLICE);
		now = clock_seconds();
		if (now - start > patience && now - t->progress > patience)
			return kafka_fail(t, RD_KAFKA_RESP_ERR__TIMED_OUT,
							  "no acknowledgement", NULL);
	}
	return is_failed(t) ? fail_sent(t) : TARGET_OK;
}

/* ---- transactions ---- */

static TargetResult
begin(KafkaTarget *t)
{
	rd_kafka_error_t *error;

	if (t->in_transaction)
		return TARGET_OK;
	error = rd_kafka_begin_transaction(t->producer);
	if (error)
		return kafka_fail_error(t, error, "begin");
	t->in_transaction = true;
	t->began = clock_seconds();
	return TARGET_OK;
}

/* Take back what was sent since begin(). */
static TargetResult
take_back(KafkaTarget *t, int msec)
{
	rd_kafka_error_t *error;

	if (!t->in_transaction)
		return TARGET_OK;
	error = rd_kafka_abort_transaction(t->producer, msec);
	if (error)
		return kafka_fail_error(t, error, "abort");
	t->in_transaction = false;
	return TARGET_OK;
}

/* The position, and commit. */
static TargetResult
commit(KafkaTarget *t, bool whole)
{
	int msec = (int) (t->base.config->stall_release * 1000);
	TargetResult result = TARGET_OK;
	rd_kafka_resp_err_t code;
	rd_kafka_error_t *error;

	while ((code = kafka_produce_position(t, whole)) ==
			   RD_KAFKA_RESP_ERR__QUEUE_FULL &&
		   result == TARGET_OK)
		result = wait_for_deliveries(t, rd_kafka_outq_len(t->producer) - 1);
	if (code)
		return result == TARGET_OK ? kafka_fail(t, code, "the position", NULL)
								   : result;
	result = wait_for_deliveries(t, 0);
	if (result != TARGET_OK)
		return result;
	error = rd_kafka_commit_transaction(t->producer, msec);
	if (error)
		return kafka_fail_error(t, error, "commit");
	t->in_transaction = false;
	t->position.batch = t->batch;
	t->position.place = t->place;
	t->position.whole = whole;
	/* sent again, and there since the first time: where is to be found out */
	if (t->position_offset < 0)
		return target_fail(t, TARGET_AWAY,
						   "the position's offset is not known");
	t->position.offset = t->position_offset;
	t->position.tick = t->tick;
	return TARGET_OK;
}

/* ---- open, close ---- */

static Target *
kafka_open(const RelayConfig *config)
{
	KafkaTarget *t = target_make(sizeof(KafkaTarget), config);

	if (kafka_make_reader(t))
		t->base.result = kafka_check_positions(t);
	return &t->base;
}

/*
 * Wait for answers to what was sent.  The library frees a transaction's error when
 * it is destroyed, and again when an answer then tells of another.
 */
static void
wait_for_answers(KafkaTarget *t)
{
	double end = clock_seconds() + LAST_WAIT / 1000.0;

	(void) rd_kafka_purge(t->producer, RD_KAFKA_PURGE_F_QUEUE);
	while (rd_kafka_outq_len(t->producer) > 0 && clock_seconds() < end)
		rd_kafka_poll(t->producer, 20);
}

static void
close_producer(KafkaTarget *t)
{
	if (t->producer == NULL)
		return;
	/* else readers wait until the transaction's time is over */
	if (t->in_transaction && t->error == RD_KAFKA_RESP_ERR_NO_ERROR)
		(void) take_back(t, LAST_WAIT);
	t->in_transaction = false;
	wait_for_answers(t);
	kafka_forget_topics(t);
	kafka_destroy(&t->producer);
	t->is_known = false;
}

static void
kafka_close(Target *target)
{
	KafkaTarget *t = (KafkaTarget *) target;

	close_producer(t);
	kafka_destroy(&t->reader);
	free(t->source);
	free(t->id);
	free(t);
}

/* ---- where ---- */

/*
 * Take the transactional id over: whoever had it is shut out.  A library that has
 * no connection yet would look for the coordinator in vain, and again a second
 * later.
 */
static TargetResult
take_id(KafkaTarget *t)
{
	double start = clock_seconds();
	TargetResult result = kafka_connect(t, t->producer);

	if (result != TARGET_OK)
		return result;
	for (;;)
	{
		rd_kafka_error_t *error = rd_kafka_init_transactions(t->producer,
															 KAFKA_SLICE);
		bool again;

		rd_kafka_poll(t->producer, 0);
		if (error == NULL)
		{
			t->error = RD_KAFKA_RESP_ERR_NO_ERROR;
			return TARGET_OK;
		}
		again = rd_kafka_error_is_retriable(error) && !is_failed(t) &&
				clock_seconds() - start < t->base.config->stall_release;
		if (!again)
			return kafka_fail_error(t, error, "transactional id");
		rd_kafka_error_destroy(error);
	}
}

static TargetResult
start_producer(KafkaTarget *t, const TargetBatch *batch)
{
	char *source = text_copy(batch->source);
	TargetResult result;

	free(t->source);
	t->source = source;
	t->suspect = batch->suspect;
	t->single = batch->suspect > 0;
	if ((t->reader == NULL && !kafka_make_reader(t)) ||
		!kafka_make_producer(t, note_delivery))
		return t->base.result;
	result = take_id(t);
	if (result == TARGET_OK)
		result = kafka_read_position(t, batch);
	kafka_destroy(&t->reader);
	return result;
}

/*
 * The same amid a batch, after a message was refused: the library would go on
 * with a number that the broker does not expect.
 */
static TargetResult
restart_producer(KafkaTarget *t)
{
	KafkaPosition before = t->position;
	char *bookmark = kafka_bookmark(t);
	TargetBatch batch = {.id = t->batch,
						 .tick = t->tick,
						 .bookmark = bookmark,
						 .source = t->source,
						 .suspect = t->suspect};
	TargetResult result;

	close_producer(t);
	result = start_producer(t, &batch);
	free(bookmark);
	if (result == TARGET_OK && (t->position.batch != before.batch ||
								t->position.place != before.place))
		return target_fail(t, TARGET_AWAY,
						   "another relay has written as \"%s\"", t->id);
	return result;
}

static TargetResult
kafka_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	KafkaTarget *t = (KafkaTarget *) target;
	TargetResult result = TARGET_OK;

	/* the events that were to go alone have gone */
	if (t->single && batch->suspect == 0)
		close_producer(t);
	t->batch = batch->id;
	t->tick = batch->tick;
	t->place = 0;
	if (!t->is_known)
		result = start_producer(t, batch);
	else
		result = take_back(t, (int) (t->base.config->stall_release * 1000));
	if (result != TARGET_OK)
		return result;
	return kafka_compare_position(t, batch, done);
}

/* ---- send ---- */

/* Give the library one message, once it has room. */
static TargetResult
produce(KafkaTarget *t, const RelayMessage *message, const char *body)
{
	double start = clock_seconds();
	rd_kafka_resp_err_t code;

	while ((code = kafka_produce(t, message, body)) != 0)
	{
		int waiting = rd_kafka_outq_len(t->producer);
		TargetResult result;

		if (kafka_is_absence(code))
		{
			result = kafka_find_topic_again(t, message->address);
			if (result == TARGET_OK &&
				clock_seconds() - start > t->base.config->stall_release)
				result = kafka_fail(t, code, message->address, NULL);
			if (result != TARGET_OK)
				return result;
			rd_kafka_poll(t->producer, 50);
			continue;
		}
		if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
			(code == RD_KAFKA_RESP_ERR__QUEUE_FULL && waiting == 0))
			return target_fail(t, TARGET_REFUSED,
							   "it has %zu bytes, and the most is set by "
							   "window_bytes and by options = "
							   "message.max.bytes=...",
							   message->body_len);
		if (kafka_is_refusal(code))
			return target_fail(t, TARGET_REFUSED, "topic \"%s\": %s",
							   message->address, rd_kafka_err2str(code));
		if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			return kafka_fail(t, code, "", NULL);
		/* for some at once */
		result = wait_for_deliveries(t, waiting * 3 / 4);
		if (result != TARGET_OK)
			return result;
	}
	return TARGET_OK;
}

/* Send an event alone: only then is it known to be the one that is refused. */
static TargetResult
send_alone(KafkaTarget *t, const char *topic)
{
	TargetResult result = commit(t, false);
	rd_kafka_resp_err_t code = t->error;
	char why[sizeof(t->error_text)];

	if (result == TARGET_OK || t->refused == 0)
		return result;
	snprintf(why, sizeof(why), "%s", t->error_text);
	t->base.suspect = t->suspect;
	result = restart_producer(t);
	/* it may have been missed for a moment only */
	if (result == TARGET_OK && kafka_is_absence(code))
	{
		result = kafka_find_topic(t, topic);
		if (result == TARGET_OK)
			return target_fail(t, TARGET_AWAY, "%s, but it is there", why);
	}
	if (result != TARGET_OK)
		return result;
	return target_fail(t, TARGET_REFUSED, "%s", why);
}

static TargetResult
kafka_send(Target *target, const RelayMessage *message)
{
	KafkaTarget *t = (KafkaTarget *) target;
	TargetResult result = TARGET_OK;

	rd_kafka_poll(t->producer, 0);
	if (is_failed(t))
		result = fail_sent(t);
	else if (t->in_transaction &&
			 clock_seconds() - t->began > TRANSACTION_SECONDS)
		result = commit(t, false);
	if (result == TARGET_OK)
		result = kafka_find_topic(t, message->address);
	if (result == TARGET_OK)
		result = begin(t);
	if (result == TARGET_OK)
		result = produce(t, message, message->body);
	if (result == TARGET_OK && t->base.config->tombstones &&
		message->is_delete && message->key)
		result = produce(t, message, NULL);
	if (result == TARGET_OK)
	{
		t->place = message->place;
		if (t->place <= t->suspect)
			result = send_alone(t, message->address);
	}
	return result;
}

static TargetResult
kafka_flush(Target *target, char **bookmark)
{
	KafkaTarget *t = (KafkaTarget *) target;
	TargetResult result = TARGET_OK;

	if (t->in_transaction)
		result = commit(t, true);
	/*
	 * A batch without events moves no position, and nothing has told us whether
	 * another relay has moved it: the bookmark stays what it is.
	 */
	if (result == TARGET_OK && (t->place > 0 || t->position.batch == t->batch))
		*bookmark = kafka_bookmark(t);
	return result;
}

static const char *
kafka_library(void)
{
	static char text[48];

	snprintf(text, sizeof(text), "librdkafka %s", rd_kafka_version_str());
	return text;
}

const TargetClass target_kafka = {
	.scheme = "kafka",
	.promise = "Apache Kafka, exactly once",
	.keys = (const char *const[]){"topic", "positions", "tombstones", "options",
								  "user", "password", "password_file", "tls",
								  "tls_ca", "tls_cert", "tls_key", NULL},
	.address_offset = offsetof(RelayConfig, topic),
	.escape = kafka_escape,
	.library = kafka_library,
	.open = kafka_open,
	.where = kafka_where,
	.send = kafka_send,
	.flush = kafka_flush,
	.close = kafka_close};
