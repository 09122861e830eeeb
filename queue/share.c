/*-------------------------------------------------------------------------
 *
 * share.c
 *		Shares of a batch: which events are in one, and reading it.  Who has
 *		which is in sql/share.sql.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/event_key.h"
#include "queue/own.h"
#include "queue/target.h"

PG_FUNCTION_INFO_V1(pgq_event_share);
PG_FUNCTION_INFO_V1(pgq_count_shares);
PG_FUNCTION_INFO_V1(pgq_next_share_id);
PG_FUNCTION_INFO_V1(pgq_get_share_events);

/* The lease is another worker's: see sql/share.sql. */
#define ERRCODE_SHARE_LOST MAKE_SQLSTATE('P', 'Q', '0', '0', '2')

/* More shares than this are no use to anybody. */
#define MAX_SHARES 10000

/* What events are told apart by; the extra fields follow each other. */
typedef enum ShareKey
{
	SHARE_KEY,
	SHARE_NONE,
	SHARE_TYPE,
	SHARE_EXTRA1
} ShareKey;

/* How a batch is cut. */
typedef struct ShareCut
{
	int key; /* ShareKey, SHARE_EXTRA1 + 1 is ev_extra2 */
	int32 count;
	int32 no;              /* the share that is read */
	int64 *events;         /* that are counted in each */
	MemoryContext context; /* of one event's key */
} ShareCut;

static int
read_key(text *name)
{
	static const char *const names[] = {"key",    "none",   "type",  "extra1",
										"extra2", "extra3", "extra4"};
	char *word = text_to_cstring(name);

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(word, names[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no key \"%s\" to share by", word),
			 errhint("Keys are key, type, extra1, extra2, extra3, extra4 and "
					 "none.")));
}

static void
read_cut(ShareCut *cut, text *key, int32 count)
{
	cut->key = read_key(key);
	cut->count = count;
	cut->context = AllocSetContextCreate(
		CurrentMemoryContext, "pgq key of an event", ALLOCSET_DEFAULT_SIZES);
	if (count < 1 || count > MAX_SHARES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of shares must be between 1 and %d",
						MAX_SHARES)));
}

/*
 * The share of an event, whose ev_type to ev_extra4 are "fields".  Those without
 * a key are all in the first, so that they stay in order too.
 */
static int32
find_share(const ShareCut *cut, int64 id, const NullableDatum *fields)
{
	MemoryContext old;
	text *key = NULL;
	uint32 hash = 0;

	if (cut->count == 1)
		return 0;
	if (cut->key == SHARE_NONE)
		return (int32) ((uint64) id % cut->count);

	MemoryContextReset(cut->context);
	old = MemoryContextSwitchTo(cut->context);
	if (cut->key == SHARE_KEY)
		key = event_key_text(fields[0], fields[1]);
	else
	{
		const NullableDatum *field =
			&fields[cut->key == SHARE_TYPE
						? 0
						: EV_EXTRA1 - EV_TYPE + cut->key - SHARE_EXTRA1];

		if (!field->isnull)
			key = DatumGetTextPP(field->value);
	}
	if (key != NULL)
		hash = hash_bytes((const unsigned char *) VARDATA_ANY(key),
						  VARSIZE_ANY_EXHDR(key));
	MemoryContextSwitchTo(old);
	return key == NULL ? 0 : (int32) (hash % cut->count);
}

static int32
find_event_share(const ShareCut *cut, const BatchEvent *event)
{
	NullableDatum fields[EVENT_NCOLUMNS - EV_TYPE];

	for (int i = 0; i < (int) lengthof(fields); i++)
	{
		fields[i].value = event->values[EV_TYPE + i];
		fields[i].isnull = event->nulls[EV_TYPE + i];
	}
	return find_share(cut, DatumGetInt64(event->values[EV_ID]), fields);
}

/*
 * pgq.event_share(i_key, i_count, ev_id, ev_type, ev_data, ev_extra1 ..
 * ev_extra4)
 */
