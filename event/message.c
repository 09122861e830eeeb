/*-------------------------------------------------------------------------
 *
 * message.c
 *		The secret that marks logical messages as written by us.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "utils/rel.h"

#include "event/compat.h"
#include "event/message.h"

/*
 * Read the secret out of pgq.secret, which is open; under the historic
 * snapshot if one is set.  secret has EVENT_SECRET_LEN bytes.  Returns false
 * if the table has no secret of that length.
 */
bool
event_secret_read(Relation rel, char *secret)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0,
										  NULL);
	HeapTuple tup = systable_getnext(scan);
	bool found = false;

	if (HeapTupleIsValid(tup))
	{
		bool isnull;
		Datum value = heap_getattr(tup, 1, RelationGetDescr(rel), &isnull);
		bytea *bytes = isnull ? NULL : DatumGetByteaPP(value);

		if (bytes && VARSIZE_ANY_EXHDR(bytes) == EVENT_SECRET_LEN)
		{
			memcpy(secret, VARDATA_ANY(bytes), EVENT_SECRET_LEN);
			found = true;
		}
	}
	systable_endscan(scan);
	return found;
}
