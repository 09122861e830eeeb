/*-------------------------------------------------------------------------
 *
 * capture_ddl.c
 *		Event triggers that keep marks true.
 *
 * pgq._capture_ddl runs at the end of commands that alter tables: what would
 * make a captured table impossible to capture is refused there.  It asks the
 * same checks as capture_table, for every mark that the command could have
 * touched: of the table, of its ancestors and of its partitions.
 * pgq._capture_drop removes the marks of dropped tables.
 * pgq._capture_drop_index comes before DROP INDEX CONCURRENTLY, which can't be
 * undone at its end.
 *
 * They run with the rights of whoever runs the command, and read and write
 * marks directly.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "queue/capture.h"

PG_FUNCTION_INFO_V1(pgq__capture_ddl);
PG_FUNCTION_INFO_V1(pgq__capture_drop);
PG_FUNCTION_INFO_V1(pgq__capture_drop_index);

/* A table that a command changed, and the columns that got another type. */
typedef struct ChangedTable
{
	Oid relid;
	List *retyped; /* of char * */
} ChangedTable;

static const char commands_query[] =
	"select c.classid, c.objid, c.command"
	" from pg_catalog.pg_event_trigger_ddl_commands() c";

static const char dropped_query[] =
	"select d.classid, d.objid, d.objsubid, d.object_type"
	" from pg_catalog.pg_event_trigger_dropped_objects() d";

/* Run a query, in the memory context of SPI from then on. */
static void
run_query(const char *query)
{
	int rc;

	SPI_connect();
	rc = SPI_execute(query, true, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute returned %d", rc);
}

static Datum
field(uint64 row, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
								column, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Add the table of a collected command, with its retyped columns. */
static List *
add_changed(List *tables, Oid relid, const CollectedCommand *command)
{
	ChangedTable *table = palloc0(sizeof(ChangedTable));
	ListCell *lc;

	table->relid = relid;
	if (command != NULL && command->type == SCT_AlterTable)
		foreach(lc, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *sub = lfirst(lc);
			AlterTableCmd *alter = (AlterTableCmd *) sub->parsetree;

			if (IsA(alter, AlterTableCmd) &&
				alter->subtype == AT_AlterColumnType)
				table->retyped = lappend(table->retyped, alter->name);
		}
	return lappend(tables, table);
}

/*
 * Whether a change of one table reaches another, the marked one: the same,
 * above or below it, or the type that it was made of.
 */
static bool
concerns(Oid changed, Oid marked)
{
	HeapTuple tup;
	Oid type;

	if (changed == marked)
		return true;
	if (get_rel_relispartition(marked) &&
		list_member_oid(get_partition_ancestors(marked), changed))
		return true;
	if (get_rel_relispartition(changed) &&
		list_member_oid(get_partition_ancestors(changed), marked))
		return true;

	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(marked));
	if (!HeapTupleIsValid(tup))
		return false;
	type = ((Form_pg_class) GETSTRUCT(tup))->reloftype;
	ReleaseSysCache(tup);
	return OidIsValid(type) && type == get_rel_type_id(changed);
}

static void
refuse_change(const CaptureRow *mark, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this change would break the capture of table \"%s\" into "
					"queue \"%s\"",
					capture_table_name(mark->relid), mark->queue),
			 errdetail("%s", why),
			 errhint("Call pgq.uncapture_table() first, and "
					 "pgq.capture_table() again afterwards.")));
}

static void
refuse_retyping(const CaptureRow *mark, List *needed, List *retyped)
{
	ListCell *lc;
	ListCell *lc2;

	foreach(lc, retyped)
		foreach(lc2, needed)
			if (strcmp(lfirst(lc), lfirst(lc2)) == 0)
				refuse_change(mark, psprintf("The capture needs column \"%s\" "
											 "with the type that it had.",
											 (char *) lfirst(lc)));
}

/* Capitals and a full stop, since a problem's message becomes a detail. */
static char *
as_sentence(const char *message)
{
	char *sentence = psprintf("%s.", message);

	sentence[0] = pg_toupper((unsigned char) sentence[0]);
	return sentence;
}

/* Refuse what the marked table can't be captured with any more. */
static void
check_mark(const CaptureRow *mark, List *retyped)
{
	EventArgs *args = event_args_parse(mark->args);
	Relation rel = table_open(mark->relid, AccessShareLock);
	CaptureProblem *problem = capture_check_table(rel, args);

	if (problem == NULL)
		problem = capture_check_expressions(rel, args);
	if (problem != NULL)
		refuse_change(mark, as_sentence(problem->message));
	refuse_retyping(mark, capture_needed_columns(rel, args), retyped);
	table_close(rel, NoLock);
}