Datum
pgq_event_share(PG_FUNCTION_ARGS)
{
	ShareCut cut = {0};
	int32 no;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	read_cut(&cut, PG_GETARG_TEXT_PP(0), PG_GETARG_INT32(1));
	no = find_share(&cut, PG_GETARG_INT64(2), &fcinfo->args[3]);
	MemoryContextDelete(cut.context);
	PG_RETURN_INT32(no);
}

/* BatchVisitor: count an event in its share. */
static void
count_event(const BatchEvent *event, void *arg)
{
	ShareCut *cut = arg;

	cut->events[find_event_share(cut, event)]++;
}

/* pgq._count_shares(i_batch_id, i_key, i_count) */
Datum
pgq_count_shares(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = table_transaction_snapshot();
	ShareCut cut = {0};
	TableResult result;
	Batch batch;

	read_cut(&cut, PG_GETARG_TEXT_PP(1), PG_GETARG_INT32(2));
	cut.events = palloc0(cut.count * sizeof(int64));
	table_begin_result(fcinfo, &result);
	if (batch_find(PG_GETARG_INT64(0), snapshot, &batch))
		batch_visit_events(&batch, snapshot, false, count_event, &cut);
	for (int i = 0; i < cut.count; i++)
	{
		Datum values[2] = {Int32GetDatum(i), Int64GetDatum(cut.events[i])};
		bool nulls[2] = {false, false};

		if (cut.events[i] > 0)
			tuplestore_putvalues(result.store, result.tupdesc, values, nulls);
	}
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}

/*
 * pgq._next_share_id()
 *
 * As with batches, after a crash the same id must not be given to another worker.
 */
Datum
pgq_next_share_id(PG_FUNCTION_ARGS)
{
	ForceSyncCommit();
	PG_RETURN_INT64(nextval_internal(own_oid(OWN_SHARE_SEQUENCE), false));
}

/* BatchFilter: is the event in the share that is read? */
static bool
is_in_share(const BatchEvent *event, void *arg)
{
	ShareCut *cut = arg;

	return find_event_share(cut, event) == cut->no;
}

/* Find a share by the id of its lease; false if it is done or another's. */
static bool
find_share_row(int64 id, Snapshot snapshot, int64 *batch, ShareCut *cut)
{
	OwnScan scan;
	bool found;

	own_open(&scan, OWN_SHARE, AccessShareLock);
	own_match(&scan, SHARE_ID, Int64GetDatum(id));
	own_begin(&scan, OWN_SHARE_ID, snapshot);
	found = own_next(&scan) && !DatumGetBool(scan.values[SHARE_DONE]);
	if (found)
	{
		*batch = DatumGetInt64(scan.values[SHARE_BATCH]);
		read_cut(cut, DatumGetTextPP(scan.values[SHARE_KEY_NAME]),
				 DatumGetInt32(scan.values[SHARE_COUNT]));
		cut->no = DatumGetInt32(scan.values[SHARE_NO]);
	}
	own_close(&scan);
	return found;
}

/* pgq.get_share_events(i_share_id) */
Datum
pgq_get_share_events(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = table_transaction_snapshot();
	ShareCut cut = {0};
	Batch batch;
	int64 batch_id;

	if (PG_ARGISNULL(0) ||
		!find_share_row(PG_GETARG_INT64(0), snapshot, &batch_id, &cut) ||
		!batch_find(batch_id, snapshot, &batch))
		ereport(ERROR,
				(errcode(ERRCODE_SHARE_LOST),
				 PG_ARGISNULL(0)
					 ? errmsg("share <NULL> is not leased any more")
					 : errmsg("share " INT64_FORMAT " is not leased any more",
							  PG_GETARG_INT64(0)),
				 errdetail("It was given to another worker, or is done, or "
						   "the consumer was moved."),
				 errhint("Ask for the next share; give longer leases to long "
						 "work.")));
	batch_return_events(fcinfo, &batch, snapshot, is_in_share, &cut);
	UnregisterSnapshot(snapshot);
	return (Datum) 0;
}
