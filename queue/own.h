/*-------------------------------------------------------------------------
 *
 * own.h
 *		The extension's own tables: where they are, what their columns are, and
 *		the one way to their rows.
 *
 * Rows are read and written directly, not through SQL: callers may run with
 * the invoker's rights, and nobody has grants on most of these tables.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_OWN_H
#define PGQ_OWN_H

#include "access/genam.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "nodes/lockoptions.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "queue/table.h"

/* Relations of schema pgq that the C code works on: tables, then the others. */
typedef enum OwnRelation
{
	OWN_QUEUE,
	OWN_TICK,
	OWN_CONSUMER,
	OWN_SUBSCRIPTION,
	OWN_CAPTURE,
	OWN_CAPTURE_SCHEMA,
	OWN_CAPTURE_TROUBLE,
	OWN_SLOT,
	OWN_POSITION,
	OWN_COPY,
	OWN_HELD_EVENT,
	OWN_SECRET,
	OWN_SHARE,
	OWN_REMOTE_QUEUE,
	OWN_SOURCE,
	OWN_SOURCE_QUEUE,
	OWN_NTABLES,
	OWN_QUEUE_PKEY = OWN_NTABLES,
	OWN_QUEUE_NAME,
	OWN_TICK_PKEY,
	OWN_CONSUMER_PKEY,
	OWN_CONSUMER_NAME,
	OWN_SUBSCRIPTION_ACTIVE,
	OWN_SUBSCRIPTION_BATCH,
	OWN_BATCH_SEQUENCE,
	OWN_CAPTURE_PKEY,
	OWN_CAPTURE_SCHEMA_PKEY,
	OWN_CAPTURE_TROUBLE_PKEY,
	OWN_POSITION_PKEY,
	OWN_COPY_PKEY,
	OWN_COPY_ACTIVE,
	OWN_COPY_SEQUENCE,
	OWN_HELD_PKEY,
	OWN_HELD_SEQUENCE,
	OWN_SHARE_ID,
	OWN_SHARE_SEQUENCE,
	OWN_REMOTE_QUEUE_PKEY,
	OWN_SOURCE_KEY,
	OWN_SOURCE_QUEUE_PKEY,
	OWN_NRELATIONS,
	OWN_NO_INDEX = OWN_NRELATIONS
} OwnRelation;

/*
 * Columns, as far as C knows them.  They are found by name: a database that came
 * all the way from PgQ 2 has them in another order.
 */
typedef enum QueueColumn
{
	QUEUE_ID,
	QUEUE_NAME,
	QUEUE_NTABLES,
	QUEUE_CUR_TABLE,
	QUEUE_SWITCH_STEP1,
	QUEUE_SWITCH_STEP2,
	QUEUE_EXTERNAL_TICKER,
	QUEUE_DISABLE_INSERT,
	QUEUE_TICKER_PAUSED,
	QUEUE_TICKER_MAX_COUNT,
	QUEUE_TICKER_MAX_LAG,
	QUEUE_TICKER_IDLE_PERIOD,
	QUEUE_PER_TX_LIMIT,
	QUEUE_DATA_PFX,
	QUEUE_EVENT_SEQ,
	QUEUE_TICK_SEQ,
	QUEUE_ORIGIN,      /* PgQ 3 has not got this, */
	QUEUE_CREATED_LSN, /* nor this: they read as NULL */
	OWN_MAX_COLUMNS
} QueueColumn;

typedef enum TickColumn
{
	TICK_QUEUE,
	TICK_ID,
	TICK_TIME,
	TICK_SNAPSHOT,
	TICK_EVENT_SEQ
} TickColumn;

typedef enum ConsumerColumn
{
	CONSUMER_ID,
	CONSUMER_NAME
} ConsumerColumn;

typedef enum SubscriptionColumn
{
	SUBSCRIPTION_ID,
	SUBSCRIPTION_QUEUE,
	SUBSCRIPTION_CONSUMER,
	SUBSCRIPTION_LAST_TICK,
	SUBSCRIPTION_ACTIVE,
	SUBSCRIPTION_BATCH,
	SUBSCRIPTION_NEXT_TICK,
	SUBSCRIPTION_LOST_TIME,
	SUBSCRIPTION_LOST_TICK
} SubscriptionColumn;

typedef enum ShareColumn
{
	SHARE_BATCH,
	SHARE_NO,
	SHARE_COUNT,
	SHARE_KEY_NAME,
	SHARE_ID,
	SHARE_DONE
} ShareColumn;

