/*-------------------------------------------------------------------------
 *
 * capture_check.c
 *		What can be captured: kind of table, key, replica identity, columns.
 *
 * The same checks decide when a table is captured, when one is altered, and
 * what get_capture_info calls broken; so they return the problem, and leave
 * it to the caller to raise it.
 *
 * Rows are in the WAL as the leaf partition's replica identity says, so
 * that is what counts, while the key is the captured table's.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "event/guard.h"
#include "event/event.h"
#include "event/relation.h"
#include "capture/capture.h"

static CaptureProblem *problem(int sqlerrcode, const char *hint,
							   const char *detail, const char *message, ...)
	pg_attribute_printf(4, 5);

/* Make a problem; hint and detail are copied as they are. */
static CaptureProblem *
problem(int sqlerrcode, const char *hint, const char *detail,
		const char *message, ...)
{
	CaptureProblem *p = palloc(sizeof(CaptureProblem));
	StringInfoData buf;
	va_list args;
	int needed;

	initStringInfo(&buf);
	for (;;)
	{
		va_start(args, message);
		needed = appendStringInfoVA(&buf, message, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	p->way = CAPTURE_WAY_UNCAPTURE;
	p->sqlerrcode = sqlerrcode;
	p->message = buf.data;
	p->detail = detail ? pstrdup(detail) : NULL;
	p->hint = pstrdup(hint);
	return p;
}

/* Name another way out than to end the capture; p may be NULL. */
static CaptureProblem *
with_way(CaptureProblem *p, CaptureWay way)
{
	if (p != NULL)
		p->way = way;
	return p;
}

/*
 * Raise a problem as an error.
 */
void
capture_raise(const CaptureProblem *p)
{
	ereport(ERROR,
			(errcode(p->sqlerrcode),
			 errmsg("%s", p->message),
			 p->detail ? errdetail("%s", p->detail) : 0,
			 errhint("%s", p->hint)));
}

/*
 * schema.table for messages and statements, quoted where needed; palloc'd.
 */
char *
capture_table_name(Oid relid)
{
	char *name = get_rel_name(relid);
	char *schema = get_namespace_name(get_rel_namespace(relid));

	if (name == NULL || schema == NULL)
		return psprintf("%u", relid);
	return quote_qualified_identifier(schema, name);
}

/*
 * The table and all its partitions, a List of OIDs with the table in front.
 * Children by inheritance are tables of their own and don't belong to it.
 */
List *
capture_tree_of(Oid relid, LOCKMODE lockmode)
{
	if (lockmode != NoLock)
		LockRelationOid(relid, lockmode);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return find_all_inheritors(relid, lockmode, NULL);
	return list_make1_oid(relid);
}

static const char *
kind_name(char kind)
{
	return kind == RELKIND_VIEW                ? "view"
		   : kind == RELKIND_MATVIEW           ? "materialized view"
		   : kind == RELKIND_FOREIGN_TABLE     ? "foreign table"
		   : kind == RELKIND_SEQUENCE          ? "sequence"
		   : kind == RELKIND_INDEX             ? "index"
		   : kind == RELKIND_PARTITIONED_INDEX ? "index"
		   : kind == RELKIND_COMPOSITE_TYPE    ? "composite type"
		   : kind == RELKIND_TOASTVALUE        ? "TOAST table"
											   : "relation";
}

/*
 * Check what can't change about a relation: whether it is a table whose rows
 * get into the WAL, and not one of the system's or ours.  Returns NULL if all
 * is well.  Takes no lock.
 */
CaptureProblem *
capture_check_kind(Oid relid)
{
	HeapTuple tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	FormData_pg_class form;
	char *name;

	if (!HeapTupleIsValid(tup))
		return problem(ERRCODE_UNDEFINED_TABLE,
					   "Give the table's name, or an OID of pg_class.", NULL,
					   "table with OID %u does not exist", relid);
	form = *(Form_pg_class) GETSTRUCT(tup);
	ReleaseSysCache(tup);
	name = capture_table_name(relid);

	if (form.relkind != RELKIND_RELATION &&
		form.relkind != RELKIND_PARTITIONED_TABLE)
		return problem(ERRCODE_WRONG_OBJECT_TYPE,
					   "Capture the tables behind it, or produce events with "
					   "pgq.insert_event().",
					   "Only tables have changes in the WAL.",
					   "%s \"%s\" cannot be captured", kind_name(form.relkind),
					   name);
	if (IsSystemClass(relid, &form) || relid < FirstNormalObjectId)
		return problem(ERRCODE_WRONG_OBJECT_TYPE, "Capture your own tables.",
					   "Changes of system catalogs are not sent to output "
					   "plugins.",
					   "system catalog \"%s\" cannot be captured", name);
	if (form.relnamespace == get_namespace_oid("pgq", true))
		return problem(ERRCODE_WRONG_OBJECT_TYPE,
					   "Capture the tables that your application writes; "
					   "consumers read the queue's own tables.",
					   "Events of events would never end.",
					   "table \"%s\" of PgQ itself cannot be captured", name);
	if (form.relpersistence == RELPERSISTENCE_TEMP)
		return problem(ERRCODE_WRONG_OBJECT_TYPE, "Capture a permanent table.",
					   "Changes of temporary tables are not in the WAL.",
					   "temporary table \"%s\" cannot be captured", name);
	if (form.relpersistence == RELPERSISTENCE_UNLOGGED)
		return problem(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   psprintf("Run \"ALTER TABLE %s SET LOGGED\".", name),
					   "Changes of unlogged tables are not in the WAL.",
					   "unlogged table \"%s\" cannot be captured", name);
	return NULL;
}

/* The words of pkey= as column names; "pkey=" alone means no key. */
static List *
pkey_columns(const EventArgs *args)
{
	List *names = NIL;
	ListCell *lc;

	foreach(lc, args->pkey)
		names = lappend(names, event_args_column_name(lfirst(lc)));
	if (list_length(names) == 1 && *(char *) linitial(names) == '\0')
		return NIL;
	return names;
}

/* The columns that name a row in events, a List of char *. */
static List *
key_columns(Relation rel, const EventArgs *args)
{
	return args->has_pkey ? pkey_columns(args) : event_relation_key_names(rel);
}

/*
 * The columns that a mark could not do without or with another type: those
 * of the key and those that its arguments name.  A List of char *.
 */
List *
capture_needed_columns(Relation rel, const EventArgs *args)
{
	List *names = key_columns(rel, args);

	names = list_concat(names, args->ignore);
	return list_concat(names, args->columns);
}

/* Check that columns that an argument names are there and, if stored, in the WAL. */
static CaptureProblem *
check_columns(Relation rel, const char *arg, List *names, bool stored)
{
	TupleDesc desc = RelationGetDescr(rel);
	ListCell *lc;

	foreach(lc, names)
	{
		int attnum = event_relation_find_column(desc, lfirst(lc));

		if (attnum == InvalidAttrNumber)
			return problem(ERRCODE_UNDEFINED_COLUMN,
						   "Write names as they are in the table, without "
						   "quotes, separated by commas.",
						   psprintf("The argument %s names it.", arg),
						   "column \"%s\" of table \"%s\" does not exist",
						   (char *) lfirst(lc),
						   capture_table_name(RelationGetRelid(rel)));
		if (stored &&
			event_relation_is_virtual(TupleDescAttr(desc, attnum - 1)))
			return problem(ERRCODE_FEATURE_NOT_SUPPORTED,
						   "Make it a STORED one, or leave it out there.",
						   psprintf("The argument %s names it, but the WAL has "
									"no value of it.",
									arg),
						   "virtual generated column \"%s\" of table \"%s\" "
						   "cannot be captured",
						   (char *) lfirst(lc),
						   capture_table_name(RelationGetRelid(rel)));
	}
	return NULL;
}

/* Whether a column is in the old rows of a table whose identity is an index. */
static bool
is_in_identity(Relation leaf, const char *column)
{
	Oid index = RelationGetReplicaIndex(leaf);
	int attnum = event_relation_find_column(RelationGetDescr(leaf), column);
	HeapTuple tup;
	Form_pg_index form;
	bool found = false;

	if (!OidIsValid(index) || attnum == InvalidAttrNumber)
		return false;
	tup = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tup))
		return false;
	form = (Form_pg_index) GETSTRUCT(tup);
	for (int i = 0; i < form->indnkeyatts; i++)
		found |= form->indkey.values[i] == attnum;
	ReleaseSysCache(tup);
	return found;
}

