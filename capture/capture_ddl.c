/*-------------------------------------------------------------------------
 *
 * capture_ddl.c
 *		Event triggers: which captured tables a command concerns.
 *
 * pgq._capture_ddl runs at the end of commands that make or alter tables.  It
 * looks at the marks that the command could have touched: of the table, of its
 * ancestors and of its partitions; for a type, of the tables that were made of
 * it; capture_change.c decides what becomes of them.  Before that
 * the arguments of marks follow a column that was renamed; older WAL is
 * decoded with the older version of the mark.  Tables that come into a captured
 * schema get their marks; event tables must stay fit for events.
 * pgq._capture_drop removes the marks of dropped tables, and the rules of dropped
 * schemas.
 * pgq._capture_drop_index comes before DROP INDEX CONCURRENTLY, which can't be
 * undone at its end.
 *
 * They run for everybody's commands.  So they look marks up by the table's oid,
 * lock nothing that the command has not locked, and cost the same however many
 * tables are captured.  They run with the rights of whoever runs the command, and
 * read and write marks directly.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "capture/capture.h"
#include "queue/event_table.h"

PG_FUNCTION_INFO_V1(pgq__capture_ddl);
PG_FUNCTION_INFO_V1(pgq__capture_drop);
PG_FUNCTION_INFO_V1(pgq__capture_drop_index);

/* What a command did to columns of a table. */
typedef struct ColumnChanges
{
	List *retyped;             /* got another type, char * */
	const char *renamed, *now; /* got another name, or NULL */
} ColumnChanges;

static const char commands_query[] =
	"select c.classid, c.objid, c.command"
	" from pg_catalog.pg_event_trigger_ddl_commands() c";

static const char dropped_query[] =
	"select d.classid, d.objid, d.objsubid, d.object_type, d.object_name"
	" from pg_catalog.pg_event_trigger_dropped_objects() d"
	" where not d.is_temporary";

/*
 * Run a query, in the memory context of SPI from then on.  Its plan is kept for
 * the session in *plan.
 */
static void
run_query(SPIPlanPtr *plan, const char *query)
{
	int rc;

	SPI_connect();
	if (*plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(query, 0, NULL);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "SPI_prepare returned %d", SPI_result);
		*plan = made;
	}
	rc = SPI_execute_plan(*plan, NULL, NULL, true, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan returned %d", rc);
}

