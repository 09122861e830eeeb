/*-------------------------------------------------------------------------
 *
 * capture_cache.c
 *		What the plugin knows of tables: their marks, or that they are event
 *		tables, or that nobody cares; and the secret of emitted events.
 *
 * Marks are read from pgq.capture under the historic snapshot of the change,
 * so that a mark holds from its commit on, also when old WAL is read again.
 * An entry is made again when the table or an ancestor of it changes; every
 * change of a mark invalidates pgq.capture itself, which drops all entries.
 *
 * The cache lives as long as the session: invalidation callbacks can't be
 * taken back.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "decoder/decoder.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "event/message.h"
#include "event/relation.h"

/* columns of pgq.capture and pgq.event_table: see sql/tables.sql */
#define CAPTURE_RELID 1
#define CAPTURE_QUEUE 2
#define CAPTURE_ARGS 3
#define CAPTURE_COPY 4
#define EVENT_TABLE_RELID 1
#define EVENT_TABLE_QUEUE 2
#define CAPTURE_TRANSACTION_QUEUE 1

static HTAB *cache = NULL;

/* asked for last: changes of one table come in rows; entries are never freed */
static CaptureEntry *last_entry = NULL;

/*
 * Oids of our catalogue tables, InvalidOid while there are none.  They
 * are looked up again after any invalidation as long as they are not known,
 * since a mark could have come with them.
 */
static Oid capture_relid = InvalidOid;
static Oid event_table_relid = InvalidOid;
static Oid secret_relid = InvalidOid;
static Oid boundary_relid = InvalidOid;
static bool relids_known = false;

static char secret[EVENT_SECRET_LEN];
static bool secret_known = false;

/* queues that want begin and commit, in a context of their own */
static MemoryContext boundary_cxt = NULL;
static List *boundary_queues = NIL;
static bool boundaries_known = false;

static void
invalidate_all(void)
{
	HASH_SEQ_STATUS scan;
	CaptureEntry *entry;

	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

static void
relation_changed(Datum arg, Oid relid)
{
	CaptureEntry *entry;

	if (!OidIsValid(capture_relid) || !OidIsValid(relid) ||
		relid == capture_relid || relid == secret_relid)
	{
		relids_known = false;
		invalidate_all();
		return;
	}
	entry = hash_search(cache, &relid, HASH_FIND, NULL);
	if (!entry)
		return;
	entry->valid = false;
	if (entry->is_ancestor)
		invalidate_all();
}

/* A schema may have got another name. */
static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	relids_known = false;
	invalidate_all();
}

/*
 * Set up the cache, or empty it for a new run of decoding in this session.
 */
