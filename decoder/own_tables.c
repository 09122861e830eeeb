/*-------------------------------------------------------------------------
 *
 * own_tables.c
 *		Read the extension's tables while decoding: marks, event tables, the
 *		secret of emitted events, queues that want boundaries.
 *
 * They are user catalog tables, seen as the historic snapshot of the change
 * has them, and read by heap scans only: when one is written anew (VACUUM
 * FULL, CLUSTER, REINDEX, another tablespace) the server finds the new file of
 * the heap, but looks for an index where it was at the time of the change.
 *
 * So a look-up costs as much as reading the table; its rows are kept in
 * memory until they may have changed: every change of a mark or of an event
 * table invalidates pgq.capture itself.
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
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event/message.h"
#include "event/relation.h"

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

/* The rows of a table, in the order of their tables and queues. */
typedef struct OwnRows
{
	OwnRow *rows;
	int nrows;
	int maxrows;
} OwnRows;

static MemoryContext rows_cxt = NULL;
static OwnRows marks;
static OwnRows event_tables;
static OwnRows boundaries; /* queues that want begin and commit; no tables */
static bool rows_known = false;

/* Which transactions the snapshot saw that the rows were read under. */
static struct
{
	TransactionId xmin;
	TransactionId xmax;
	uint32 xcnt;
} rows_as_of;

/*
 * Forget what was read: marks, event tables or our tables themselves may have
 * changed, or others have their names.
 */
void
own_tables_forget(void)
{
	relids_known = false;
	rows_known = false;
}

