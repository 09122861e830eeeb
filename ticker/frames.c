/*-------------------------------------------------------------------------
 *
 * frames.c
 *		Walk over the frames of event/frame_format.h in memory.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/frames.h"

#include <string.h>

#include "event/frame_format.h"

/* Most events of a transaction; sums of them over a group do not overflow. */
#define MAX_EVENTS ((int64_t) 1 << 38)

/* Read a big-endian integer. */
uint32_t
frames_get_uint32(const char *p)
{
	const unsigned char *u = (const unsigned char *) p;

	return (uint32_t) u[0] << 24 | (uint32_t) u[1] << 16 |
		   (uint32_t) u[2] << 8 | u[3];
}

/* Read a big-endian integer. */
uint64_t
frames_get_uint64(const char *p)
{
	return (uint64_t) frames_get_uint32(p) << 32 | frames_get_uint32(p + 4);
}

/* Write a big-endian integer. */
void
frames_put_uint64(char *p, uint64_t value)
{
	for (int i = 7; i >= 0; i--, value >>= 8)
		p[i] = (char) (value & 0xff);
}

/* Is it an E or an H frame? */
bool
frames_has_events(const Frame *frame)
{
	return frame->tag == FRAME_EVENTS || frame->tag == FRAME_HELD;
}

/*
 * Look at the frame that begins at "data", of which "len" bytes are there.
 *
 * Fills *frame, whose pointers go into data, if all of the frame is there.  If
 * only its beginning is, frame->len is that of the whole, or 0 if not even that
 * is known, and frame->body_len is what there is of the body.
 */
FramePeek
frames_peek(const char *data, size_t len, Frame *frame)
{
	uint32_t body_len;

	frame->len = 0;
	if (len == 0)
		return FRAME_PARTIAL;
	frame->tag = data[0];
	if (!frames_has_events(frame) && frame->tag != FRAME_PLACE &&
		frame->tag != FRAME_TOUCHED && frame->tag != FRAME_WARNING &&
		frame->tag != FRAME_COMMIT && frame->tag != FRAME_MARKER &&
		frame->tag != FRAME_REACHED)
		return FRAME_BAD;
	if (len < FRAME_HEADER_LEN)
		return FRAME_PARTIAL;
	body_len = frames_get_uint32(data + 1);
	if (body_len > FRAME_MAX_BODY)
		return FRAME_BAD;
	frame->body = data + FRAME_HEADER_LEN;
	frame->body_len = body_len;
	frame->len = FRAME_HEADER_LEN + body_len;
	if (len >= frame->len)
		return FRAME_WHOLE;
	frame->body_len = len - FRAME_HEADER_LEN;
	return FRAME_PARTIAL;
}

/* Read a C frame; false if it is malformed. */
bool
frames_get_commit(const Frame *frame, FrameCommit *commit)
{
	if (frame->body_len != FRAME_COMMIT_LEN)
		return false;
	commit->end_lsn = frames_get_uint64(frame->body);
	commit->time = (int64_t) frames_get_uint64(frame->body + 8);
	commit->xid = frames_get_uint32(frame->body + 16);
	commit->nevents = (int64_t) frames_get_uint64(frame->body + 20);
	return commit->nevents >= 0 && commit->nevents <= MAX_EVENTS;
}

/* Read the LSN of an M or R frame; false if it is malformed. */
bool
frames_get_lsn(const Frame *frame, uint64_t *lsn)
{
	if (frame->body_len != FRAME_LSN_LEN)
		return false;
	*lsn = frames_get_uint64(frame->body);
	return true;
}

/*
 * Report the queue of an E or H frame, or the queues of a T frame.
 *
 * The names point into the frame and have no terminating zero.  Returns false
 * if the frame is malformed; some queues may have been reported then.
 */
bool
frames_get_queues(const Frame *frame,
				  void (*found)(const char *name, size_t len, void *arg),
				  void *arg)
{
	const char *p = frame->body;
	size_t left = frame->body_len;
	uint32_t n = 1;

	if (frame->tag == FRAME_TOUCHED)
	{
		if (left < 4)
			return false;
		n = frames_get_uint32(p);
		p += 4;
		left -= 4;
	}
	for (; n > 0; n--)
	{
		uint32_t len;

		if (left < 4)
			return false;
		len = frames_get_uint32(p);
		if (len > left - 4 || memchr(p + 4, '\0', len) != NULL)
			return false;
		found(p + 4, len, arg);
		p += 4 + len;
		left -= 4 + len;
	}
	return frames_has_events(frame) || left == 0;
}