static char *
identity_hint(const char *table, const char *other_way)
{
	return psprintf("Run \"ALTER TABLE %s REPLICA IDENTITY FULL\" (its updates "
					"and deletes then log the old row), or %s",
					table, other_way);
}

/* Check the key of the captured table against the identity of a leaf. */
static CaptureProblem *
check_identity(Relation leaf, List *key)
{
	char *name = capture_table_name(RelationGetRelid(leaf));
	ListCell *lc;

	if (leaf->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return NULL;
	if (key == NIL)
		return problem(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   identity_hint(name, "add a primary key, or capture "
										   "only ops=insert,truncate."),
					   "Events of UPDATE and DELETE have to name their row.",
					   "table \"%s\" has no key", name);
	if (leaf->rd_rel->relreplident == REPLICA_IDENTITY_NOTHING)
		return problem(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   identity_hint(name,
									 "return to REPLICA IDENTITY DEFAULT, "
									 "or capture only ops=insert,truncate."),
					   "The WAL of its UPDATE and DELETE does not name the "
					   "row.",
					   "table \"%s\" has replica identity NOTHING", name);
	foreach(lc, key)
	{
		if (!is_in_identity(leaf, lfirst(lc)))
			return problem(
				ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				identity_hint(name, "name a unique index over the key with "
									"REPLICA IDENTITY USING INDEX, or "
									"capture only ops=insert,truncate."),
				"The WAL of its UPDATE and DELETE does not have "
				"this column of the old row.",
				"key column \"%s\" is outside the replica identity "
				"of table \"%s\"",
				(char *) lfirst(lc), name);
	}
	return NULL;
}

static CaptureProblem *
check_leaf(Relation leaf, const EventArgs *args, List *key)
{
	char *name = capture_table_name(RelationGetRelid(leaf));
	CaptureProblem *p = capture_check_kind(RelationGetRelid(leaf));

	if (p != NULL)
		return p;
	if ((args->ops & EVENT_OPS_KEYED) != 0)
		p = with_way(check_identity(leaf, key), CAPTURE_WAY_TOGETHER);
	if (p != NULL)
		return p;
	if (args->backup && (args->ops & EVENT_OP_UPDATE) != 0 &&
		leaf->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
		p = problem(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					identity_hint(name, "leave \"backup\" out."),
					"The WAL has the whole old row only with replica "
					"identity FULL.",
					"argument \"backup\" needs the old row of table \"%s\"",
					name);
	return with_way(p, CAPTURE_WAY_TOGETHER);
}

/*
 * Check whether a table has the columns that the arguments name.
 *
 * rel is open; it need not be locked.  Returns NULL if all is well, else a
 * palloc'd problem.
 */
CaptureProblem *
capture_check_columns(Relation rel, const EventArgs *args)
{
	CaptureProblem *p = capture_check_kind(RelationGetRelid(rel));

	if (p != NULL)
		return p;
	p = check_columns(rel, "ignore=", args->ignore, false);
	if (p == NULL)
		p = check_columns(rel, "columns=", args->columns, true);
	if (p == NULL)
		p = check_columns(rel, "pkey=", pkey_columns(args), true);
	return with_way(p, CAPTURE_WAY_ARGUMENTS);
}

/*
 * Check whether the rows of some tables are in the WAL as the capture of table
 * rel needs them: of rel itself or partitions of it.
 *
 * rel is open; the leaves are locked, or rel is locked and all its partitions are.
 * Partitioned tables among the leaves have no rows.  Returns NULL if all is well,
 * else a palloc'd problem.
 */
CaptureProblem *
capture_check_leaves(Relation rel, const EventArgs *args, List *leaves)
{
	List *key = key_columns(rel, args);
	CaptureProblem *p = NULL;
	ListCell *lc;

	foreach(lc, leaves)
	{
		Relation leaf = RelationIdGetRelation(lfirst_oid(lc));

		if (!RelationIsValid(leaf))
			continue;
		if (p == NULL && leaf->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			p = check_leaf(leaf, args, key);
		RelationClose(leaf);
	}
	return p;
}

/*
 * Check whether a table, as it is now, can be captured with these arguments.
 *
 * rel is open and locked; its partitions are locked here with ACCESS SHARE, no
 * longer than needed: there may be thousands, and of such tables, too.
 * Returns NULL if all is well, else a palloc'd problem.
 */
CaptureProblem *
capture_check_table(Relation rel, const EventArgs *args)
{
	CaptureProblem *p = capture_check_columns(rel, args);
	List *tree;
	ListCell *lc;

	if (p != NULL)
		return p;

	/* a partitioned table without partitions yet: those to come have this */
	tree = capture_tree_of(RelationGetRelid(rel), AccessShareLock);
	if (key_columns(rel, args) == NIL && (args->ops & EVENT_OPS_KEYED) != 0 &&
		rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		list_length(tree) == 1)
		p = with_way(check_identity(rel, NIL), CAPTURE_WAY_TOGETHER);
	else
		p = capture_check_leaves(rel, args, tree);
	foreach(lc, tree)
		UnlockRelationOid(lfirst_oid(lc), AccessShareLock);
	return p != NULL ? p : capture_check_expressions(rel, args);
}

/*
 * Check whether the rows of a table can be copied with these arguments.
 * Returns NULL if they can, else a palloc'd problem.
 */
CaptureProblem *
capture_check_copy(const EventArgs *args)
{
	if ((args->ops & EVENT_OP_INSERT) != 0)
		return NULL;
	return problem(ERRCODE_INVALID_PARAMETER_VALUE,
				   "Add insert to ops=, or leave \"copy\" out.",
				   "Rows that are copied come as inserts.",
				   "argument \"copy\" contradicts ops= without insert");
}

/* What make_plan() needs. */
typedef struct PlanInput
{
	Relation rel;
	const EventArgs *args;
} PlanInput;

static void
make_plan(void *arg)
{
	PlanInput *input = arg;

	(void) event_plan_make(input->rel, input->args);
}

/*
 * Check whether the expressions among the arguments can be compiled for a
 * table as it is now.  Returns NULL if all is well, else a palloc'd problem.
 */
CaptureProblem *
capture_check_expressions(Relation rel, const EventArgs *args)
{
	PlanInput input = {rel, args};
	ErrorData *error = guard_run(make_plan, &input);

	if (error == NULL)
		return NULL;
	return with_way(problem(error->sqlerrcode,
							error->hint
								? error->hint
								: "Check the argument's SQL expression.",
							error->detail, "%s", error->message),
					CAPTURE_WAY_ARGUMENTS);
}
