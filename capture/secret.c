/*-------------------------------------------------------------------------
 *
 * secret.c
 *		pgq._new_secret(): make the secret that events of pgq.emit_event() are
 *		sealed with (event/message.h).
 *
 * Output plugins show rows as they are inserted, and everybody with REPLICATION
 * may load one.  So the row is written without what they could see, as the
 * server writes rows of TOAST tables that are rewritten.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "fmgr.h"
#include "utils/rel.h"

#include "event/message.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq_new_secret);

/*
 * pgq._new_secret() → void
 *
 * The row of the old secret, if any, is not in the WAL again when it is deleted.
 */
Datum
pgq_new_secret(PG_FUNCTION_ARGS)
{
	OwnScan scan;
	bytea *secret = palloc(VARHDRSZ + EVENT_SECRET_LEN);
	Datum value = PointerGetDatum(secret);
	bool isnull = false;
	HeapTuple tup;

	SET_VARSIZE(secret, VARHDRSZ + EVENT_SECRET_LEN);
	if (!pg_strong_random(VARDATA(secret), EVENT_SECRET_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values"),
				 errhint("See whether the system's source of random numbers "
						 "works.")));
	own_open(&scan, OWN_SECRET, ShareRowExclusiveLock);
	own_begin(&scan, OWN_NO_INDEX, NULL);
	while (own_next(&scan))
		(void) own_delete(&scan);
	/* its one column */
	Assert(RelationGetDescr(scan.rel)->natts == 1);
	tup = heap_form_tuple(RelationGetDescr(scan.rel), &value, &isnull);
	heap_insert(scan.rel, tup, GetCurrentCommandId(true),
				HEAP_INSERT_NO_LOGICAL, NULL);
	heap_freetuple(tup);
	own_close(&scan);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}