typedef enum CaptureColumn
{
	CAPTURE_RELID,
	CAPTURE_QUEUE,
	CAPTURE_ARGS,
	CAPTURE_COPY
} CaptureColumn;

typedef enum RuleColumn
{
	RULE_SCHEMA,
	RULE_QUEUE,
	RULE_ARGS
} RuleColumn;

typedef enum TroubleColumn
{
	TROUBLE_QUEUE,
	TROUBLE_TABLE,
	TROUBLE_KIND,
	TROUBLE_COUNT,
	TROUBLE_LAST,
	TROUBLE_REASON
} TroubleColumn;

typedef enum SlotColumn
{
	SLOT_NAME,
	SLOT_CREATED,
	SLOT_SYSID,
	SLOT_PROBLEM,
	SLOT_PROBLEM_LSN,
	SLOT_TIMELINE,
	SLOT_REMOTE /* PgQ 4.0 has not got this */
} SlotColumn;

typedef enum RemoteQueueColumn
{
	REMOTE_QUEUE_NAME
} RemoteQueueColumn;

typedef enum SourceColumn
{
	SOURCE_NAME,
	SOURCE_KEY,
	SOURCE_ENCODING
} SourceColumn;

typedef enum SourceQueueColumn
{
	SOURCE_QUEUE_SOURCE,
	SOURCE_QUEUE_QUEUE,
	SOURCE_QUEUE_EXTRA
} SourceQueueColumn;

typedef enum PositionColumn
{
	POSITION_SLOT,
	POSITION_LSN,
	POSITION_TIME,
	POSITION_EVENTS
} PositionColumn;

typedef enum CopyColumn
{
	COPY_ID,
	COPY_QUEUE,
	COPY_RELID,
	COPY_ARGS,
	COPY_STATE,
	COPY_TRUNCATE,
	COPY_DISCARD,
	COPY_REQUESTED,
	COPY_STARTED,
	COPY_FINISHED,
	COPY_TRIED,
	COPY_ROWS,
	COPY_BYTES,
	COPY_BLOCKS,
	COPY_BLOCKS_DONE,
	COPY_ERROR
} CopyColumn;

/*
 * A walk over rows of a table, and the way to change them:
 *
 *		own_open(&scan, OWN_CAPTURE, RowExclusiveLock);
 *		own_match(&scan, CAPTURE_RELID, ObjectIdGetDatum(relid));
 *		own_begin(&scan, OWN_CAPTURE_PKEY, NULL);
 *		while (own_next(&scan))
 *			... scan.values[CAPTURE_QUEUE] ...
 *		own_close(&scan);
 */
typedef struct OwnScan
{
	OwnRelation table;
	Relation rel;
	LOCKMODE lockmode;
	Relation index;          /* of a walk in its order, else NULL */
	ScanDirection direction; /* of that walk */
	SysScanDesc scan;        /* NULL: not begun */
	ScanKeyData keys[3];
	int nkeys;
	HeapTuple tup; /* the row that was found; NULL: none */

	/* its columns, those by reference in the page, for who reads or writes */
	Datum values[OWN_MAX_COLUMNS];
	bool nulls[OWN_MAX_COLUMNS];
} OwnScan;

extern Oid own_oid(OwnRelation which);
extern bool own_exists(OwnRelation which);
extern AttrNumber own_column(Relation rel, OwnRelation table, int column);

extern void own_open(OwnScan *scan, OwnRelation table, LOCKMODE lockmode);
extern void own_match(OwnScan *scan, int column, Datum value);
extern void own_match_text(OwnScan *scan, int column, const char *value);
extern void own_compare(OwnScan *scan, int column, StrategyNumber strategy,
						RegProcedure proc, Datum value);
extern void own_begin(OwnScan *scan, OwnRelation index, Snapshot snapshot);
extern void own_begin_ordered(OwnScan *scan, OwnRelation index,
							  ScanDirection direction, Snapshot snapshot);
extern bool own_next(OwnScan *scan);
extern bool own_lock(OwnScan *scan, LockTupleMode mode);
extern void own_close(OwnScan *scan);

extern void own_put(OwnScan *scan, int column, Datum value);
extern void own_put_text(OwnScan *scan, int column, const char *value);
extern bool own_write(OwnScan *scan);
extern bool own_delete(OwnScan *scan);
extern int own_delete_all(OwnRelation table, int column, const char *value);

extern Datum own_get(TableWriter *w, OwnRelation table, int column,
					 bool *isnull);
extern void own_set(TableWriter *w, OwnRelation table, int column, Datum value,
					bool isnull);

#endif /* PGQ_OWN_H */
