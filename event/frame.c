/*-------------------------------------------------------------------------
 *
 * frame.c
 *		Write frames of events into a buffer, and read them back.
 *
 * The plugin writes, pgq.ingest() reads.  See frame_format.h for the format.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "port/pg_bswap.h"

#include "event/frame.h"

/* Overwrite four bytes at an offset that was left blank before. */
static void
patch_int32(StringInfo buf, int at, int32 value)
{
	uint32 net = pg_hton32((uint32) value);

	memcpy(buf->data + at, &net, sizeof(net));
}

static void
put_string(StringInfo buf, const char *str)
{
	int len = strlen(str);

	pq_sendint32(buf, len);
	appendBinaryStringInfo(buf, str, len);
}

/* Write tag and a blank length; the offset of the frame is returned. */
static int
open_frame(StringInfo buf, char tag)
{
	int start = buf->len;

	appendStringInfoCharMacro(buf, tag);
	pq_sendint32(buf, 0);
	return start;
}

static void
close_frame(StringInfo buf, int start)
{
	patch_int32(buf, start + 1, buf->len - start - FRAME_HEADER_LEN);
}

/*
 * A whole P frame; returns its place in the buffer, for frame_move_place().
 */
int
frame_put_place(StringInfo buf, XLogRecPtr lsn)
{
	int start = open_frame(buf, FRAME_PLACE);

	pq_sendint64(buf, lsn);
	close_frame(buf, start);
	return start;
}

/* Put another LSN into a P frame that is still in the buffer. */
void
frame_move_place(StringInfo buf, int place, XLogRecPtr lsn)
{
	uint64 net = pg_hton64(lsn);

	memcpy(buf->data + place + FRAME_HEADER_LEN, &net, sizeof(net));
}

/*
 * Begin an E frame for a queue, or an H frame if a copy is given and not 0.
 * w->buf is set by the caller, and no frame may be open.
 */
void
frame_open_events(FrameWriter *w, const char *queue, int64 copy)
{
	Assert(w->start < 0);
	w->start = open_frame(w->buf, copy ? FRAME_HELD : FRAME_EVENTS);
	put_string(w->buf, queue);
	if (copy)
		pq_sendint64(w->buf, copy);
	w->count_at = w->buf->len;
	w->count = 0;
	pq_sendint32(w->buf, 0);
}

/*
 * Bytes that frame_put_event() will add for this event.
 */
Size
frame_event_size(const Event *event)
{
	Size size = FRAME_EVENT_MIN_LEN;

	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		if (event->field[i].len > 0)
			size += event->field[i].len;
	return size;
}

/* Append one event to the open frame; its strings are copied. */
void
frame_put_event(FrameWriter *w, const Event *event)
{
	StringInfo buf = w->buf;

	Assert(w->start >= 0);
	enlargeStringInfo(buf, frame_event_size(event));
	pq_writeint64(buf, event->time);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
	{
		const EventField *f = &event->field[i];

		pq_writeint32(buf, f->len);
		if (f->len > 0)
		{
			memcpy(buf->data + buf->len, f->str, f->len);
			buf->len += f->len;
		}
	}
	buf->data[buf->len] = '\0';
	w->count++;
}

/* End the open frame, if there is one. */
void
frame_close_events(FrameWriter *w)
{
	if (w->start < 0)
		return;
	patch_int32(w->buf, w->count_at, w->count);
	close_frame(w->buf, w->start);
	w->start = -1;
}

/* A whole T frame. */
void
frame_put_touched(StringInfo buf, int nqueues, const char *const *queues)
{
	int start = open_frame(buf, FRAME_TOUCHED);

	pq_sendint32(buf, nqueues);
	for (int i = 0; i < nqueues; i++)
		put_string(buf, queues[i]);
	close_frame(buf, start);
}

/* A whole W frame; reason may be NULL. */
void
frame_put_warning(StringInfo buf, const char *queue, const char *table,
				  char kind, int64 count, const char *reason)
{
	int start = open_frame(buf, FRAME_WARNING);

	put_string(buf, queue);
	put_string(buf, table);
	appendStringInfoCharMacro(buf, kind);
	pq_sendint64(buf, count);
	if (reason)
		put_string(buf, reason);
	else
		pq_sendint32(buf, -1);
	close_frame(buf, start);
}

/* A whole C frame. */
void
frame_put_commit(StringInfo buf, XLogRecPtr end_lsn, TimestampTz commit_time,
				 TransactionId xid, int64 nevents)
{
	int start = open_frame(buf, FRAME_COMMIT);

	pq_sendint64(buf, end_lsn);
	pq_sendint64(buf, commit_time);
	pq_sendint32(buf, xid);
	pq_sendint64(buf, nevents);
	close_frame(buf, start);
}

/* A whole M or R frame. */
void
frame_put_lsn(StringInfo buf, char tag, XLogRecPtr lsn)
{
	int start = open_frame(buf, tag);

	pq_sendint64(buf, lsn);
	close_frame(buf, start);
}

static void
malformed(const FrameReader *r, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("malformed frames: %s at byte %zu", what,
					(size_t) (r->ptr - r->base))));
}

