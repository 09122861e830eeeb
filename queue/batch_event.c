/*-------------------------------------------------------------------------
 *
 * batch_event.c
 *		Finding one event of an open batch by its id:
 *		pgq._find_batch_event().
 *
 * No index leads from an event's id to its row, and a consumer may want to
 * retry very many events, one by one.  So the session remembers where the
 * events of the batch that it last used are.  That can't grow stale: a batch
 * is what ended between two snapshots, and nothing is added to it.  Events may
 * have been moved (VACUUM FULL) or deleted by hand, which is seen when they are
 * fetched.
 *
 * What is remembered is sorted by id and takes work_mem at most.  Of a larger
 * batch it is the events from some id on, as many as fit: consumers go through
 * a batch in the order of ids, so that few scans of the batch are enough.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/target.h"

PG_FUNCTION_INFO_V1(pgq_find_batch_event);

typedef struct Place
{
	int64 id;
	int32 retry; /* -1: never retried */
	Oid table;
	ItemPointerData tid;
} Place;

/* Where the events of one batch are. */
typedef struct PlaceMap
{
	/* the batch; all of it, since ids start again in a restored database */
	int64 batch_id; /* -1: nothing is remembered */
	int32 queue_id;
	int32 sub_id;
	int64 from_tick;
	int64 to_tick;

	/* events with ids from "low" to "high" are here, no others */
	int64 low;
	int64 high;

	Place *places; /* sorted, one for each id */
	Size nplaces;
	Size size; /* of the array now, and at most */
	Size max_size;
} PlaceMap;

static PlaceMap map = {.batch_id = -1};
static MemoryContext map_context;

/* By id; of one id, that which was retried most often comes first. */
static int
compare_places(const void *a, const void *b)
{
	const Place *p = a;
	const Place *q = b;

	if (p->id != q->id)
		return p->id < q->id ? -1 : 1;
	if (p->retry != q->retry)
		return p->retry > q->retry ? -1 : 1;
	return 0;
}

