/*-------------------------------------------------------------------------
 *
 * fuzz_key.c
 *		Fuzz the key of an event, event/key.c.
 *
 * The first line of the input is the type, the rest the data.  Both end where
 * memory does, without a zero: what reads on behind them, as the string functions
 * of C do, dies.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "event/key.h"

/* Room for a text that ends where memory does. */
typedef struct Room
{
	char *start;
	size_t size;
} Room;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *
place(Room *room, const uint8_t *text, size_t len)
{
	if (room->start == NULL)
	{
		size_t page = (size_t) sysconf(_SC_PAGESIZE);

		room->size = 1 << 16;
		room->start = mmap(NULL, room->size + page, PROT_READ | PROT_WRITE,
						   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (room->start == MAP_FAILED ||
			mprotect(room->start + room->size, page, PROT_NONE) != 0)
			abort();
	}
	return memcpy(room->start + room->size - len, text, len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Room type_room;
	static Room data_room;
	const uint8_t *line_end = memchr(data, '\n', size);
	size_t type_len = line_end ? (size_t) (line_end - data) : size;
	size_t data_len = line_end ? size - type_len - 1 : 0;
	size_t room = EVENT_KEY_ROOM(type_len, data_len);
	char *out;
	long len;

	if (size > 1 << 16)
		return 0;
	out = malloc(room);
	if (out == NULL)
		abort();
	len = event_key(place(&type_room, data, type_len), type_len,
					place(&data_room, data + size - data_len, data_len),
					data_len, out);
	if (len < -1 || len > (long) room)
		abort();
	len = event_key_object(
		type_room.start + type_room.size - type_len, type_len,
		data_room.start + data_room.size - data_len, data_len, out);
	if (len < -1 || len > (long) room)
		abort();
	free(out);
	return 0;
}