void
capture_cache_init(void)
{
	HASHCTL ctl = {0};

	if (cache)
	{
		relids_known = false;
		invalidate_all();
		return;
	}
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(CaptureEntry);
	ctl.hcxt = CacheMemoryContext;
	cache = hash_create("pgq captured tables", 256, &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
}

/*
 * Whether a table of ours that was there at the time of the change is there
 * still.  The server reads the tables of its catalogue that belong to users from
 * where they are now; it fails if they were dropped since.
 */
static bool
is_there_now(Oid relid)
{
	Relation pg_class = table_open(RelationRelationId, AccessShareLock);
	Snapshot now = RegisterSnapshot(
		GetNonHistoricCatalogSnapshot(RelationRelationId));
	SysScanDesc scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_class, ClassOidIndexId, true, now, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	UnregisterSnapshot(now);
	table_close(pg_class, AccessShareLock);
	return found;
}

/*
 * A table of schema pgq, if it belongs to extension pgq and is a
 * user_catalog_table: anybody may make a schema of that name.
 */
static Oid
find_own_table(const char *name)
{
	Oid schema = get_namespace_oid("pgq", true);
	Oid extension = get_extension_oid("pgq", true);
	Oid relid;
	Relation rel;
	bool is_catalog;

	if (!OidIsValid(schema) || !OidIsValid(extension))
		return InvalidOid;
	relid = get_relname_relid(name, schema);
	if (!OidIsValid(relid) ||
		getExtensionOfObject(RelationRelationId, relid) != extension ||
		!is_there_now(relid))
		return InvalidOid;
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return InvalidOid;
	is_catalog = RelationIsUsedAsCatalogTable(rel);
	RelationClose(rel);
	return is_catalog ? relid : InvalidOid;
}

static void
find_own_tables(void)
{
	if (relids_known)
		return;
	capture_relid = find_own_table("capture");
	event_table_relid = find_own_table("event_table");
	secret_relid = find_own_table("secret");
	secret_known = false;
	boundary_relid = find_own_table("capture_transaction");
	boundaries_known = false;
	relids_known = true;
}

/*
 * Find the tables of ours again if one was dropped since: then no marks are
 * left, nor queues that they could be for.
 */
static void
check_own_tables(void)
{
	find_own_tables();
	if (OidIsValid(capture_relid) && !is_there_now(capture_relid))
	{
		relids_known = false;
		find_own_tables();
	}
}

/* Open one of our tables and find its rows for a table. */
static SysScanDesc
scan_own_table(Oid own_relid, AttrNumber column, Oid relid, Relation *rel)
{
	ScanKeyData key;
	Oid index;

	*rel = table_open(own_relid, AccessShareLock);
	(void) RelationGetIndexList(*rel);
	index = (*rel)->rd_pkindex;
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	return systable_beginscan(*rel, index, OidIsValid(index), NULL, 1, &key);
}

static void
close_own_table(SysScanDesc scan, Relation rel)
{
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static bool
has_mark_for(CaptureEntry *entry, const char *queue)
{
	for (int i = 0; i < entry->nmarks; i++)
		if (strcmp(entry->marks[i].queue, queue) == 0)
			return true;
	return false;
}

static void
add_mark(CaptureEntry *entry, Relation rel, Relation marked, char *queue,
		 ArrayType *args_array, int64 copy)
{
	CaptureMark *mark;
	EventArgs *args = event_args_parse(args_array);

	if (entry->marks)
		entry->marks = repalloc(entry->marks,
								(entry->nmarks + 1) * sizeof(CaptureMark));
	else
		entry->marks = palloc(sizeof(CaptureMark));
	mark = &entry->marks[entry->nmarks++];
	memset(mark, 0, sizeof(CaptureMark));
	mark->queue = queue;
	mark->copy = copy;
	mark->origin_none = args->origin_none;
	mark->marked_relid = RelationGetRelid(marked);
	mark->plan = event_plan_make(marked, args);
	mark->natts = RelationGetDescr(marked)->natts;
	mark->attrmap = event_relation_map_columns(RelationGetDescr(marked),
											   RelationGetDescr(rel));
}

/*
 * Add the marks that stand on one table, rel itself or an ancestor.  Of two
 * marks for the same queue the nearer one wins.
 */
static void
load_marks_of(CaptureEntry *entry, Relation rel, Oid relid)
{
	Relation capture;
	Relation marked = NULL;
	HeapTuple tup;
	SysScanDesc scan = scan_own_table(capture_relid, CAPTURE_RELID, relid,
									  &capture);
	TupleDesc desc = RelationGetDescr(capture);

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool isnull;
		char *queue = TextDatumGetCString(
			heap_getattr(tup, CAPTURE_QUEUE, desc, &isnull));
		Datum args = heap_getattr(tup, CAPTURE_ARGS, desc, &isnull);
		Datum copy = heap_getattr(tup, CAPTURE_COPY, desc, &isnull);

		if (has_mark_for(entry, queue))
			continue;
		if (!marked)
			marked = RelationIdGetRelation(relid);
		if (!RelationIsValid(marked))
			break;
		add_mark(entry, rel, marked, queue, DatumGetArrayTypePCopy(args),
				 isnull ? 0 : DatumGetInt64(copy));
	}
	if (marked)
		RelationClose(marked);
	close_own_table(scan, capture);
}

/* Remember an ancestor, so that its changes are noticed. */
static void
watch_ancestor(Oid relid)
{
	bool found;
	CaptureEntry *entry = hash_search(cache, &relid, HASH_ENTER, &found);

	if (!found)
	{
		memset(entry, 0, sizeof(CaptureEntry));
		entry->relid = relid;
	}
	entry->is_ancestor = true;
}

static void
load_marks(CaptureEntry *entry, Relation rel)
{
	ListCell *lc;

	load_marks_of(entry, rel, RelationGetRelid(rel));
	if (rel->rd_rel->relispartition)
		foreach(lc, get_partition_ancestors(RelationGetRelid(rel)))
		{
			watch_ancestor(lfirst_oid(lc));
			load_marks_of(entry, rel, lfirst_oid(lc));
		}

	if (entry->nmarks == 0)
		return;
	entry->identity_full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (!entry->identity_full && rel->rd_rel->relkind == RELKIND_RELATION)
		entry->identity = RelationGetIdentityKeyBitmap(rel);
}

static void
load_event_table(CaptureEntry *entry, Oid relid)
{
	Relation event_table;
	HeapTuple tup;
	SysScanDesc scan = scan_own_table(event_table_relid, EVENT_TABLE_RELID,
									  relid, &event_table);

	if (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool isnull;
		Datum queue = heap_getattr(tup, EVENT_TABLE_QUEUE,
								   RelationGetDescr(event_table), &isnull);

		entry->touched_queue = TextDatumGetCString(queue);
	}
	close_own_table(scan, event_table);
}

/* Make an entry anew.  On an error it stays invalid and owns its context. */
static void
load_entry(CaptureEntry *entry, Relation rel)
{
	MemoryContext old;

	check_own_tables();
	entry->nmarks = 0;
	entry->marks = NULL;
	entry->identity = NULL;
	entry->touched_queue = NULL;
	if (entry->cxt)
		MemoryContextReset(entry->cxt);

	if (OidIsValid(capture_relid))
	{
		/*
		 * Tables that nobody cares for shall not cost a context each.  Small
		 * blocks: what is needed while marks are read does not fit into one
		 * and is given back.
		 */
		MemoryContext work = entry->cxt
								 ? entry->cxt
								 : AllocSetContextCreate(CacheMemoryContext,
														 "pgq captured table",
														 0, 1024, 2048);

		entry->cxt = work;
		old = MemoryContextSwitchTo(work);
		load_marks(entry, rel);
		if (OidIsValid(event_table_relid))
			load_event_table(entry, RelationGetRelid(rel));
		MemoryContextSwitchTo(old);
		if (entry->nmarks == 0 && !entry->touched_queue)
		{
			MemoryContextDelete(work);
			entry->cxt = NULL;
		}
	}
}

/*
 * What is known of a table, under the historic snapshot of the change that is
 * decoded.  The entry stays as it is until the next call; it belongs to the
 * cache.
 */
CaptureEntry *
capture_cache_get(Relation rel)
{
	Oid relid = RelationGetRelid(rel);
	bool found;
	CaptureEntry *entry;

	if (last_entry != NULL && last_entry->relid == relid && last_entry->valid)
		return last_entry;

	entry = hash_search(cache, &relid, HASH_ENTER, &found);
	last_entry = entry;
	if (!found)
	{
		memset(entry, 0, sizeof(CaptureEntry));
		entry->relid = relid;
	}
	if (!entry->valid)
	{
		/* an invalidation that comes while we read must not be lost */
		entry->valid = true;
		PG_TRY();
		{
			load_entry(entry, rel);
		}
		PG_CATCH();
		{
			entry->valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}
	return entry;
}

/*
 * The secret that events of pgq.emit_event() carry, EVENT_SECRET_LEN bytes, as
 * of the historic snapshot; NULL if there is none.  With anew it is read again:
 * nothing is invalidated when another is put into the table.
 */
const char *
capture_cache_secret(bool anew)
{
	if (anew)
		secret_known = false;
	if (!secret_known || !relids_known)
		check_own_tables();
	if (!secret_known && OidIsValid(secret_relid))
	{
		Relation rel = table_open(secret_relid, AccessShareLock);

		secret_known = event_secret_read(rel, secret);
		table_close(rel, AccessShareLock);
	}
	return secret_known ? secret : NULL;
}

static void
load_boundaries(void)
{
	Relation rel;
	SysScanDesc scan;
	HeapTuple tup;
	MemoryContext old;

	if (!boundary_cxt)
		boundary_cxt = AllocSetContextCreate(
			CacheMemoryContext, "pgq transaction queues", ALLOCSET_SMALL_SIZES);
	boundary_queues = NIL;
	MemoryContextReset(boundary_cxt);
	check_own_tables();
	boundaries_known = true;
	if (!OidIsValid(boundary_relid))
		return;

	old = MemoryContextSwitchTo(boundary_cxt);
	rel = table_open(boundary_relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool isnull;
		Datum queue = heap_getattr(tup, CAPTURE_TRANSACTION_QUEUE,
								   RelationGetDescr(rel), &isnull);

		boundary_queues = lappend(boundary_queues, TextDatumGetCString(queue));
	}
	close_own_table(scan, rel);
	MemoryContextSwitchTo(old);
}

/*
 * Whether any queue wants the boundaries of transactions, as of the historic
 * snapshot.
 */
bool
capture_cache_has_boundaries(void)
{
	find_own_tables();
	if (!boundaries_known)
		load_boundaries();
	return boundary_queues != NIL;
}

/* Whether this queue does. */
bool
capture_cache_wants_boundaries(const char *queue)
{
	ListCell *lc;

	if (capture_cache_has_boundaries())
		foreach(lc, boundary_queues)
			if (strcmp(lfirst(lc), queue) == 0)
				return true;
	return false;
}
