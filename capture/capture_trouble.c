/*-------------------------------------------------------------------------
 *
 * capture_trouble.c
 *		Captured rows whose events are not what they should be, counted in
 *		pgq.capture_trouble for get_capture_info.
 *
 * The plugin can't write; it sends W frames with the transaction, and
 * pgq.ingest() counts them here, exactly once like the events.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/capture.h"
#include "queue/row_batch.h"
#include "capture/slot.h"

/* Columns of pgq.capture_trouble */
#define TROUBLE_QUEUE 1
#define TROUBLE_TABLE 2
#define TROUBLE_KIND 3
#define TROUBLE_COUNT 4
#define TROUBLE_LAST 5
#define TROUBLE_REASON 6
#define TROUBLE_NATTS 6

/* Rows of a queue and a table, of one kind or, if kind is NULL, of all. */
static SysScanDesc
begin_scan(Relation rel, Datum queue, Datum table, const char *kind)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], TROUBLE_QUEUE, BTEqualStrategyNumber, F_TEXTEQ,
				queue);
	ScanKeyInit(&keys[1], TROUBLE_TABLE, BTEqualStrategyNumber, F_TEXTEQ,
				table);
	if (kind)
		ScanKeyInit(&keys[2], TROUBLE_KIND, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(kind));
	for (int i = 0; i < 3; i++)
		keys[i].sk_collation =
			TupleDescAttr(RelationGetDescr(rel), i)->attcollation;
	return systable_beginscan(rel, slot_table_oid("capture_trouble_pkey"), true,
							  NULL, kind ? 3 : 2, keys);
}

/*
 * Count what a W frame tells.  Strings are copied.  Callers follow each other:
 * pgq.ingest() holds the lock on the position.
 */
void
capture_trouble_add(const FrameWarning *warning)
{
	Relation rel = table_open(slot_table_oid("capture_trouble"),
							  RowExclusiveLock);
	char kind[2] = {warning->kind, '\0'};
	Datum values[TROUBLE_NATTS];
	bool nulls[TROUBLE_NATTS] = {false};
	int64 count = warning->count;
	SysScanDesc scan;
	HeapTuple old;

	values[TROUBLE_QUEUE - 1] = row_batch_text(&warning->queue);
	values[TROUBLE_TABLE - 1] = row_batch_text(&warning->table);
	scan = begin_scan(rel, values[TROUBLE_QUEUE - 1], values[TROUBLE_TABLE - 1],
					  kind);
	old = systable_getnext(scan);
	if (HeapTupleIsValid(old))
	{
		bool isnull;

		count += DatumGetInt64(
			heap_getattr(old, TROUBLE_COUNT, RelationGetDescr(rel), &isnull));
	}
	values[TROUBLE_KIND - 1] = CStringGetTextDatum(kind);
	values[TROUBLE_COUNT - 1] = Int64GetDatum(count);
	values[TROUBLE_LAST - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[TROUBLE_REASON - 1] = warning->reason.len < 0;
	if (warning->reason.len >= 0)
		values[TROUBLE_REASON - 1] = row_batch_text(&warning->reason);
	if (HeapTupleIsValid(old))
		CatalogTupleUpdate(
			rel, &old->t_self,
			heap_form_tuple(RelationGetDescr(rel), values, nulls));
	else
		CatalogTupleInsert(
			rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
	systable_endscan(scan);
	table_close(rel, NoLock);

	/* the next frame of the same call has to see it */
	CommandCounterIncrement();
}

/*
 * Forget the troubles of a table in a queue: its capture begins anew or ends.
 */
void
capture_trouble_clear(Oid relid, const char *queue)
{
	Relation rel = table_open(slot_table_oid("capture_trouble"),
							  RowExclusiveLock);
	char *table = psprintf("%s.%s",
						   get_namespace_name(get_rel_namespace(relid)),
						   get_rel_name(relid));
	SysScanDesc scan = begin_scan(rel, CStringGetTextDatum(queue),
								  CStringGetTextDatum(table), NULL);
	HeapTuple tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		TM_FailureData failure;

		/* what ingest counts at this moment is new, and stays */
		(void) TABLE_TUPLE_DELETE(rel, &tup->t_self, &failure);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}
