/*-------------------------------------------------------------------------
 *
 * frames.h
 *		Walk over the frames of event/frame_format.h in memory.
 *
 * pgqd hands frames to pgq.ingest() unread but for tags, lengths, names of
 * queues, and the C and M frames.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_FRAMES_H
#define PGQD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Frame
{
	char tag;
	const char *body;
	size_t body_len;
	size_t len; /* header and body */
} Frame;

typedef struct FrameCommit
{
	uint64_t end_lsn;
	int64_t time; /* microseconds since 2000-01-01 UTC */
	uint32_t xid;
	int64_t nevents;
} FrameCommit;

typedef enum FramePeek
{
	FRAME_WHOLE,
	FRAME_PARTIAL, /* more bytes must come first */
	FRAME_BAD      /* not the format that we speak */
} FramePeek;

extern FramePeek frames_peek(const char *data, size_t len, Frame *frame);
extern bool frames_has_events(const Frame *frame);
extern bool frames_get_commit(const Frame *frame, FrameCommit *commit);
extern bool frames_get_lsn(const Frame *frame, uint64_t *lsn);
extern bool frames_get_queues(const Frame *frame,
							  void (*found)(const char *name, size_t len,
											void *arg),
							  void *arg);
extern uint64_t frames_get_uint64(const char *p);
extern uint32_t frames_get_uint32(const char *p);
extern void frames_put_uint64(char *p, uint64_t value);

#endif /* PGQD_FRAMES_H */
