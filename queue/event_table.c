/*-------------------------------------------------------------------------
 *
 * event_table.c
 *		Whether a table can take events.
 *
 * Events are put into their tables without a plan, many at a time, and by
 * pgqd for all queues of a database at once.  So what people add to an event table
 * must need nothing of the writer: columns that may be NULL, and indexes.
 * Anything else is refused when the table is altered; tables that have it all the
 * same take no events, whoever writes them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "event/compat.h"
#include "queue/event_table.h"

/* Why a column that is not PgQ's can't stay NULL, or NULL if it can. */
static char *
added_column_problem(Relation rel, Form_pg_attribute att)
{
	char *name = NameStr(att->attname);

	if (att->attnotnull)
		return psprintf("Column \"%s\" must not be NULL.", name);
	if (DOMAIN_HAS_CONSTRAINTS(att->atttypid))
		return psprintf("The domain of column \"%s\" has constraints.", name);
	if (att->attgenerated != '\0')
		return psprintf("Column \"%s\" is generated.", name);
	if (build_column_default(rel, att->attnum) != NULL)
		return psprintf("Column \"%s\" has a default.", name);
	return NULL;
}

/* Why a table has not the columns of events in front, or NULL if it has. */
static char *
columns_problem(TupleDesc desc)
{
	static const Oid types[EVENT_NCOLUMNS] = {
		INT8OID, TIMESTAMPTZOID, INT8OID, INT4OID, INT4OID, TEXTOID,
		TEXTOID, TEXTOID,        TEXTOID, TEXTOID, TEXTOID};

	for (int i = 0; i < EVENT_NCOLUMNS; i++)
		if (i >= desc->natts || TupleDescAttr(desc, i)->atttypid != types[i])
			return psprintf("Column %d is not that of events.", i + 1);
	return NULL;
}

/* Why a table can take no events, a sentence; NULL if it can. */
static char *
find_problem(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	char *problem = columns_problem(desc);

	for (int i = EV_TXID + 1; i < desc->natts && problem == NULL; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (i >= EVENT_NCOLUMNS && !att->attisdropped)
			problem = added_column_problem(rel, att);
		else if (att->attnotnull)
			problem = psprintf("Column \"%s\" must not be NULL.",
							   NameStr(att->attname));
	}
	if (problem != NULL)
		return problem;

	if (desc->constr != NULL && desc->constr->num_check > 0)
		return psprintf("It has the constraint \"%s\".",
						desc->constr->check[0].ccname);
	if (RelationGetFKeyList(rel) != NIL)
		return "It has a foreign key.";
	return NULL;
}

static void
refuse(Relation rel, const char *message, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg(message, RelationGetRelationName(rel)),
			 errdetail("%s", problem),
			 errhint("PgQ fills its own columns only. An event table may have "
					 "more columns behind them that may be NULL and have no "
					 "default, and indexes; ev_extra1 to ev_extra4 take further "
					 "data.")));
}

/*
 * Raise 42809 unless "rel" has the columns of an event table, perhaps with more
 * behind them.
 */
void
event_table_require_columns(Relation rel)
{
	char *problem = columns_problem(RelationGetDescr(rel));

	if (problem != NULL)
		refuse(rel, "\"%s\" is not an event table", problem);
}

/*
 * Raise 42809 unless "rel", which is locked, can take events.
 */
void
event_table_require(Relation rel)
{
	char *problem = find_problem(rel);

	if (problem != NULL)
		refuse(rel, "\"%s\" is not an event table", problem);
}

/*
 * Raise 42809 if a relation is an event table, or a parent of some, and can take
 * no events any more.  The command that has changed it holds a lock on it.
 */
void
event_table_check_change(Oid relid)
{
	Oid schema = get_namespace_oid("pgq", true);
	Oid template;
	Relation rel;
	char *problem;

	if (!OidIsValid(schema) || get_rel_namespace(relid) != schema ||
		get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	template = get_relname_relid("event_template", schema);
	if (!OidIsValid(template) ||
		(relid != template &&
		 !typeInheritsFrom(get_rel_type_id(relid), get_rel_type_id(template))))
		return;
	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return;
	problem = find_problem(rel);
	if (problem != NULL)
		refuse(rel, "this change would make \"%s\" unfit for events", problem);
	RelationClose(rel);
}
