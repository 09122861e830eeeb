/*-------------------------------------------------------------------------
 *
 * frame.h
 *		What an event is on the server, and how frames of events are written
 *		and read there.  The format is in frame_format.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_FRAME_H
#define PGQ_FRAME_H

#include "datatype/timestamp.h"
#include "access/xlogdefs.h"
#include "lib/stringinfo.h"

#include "event/frame_format.h"

/* Largest event that fits into a frame with any name of a queue, in bytes. */
#define FRAME_MAX_EVENT (FRAME_MAX_BODY - 16384)

/* Indexes of Event.field, in the order of the columns and of the frame. */
typedef enum EventFieldNo
{
	EVENT_TYPE,
	EVENT_DATA,
	EVENT_EXTRA1,
	EVENT_EXTRA2,
	EVENT_EXTRA3,
	EVENT_EXTRA4
} EventFieldNo;

/* Text that somebody else owns; len is -1 for NULL. */
typedef struct EventField
{
	const char *str;
	int len;
} EventField;

typedef struct Event
{
	TimestampTz time;
	EventField field[FRAME_EVENT_FIELDS];
} Event;

/* An E or H frame that is being written; begins at offset "start" of the buffer. */
typedef struct FrameWriter
{
	StringInfo buf;
	int start;    /* -1: no such frame is open */
	int count_at; /* offset of the event count */
	int32 count;
} FrameWriter;

extern int frame_put_place(StringInfo buf, XLogRecPtr lsn);
extern void frame_move_place(StringInfo buf, int place, XLogRecPtr lsn);
extern void frame_open_events(FrameWriter *w, const char *queue, int64 copy);
extern void frame_put_event(FrameWriter *w, const Event *event);
extern void frame_close_events(FrameWriter *w);
extern Size frame_event_size(const Event *event);
extern void frame_put_touched(StringInfo buf, int nqueues,
							  const char *const *queues);
extern void frame_put_warning(StringInfo buf, const char *queue,
							  const char *table, char kind, int64 count,
							  const char *reason);
extern void frame_put_commit(StringInfo buf, XLogRecPtr end_lsn,
							 TimestampTz commit_time, TransactionId xid,
							 int64 nevents);
extern void frame_put_lsn(StringInfo buf, char tag, XLogRecPtr lsn);

/*
 * Reading.  A FrameReader walks over whole frames in memory; strings that
 * come out point into that memory.  Malformed input raises
 * ERRCODE_DATA_CORRUPTED with the offset; it never reads past the end.
 */
typedef struct FrameReader
{
	const char *base; /* start of the memory, for error messages */
	const char *ptr;
	const char *end;
	/* the frame that frame_next has stopped at */
	char tag;
	const char *body_end;
	int32 events_left;
} FrameReader;

typedef struct FrameWarning
{
	EventField queue;
	EventField table;
	char kind;
	int64 count;
	EventField reason; /* len -1: the kind says all */
} FrameWarning;

extern Size frame_size(const char *data, Size len);
extern void frame_read_init(FrameReader *r, const char *data, Size len);
extern char frame_next(FrameReader *r);
extern XLogRecPtr frame_read_place(FrameReader *r);
extern void frame_read_queue(FrameReader *r, EventField *queue, int64 *copy);
extern void frame_read_warning(FrameReader *r, FrameWarning *warning);
extern bool frame_next_event(FrameReader *r, Event *event);

#endif /* PGQ_FRAME_H */
