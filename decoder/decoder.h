/*-------------------------------------------------------------------------
 *
 * decoder.h
 *		The output plugin's own: what its files share.
 *
 * Data goes one way: plugin.c takes the callbacks, change.c turns a change
 * into events with the marks that capture_cache.c knows, output.c sends them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_DECODER_H
#define PGQ_DECODER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"
#include "utils/relcache.h"

#include "event/compat.h"
#include "event/event.h"

/* One mark that covers a table. */
typedef struct CaptureMark
{
	char *queue;
	int64 copy; /* that is under way, 0: none */
	bool origin_none;
	Oid marked_relid; /* the table, or an ancestor of it */
	char *table;      /* its schema.table */
	EventPlan *plan;  /* of the marked table; NULL: the mark is broken */
	char *broken;     /* why */

	/*
	 * The marked table may have other column numbers than the changed one:
	 * for each of its natts columns the index in the changed table, or -1 for
	 * dropped ones.
	 */
	int *attrmap;
	int natts;
} CaptureMark;

/* What the plugin knows of a table; made again after an invalidation. */
typedef struct CaptureEntry
{
	Oid relid; /* hash key, must be first */
	bool valid;

	/*
	 * Entries of descendants were made with this table's name and columns:
	 * when it changes, all are made again.
	 */
	bool is_ancestor;

	MemoryContext cxt; /* owns all below */
	int nmarks;
	CaptureMark *marks;
	bool identity_full;
	Bitmapset *identity; /* columns of old rows, if not full */
	char *touched_queue; /* an event table: the queue it belongs to */
	uint64 touched_in;   /* last transaction that counted it */
} CaptureEntry;

/* Events of the transaction that are not what they should be. */
typedef struct DecoderWarning
{
	char *queue;
	char *table;
	char kind;    /* as in a W frame */
	char *reason; /* NULL if the kind says all */
	int64 count;
} DecoderWarning;

/* Rows that change.c takes apart: old and new, as stored and as mapped. */
#define DECODER_ROWS 4

typedef struct DecoderState
{
	bool frames;        /* format: frames, else text */
	int settings_level; /* for settings_unpin() */

	MemoryContext change_cxt; /* reset after every change */
	MemoryContext txn_cxt;    /* reset after every transaction */

	/* change.c: working space, grown to the widest table */
	EventScratch scratch;
	EventRow rows[DECODER_ROWS];
	int row_size;

	/* the transaction that is being sent */
	uint64 txn_serial;
	int64 txn_events;
	uint32 last_message; /* message.c: number of its last one of ours */
	List *warnings;      /* of DecoderWarning, in txn_cxt */
	int ntouched;
	int maxtouched;
	const char **touched; /* queue names, in txn_cxt */
	int quiet_changes;    /* since the last sign of life */
	bool boundaries;      /* boundary.c: some queue wants them */
	List *fed_queues;     /* its FedQueues, if so */

	/* output.c: the message that is being filled */
	bool writing;
	FrameWriter writer;
	StringInfoData open_queue; /* name of the open frame's queue */
	int64 open_copy;           /* that it names, 0: none */
	int open_place;            /* of its P frame in the buffer */
	XLogPageReadCB read_page;  /* the server's; NULL: nothing is held back */
	XLogRecPtr told;           /* up to here the reader knows what there was */
	bool held;                 /* whole transactions are not sent yet */
} DecoderState;

/* A row of pgq.capture or pgq.event_table. */
typedef struct OwnRow
{
	Oid relid;
	char *queue;
	Datum args; /* text[] as it is stored; 0: NULL, or no mark */
	int64 copy; /* 0: NULL */
} OwnRow;

/* own_tables.c */
extern void own_tables_forget(void);
extern bool own_tables_concerns(Oid relid);
extern const OwnRow *own_tables_marks_of(Oid relid, int *n);
extern const char *own_tables_queue_of(Oid relid);
extern const char *own_tables_secret(bool anew);
extern bool own_tables_has_boundaries(void);
extern bool own_tables_wants_boundaries(const char *queue);

/* capture_cache.c */
extern void capture_cache_init(void);
extern CaptureEntry *capture_cache_get(Relation rel);

/* change.c */
extern void change_decode(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						  Relation rel, ReorderBufferChange *change);
extern void change_decode_truncate(LogicalDecodingContext *ctx,
								   ReorderBufferTXN *txn, int nrels,
								   Relation rels[],
								   ReorderBufferChange *change);

/* message.c */
extern bool message_decode(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						   Size size, const char *message);

/* boundary.c */
extern void boundary_send_event(LogicalDecodingContext *ctx,
								ReorderBufferTXN *txn, const char *queue,
								int64 copy, const Event *event);
extern void boundary_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);

/* output.c */
extern void output_event(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
						 const char *queue, int64 copy, const Event *event);
extern bool output_is_due(const DecoderState *state);
extern void output_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn);
extern void output_marker(LogicalDecodingContext *ctx, XLogRecPtr lsn);
extern void output_hold_back(LogicalDecodingContext *ctx);
extern void output_flush(LogicalDecodingContext *ctx);

/* options.c */
extern void options_parse(List *options, bool *frames, bool *hold_back);

#endif /* PGQ_DECODER_H */
