/*-------------------------------------------------------------------------
 *
 * message.c
 *		Take events out of the logical messages of pgq.emit_event().
 *
 * Messages are hostile until their seal has been compared (event/message.h).
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "event/message.h"
#include "port/pg_bswap.h"

/* The id with its epoch: it has been assigned, not too long ago. */
static FullTransactionId
widen_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

/* Does the message carry the seal that the secret gives? */
static bool
is_sealed(FullTransactionId xid, const char *message, Size size, bool anew)
{
	const char *secret = own_tables_secret(anew);
	uint8 seal[EVENT_SEAL_LEN];
	uint8 diff = 0;

	if (secret == NULL)
		return false;
	event_message_seal(secret, xid, message + EVENT_SEAL_LEN,
					   size - EVENT_SEAL_LEN, seal);
	/* in a time that does not tell how much was right */
	for (int i = 0; i < EVENT_SEAL_LEN; i++)
		diff |= seal[i] ^ (uint8) message[i];
	return diff == 0;
}

/* Is it an event of this transaction, and not one that it had already? */
static bool
is_ours(DecoderState *state, TransactionId xid, const char *message, Size size)
{
	FullTransactionId full = widen_xid(xid);
	uint32 number;

	if (size < EVENT_MESSAGE_HEAD)
		return false;
	memcpy(&number, message + EVENT_SEAL_LEN, sizeof(number));
	number = pg_ntoh32(number);
	if (number <= state->last_message)
		return false;
	if (!is_sealed(full, message, size, false) &&
		!is_sealed(full, message, size, true))
		return false;
	state->last_message = number;
	return true;
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

	if (!is_ours(ctx->output_plugin_private, txn->xid, message, size))
		return false;

	frame_read_init(&reader, message + EVENT_MESSAGE_HEAD,
					size - EVENT_MESSAGE_HEAD);
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