/* Whether an invalidation of this relation may mean ours. */
bool
own_tables_concerns(Oid relid)
{
	return !OidIsValid(capture_relid) || !OidIsValid(relid) ||
		   relid == capture_relid || relid == secret_relid;
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
	rows_known = false;
	capture_relid = find_own_table("capture");
	event_table_relid = find_own_table("event_table");
	secret_relid = find_own_table("secret");
	secret_known = false;
	boundary_relid = find_own_table("capture_transaction");
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

/*
 * Open a table of ours.  Under a historic snapshot the server finds the new file
 * of a table that was written anew, but in the tablespace that the old one was
 * in.
 */
static Relation
open_own_table(Oid relid)
{
	Relation rel = table_open(relid, AccessShareLock);
	Oid tablespace = rel->rd_rel->reltablespace;

	if (!OidIsValid(tablespace))
		tablespace = MyDatabaseTableSpace;
	if (RELATION_TABLESPACE(rel) != tablespace)
	{
		RelationCloseSmgr(rel);
		RELATION_TABLESPACE(rel) = tablespace;
	}
	return rel;
}

/* A column by its name; NULL if the table has none. */
static Datum
get_column(HeapTuple tup, TupleDesc desc, const char *name, bool *isnull)
{
	AttrNumber attno = event_relation_find_column(desc, name);

	*isnull = true;
	return attno == InvalidAttrNumber ? (Datum) 0
									  : heap_getattr(tup, attno, desc, isnull);
}

static OwnRow *
add_row(OwnRows *table)
{
	if (table->nrows == table->maxrows)
	{
		table->maxrows = Max(64, table->maxrows * 2);
		table->rows = table->rows ? repalloc(table->rows,
											 table->maxrows * sizeof(OwnRow))
								  : palloc(table->maxrows * sizeof(OwnRow));
	}
	return &table->rows[table->nrows++];
}

static int
compare_rows(const void *a, const void *b)
{
	const OwnRow *x = a;
	const OwnRow *y = b;

	if (x->relid != y->relid)
		return x->relid < y->relid ? -1 : 1;
	return strcmp(x->queue, y->queue);
}

/*
 * Read a table of ours, if it is there: its columns for a table, NULL if it has
 * none, and for a queue.  Arguments of marks are copied as they are: if they can't
 * be read, that is a fault of their mark alone.
 */
static void
read_rows(OwnRows *table, Oid relid, const char *relid_column,
		  const char *queue_column)
{
	Relation rel;
	TupleDesc desc;
	SysScanDesc scan;
	HeapTuple tup;

	memset(table, 0, sizeof(OwnRows));
	if (!OidIsValid(relid))
		return;
	rel = open_own_table(relid);
	desc = RelationGetDescr(rel);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool no_relid = false;
		bool no_queue;
		bool isnull;
		Datum marked = (Datum) 0;
		Datum queue = get_column(tup, desc, queue_column, &no_queue);
		Datum value;
		OwnRow *row;

		CHECK_FOR_INTERRUPTS();
		if (relid_column)
			marked = get_column(tup, desc, relid_column, &no_relid);
		if (no_relid || no_queue)
			continue;
		row = add_row(table);
		row->relid = DatumGetObjectId(marked);
		row->queue = TextDatumGetCString(queue);
		row->args = (Datum) 0;
		row->copy = 0;
		if (relid != capture_relid)
			continue;
		value = get_column(tup, desc, "cap_args", &isnull);
		if (!isnull)
			row->args = datumCopy(value, false, -1);
		value = get_column(tup, desc, "cap_copy", &isnull);
		if (!isnull)
			row->copy = DatumGetInt64(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (table->nrows > 1)
		qsort(table->rows, table->nrows, sizeof(OwnRow), compare_rows);
}

/*
 * Read the rows, unless those in memory are what the snapshot sees.  A
 * transaction whose snapshot is replaced by a newer one in its midst is not
 * always told what was invalidated, nor are those that follow it.
 */
static void
know_rows(void)
{
	Snapshot snapshot = GetCatalogSnapshot(InvalidOid);
	MemoryContext old;

	find_own_tables();
	if (rows_known && rows_as_of.xmin == snapshot->xmin &&
		rows_as_of.xmax == snapshot->xmax && rows_as_of.xcnt == snapshot->xcnt)
		return;
	check_own_tables();
	if (!rows_cxt)
		rows_cxt = AllocSetContextCreate(CacheMemoryContext, "pgq marks",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(rows_cxt);

	/* an invalidation that comes while we read must not be lost */
	rows_known = true;
	rows_as_of.xmin = snapshot->xmin;
	rows_as_of.xmax = snapshot->xmax;
	rows_as_of.xcnt = snapshot->xcnt;
	old = MemoryContextSwitchTo(rows_cxt);
	PG_TRY();
	{
		read_rows(&marks, capture_relid, "cap_relid", "cap_queue");
		read_rows(&event_tables, event_table_relid, "evt_relid", "evt_queue");
		read_rows(&boundaries, boundary_relid, NULL, "ctx_queue");
	}
	PG_CATCH();
	{
		rows_known = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

/* The rows of one table, by bisection; their number goes to *n. */
static const OwnRow *
find_rows(const OwnRows *table, Oid relid, int *n)
{
	int low = 0;
	int high = table->nrows;

	while (low < high)
	{
		int mid = low + (high - low) / 2;

		if (table->rows[mid].relid < relid)
			low = mid + 1;
		else
			high = mid;
	}
	*n = 0;
	while (low + *n < table->nrows && table->rows[low + *n].relid == relid)
		++*n;
	return table->rows + low;
}

/*
 * The marks that stand on a table itself, as of the historic snapshot.  The
 * result is valid until other rows are asked for; *n may be 0.
 */
const OwnRow *
own_tables_marks_of(Oid relid, int *n)
{
	know_rows();
	return find_rows(&marks, relid, n);
}

/* The queue that a table is an event table of, or NULL; valid likewise. */
const char *
own_tables_queue_of(Oid relid)
{
	const OwnRow *row;
	int n;

	know_rows();
	row = find_rows(&event_tables, relid, &n);
	return n > 0 ? row->queue : NULL;
}

/*
 * The secret that events of pgq.emit_event() carry, EVENT_SECRET_LEN bytes, as
 * of the historic snapshot; NULL if there is none.  With anew it is read again:
 * nothing is invalidated when another is put into the table.
 */
const char *
own_tables_secret(bool anew)
{
	if (anew)
		secret_known = false;
	if (!secret_known || !relids_known)
		check_own_tables();
	if (!secret_known && OidIsValid(secret_relid))
	{
		Relation rel = open_own_table(secret_relid);

		secret_known = event_secret_read(rel, secret);
		table_close(rel, AccessShareLock);
	}
	return secret_known ? secret : NULL;
}

/*
 * Whether any queue wants the boundaries of transactions, as of the historic
 * snapshot.
 */
bool
own_tables_has_boundaries(void)
{
	know_rows();
	return boundaries.nrows > 0;
}

/* Whether this queue does. */
bool
own_tables_wants_boundaries(const char *queue)
{
	know_rows();
	for (int i = 0; i < boundaries.nrows; i++)
		if (strcmp(boundaries.rows[i].queue, queue) == 0)
			return true;
	return false;
}
