/*-------------------------------------------------------------------------
 *
 * capture_ddl.c
 *		Event triggers that keep marks true.
 *
 * pgq._capture_ddl runs at the end of commands that alter tables: what would
 * make a captured table impossible to capture is refused there.  It asks the
 * same checks as capture_table, for every mark that the command could have
 * touched: of the table, of its ancestors and of its partitions; for a type, of
 * the tables that were made of it.  Before that
 * the arguments of marks follow a column that was renamed; older WAL is
 * decoded with the older version of the mark.
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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
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
#include "utils/syscache.h"

#include "event/compat.h"
#include "capture/capture.h"

PG_FUNCTION_INFO_V1(pgq__capture_ddl);
PG_FUNCTION_INFO_V1(pgq__capture_drop);
PG_FUNCTION_INFO_V1(pgq__capture_drop_index);

/* A table, or a table's type, that a command changed. */
typedef struct ChangedTable
{
	Oid relid;
	List *descendants;         /* partitions and inheritors, with itself;
								  of a type: the tables made of it, likewise */
	List *retyped;             /* columns that got another type, char * */
	const char *renamed, *now; /* column that got another name, or NULL */
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

/* Note what a collected command did to columns. */
static void
note_columns(ChangedTable *table, const CollectedCommand *command)
{
	RenameStmt *rename = (RenameStmt *) command->parsetree;
	ListCell *lc;

	if (command->type == SCT_Simple && IsA(rename, RenameStmt) &&
		(rename->renameType == OBJECT_COLUMN ||
		 rename->renameType == OBJECT_ATTRIBUTE))
	{
		table->renamed = rename->subname;
		table->now = rename->newname;
	}
	if (command->type == SCT_AlterTable)
		foreach(lc, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *sub = lfirst(lc);
			AlterTableCmd *alter = (AlterTableCmd *) sub->parsetree;

			if (IsA(alter, AlterTableCmd) &&
				alter->subtype == AT_AlterColumnType)
				table->retyped = lappend(table->retyped, alter->name);
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

		tables = list_concat_unique_oid(
			tables, find_all_inheritors(relid, NoLock, NULL));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tables;
}

/* Add the table of a collected command; command may be NULL. */
static List *
add_changed(List *tables, Oid relid, const CollectedCommand *command)
{
	ChangedTable *table = palloc0(sizeof(ChangedTable));

	table->relid = relid;
	if (get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
		table->descendants = tables_of_type(relid);
	else
		table->descendants = find_all_inheritors(relid, NoLock, NULL);
	if (command != NULL)
		note_columns(table, command);
	return lappend(tables, table);
}

/* Whether a change of columns reaches the marked table. */
static bool
reaches_columns(const ChangedTable *table, Oid marked)
{
	return list_member_oid(table->descendants, marked);
}

/*
 * Whether a change of one table concerns another, the marked one: the same,
 * above or below it, or made of the type that was changed, or below one that
 * was.
 */
static bool
concerns(const ChangedTable *table, Oid marked)
{
	return reaches_columns(table, marked) ||
		   (get_rel_relispartition(table->relid) &&
			list_member_oid(get_partition_ancestors(table->relid), marked));
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

/* Write the mark with the new name of a column, if it names that. */
static void
follow_renaming(CaptureRow *mark, const ChangedTable *table)
{
	ArrayType *args;

	if (table->renamed == NULL || !reaches_columns(table, mark->relid))
		return;
	args = event_args_rename_column(mark->args, table->renamed, table->now);
	if (args == NULL)
		return;
	if (VARSIZE(args) + strlen(mark->queue) > CAPTURE_MARK_MAX_SIZE)
		refuse_change(mark, "With this name its arguments are too long.");
	(void) capture_mark_write(mark->relid, mark->queue, args);
	CommandCounterIncrement();
	mark->args = args;
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
			follow_renaming(mark, lfirst(lc2));
		foreach(lc2, tables)
		{
			ChangedTable *table = lfirst(lc2);

			if (!concerns(table, mark->relid))
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

/*
 * Whether old rows of a table, or of a partition of it, go by an index that is
 * not there.
 */
static bool
lacks_identity_index(Oid relid)
{
	ListCell *lc;

	foreach(lc, capture_tree_of(relid, AccessShareLock))
	{
		Relation rel = table_open(lfirst_oid(lc), NoLock);
		bool lacks;

		lacks = rel->rd_rel->relreplident == REPLICA_IDENTITY_INDEX &&
				!OidIsValid(RelationGetReplicaIndex(rel));
		table_close(rel, NoLock);
		if (lacks)
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
			lacks_identity_index(mark->relid))
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
	ChangedTable *changed;
	ListCell *lc;

	if (!OidIsValid(table) || !may_drop(index))
		return;
	LockRelationOid(table, ShareUpdateExclusiveLock);
	if (!get_index_isreplident(index))
		return;
	changed = linitial(add_changed(NIL, table, NULL));
	foreach(lc, capture_marks_read())
	{
		CaptureRow *mark = lfirst(lc);

		if (concerns(changed, mark->relid) &&
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
	foreach(lc, drop->objects)
	{
		RangeVar *name = makeRangeVarFromNameList(lfirst_node(List, lc));
		Oid index = RangeVarGetRelid(name, NoLock, true);

		if (OidIsValid(index) && get_rel_relkind(index) == RELKIND_INDEX)
			check_index(index);
	}
	PG_RETURN_NULL();
}
