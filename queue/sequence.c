/*-------------------------------------------------------------------------
 *
 * sequence.c
 *		Reading sequences, many of them and often.
 *
 * A ticker run reads one for each queue.  What that costs is memory that the
 * processor has not got in its caches: lock, relation, buffer table.  So who
 * reads a sequence again goes straight to the buffer where its page was, as
 * long as no relation has changed since.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "event/compat.h"
#include "queue/sequence.h"

PG_FUNCTION_INFO_V1(pgq_seq_getval);

/* Where a sequence was read last. */
typedef struct Place
{
	Oid seqid; /* the key */
	Buffer buffer;
	RelationLocator locator;
} Place;

/* Lives as long as the session, or until any relation changes. */
static HTAB *places = NULL;

/* Relcache callback: any sequence may have moved or gone. */
static void
forget_places(Datum arg, Oid relid)
{
	if (places != NULL)
		hash_destroy(places);
	places = NULL;
}

static void
remember_place(Oid seqid, Relation rel, Buffer buffer)
{
	static bool registered = false;
	Place *place;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_places, (Datum) 0);
		registered = true;
	}
	if (places == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Place)};

		places = hash_create("pgq sequences", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	place = hash_search(places, &seqid, HASH_ENTER, NULL);
	place->buffer = buffer;
	place->locator = RELATION_LOCATOR(rel);
}

/* The last_value on a sequence's page, one tuple, which is let go. */
static int64
read_page(Buffer buffer, bool *called)
{
	HeapTupleHeader tup;
	Form_pg_sequence_data data;
	Page page;
	int64 value;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tup = (HeapTupleHeader) PageGetItem(page,
										PageGetItemId(page, FirstOffsetNumber));
	data = (Form_pg_sequence_data) ((char *) tup + tup->t_hoff);
	value = data->last_value;
	*called = data->is_called;
	UnlockReleaseBuffer(buffer);
	return value;
}

/*
 * Read the last_value of a sequence as it is stored, is_called or not;
 * transactions don't matter to it.  A sequence that was never used counts as
 * used once: that is what PgQ's ticks have always been numbered by.
 *
 * Returns false if the sequence is gone, as it may be after its drop was waited
 * for; raises 42809 if the relation is none.
 */
bool
sequence_read(Oid seqid, int64 *value)
{
	bool called;

	return sequence_read_called(seqid, value, &called);
}

/* As sequence_read(); called: was that value given, or is it the next one? */
bool
sequence_read_called(Oid seqid, int64 *value, bool *called)
{
	Place *place = NULL;
	Relation rel;
	Buffer buffer;

	/*
	 * Without a lock on the relation, as a checkpoint does it: the buffer of a
	 * dropped relation is not used again while it is pinned.
	 */
	if (places != NULL)
		place = hash_search(places, &seqid, HASH_FIND, NULL);
	if (place != NULL &&
		ReadRecentBuffer(place->locator, MAIN_FORKNUM, 0, place->buffer))
	{
		*value = read_page(place->buffer, called);
		return true;
	}

	rel = try_relation_open(seqid, AccessShareLock);
	if (rel == NULL)
		return false;
	if (rel->rd_rel->relkind != RELKIND_SEQUENCE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a sequence",
						RelationGetRelationName(rel))));
	buffer = ReadBuffer(rel, 0);
	remember_place(seqid, rel, buffer);
	*value = read_page(buffer, called);
	relation_close(rel, AccessShareLock);
	return true;
}

/*
 * pgq.seq_getval(i_seq_name)
 *
 * Unlike SELECT it keeps no lock, so that it can be asked for any number of
 * sequences in one transaction.
 */
Datum
pgq_seq_getval(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *schema = "public";
	char *dot = strchr(name, '.');
	RangeVar *rv;
	Oid seqid;
	int64 value;

	if (dot != NULL)
	{
		*dot = '\0';
		schema = name;
		name = dot + 1;
	}
	rv = makeRangeVar(schema, name, -1);
	seqid = RangeVarGetRelid(rv, NoLock, false);
	if (pg_class_aclcheck(seqid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SEQUENCE, name);
	if (!sequence_read(seqid, &value))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", schema, name)));
	PG_RETURN_INT64(value);
}
