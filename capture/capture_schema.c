/*-------------------------------------------------------------------------
 *
 * capture_schema.c
 *		Rules that capture the tables of a schema, those made later too.
 *
 * A rule only says what to do when a table is made: each table has a mark of
 * its own, and that is what counts.  Here are the rights to set a rule, the
 * writing of pgq.capture_schema, on which nobody has grants, and what rules do to
 * tables; sql/capture_schema.sql has the rest.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "event/compat.h"
#include "capture/capture.h"
#include "queue/own.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq__capture_schema_set);
PG_FUNCTION_INFO_V1(pgq__capture_schema_unset);
PG_FUNCTION_INFO_V1(pgq__capture_schema_tables);

/*
 * Raise an error unless the current user owns the schema and may capture.  Returns
 * its oid.
 */
static Oid
require_schema_rights(Name schema)
{
	Oid oid = get_namespace_oid(NameStr(*schema), false);

	if (oid == get_namespace_oid("pgq", true) || IsCatalogNamespace(oid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("schema \"%s\" cannot be captured", NameStr(*schema)),
				 errhint("Capture schemas with tables of your own.")));
	if (!IS_SCHEMA_OWNER(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_SCHEMA, NameStr(*schema));
	capture_require_writer(psprintf("schema \"%s\"", NameStr(*schema)));
	return oid;
}

/* Open the rules of a schema, for one queue or, if queue is NULL, for all. */
static void
open_rules(OwnScan *scan, Name schema, text *queue, LOCKMODE lockmode)
{
	own_open(scan, OWN_CAPTURE_SCHEMA, lockmode);
	own_match(scan, RULE_SCHEMA, NameGetDatum(schema));
	if (queue)
		own_match(scan, RULE_QUEUE, PointerGetDatum(queue));
	own_begin(scan, OWN_CAPTURE_SCHEMA_PKEY, NULL);
}

/*
 * Open the rules to change one of a schema for a queue.  The schema is locked: that waits for
 * those who make tables in it now, and makes those wait who come later.  Each sees
 * the rule, or is seen by the caller; other schemas are not touched.
 */
static void
open_rule(OwnScan *scan, Name schema, text *queue)
{
	Oid oid = require_schema_rights(schema);

	capture_lock_schema(oid);
	/* it may have got another name or owner while we waited */
	if (require_schema_rights(schema) != oid)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("schema \"%s\" was made anew meanwhile",
						NameStr(*schema)),
				 errhint("Try again.")));
	open_rules(scan, schema, queue, RowExclusiveLock);
}

/*
 * pgq._capture_schema_set(i_queue text, i_schema name, i_args text[]) returns int
 *
 * Write a rule.  Returns 1 if it is new, 0 if it replaces one.
 */
Datum
pgq__capture_schema_set(PG_FUNCTION_ARGS)
{
	text *queue = PG_GETARG_TEXT_PP(0);
	Name schema = PG_GETARG_NAME(1);
	ArrayType *args = PG_GETARG_ARRAYTYPE_P(2);
	OwnScan scan;
	bool is_new;

	PreventCommandIfReadOnly("pgq.capture_schema()");
	(void) require_schema_rights(schema);
	(void) event_args_parse(args);
	capture_require_size(text_to_cstring(queue), args);
	capture_require_queue(text_to_cstring(queue));

	open_rule(&scan, schema, queue);
	(void) own_next(&scan);
	own_put(&scan, RULE_SCHEMA, NameGetDatum(schema));
	own_put(&scan, RULE_QUEUE, PointerGetDatum(queue));
	own_put(&scan, RULE_ARGS, PointerGetDatum(args));
	is_new = own_write(&scan);
	own_close(&scan);
	PG_RETURN_INT32(is_new ? 1 : 0);
}

/*
 * pgq._capture_schema_unset(i_queue text, i_schema name) returns int
 *
 * Delete a rule.  Returns 1, or 0 if there was none.
 */
Datum
pgq__capture_schema_unset(PG_FUNCTION_ARGS)
{
	text *queue = PG_GETARG_TEXT_PP(0);
	Name schema = PG_GETARG_NAME(1);
	OwnScan scan;
	int n = 0;

	PreventCommandIfReadOnly("pgq.uncapture_schema()");
	open_rule(&scan, schema, queue);
	if (own_next(&scan))
		n = own_delete(&scan);
	own_close(&scan);
	PG_RETURN_INT32(n);
}

/*
 * Whether rules are about such a relation: partitions belong to their parent, and
 * what is not logged has no changes in the WAL.
 */
static bool
is_of_rules(Form_pg_class class)
{
	return (class->relkind == RELKIND_RELATION ||
			class->relkind == RELKIND_PARTITIONED_TABLE) &&
		   class->relpersistence == RELPERSISTENCE_PERMANENT &&
		   !class->relispartition;
}

/* A table that has come into a schema, as pg_class has it. */
typedef struct ArrivedTable
{
	Oid relid;
	Oid owner;
	char *name; /* for messages */
	CaptureArrival arrival;
} ArrivedTable;

