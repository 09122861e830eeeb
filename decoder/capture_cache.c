/*-------------------------------------------------------------------------
 *
 * capture_cache.c
 *		What the plugin knows of tables: their marks, or that they are event
 *		tables, or that nobody cares.
 *
 * Marks are those of the historic snapshot of the change (own_tables.c), so
 * that a mark holds from its commit on, also when old WAL is read again.
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

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "event/guard.h"
#include "event/relation.h"

static HTAB *cache = NULL;

/* asked for last: changes of one table come in rows; entries are never freed */
static CaptureEntry *last_entry = NULL;

static void
invalidate_all(void)
{
	HASH_SEQ_STATUS scan;
	CaptureEntry *entry;

	own_tables_forget();
	hash_seq_init(&scan, cache);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

static void
relation_changed(Datum arg, Oid relid)
{
	CaptureEntry *entry;

	if (own_tables_concerns(relid))
	{
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

static bool
has_mark_for(CaptureEntry *entry, const char *queue)
{
	for (int i = 0; i < entry->nmarks; i++)
		if (strcmp(entry->marks[i].queue, queue) == 0)
			return true;
	return false;
}

/* What may fail when a mark is added. */
typedef struct MarkLoad
{
	CaptureMark *mark;
	const OwnRow *row;
	Relation rel;
	Relation marked;
} MarkLoad;

static void
load_mark(void *arg)
{
	MarkLoad *load = arg;
	CaptureMark *mark = load->mark;
	EventArgs *args;

	if (load->row->args == (Datum) 0)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("capture arguments must not be null")));
	args = event_args_parse(DatumGetArrayTypePCopy(load->row->args));
	mark->origin_none = args->origin_none;
	mark->attrmap = event_relation_map_columns(RelationGetDescr(load->marked),
											   RelationGetDescr(load->rel));
	mark->plan = event_plan_make(load->marked, args);
}

/* Add a mark; one that can't be loaded is broken, and all else goes on. */
static void
add_mark(CaptureEntry *entry, Relation rel, Relation marked, const OwnRow *row)
{
	CaptureMark *mark;
	char *schema = get_namespace_name(RelationGetNamespace(marked));
	MarkLoad load;
	ErrorData *error;

	if (entry->marks)
		entry->marks = repalloc(entry->marks,
								(entry->nmarks + 1) * sizeof(CaptureMark));
	else
		entry->marks = palloc(sizeof(CaptureMark));
	mark = &entry->marks[entry->nmarks++];
	memset(mark, 0, sizeof(CaptureMark));
	mark->queue = pstrdup(row->queue);
	mark->copy = row->copy;
	mark->marked_relid = RelationGetRelid(marked);
	mark->natts = RelationGetDescr(marked)->natts;
	mark->table = psprintf("%s.%s", schema ? schema : "?",
						   RelationGetRelationName(marked));

	load.mark = mark;
	load.row = row;
	load.rel = rel;
	load.marked = marked;
	error = guard_run(load_mark, &load);
	if (error == NULL)
		return;
	mark->plan = NULL;
	mark->broken = guard_reason(error);
	FreeErrorData(error);
}

/*
 * Add the marks that stand on one table, rel itself or an ancestor.  Of two
 * marks for the same queue the nearer one wins.
 */
static void
load_marks_of(CaptureEntry *entry, Relation rel, Oid relid)
{
	int n;
	const OwnRow *rows = own_tables_marks_of(relid, &n);
	Relation marked;

	if (n == 0)
		return;
	marked = RelationIdGetRelation(relid);
	if (!RelationIsValid(marked))
		return;
	for (int i = 0; i < n; i++)
		if (!has_mark_for(entry, rows[i].queue))
			add_mark(entry, rel, marked, &rows[i]);
	RelationClose(marked);
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

/* What of the old row the WAL holds. */
typedef struct IdentityLoad
{
	CaptureEntry *entry;
	Relation rel;
} IdentityLoad;

static void
load_identity(void *arg)
{
	IdentityLoad *load = arg;

	load->entry->identity = RelationGetIdentityKeyBitmap(load->rel);
}

static void
load_marks(CaptureEntry *entry, Relation rel)
{
	IdentityLoad load = {entry, rel};
	ErrorData *error = NULL;
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
		error = guard_run(load_identity, &load);
	for (int i = 0; i < entry->nmarks && error; i++)
	{
		entry->marks[i].plan = NULL;
		entry->marks[i].broken = guard_reason(error);
	}
}

/* Make an entry anew.  On an error it stays invalid and owns its context. */
static void
load_entry(CaptureEntry *entry, Relation rel)
{
	MemoryContext old;
	MemoryContext work;
	const char *queue;

	entry->nmarks = 0;
	entry->marks = NULL;
	entry->identity = NULL;
	entry->touched_queue = NULL;
	if (entry->cxt)
		MemoryContextReset(entry->cxt);

	/*
	 * Tables that nobody cares for shall not cost a context each.  Small
	 * blocks: what is needed while marks are read does not fit into one and is
	 * given back.
	 */
	work = entry->cxt
			   ? entry->cxt
			   : AllocSetContextCreate(CacheMemoryContext, "pgq captured table",
									   0, 1024, 2048);
	entry->cxt = work;
	old = MemoryContextSwitchTo(work);
	load_marks(entry, rel);
	queue = own_tables_queue_of(RelationGetRelid(rel));
	if (queue)
		entry->touched_queue = pstrdup(queue);
	MemoryContextSwitchTo(old);
	if (entry->nmarks == 0 && !entry->touched_queue)
	{
		MemoryContextDelete(work);
		entry->cxt = NULL;
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
