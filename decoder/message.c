/*-------------------------------------------------------------------------
 *
 * message.c
 *		Take events out of the logical messages of pgq.emit_event().
 *
 * Messages are hostile until their secret has been compared.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "event/message.h"

/* Compare in a time that does not tell how much was right. */
static bool
is_same_secret(const char *a, const char *b)
{
	unsigned char diff = 0;

	for (int i = 0; i < EVENT_SECRET_LEN; i++)
		diff |= (unsigned char) (a[i] ^ b[i]);
	return diff == 0;
}

static bool
is_ours(const char *message, bool anew)
{
	const char *secret = own_tables_secret(anew);

	return secret && is_same_secret(secret, message);
}

/*
 * Send the event of a transactional message to its queue, if we wrote it;
 * called in the per-change context, with the historic snapshot set.  Returns
 * false if the message is not ours.
 */
bool
message_decode(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Size size,
			   const char *message)
{
	FrameReader reader;
	EventField name;

	if (size < EVENT_SECRET_LEN)
		return false;
	if (!is_ours(message, false) && !is_ours(message, true))
		return false;

	frame_read_init(&reader, message + EVENT_SECRET_LEN,
					size - EVENT_SECRET_LEN);
	while (frame_next(&reader) == FRAME_EVENTS)
	{
		char *queue;
		int64 copy;
		Event event;

		frame_read_queue(&reader, &name, &copy);
		queue = pnstrdup(name.str, name.len);
		while (frame_next_event(&reader, &event))
			boundary_send_event(ctx, txn, queue, 0, &event);
	}
	return true;
}