static Datum
field(uint64 row, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
								column, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* What a collected command did to columns. */
static void
note_columns(ColumnChanges *changes, const CollectedCommand *command)
{
	RenameStmt *rename = (RenameStmt *) command->parsetree;
	ListCell *lc;

	if (command->type == SCT_Simple && IsA(rename, RenameStmt) &&
		(rename->renameType == OBJECT_COLUMN ||
		 rename->renameType == OBJECT_ATTRIBUTE))
	{
		changes->renamed = rename->subname;
		changes->now = rename->newname;
	}
	if (command->type == SCT_AlterTable)
		foreach(lc, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *sub = lfirst(lc);
			AlterTableCmd *alter = (AlterTableCmd *) sub->parsetree;

			if (IsA(alter, AlterTableCmd) &&
				alter->subtype == AT_AlterColumnType)
				changes->retyped = lappend(changes->retyped, alter->name);
		}
}

/* The tables made of a composite type, and what inherits from them. */
static List *
tables_of_type(Oid type_relid)
{
	List *tables = NIL;
	Oid type = get_rel_type_id(type_relid);
	Relation rel = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tup;

	/* the catalogue has no index for it, but types are seldom altered */
	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(type));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (OidIsValid(type) && HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Oid relid = ((Form_pg_class) GETSTRUCT(tup))->oid;

		CHECK_FOR_INTERRUPTS();
		tables = list_concat_unique_oid(
			tables, find_all_inheritors(relid, NoLock, NULL));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tables;
}

/* Those of a list of tables that this transaction has locked. */
static List *
locked_of(List *tables)
{
	List *locked = NIL;
	ListCell *lc;

	foreach(lc, tables)
		if (capture_holds_lock(lfirst_oid(lc)))
			locked = lappend_oid(locked, lfirst_oid(lc));
	return locked;
}

/*
 * The tables whose columns a change of this relation has reached: itself, its
 * partitions and what inherits from it; of a type, the tables made of it,
 * likewise.
 */
static List *
reached_tables(Oid relid)
{
	switch (get_rel_relkind(relid))
	{
		case RELKIND_COMPOSITE_TYPE:
			return locked_of(tables_of_type(relid));
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			if (has_subclass(relid))
				return locked_of(find_all_inheritors(relid, NoLock, NULL));
			return list_make1_oid(relid);
		default:
			return NIL;
	}
}

/*
 * Look at the marks of a table that a command has reached.  Returns whether there
 * are any.
 */
static bool
check_reached(Oid relid, const ColumnChanges *changes)
{
	List *marks = capture_marks_of(relid);
	List *leaves = marks == NIL ? NIL
								: locked_of(capture_tree_of(relid, NoLock));
	ListCell *lc;

	foreach(lc, marks)
	{
		if (changes->renamed != NULL)
			capture_change_rename(lfirst(lc), changes->renamed, changes->now);
		capture_change_check(lfirst(lc), leaves, true, changes->retyped);
	}
	return marks != NIL;
}

/* The same for the marks of the tables that this one is a partition of. */
static bool
check_ancestors(Oid relid)
{
	bool concerned = false;
	List *leaves;
	ListCell *lc;
	ListCell *lc2;

	if (!get_rel_relispartition(relid))
		return false;
	leaves = locked_of(capture_tree_of(relid, NoLock));
	foreach(lc, get_partition_ancestors(relid))
		foreach(lc2, capture_marks_of(lfirst_oid(lc)))
		{
			capture_change_check(lfirst(lc2), leaves, false, NIL);
			concerned = true;
		}
	return concerned;
}

/* Look at all marks that a change of a table concerns; command may be NULL. */
static void
check_changed(Oid relid, const CollectedCommand *command)
{
	ColumnChanges changes = {NIL, NULL, NULL};
	bool concerned = false;
	ListCell *lc;

	if (command != NULL)
		note_columns(&changes, command);
	foreach(lc, reached_tables(relid))
		concerned |= check_reached(lfirst_oid(lc), &changes);
	concerned |= check_ancestors(relid);

	/* names and columns of events may be others now, those of leaves too */
	if (concerned)
		capture_invalidate();
}

/* Capture a table that has come into a captured schema. */
static void
check_arrival(Oid relid, const CollectedCommand *command)
{
	Node *statement = command->parsetree;

	if (command->type != SCT_Simple || statement == NULL)
		return;
	if (IsA(statement, CreateStmt))
		capture_schema_arrived(relid, CAPTURE_TABLE_MADE);
	else if (IsA(statement, CreateTableAsStmt))
		capture_schema_arrived(relid, CAPTURE_TABLE_FILLED);
	else if (IsA(statement, AlterObjectSchemaStmt))
		capture_schema_arrived(relid, CAPTURE_TABLE_MOVED);
}

static void
check_schema(Oid schema, const CollectedCommand *command)
{
	RenameStmt *rename = (RenameStmt *) command->parsetree;

	if (command->type != SCT_Simple || !IsA(rename, RenameStmt))
		return;
	capture_schema_renamed(schema, rename->subname, rename->newname);
	capture_invalidate();
}

static void
require_event_trigger(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s must be called as event trigger", function)));
}

/*
 * pgq._capture_ddl() returns event_trigger: on ddl_command_end.
 */
Datum
pgq__capture_ddl(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;

	require_event_trigger(fcinfo, "pgq._capture_ddl()");
	run_query(&plan, commands_query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid classid = DatumGetObjectId(field(i, 1));
		Oid objid = DatumGetObjectId(field(i, 2));
		CollectedCommand *command = (CollectedCommand *) DatumGetPointer(
			field(i, 3));

		CHECK_FOR_INTERRUPTS();
		if (classid == RelationRelationId)
		{
			check_changed(objid, command);
			check_arrival(objid, command);
			if (command->type == SCT_AlterTable)
				event_table_check_change(objid);
		}
		else if (classid == NamespaceRelationId)
			check_schema(objid, command);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * The table of an index that this command has dropped, InvalidOid if that can't be
 * told: the catalogue's row is still there, deleted by this transaction.
 */
static Oid
table_of_dropped(Oid index)
{
	Relation rel = table_open(IndexRelationId, AccessShareLock);
	Oid table = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tup;

	ScanKeyInit(&key, Anum_pg_index_indexrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(index));
	scan = systable_beginscan(rel, IndexRelidIndexId, true, SnapshotAny, 1,
							  &key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		if (TransactionIdIsCurrentTransactionId(
				HeapTupleHeaderGetUpdateXid(tup->t_data)))
			table = ((Form_pg_index) GETSTRUCT(tup))->indrelid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return table;
}

/* Something of pg_class was dropped. */
static void
relation_dropped(Oid relid, int column, const char *type)
{
	if (column != 0)
		check_changed(relid, NULL);
	else if (strcmp(type, "index") == 0)
		check_changed(table_of_dropped(relid), NULL);
	else if (strcmp(type, "table") == 0 && capture_marks_of(relid) != NIL)
		(void) capture_mark_delete(relid, NULL);
}

/*
 * pgq._capture_drop() returns event_trigger: on sql_drop.
 */
Datum
pgq__capture_drop(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;

	require_event_trigger(fcinfo, "pgq._capture_drop()");
	run_query(&plan, dropped_query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid classid = DatumGetObjectId(field(i, 1));

		CHECK_FOR_INTERRUPTS();
		if (classid == RelationRelationId)
			relation_dropped(DatumGetObjectId(field(i, 2)),
							 DatumGetInt32(field(i, 3)),
							 TextDatumGetCString(field(i, 4)));
		else if (classid == NamespaceRelationId)
			capture_schema_dropped(TextDatumGetCString(field(i, 5)));
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * Whether the command will be allowed; if not, nobody else's table is to be
 * locked for it.
 */
static bool
may_drop(Oid index)
{
	return IS_TABLE_OWNER(index, GetUserId()) ||
		   IS_SCHEMA_OWNER(get_rel_namespace(index), GetUserId());
}

/* Refuse to drop an index if the table's mark, or one above, needs its key. */
static void
refuse_index(Oid index, Oid table, List *marks)
{
	ListCell *lc;

	foreach(lc, marks)
	{
		CaptureRow *mark = lfirst(lc);

		if ((event_args_parse(mark->args)->ops & EVENT_OPS_KEYED) == 0)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this change would break the capture of table \"%s\" "
						"into queue \"%s\"",
						capture_table_name(mark->relid), mark->queue),
				 errdetail("Index \"%s\" is the replica identity of table "
						   "\"%s\".",
						   get_rel_name(index), capture_table_name(table)),
				 errhint("Run \"ALTER TABLE %s REPLICA IDENTITY FULL\", or name "
						 "another index over the key with REPLICA IDENTITY USING "
						 "INDEX, then drop this one.",
						 capture_table_name(table))));
	}
}

/*
 * Refuse to drop an index that names the rows of a captured table.
 *
 * With the lock that the command will take, too: it waits for a capture that is
 * just beginning, and makes later ones wait until the index is gone.
 */
static void
check_index(Oid index)
{
	Oid table = IndexGetRelation(index, true);
	ListCell *lc;

	if (!OidIsValid(table) || !may_drop(index))
		return;
	LockRelationOid(table, ShareUpdateExclusiveLock);
	if (!get_index_isreplident(index))
		return;
	refuse_index(index, table, capture_marks_of(table));
	if (get_rel_relispartition(table))
		foreach(lc, get_partition_ancestors(table))
			refuse_index(index, table, capture_marks_of(lfirst_oid(lc)));
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
	DropStmt *drop;
	ListCell *lc;

	require_event_trigger(fcinfo, "pgq._capture_drop_index()");
	drop = (DropStmt *) ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!IsA(drop, DropStmt) || !drop->concurrent)
		PG_RETURN_NULL();
	foreach(lc, drop->objects)
	{
		RangeVar *name = makeRangeVarFromNameList(lfirst_node(List, lc));
		Oid index = RangeVarGetRelid(name, NoLock, true);

		if (OidIsValid(index) && get_rel_relkind(index) == RELKIND_INDEX)
			check_index(index);
	}
	PG_RETURN_NULL();
}