/* Capture it by one rule, or refuse it. */
static void
apply_rule(const ArrivedTable *table, const char *queue, ArrayType *array)
{
	EventArgs *args = event_args_parse(array);
	Oid writer = get_role_oid("pgq_writer", true);
	Relation rel;
	CaptureProblem *problem;

	if (table->arrival == CAPTURE_TABLE_FILLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table %s of a captured schema cannot be made and "
						"filled at once",
						table->name),
				 errdetail("Its first rows would be missing in the queue."),
				 errhint("Use CREATE TABLE, then INSERT ... SELECT.")));
	if (!OidIsValid(writer) || !has_privs_of_role(table->owner, writer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s of a captured schema needs an owner who may "
						"write to queues",
						table->name),
				 errhint("Run \"GRANT pgq_writer TO %s\", or call "
						 "pgq.uncapture_schema().",
						 quote_identifier(
							 GetUserNameFromId(table->owner, false)))));

	capture_refuse_written(table->relid, false);
	/* a partitioned table is moved while its partitions are written */
	capture_lock_tree(table->relid, ShareRowExclusiveLock);
	rel = table_open(table->relid, NoLock);
	problem = capture_check_table(rel, args);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s of a captured schema cannot be captured",
						table->name),
				 errdetail("%s", problem->message),
				 table->arrival == CAPTURE_TABLE_MOVED
					 ? errhint("Give the table a primary key before it is moved.")
					 : errhint("Give the table a primary key when it is made, or "
							   "make it elsewhere.")));
	table_close(rel, NoLock);
	(void) capture_mark_write(table->relid, queue, array, 0);
}

/*
 * Set the marks of a table that was made in a captured schema, or moved there;
 * nothing for other tables.  Raises an error if it cannot be captured, its
 * owner may not, or this transaction has written it.
 *
 * Who brings a table into a schema has a lock on that: no rule is changing.
 */
void
capture_schema_arrived(Oid relid, CaptureArrival arrival)
{
	HeapTuple class_tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class class;
	ArrivedTable table = {relid, InvalidOid, NULL, arrival};
	Oid schema = InvalidOid;
	NameData schema_name;
	OwnScan scan;

	if (!HeapTupleIsValid(class_tup))
		return;
	class = (Form_pg_class) GETSTRUCT(class_tup);
	if (is_of_rules(class))
		schema = class->relnamespace;
	table.owner = class->relowner;
	ReleaseSysCache(class_tup);
	if (!OidIsValid(schema) || schema == get_namespace_oid("pgq", true))
		return;

	table.name = capture_table_name(relid);
	namestrcpy(&schema_name, get_namespace_name(schema));
	open_rules(&scan, &schema_name, NULL, AccessShareLock);
	while (own_next(&scan))
	{
		char *queue = TextDatumGetCString(scan.values[RULE_QUEUE]);

		if (capture_mark_find(relid, queue) == NULL)
			apply_rule(&table, queue,
					   DatumGetArrayTypePCopy(scan.values[RULE_ARGS]));
	}
	own_close(&scan);
}

/* Give the rules of a schema another name of it, or delete them for NULL. */
static void
change_rules(const char *schema, const char *now)
{
	NameData before;
	NameData after;
	OwnScan scan;

	namestrcpy(&before, schema);
	if (now != NULL)
		namestrcpy(&after, now);
	open_rules(&scan, &before, NULL, AccessShareLock);
	while (own_next(&scan))
	{
		LockRelationOid(RelationGetRelid(scan.rel), RowExclusiveLock);
		(void) own_delete(&scan);
		if (now == NULL)
			continue;
		scan.tup = NULL;
		own_put(&scan, RULE_SCHEMA, NameGetDatum(&after));
		(void) own_write(&scan);
	}
	own_close(&scan);
}

/*
 * Let the rules of a schema follow its new name.  Waits for who is just changing
 * them.
 */
void
capture_schema_renamed(Oid schema, const char *from, const char *to)
{
	LockDatabaseObject(NamespaceRelationId, schema, 0, AccessShareLock);
	change_rules(from, to);
}

/*
 * Delete the rules of a schema that was dropped.
 */
void
capture_schema_dropped(const char *schema)
{
	if (OidIsValid(get_namespace_oid("pgq", true)))
		change_rules(schema, NULL);
}

/*
 * pgq._capture_schema_tables(i_schema name) returns setof regclass
 *
 * The tables that a rule is about, as they are now, whatever the isolation level
 * says.
 */
Datum
pgq__capture_schema_tables(PG_FUNCTION_ARGS)
{
	Oid schema = get_namespace_oid(NameStr(*PG_GETARG_NAME(0)), false);
	Relation rel = table_open(RelationRelationId, AccessShareLock);
	TableResult result;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tup;

	table_begin_result(fcinfo, &result);
	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tup);
		Datum value = ObjectIdGetDatum(class->oid);
		bool isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (is_of_rules(class))
			tuplestore_putvalues(result.store, result.tupdesc, &value, &isnull);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}
