/*-------------------------------------------------------------------------
 *
 * target_nats.h
 *		What the files of the JetStream target share.
 *
 * target_nats.c sends; target_nats_client.c connects, and knows what streams will do.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_TARGET_NATS_H
#define PGQ_RELAY_TARGET_NATS_H

#include <nats/nats.h>

#include "relay/target.h"

/* What is acknowledged. */
typedef struct NatsAcks
{
	uint64_t seq;
	size_t bytes; /* of the batch */
} NatsAcks;

typedef struct NatsTarget
{
	Target base;
	natsOptions *options;
	natsConnection *conn;
	jsCtx *js;
	jsStreamInfo *info; /* of the last where() */
	uint64_t last_seq;  /* expected of the next message */
	bool is_whole;      /* all of it was acknowledged, and nothing sent since */
	size_t sent_bytes;  /* up to there, of the batch */
	NatsAcks seen;      /* what was acknowledged when we looked */

	/* under "lock" */
	unsigned number;
	NatsAcks acks;
	NatsAcks awaited;  /* the sender is to be woken by these */
	double progress;   /* clock at the last acknowledgement */
	char failure[256]; /* the first one, "" */
	struct NatsTarget *next;
} NatsTarget;

/* target_nats_client.c */
extern natsStatus nats_connect(NatsTarget *t, jsPubAckHandler receive_ack);
extern void nats_fail_to_connect(NatsTarget *t, natsStatus s);
extern bool nats_is_forbidden(NatsTarget *t);
extern TargetResult nats_read_stream(NatsTarget *t);

#endif /* PGQ_RELAY_TARGET_NATS_H */
