/*-------------------------------------------------------------------------
 *
 * message.h
 *		Events that travel as logical messages: what pgq.emit_event() writes
 *		to the WAL and the output plugin reads back.
 *
 * Anybody may write logical messages with any prefix, and with REPLICATION
 * read those of others.  Ours begin with a seal, which proves that the rest was
 * written by one who knows the database's secret (table pgq.secret, which
 * nobody may read) in the transaction that it comes with:
 *
 *		seal		EVENT_SEAL_LEN bytes: SHA-256 of the secret, the
 *					transaction's full id and length, as uint64, of all that
 *					follows, and that.  No text sealed is the beginning of
 *					another, thus a seal leads to no other, and this does
 *					what HMAC would, for a fifth of its time.
 *		number		uint32: grows within a transaction, so that no message
 *					counts twice
 *		E frame		frame_format.h: one event, its ev_time without meaning
 *
 * Integers are in network byte order.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_MESSAGE_H
#define PGQ_MESSAGE_H

#include "access/transam.h"
#include "utils/relcache.h"

#define EVENT_MESSAGE_PREFIX "pgq.event"
#define EVENT_SECRET_LEN 32
#define EVENT_SEAL_LEN 32

/* Where the frame begins. */
#define EVENT_MESSAGE_HEAD (EVENT_SEAL_LEN + sizeof(uint32))

extern bool event_secret_read(Relation rel, char *secret);
extern void event_message_seal(const char *secret, FullTransactionId xid,
							   const char *sealed, Size len, uint8 *seal);

#endif /* PGQ_MESSAGE_H */
