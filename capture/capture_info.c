/*-------------------------------------------------------------------------
 *
 * capture_info.c
 *		What get_capture_info tells of a mark: its problem, and what a reader
 *		of the events should know.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "event/guard.h"
#include "event/relation.h"
#include "capture/capture.h"

PG_FUNCTION_INFO_V1(pgq__capture_problem);
PG_FUNCTION_INFO_V1(pgq__capture_warnings);

/* NULL if the table was dropped meanwhile. */
static Relation
open_table(Oid relid)
{
	LockRelationOid(relid, AccessShareLock);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
	{
		UnlockRelationOid(relid, AccessShareLock);
		return NULL;
	}
	return table_open(relid, NoLock);
}

/* What is asked of a mark, and the answer. */
typedef struct InfoCall
{
	Oid relid;
	ArrayType *args;
	CaptureProblem *problem;
	ArrayBuildState *warnings;
} InfoCall;

static void
find_problem(void *arg)
{
	InfoCall *call = arg;
	EventArgs *args = event_args_parse(call->args);
	Relation rel = open_table(call->relid);

	if (rel == NULL)
	{
		call->problem = capture_check_kind(call->relid);
		return;
	}
	call->problem = capture_check_table(rel, args);
	table_close(rel, AccessShareLock);
}

/*
 * pgq._capture_problem(i_table regclass, i_args text[]) returns text
 *
 * Why the table cannot be captured with these arguments as it is now, or NULL.
 */
Datum
pgq__capture_problem(PG_FUNCTION_ARGS)
{
	InfoCall call = {PG_GETARG_OID(0), PG_GETARG_ARRAYTYPE_P(1), NULL, NULL};
	ErrorData *error = guard_run(find_problem, &call);

	/* who cannot look does not know */
	if (error != NULL && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	if (error != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(guard_reason(error)));
	if (call.problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(call.problem->message));
}

/* Whether a value may be left out of an event. */
static bool
is_toastable(Form_pg_attribute att)
{
	return att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN &&
		   !event_relation_is_virtual(att);
}

/* The columns of the data that are so, or NULL if there are none. */
static char *
list_columns(Relation rel, const EventArgs *args,
			 bool (*is_so)(Form_pg_attribute att))
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char *name = NameStr(att->attname);

		if (att->attisdropped || !is_so(att) ||
			event_args_has_name(args->ignore, name) ||
			(args->columns != NIL && !event_args_has_name(args->columns, name)))
			continue;
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", name);
	}
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * Whether an update can leave values out of the WAL: some leaf has a TOAST
 * table, and not identity FULL.
 */
static bool
can_lack_values(Oid relid)
{
	ListCell *lc;
	bool lacks = false;

	foreach(lc, capture_tree_of(relid, AccessShareLock))
	{
		Relation rel = table_open(lfirst_oid(lc), NoLock);

		lacks |= OidIsValid(rel->rd_rel->reltoastrelid) &&
				 rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL;
		table_close(rel, AccessShareLock);
	}
	return lacks;
}

static ArrayBuildState *
add_warning(ArrayBuildState *warnings, const char *text)
{
	return accumArrayResult(warnings, CStringGetTextDatum(text), false, TEXTOID,
							CurrentMemoryContext);
}

static void
find_warnings(void *arg)
{
	InfoCall *call = arg;
	EventArgs *args = event_args_parse(call->args);
	Relation rel = open_table(call->relid);
	ArrayBuildState *warnings = call->warnings;
	char *columns;

	if (rel == NULL)
		return;
	columns = list_columns(rel, args, is_toastable);
	if (columns && (args->ops & EVENT_OP_UPDATE) != 0 &&
		can_lack_values(call->relid))
		warnings = add_warning(warnings,
							   psprintf("Long values that an UPDATE leaves "
										"alone are not in its event "
										"(columns %s); replica identity "
										"FULL has them.",
										columns));
	columns = list_columns(rel, args, event_relation_is_virtual);
	if (columns)
		warnings = add_warning(warnings,
							   psprintf("Virtual generated columns are not "
										"in the events (%s).",
										columns));
	if (!args->has_pkey && event_relation_primary_key(rel) == NIL)
		warnings = add_warning(warnings,
							   "The table has no primary key: events do not "
							   "name a key.");
	if (rel->rd_rel->relkind == RELKIND_RELATION && has_subclass(call->relid) &&
		find_inheritance_children(call->relid, NoLock) != NIL)
		warnings = add_warning(warnings, "Tables that inherit from it are not "
										 "captured with it.");
	call->warnings = warnings;
	table_close(rel, AccessShareLock);
}

/*
 * pgq._capture_warnings(i_table regclass, i_args text[]) returns text[]
 *
 * What the events of a sound capture lack, one sentence each; of a broken one
 * pgq._capture_problem() tells.
 */
Datum
pgq__capture_warnings(PG_FUNCTION_ARGS)
{
	InfoCall call = {PG_GETARG_OID(0), PG_GETARG_ARRAYTYPE_P(1), NULL, NULL};

	call.warnings = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	(void) guard_run(find_warnings, &call);
	PG_RETURN_DATUM(makeArrayResult(call.warnings, CurrentMemoryContext));
}
