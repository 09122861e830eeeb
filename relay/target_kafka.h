/*-------------------------------------------------------------------------
 *
 * target_kafka.h
 *		What the files of the Kafka target share.
 *
 * target_kafka.c sends; target_kafka_client.c makes the library's handles and
 * tells what their errors mean; target_kafka_message.c makes Kafka's messages;
 * target_kafka_position.c knows how far the relay is, in Kafka and in the bookmark.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_TARGET_KAFKA_H
#define PGQ_RELAY_TARGET_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "relay/target.h"

/* The partition of the positions' topic that is used. */
#define POSITION_PARTITION 0

/* Partitions whose ends a bookmark keeps: those written to last. */
#define KAFKA_MARKS 16

/* The longest wait in the library before we look at errors, in ms. */
#define KAFKA_SLICE 200

/* The newest message of a partition that we know to be there. */
typedef struct KafkaMark
{
	char topic[250]; /* the longest name that Kafka takes, and a zero */
	int32_t partition;
	int64_t offset;
} KafkaMark;

/* How far the relay is: our newest record in the topic of positions. */
typedef struct KafkaPosition
{
	int64_t offset; /* of the record, -1: there is none */
	int64_t batch;
	int64_t tick;  /* of the batch's end, in us of 1970 */
	int64_t place; /* of the last event */
	bool whole;    /* it was the batch's last */
} KafkaPosition;

typedef struct KafkaTarget
{
	Target base;
	rd_kafka_t *reader;   /* NULL but while the position is looked for */
	rd_kafka_t *producer; /* NULL until where() */
	char *id;             /* transactional.id, key of our positions */
	bool single;          /* the producer puts each message into one request */

	KafkaPosition position;
	bool is_known; /* position: nobody else wrote since we have the id */
	KafkaMark marks[KAFKA_MARKS]; /* the last written to first */
	int nmarks;

	int64_t batch; /* under way */
	int64_t tick;
	char *source;
	bool in_transaction;
	double began;        /* the transaction, on the clock */
	int64_t place;       /* of the event sent last */
	int64_t suspect;     /* up to here each event is sent alone, to tell which
						  * one is refused */
	void *topics;        /* tsearch tree of KafkaTopic */
	const void *topic;   /* the KafkaTopic used last */
	double absence;      /* clock when a topic was found missing last */

	/* what callbacks tell, which are called in calls of ours only */
	double progress;           /* clock at the last delivery */
	int64_t position_offset;   /* of the record under way, -1 */
	rd_kafka_resp_err_t error; /* the first of a message, or of the client */
	char error_text[256];
	int64_t refused; /* place of the last event that is the reason, 0 */
} KafkaTarget;

/* target_kafka_client.c */
extern bool kafka_make_reader(KafkaTarget *t);
extern bool kafka_make_producer(KafkaTarget *t,
								void (*delivered)(rd_kafka_t *,
												  const rd_kafka_message_t *,
												  void *));
extern bool kafka_is_passing(rd_kafka_resp_err_t code);
extern void kafka_destroy(rd_kafka_t **client);
extern TargetResult kafka_fail(KafkaTarget *t, rd_kafka_resp_err_t code,
							   const char *what, const char *text);
extern TargetResult kafka_fail_error(KafkaTarget *t, rd_kafka_error_t *error,
									 const char *what);
extern TargetResult kafka_connect(KafkaTarget *t, rd_kafka_t *client);
extern TargetResult kafka_look_up(KafkaTarget *t, rd_kafka_t *client,
								  rd_kafka_topic_t *topic, double patience,
								  rd_kafka_resp_err_t *outcome);

/* target_kafka_message.c */
extern bool kafka_is_refusal(rd_kafka_resp_err_t code);
extern void kafka_escape(PQExpBuffer out, const char *text);
extern TargetResult kafka_find_topic(KafkaTarget *t, const char *name);
extern bool kafka_is_absence(rd_kafka_resp_err_t code);
extern TargetResult kafka_find_topic_again(KafkaTarget *t, const char *name);
extern void kafka_forget_topics(KafkaTarget *t);
extern rd_kafka_resp_err_t
kafka_produce(KafkaTarget *t, const RelayMessage *message, const char *body);

/* target_kafka_position.c */
extern TargetResult kafka_check_positions(KafkaTarget *t);
extern TargetResult kafka_read_position(KafkaTarget *t,
										const TargetBatch *batch);
extern TargetResult
kafka_compare_position(KafkaTarget *t, const TargetBatch *batch, int64_t *done);
extern rd_kafka_resp_err_t kafka_produce_position(KafkaTarget *t, bool whole);
extern void kafka_note_mark(KafkaTarget *t, const rd_kafka_message_t *message);
extern char *kafka_bookmark(const KafkaTarget *t);

#endif /* PGQ_RELAY_TARGET_KAFKA_H */
