/*-------------------------------------------------------------------------
 *
 * frame_format.h
 *		The stream of frames that the output plugin sends: format, version 1.
 *
 * Ask for it with the plugin options  format 'frames', proto_version '1'.
 * This file is plain C, so that clients may include it too; all integers are
 * big-endian, all text is in the source database's encoding, without a
 * terminating zero.
 *
 * The stream is a sequence of frames.  The borders of replication messages
 * mean nothing: one message may hold many frames, and one frame (a large
 * event) may span many messages.  A frame is
 *
 *		byte	tag
 *		int32	length of the body that follows
 *		body
 *
 * 'E', events for one queue, in the order of the statements:
 *
 *		int32	length of the queue's name
 *		bytes	queue's name
 *		int32	number of events, at least 1
 *		per event:
 *			int64	ev_time, microseconds since 2000-01-01 UTC
 *			six fields: ev_type, ev_data, ev_extra1, .. ev_extra4, each
 *				int32	length in bytes, -1 for NULL
 *				bytes	value
 *
 * 'P', before an E frame: where its events come from.  A queue that was made
 * behind there is another one, which has got an old one's name.
 *
 *		int64	LSN of the last event's record in the WAL
 *
 * 'H', events for one queue of a table that is being copied into it: they are
 * to be held until the copy is done, and thrown away if it was given up for
 * another.  As 'E', but with the copy behind the queue's name:
 *
 *		int64	id of the copy, a row of pgq.copy
 *
 * 'T', queues that the transaction fed directly by SQL (insert_event, COPY):
 * their rows are in the event tables when the transaction's commit is visible
 *
 *		int32	number of queues, at least 1
 *		per queue:
 *			int32	length of its name
 *			bytes	name
 *
 * 'W', events of the transaction that are not what they should be
 *
 *		int32	length of the queue's name
 *		bytes	queue's name
 *		int32	length of the captured table's name
 *		bytes	schema.table
 *		byte	'F': an expression failed and its field is NULL
 *				'L': the event was too large and has its key only
 *				'R': the row could not be written, its event has its key only
 *				'B': the capture could not be decoded, there is no event
 *		int64	number of events, or of changes
 *		int32	length of the reason, of R and B; else -1
 *		bytes	reason
 *
 * 'C', end of a source transaction.  Everything since the last C belongs to
 * it.  A transaction that touches no queue sends nothing at all, not even C.
 *
 *		int64	LSN just behind the commit record: the position to go on from
 *		int64	commit time, microseconds since 2000-01-01 UTC
 *		int32	the transaction's 32-bit xid
 *		int64	number of events in its E and H frames
 *
 * 'M', a marker: someone waits until all that committed before it is in the
 * queues.  Comes between transactions only.
 *
 *		int64	LSN of the marker
 *
 * With option  hold_back 'true'  a walsender sends small transactions together:
 * then a keepalive does not tell that all before it has been sent, and what does,
 * besides C and M, is
 *
 * 'R', all that committed before it has been sent.  Comes between transactions
 * only, and for the reader alone: pgq.ingest() takes none.
 *
 *		int64	LSN
 *
 * An unknown tag is an error: new kinds of frame come with a new version, or with
 * an option that asks for them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_FRAME_FORMAT_H
#define PGQ_FRAME_FORMAT_H

#define FRAME_PROTO_VERSION 1

#define FRAME_EVENTS 'E'
#define FRAME_HELD 'H'
#define FRAME_PLACE 'P'
#define FRAME_TOUCHED 'T'
#define FRAME_COMMIT 'C'
#define FRAME_MARKER 'M'
#define FRAME_REACHED 'R'
#define FRAME_WARNING 'W'

/* kinds of W frames */
#define FRAME_WARN_FAILED_ROW 'F'
#define FRAME_WARN_LARGE_EVENT 'L'
#define FRAME_WARN_BROKEN_ROW 'R'
#define FRAME_WARN_BROKEN 'B'

/* tag and body length */
#define FRAME_HEADER_LEN 5

#define FRAME_COMMIT_LEN (8 + 8 + 4 + 8)
#define FRAME_LSN_LEN 8
#define FRAME_PLACE_LEN 8

/* fields of an event: ev_type, ev_data, ev_extra1 .. ev_extra4 */
#define FRAME_EVENT_FIELDS 6

/* ev_time and six lengths */
#define FRAME_EVENT_MIN_LEN (8 + FRAME_EVENT_FIELDS * 4)

/*
 * Longest body a reader has to take.  The plugin flags an event that would
 * make a longer one instead of sending it.
 */
#define FRAME_MAX_BODY 0x3fff0000

/* The prefix of the logical message that asks for an M frame. */
#define PGQ_MARKER_PREFIX "pgq.marker"

#endif /* PGQ_FRAME_FORMAT_H */
