/*-------------------------------------------------------------------------
 *
 * key.h
 *		The key of a row, read back from its event.  Plain C, for the server and
 *		for clients.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EVENT_KEY_H
#define PGQ_EVENT_KEY_H

#include <stddef.h>

/*
 * Bytes that a key of such type and data may take, at most: a column's name has a
 * byte of the type or more, and no byte of the data becomes more than two.
 */
#define EVENT_KEY_ROOM(type_len, data_len) (5 * (type_len) + 2 * (data_len) + 8)

/*
 * Write the key of an event to "out", which has EVENT_KEY_ROOM bytes, not ended
 * by a zero.
 *
 * Returns its length, -1 when the event has no key.  Type and data may be any
 * bytes.
 */
extern long event_key(const char *type, size_t type_len, const char *data,
					  size_t data_len, char *out);

/*
 * The same as a JSON object of the key's columns: {"id":7}.  Values are as the
 * event has them in JSON; those of the urlenc format are strings.
 */
extern long event_key_object(const char *type, size_t type_len,
							 const char *data, size_t data_len, char *out);

#endif /* PGQ_EVENT_KEY_H */