/* Read an int32 if it lies before "end". */
static int32
get_int32(FrameReader *r, const char *end)
{
	uint32 net;

	if (end - r->ptr < (ptrdiff_t) sizeof(net))
		malformed(r, "truncated integer");
	memcpy(&net, r->ptr, sizeof(net));
	r->ptr += sizeof(net);
	return (int32) pg_ntoh32(net);
}

static int64
get_int64(FrameReader *r, const char *end)
{
	uint64 net;

	if (end - r->ptr < (ptrdiff_t) sizeof(net))
		malformed(r, "truncated integer");
	memcpy(&net, r->ptr, sizeof(net));
	r->ptr += sizeof(net);
	return (int64) pg_ntoh64(net);
}

static void
get_field(FrameReader *r, const char *end, bool null_ok, EventField *field)
{
	int32 len = get_int32(r, end);

	if (len < (null_ok ? -1 : 0) || len > end - r->ptr)
		malformed(r, "string length out of range");
	field->str = len < 0 ? NULL : r->ptr;
	field->len = len;
	if (len > 0)
		r->ptr += len;
}

/*
 * The size of the frame that begins at "data", of which "len" bytes are there:
 * more than "len" if it is not whole, and FRAME_HEADER_LEN while that is not.
 */
Size
frame_size(const char *data, Size len)
{
	FrameReader r;
	int32 body_len;

	if (len < FRAME_HEADER_LEN)
		return FRAME_HEADER_LEN;
	frame_read_init(&r, data, len);
	r.ptr++;
	body_len = get_int32(&r, r.end);
	if (body_len < 0 || body_len > FRAME_MAX_BODY)
		malformed(&r, "frame length out of range");
	return FRAME_HEADER_LEN + (Size) body_len;
}

/* Walk over "len" bytes at "data", which must outlive the reader. */
void
frame_read_init(FrameReader *r, const char *data, Size len)
{
	r->base = r->ptr = data;
	r->end = data + len;
	r->body_end = NULL;
	r->events_left = 0;
}

/*
 * Go on to the next frame, over whatever is left of the one before.
 *
 * Returns its tag, or 0 at the end of the input.
 */
char
frame_next(FrameReader *r)
{
	char tag;
	int32 len;

	if (r->body_end)
		r->ptr = r->body_end;
	r->events_left = 0;
	if (r->ptr == r->end)
		return 0;

	tag = *r->ptr;
	if (tag != FRAME_EVENTS && tag != FRAME_HELD && tag != FRAME_PLACE &&
		tag != FRAME_TOUCHED && tag != FRAME_WARNING && tag != FRAME_COMMIT &&
		tag != FRAME_MARKER)
		malformed(r, "unknown kind of frame");
	r->tag = tag;
	r->ptr++;
	len = get_int32(r, r->end);
	if (len < 0 || len > r->end - r->ptr)
		malformed(r, "frame length out of range");
	r->body_end = r->ptr + len;
	return tag;
}

/* The LSN of the P frame that frame_next() has stopped at. */
XLogRecPtr
frame_read_place(FrameReader *r)
{
	return (XLogRecPtr) get_int64(r, r->body_end);
}

/*
 * The queue of the E or H frame that frame_next() has stopped at, and the copy
 * that an H frame names, else 0.
 */
void
frame_read_queue(FrameReader *r, EventField *queue, int64 *copy)
{
	get_field(r, r->body_end, false, queue);
	*copy = r->tag == FRAME_HELD ? get_int64(r, r->body_end) : 0;
	r->events_left = get_int32(r, r->body_end);
	if (r->events_left <= 0 ||
		r->events_left > (r->body_end - r->ptr) / FRAME_EVENT_MIN_LEN)
		malformed(r, "number of events out of range");
}

/* The contents of the W frame that frame_next() has stopped at. */
void
frame_read_warning(FrameReader *r, FrameWarning *warning)
{
	get_field(r, r->body_end, false, &warning->queue);
	get_field(r, r->body_end, false, &warning->table);
	if (r->ptr == r->body_end)
		malformed(r, "truncated warning");
	warning->kind = *r->ptr++;
	if (warning->kind != FRAME_WARN_FAILED_ROW &&
		warning->kind != FRAME_WARN_LARGE_EVENT &&
		warning->kind != FRAME_WARN_BROKEN_ROW &&
		warning->kind != FRAME_WARN_BROKEN)
		malformed(r, "unknown kind of warning");
	warning->count = get_int64(r, r->body_end);
	if (warning->count < 0)
		malformed(r, "number of events out of range");
	get_field(r, r->body_end, true, &warning->reason);
}

/*
 * Next event of the frame whose queue was read; false behind the last one.
 */
bool
frame_next_event(FrameReader *r, Event *event)
{
	if (r->events_left == 0)
	{
		if (r->ptr != r->body_end)
			malformed(r, "bytes behind the last event of a frame");
		return false;
	}
	event->time = get_int64(r, r->body_end);
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		get_field(r, r->body_end, true, &event->field[i]);
	r->events_left--;
	return true;
}
