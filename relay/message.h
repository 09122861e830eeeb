/*-------------------------------------------------------------------------
 *
 * message.h
 *		From an event to the message that an engine gets.
 *
 * The id of a message is the same for ever: QUEUE/EV_ID, and .RETRY behind it
 * for an event that comes again.  Its headers tell what the body does not.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_MESSAGE_H
#define PGQ_RELAY_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "consumer/libpgq.h"
#include "relay/config.h"
#include "relay/template.h"

#define MESSAGE_HEADERS 16

typedef struct MessageHeader
{
	const char *name;
	const char *value;
} MessageHeader;

/* All strings are good until the next message_make() of the same maker, or call for
 * the event. */
typedef struct RelayMessage
{
	const PgqEvent *event; /* that it is made of */
	int64_t ev_id;
	int64_t batch;
	int64_t tick;  /* of the batch's end, in us of 1970 */
	int64_t place; /* in the batch, from 1 */
	const char *id;
	const char *address; /* subject, topic, routing key: the template filled */
	const char *key;     /* NULL: none */
	const char *body;
	size_t body_len;
	const char *content_type;
	bool is_delete; /* of a row, which may be followed by a tombstone */
	MessageHeader headers[MESSAGE_HEADERS];
	int nheaders;
} RelayMessage;

typedef struct MessageMaker MessageMaker;

/*
 * How the address and the key of a message are made.  address: a template, NULL:
 * none.  escape: makes text fit for a part of an address, NULL: as it is.
 */
extern MessageMaker *message_maker_create(const RelayConfig *config,
										  const char *source,
										  const char *address,
										  TemplateEscape escape, char **error);
extern void message_maker_free(MessageMaker *maker);
extern const char *message_maker_source(const MessageMaker *maker);
extern void message_make(MessageMaker *maker, const PgqEvent *event,
						 int64_t batch, int64_t tick, int64_t place,
						 RelayMessage *message);

#endif /* PGQ_RELAY_MESSAGE_H */