static void
forget_places(void)
{
	map.batch_id = -1;
	map.places = NULL;
	map.nplaces = map.size = 0;
	if (map_context == NULL)
		map_context = AllocSetContextCreate(
			TopMemoryContext, "pgq events of a batch", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(map_context);
}

/* Sort the places; of several with the same id keep the first. */
static void
sort_places(void)
{
	Size n = 0;

	qsort(map.places, map.nplaces, sizeof(Place), compare_places);
	for (Size i = 0; i < map.nplaces; i++)
	{
		if (n == 0 || map.places[i].id != map.places[n - 1].id)
			map.places[n++] = map.places[i];
	}
	map.nplaces = n;
}

/* The array is full: let go of the upper half of the ids for good. */
static void
drop_upper_half(void)
{
	sort_places();
	if (map.nplaces <= map.max_size / 2)
		return;
	map.nplaces = map.max_size / 2;
	map.high = map.places[map.nplaces - 1].id;
}

/* BatchVisitor: remember the place of an event. */
static void
add_place(const BatchEvent *event, void *arg)
{
	int64 id = DatumGetInt64(event->values[EV_ID]);
	Place *place;

	if (id < map.low || id > map.high)
		return;
	if (map.nplaces == map.max_size)
	{
		drop_upper_half();
		if (id > map.high)
			return;
	}
	if (map.nplaces == map.size)
	{
		map.size = Min(map.size * 2, map.max_size);
		map.places = repalloc_huge(map.places, map.size * sizeof(Place));
	}
	place = &map.places[map.nplaces++];
	place->id = id;
	place->retry = event->nulls[EV_RETRY]
					   ? -1
					   : DatumGetInt32(event->values[EV_RETRY]);
	place->table = RelationGetRelid(event->rel);
	place->tid = *event->tid;
}

/* Remember the events of a batch whose ids are "low" or higher. */
static void
remember_places(const Batch *batch, Snapshot snapshot, int64 low)
{
	forget_places();
	map.low = low;
	map.high = PG_INT64_MAX;
	map.max_size = Max((Size) work_mem * 1024 / sizeof(Place), 1024);
	map.size = 256;
	map.places = MemoryContextAlloc(map_context, map.size * sizeof(Place));

	batch_visit_events(batch, snapshot, false, add_place, NULL);
	sort_places();

	map.queue_id = batch->queue.id;
	map.sub_id = batch->sub_id;
	map.from_tick = batch->from.id;
	map.to_tick = batch->to.id;
	/* last: after an error nothing is remembered */
	map.batch_id = batch->id;
}

/*
 * Remember so much of a batch that it takes in "id": from its start, or from
 * that id on if that is too far away.
 */
static void
remember_around(const Batch *batch, Snapshot snapshot, int64 id)
{
	if (map.batch_id != batch->id || id <= map.high)
		remember_places(batch, snapshot, PG_INT64_MIN);
	if (id > map.high)
		remember_places(batch, snapshot, id);
}

static bool
is_remembered(const Batch *batch, int64 id)
{
	return map.batch_id == batch->id && map.queue_id == batch->queue.id &&
		   map.sub_id == batch->sub_id && map.from_tick == batch->from.id &&
		   map.to_tick == batch->to.id && id >= map.low && id <= map.high;
}

/* The place of an event among those that are remembered, or NULL. */
static const Place *
find_place(int64 id)
{
	Size low = 0;
	Size high = map.nplaces;

	while (low < high)
	{
		Size mid = low + (high - low) / 2;

		if (map.places[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < map.nplaces && map.places[low].id == id ? &map.places[low]
														 : NULL;
}

/*
 * The event at a place as a datum of the row type "tupdesc"; false if that
 * event is not there any more.
 */
static bool
fetch_event(const Batch *batch, const Place *place, Snapshot snapshot,
			TupleDesc tupdesc, Datum *event)
{
	Place p = *place;
	Relation rel = try_relation_open(p.table, AccessShareLock);
	TupleTableSlot *slot;
	bool found = false;

	if (rel == NULL)
		return false;
	if (rel->rd_rel->relkind != RELKIND_RELATION)
	{
		relation_close(rel, AccessShareLock);
		return false;
	}
	slot = table_slot_create(rel, NULL);
	if (RelationGetDescr(rel)->natts >= EVENT_NCOLUMNS &&
		ItemPointerGetBlockNumber(&p.tid) < RelationGetNumberOfBlocks(rel) &&
		table_tuple_fetch_row_version(rel, &p.tid, snapshot, slot))
	{
		slot_getallattrs(slot);
		found = DatumGetInt64(slot->tts_values[EV_ID]) == p.id &&
				batch_has_row(batch, slot->tts_values, slot->tts_isnull);
	}
	if (found)
		*event = HeapTupleGetDatum(
			heap_form_tuple(tupdesc, slot->tts_values, slot->tts_isnull));
	ExecDropSingleTupleTableSlot(slot);
	relation_close(rel, NoLock);
	return found;
}

/* The same for the event with an id, if it is remembered. */
static bool
find_event(const Batch *batch, int64 id, Snapshot snapshot, TupleDesc tupdesc,
		   Datum *event)
{
	const Place *place = find_place(id);

	return place != NULL && fetch_event(batch, place, snapshot, tupdesc, event);
}

/*
 * pgq._find_batch_event(i_batch_id, i_event_id)
 *
 * The event's row as its table has it.  Of several with the same id it is the
 * one that was retried most often.  NULL if there is no such batch or event.
 */
Datum
pgq_find_batch_event(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(1);
	Snapshot snapshot = table_transaction_snapshot();
	TupleDesc tupdesc;
	Batch batch;
	Datum event;
	bool found = false;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE ||
		tupdesc->natts != EVENT_NCOLUMNS)
		elog(ERROR, "unexpected result type of pgq._find_batch_event()");
	tupdesc = BlessTupleDesc(tupdesc);

	if (batch_find(PG_GETARG_INT64(0), snapshot, &batch))
	{
		bool remembered = is_remembered(&batch, id);

		if (!remembered)
			remember_around(&batch, snapshot, id);
		found = find_event(&batch, id, snapshot, tupdesc, &event);
		if (!found && remembered && find_place(id) != NULL)
		{
			/* It has been moved. */
			remember_around(&batch, snapshot, id);
			found = find_event(&batch, id, snapshot, tupdesc, &event);
		}
	}
	UnregisterSnapshot(snapshot);
	if (!found)
		PG_RETURN_NULL();
	return event;
}