static void
check_marks(List *marks, List *tables)
{
	ListCell *lc;
	ListCell *lc2;
	bool concerned = false;

	foreach(lc, marks)
	{
		CaptureRow *mark = lfirst(lc);

		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mark->relid)))
			continue;
		foreach(lc2, tables)
		{
			ChangedTable *table = lfirst(lc2);

			if (!concerns(table->relid, mark->relid))
				continue;
			check_mark(mark, table->retyped);
			concerned = true;
		}
	}

	/* names and columns of events may be others now, those of leaves too */
	if (concerned)
		capture_invalidate();
}

/*
 * pgq._capture_ddl() returns event_trigger: on ddl_command_end.
 */
Datum
pgq__capture_ddl(PG_FUNCTION_ARGS)
{
	List *marks;
	List *tables = NIL;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pgq._capture_ddl() must be called as event trigger")));

	marks = capture_marks_read();
	if (marks == NIL)
		PG_RETURN_NULL();

	run_query(commands_query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid classid = DatumGetObjectId(field(i, 1));

		if (classid == RelationRelationId)
			tables = add_changed(
				tables, DatumGetObjectId(field(i, 2)),
				(CollectedCommand *) DatumGetPointer(field(i, 3)));
		else if (classid == NamespaceRelationId)
			capture_invalidate();
	}
	check_marks(marks, tables);
	SPI_finish();
	PG_RETURN_NULL();
}

/* Whether old rows of a table, or of a partition of it, go by an index. */
static bool
has_index_identity(Oid relid)
{
	ListCell *lc;

	foreach(lc, capture_tree_of(relid, AccessShareLock))
	{
		Relation rel = table_open(lfirst_oid(lc), NoLock);
		bool by_index;

		by_index = rel->rd_rel->relreplident == REPLICA_IDENTITY_INDEX;
		table_close(rel, NoLock);
		if (by_index)
			return true;
	}
	return false;
}

/*
 * An index is gone and nobody says of which table: look at the marks of all
 * tables that could have had it as their identity.
 */
static List *
add_index_identities(List *tables, List *marks)
{
	ListCell *lc;

	foreach(lc, marks)
	{
		CaptureRow *mark = lfirst(lc);

		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mark->relid)) &&
			has_index_identity(mark->relid))
			tables = add_changed(tables, mark->relid, NULL);
	}
	return tables;
}

static bool
is_marked(List *marks, Oid relid)
{
	ListCell *lc;

	foreach(lc, marks)
		if (((CaptureRow *) lfirst(lc))->relid == relid)
			return true;
	return false;
}

/*
 * pgq._capture_drop() returns event_trigger: on sql_drop.
 */
Datum
pgq__capture_drop(PG_FUNCTION_ARGS)
{
	List *marks;
	List *tables = NIL;
	bool index_dropped = false;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pgq._capture_drop() must be called as event trigger")));

	marks = capture_marks_read();
	if (marks == NIL)
		PG_RETURN_NULL();

	run_query(dropped_query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid relid = DatumGetObjectId(field(i, 2));

		if (DatumGetObjectId(field(i, 1)) != RelationRelationId)
			continue;
		if (DatumGetInt32(field(i, 3)) != 0)
			tables = add_changed(tables, relid, NULL);
		else if (is_marked(marks, relid))
			(void) capture_mark_delete(relid, NULL);
		else if (strcmp(TextDatumGetCString(field(i, 4)), "index") == 0)
			index_dropped = true;
	}

	if (index_dropped)
		tables = add_index_identities(tables, marks);
	check_marks(marks, tables);
	SPI_finish();
	PG_RETURN_NULL();
}

/* Refuse to drop an index that names the rows of a captured table. */
static void
check_index(List *marks, Oid index)
{
	Oid table = IndexGetRelation(index, true);
	ListCell *lc;

	if (!OidIsValid(table) || !get_index_isreplident(index))
		return;
	foreach(lc, marks)
	{
		CaptureRow *mark = lfirst(lc);

		if (concerns(table, mark->relid) &&
			(event_args_parse(mark->args)->ops & EVENT_OPS_KEYED) != 0)
			refuse_change(mark, psprintf("Index \"%s\" is the replica identity "
										 "of table \"%s\".",
										 get_rel_name(index),
										 capture_table_name(table)));
	}
}

/*
 * pgq._capture_drop_index() returns event_trigger: on ddl_command_start.
 *
 * The name of the index is looked up as the command will do it, so this
 * function has no search_path of its own; it runs no SQL.
 */
Datum
pgq__capture_drop_index(PG_FUNCTION_ARGS)
{
	List *marks;
	DropStmt *drop;
	ListCell *lc;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pgq._capture_drop_index() must be called as event "
						"trigger")));

	drop = (DropStmt *) ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!IsA(drop, DropStmt) || !drop->concurrent)
		PG_RETURN_NULL();
	marks = capture_marks_read();
	foreach(lc, drop->objects)
	{
		RangeVar *name = makeRangeVarFromNameList(lfirst_node(List, lc));
		Oid index = RangeVarGetRelid(name, NoLock, true);

		if (OidIsValid(index) && get_rel_relkind(index) == RELKIND_INDEX)
			check_index(marks, index);
	}
	PG_RETURN_NULL();
}
