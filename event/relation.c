/*-------------------------------------------------------------------------
 *
 * relation.c
 *		The key columns of a table, and the same columns in another one.
 *
 * Column names come from the table, not from the index: an index keeps the
 * old name of a renamed column (doc/compatibility.md, 6), and columns that a
 * primary key merely INCLUDEs are no key (7).
 *
 * Works under a historic snapshot, too: takes no locks.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "event/relation.h"

/*
 * Attribute numbers (an integer List) of the primary key, in the order of the
 * index; NIL if there is none.
 */
List *
event_relation_primary_key(Relation rel)
{
	List *key = NIL;
	List *indexes = RelationGetIndexList(rel);
	ListCell *lc;

	foreach(lc, indexes)
	{
		HeapTuple tup = SearchSysCache1(INDEXRELID,
										ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tup))
			continue;
		index = (Form_pg_index) GETSTRUCT(tup);
		if (index->indisprimary)
		{
			for (int i = 0; i < index->indnkeyatts; i++)
				key = lappend_int(key, index->indkey.values[i]);
		}
		ReleaseSysCache(tup);
		if (key != NIL)
			break;
	}
	list_free(indexes);
	return key;
}

/* Names of the columns of the primary key, likewise, a List of palloc'd char *. */
List *
event_relation_key_names(Relation rel)
{
	List *names = NIL;
	ListCell *lc;

	foreach(lc, event_relation_primary_key(rel))
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  lfirst_int(lc) - 1);

		names = lappend(names, pstrdup(NameStr(att->attname)));
	}
	return names;
}

/*
 * Attribute numbers of the columns that name a row in events: those of pkey=
 * if given, else the primary key.  A name in pkey= that is no column counts
 * as 0.
 */
List *
event_relation_key(Relation rel, const EventArgs *args)
{
	TupleDesc desc = RelationGetDescr(rel);
	List *key = NIL;
	ListCell *lc;

	if (!args->has_pkey)
		return event_relation_primary_key(rel);

	foreach(lc, args->pkey)
	{
		char *name = event_args_column_name(lfirst(lc));
		key = lappend_int(key, event_relation_find_column(desc, name));
	}
	return key;
}

/*
 * Whether no row carries a value of the column: PostgreSQL 18 has generated
 * columns that are computed by the reader.
 */
bool
event_relation_is_virtual(Form_pg_attribute att)
{
	return att->attgenerated != '\0' && att->attgenerated != 's';
}

/* The number of a column by its name; InvalidAttrNumber if there is none. */
AttrNumber
event_relation_find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	return InvalidAttrNumber;
}

/*
 * For each column of the marked table, dropped ones included, the index of its
 * twin in the changed one, or -1; palloc'd.
 */
int *
event_relation_map_columns(TupleDesc marked, TupleDesc changed)
{
	int *map = palloc(marked->natts * sizeof(int));

	for (int i = 0; i < marked->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(marked, i);

		if (att->attisdropped)
			map[i] = -1;
		else
			map[i] =
				event_relation_find_column(changed, NameStr(att->attname)) - 1;
	}
	return map;
}
