/*-------------------------------------------------------------------------
 *
 * message.c
 *		The secret that logical messages of ours are sealed with, and the seal.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "port/pg_bswap.h"
#include "utils/rel.h"

#include "event/compat.h"
#include "event/message.h"
#include "event/relation.h"

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
		AttrNumber column = event_relation_find_column(RelationGetDescr(rel),
													   "secret");
		Datum value = heap_getattr(tup, column, RelationGetDescr(rel), &isnull);
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

/*
 * Compute the seal of a message: EVENT_SEAL_LEN bytes.  xid is that of the
 * top-level transaction; sealed is what comes behind the seal.
 */
void
event_message_seal(const char *secret, FullTransactionId xid,
				   const char *sealed, Size len, uint8 *seal)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	uint64 fixed[2] = {pg_hton64(U64FromFullTransactionId(xid)),
					   pg_hton64((uint64) len)};
	bool failed;

	StaticAssertStmt(EVENT_SEAL_LEN == PG_SHA256_DIGEST_LENGTH,
					 "a seal is a digest");
	failed = ctx == NULL || pg_cryptohash_init(ctx) < 0 ||
			 pg_cryptohash_update(ctx, (const uint8 *) secret,
								  EVENT_SECRET_LEN) < 0 ||
			 pg_cryptohash_update(ctx, (const uint8 *) fixed, sizeof(fixed)) <
				 0 ||
			 pg_cryptohash_update(ctx, (const uint8 *) sealed, len) < 0 ||
			 pg_cryptohash_final(ctx, seal, EVENT_SEAL_LEN) < 0;
	pg_cryptohash_free(ctx);
	if (failed)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not compute the seal of an event")));
}
