/*-------------------------------------------------------------------------
 *
 * fuzz_frame.c
 *		Fuzz the reader of frames that pgq.ingest() and the plugin use,
 *		event/frame.c.
 *
 * What it lets in must come out the same when it is written again, and pgqd's
 * own reader, ticker/frames.c, must see the same in it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "regress/fuzz/stubs/server.h"

#include "event/frame.h"
#include "ticker/frames.h"

typedef struct Input
{
	const char *data;
	size_t size;
} Input;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_name(const char *name, size_t len, void *arg)
{
	const EventField *queue = arg;

	if (len != (size_t) queue->len || memcmp(name, queue->str, len) != 0)
		abort();
}

/* pgqd must take it for the same frame. */
static void
compare_readers(const char *start, const FrameReader *r, EventField *queue)
{
	Frame frame;

	if (r->body_end - start > FRAME_MAX_BODY)
		return;
	if (frames_peek(start, r->end - start, &frame) != FRAME_WHOLE ||
		frame.len != (size_t) (r->body_end - start))
		abort();
	/* an E frame that pgqd refuses may have a name with a zero byte only */
	if (queue && !frames_get_queues(&frame, check_name, queue) &&
		memchr(queue->str, '\0', queue->len) == NULL)
		abort();
}

/*
 * Read an E or H frame and write it again: the same bytes.  No copy has the
 * id 0.
 */
static void
copy_events(FrameReader *r, const char *start)
{
	StringInfoData buf;
	FrameWriter w = {.buf = &buf, .start = -1};
	EventField queue;
	Event event;
	int64 copy;
	bool is_held = r->tag == FRAME_HELD;

	initStringInfo(&buf);
	frame_read_queue(r, &queue, &copy);
	compare_readers(start, r, &queue);
	frame_open_events(&w, pnstrdup(queue.str, queue.len), copy);
	while (frame_next_event(r, &event))
		frame_put_event(&w, &event);
	frame_close_events(&w);
	if (memchr(queue.str, '\0', queue.len) == NULL && is_held == (copy != 0) &&
		(buf.len != r->body_end - start ||
		 memcmp(buf.data, start, buf.len) != 0))
		abort();
}

static void
walk(void *arg)
{
	const Input *in = arg;
	FrameReader r;
	FrameWarning warning;
	const char *start = in->data;
	char tag;

	frame_read_init(&r, in->data, in->size);
	while ((tag = frame_next(&r)) != 0)
	{
		if (tag == FRAME_EVENTS || tag == FRAME_HELD)
			copy_events(&r, start);
		else
			compare_readers(start, &r, NULL);
		if (tag == FRAME_PLACE)
			(void) frame_read_place(&r);
		if (tag == FRAME_WARNING)
		{
			frame_read_warning(&r, &warning);
			(void) pnstrdup(warning.queue.str, warning.queue.len);
			(void) pnstrdup(warning.table.str, warning.table.len);
			if (warning.reason.len > 0)
				(void) pnstrdup(warning.reason.str, warning.reason.len);
		}
		start = r.body_end;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input in = {(const char *) data, size};

	if (!server_try(walk, &in) && server_errcode != ERRCODE_DATA_CORRUPTED)
		abort();
	server_reset();
	return 0;
}
