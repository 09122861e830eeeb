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

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "capture/capture.h"
#include "queue/own.h"
#include "queue/row_batch.h"

/*
 * Open the rows of a queue and a table, of one kind or, if kind is NULL, of
 * all.
 */
static void
open_troubles(OwnScan *scan, Datum queue, Datum table, const char *kind)
{
	own_open(scan, OWN_CAPTURE_TROUBLE, RowExclusiveLock);
	own_match(scan, TROUBLE_QUEUE, queue);
	own_match(scan, TROUBLE_TABLE, table);
	if (kind)
		own_match_text(scan, TROUBLE_KIND, kind);
	own_begin(scan, OWN_CAPTURE_TROUBLE_PKEY, NULL);
}

/*
 * Count what a W frame tells.  Strings are copied.  Callers follow each other:
 * pgq.ingest() holds the lock on the position.
 */
void
capture_trouble_add(const FrameWarning *warning)
{
	char kind[2] = {warning->kind, '\0'};
	Datum queue = row_batch_text(&warning->queue);
	Datum table = row_batch_text(&warning->table);
	int64 count = warning->count;
	OwnScan scan;

	open_troubles(&scan, queue, table, kind);
	if (own_next(&scan))
		count += DatumGetInt64(scan.values[TROUBLE_COUNT]);
	own_put(&scan, TROUBLE_QUEUE, queue);
	own_put(&scan, TROUBLE_TABLE, table);
	own_put_text(&scan, TROUBLE_KIND, kind);
	own_put(&scan, TROUBLE_COUNT, Int64GetDatum(count));
	own_put(&scan, TROUBLE_LAST, TimestampTzGetDatum(GetCurrentTimestamp()));
	scan.nulls[TROUBLE_REASON] = warning->reason.len < 0;
	if (warning->reason.len >= 0)
		own_put(&scan, TROUBLE_REASON, row_batch_text(&warning->reason));
	(void) own_write(&scan);
	own_close(&scan);
}

/*
 * Forget the troubles of a table in a queue: its capture begins anew or ends.
 */
void
capture_trouble_clear(Oid relid, const char *queue)
{
	char *table = psprintf("%s.%s",
						   get_namespace_name(get_rel_namespace(relid)),
						   get_rel_name(relid));
	OwnScan scan;

	open_troubles(&scan, CStringGetTextDatum(queue), CStringGetTextDatum(table),
				  NULL);
	/* what ingest counts at this moment is new, and stays */
	while (own_next(&scan))
		(void) own_delete(&scan);
	own_close(&scan);
}
