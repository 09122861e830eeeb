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

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "fmgr.h"
#include "utils/rel.h"

#include "event/message.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq_new_secret);

/* Delete the secret that is there, if any.  Its row is not in the WAL again. */
static void
delete_secret(Relation rel)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0,
										  NULL);
	HeapTuple tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		simple_heap_delete(rel, &tup->t_self);
	systable_endscan(scan);
}

/*
 * pgq._new_secret() → void
 */
Datum
pgq_new_secret(PG_FUNCTION_ARGS)
{
	Relation rel = table_open(own_oid(OWN_SECRET),
							  ShareRowExclusiveLock);
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
	delete_secret(rel);
	tup = heap_form_tuple(RelationGetDescr(rel), &value, &isnull);
	heap_insert(rel, tup, GetCurrentCommandId(true), HEAP_INSERT_NO_LOGICAL,
				NULL);
	heap_freetuple(tup);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}
