/*-------------------------------------------------------------------------
 *
 * capture_schema.c
 *		Rules that capture the tables of a schema, those made later too.
 *
 * A rule only says what to do when a table is made: each table has a mark of
 * its own, and that is what counts.  Here are the rights to set a rule and the
 * writing of pgq.capture_schema, on which nobody has grants; sql/capture_schema.sql
 * has the rest.
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
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "event/compat.h"
#include "capture/capture.h"
#include "capture/slot.h"

PG_FUNCTION_INFO_V1(pgq__capture_schema_set);
PG_FUNCTION_INFO_V1(pgq__capture_schema_unset);
PG_FUNCTION_INFO_V1(pgq__is_move);
PG_FUNCTION_INFO_V1(pgq__capture_by_rule);

/* Columns of pgq.capture_schema */
#define RULE_SCHEMA 1
#define RULE_QUEUE 2
#define RULE_ARGS 3
#define RULE_NATTS 3

/* Raise an error unless the current user owns the schema and may capture. */
static void
require_schema_rights(Name schema)
{
	Oid oid = get_namespace_oid(NameStr(*schema), false);

	if (oid == get_namespace_oid("pgq", true) || IsCatalogNamespace(oid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("schema \"%s\" can't be captured", NameStr(*schema)),
				 errhint("Capture schemas with tables of your own.")));
	if (!IS_SCHEMA_OWNER(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_SCHEMA, NameStr(*schema));
	capture_require_writer(psprintf("schema \"%s\"", NameStr(*schema)));
}

/*
 * Open the rules.  The lock waits for those who make tables now, and makes
 * those wait who come later: each sees the rule, or is seen by the caller.
 */
static Relation
open_rules(void)
{
	return table_open(slot_table_oid("capture_schema"), ShareRowExclusiveLock);
}

static SysScanDesc
begin_scan(Relation rel, Name schema, text *queue)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], RULE_SCHEMA, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(schema));
	ScanKeyInit(&keys[1], RULE_QUEUE, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(queue));
	for (int i = 0; i < 2; i++)
		keys[i].sk_collation =
			TupleDescAttr(RelationGetDescr(rel), i)->attcollation;
	return systable_beginscan(rel, slot_table_oid("capture_schema_pkey"), true,
							  NULL, 2, keys);
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
	Relation rel;
	SysScanDesc scan;
	HeapTuple old;
	HeapTuple tup;
	bool is_new;
	Datum values[RULE_NATTS];
	bool nulls[RULE_NATTS] = {false, false, false};

	PreventCommandIfReadOnly("pgq.capture_schema()");
	require_schema_rights(schema);
	(void) event_args_parse(args);
	capture_require_size(text_to_cstring(queue), args);
	capture_require_queue(text_to_cstring(queue));

	rel = open_rules();
	scan = begin_scan(rel, schema, queue);
	old = systable_getnext(scan);
	is_new = !HeapTupleIsValid(old);
	values[RULE_SCHEMA - 1] = NameGetDatum(schema);
	values[RULE_QUEUE - 1] = PointerGetDatum(queue);
	values[RULE_ARGS - 1] = PointerGetDatum(args);
	tup = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (is_new)
		CatalogTupleInsert(rel, tup);
	else
		CatalogTupleUpdate(rel, &old->t_self, tup);
	systable_endscan(scan);
	table_close(rel, NoLock);
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
	Relation rel;
	SysScanDesc scan;
	HeapTuple tup;
	int n = 0;

	PreventCommandIfReadOnly("pgq.uncapture_schema()");
	require_schema_rights(schema);
	rel = open_rules();
	scan = begin_scan(rel, schema, queue);
	if (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		CatalogTupleDelete(rel, &tup->t_self);
		n = 1;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	PG_RETURN_INT32(n);
}

/*
 * pgq._is_move(i_command pg_ddl_command) returns bool
 *
 * Whether the command is ALTER ... SET SCHEMA.
 */
Datum
pgq__is_move(PG_FUNCTION_ARGS)
{
	CollectedCommand *command = (CollectedCommand *) PG_GETARG_POINTER(0);

	PG_RETURN_BOOL(command->type == SCT_Simple &&
				   IsA(command->parsetree, AlterObjectSchemaStmt));
}

/*
 * pgq._capture_by_rule(i_queue text, i_table regclass, i_args text[])
 * returns void
 *
 * Set the mark of a table that was made in the schema of a rule, or moved
 * there: for the event trigger, which knows that it may.  Raises an error if
 * this transaction has written the table, or if it can't be captured.
 */
Datum
pgq__capture_by_rule(PG_FUNCTION_ARGS)
{
	char *queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid relid = PG_GETARG_OID(1);
	ArrayType *args = PG_GETARG_ARRAYTYPE_P(2);

	capture_refuse_written(relid);
	/* a partitioned table is moved while its partitions are written */
	capture_lock_tree(relid, ShareRowExclusiveLock);
	capture_require_fit(relid, event_args_parse(args));
	(void) capture_mark_write(relid, queue, args);
	PG_RETURN_VOID();
}
