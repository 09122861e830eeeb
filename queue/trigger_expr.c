/*-------------------------------------------------------------------------
 *
 * trigger_expr.c
 *		Evaluate the SQL expressions in trigger arguments.
 *
 * An expression is planned once, as "select <expression>", with the columns
 * of the row as parameters.  It runs with the rights and the search_path of
 * whoever changes the row, read-only.  Callers are connected to SPI.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"

#include "queue/trigger_expr.h"

/*
 * Prepare nothing but the place for a plan; source is kept.  Memory is of the
 * current context.
 */
TriggerExpr *
trigger_expr_make(char *source)
{
	TriggerExpr *expr = palloc0(sizeof(TriggerExpr));

	expr->source = source;
	return expr;
}

/* Free the plan; expr may be NULL. */
void
trigger_expr_free(TriggerExpr *expr)
{
	if (expr && expr->plan)
	{
		SPI_freeplan(expr->plan);
		expr->plan = NULL;
	}
}

/*
 * The number of the column that a bare name means.  Unquoted names come here
 * in lower case, so without an exact match one that differs in case will do.
 */
static AttrNumber
find_column(TupleDesc desc, const char *name)
{
	AttrNumber similar = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
		if (pg_strcasecmp(NameStr(att->attname), name) == 0)
			similar = att->attnum;
	}
	return similar;
}

/* Parser hook: a bare name of a column is a parameter with its value. */
static Node *
resolve_column(ParseState *pstate, ColumnRef *cref)
{
	TupleDesc desc = pstate->p_ref_hook_state;
	Form_pg_attribute att;
	AttrNumber attnum;
	Param *param;

	if (list_length(cref->fields) != 1 || !IsA(linitial(cref->fields), String))
		return NULL;
	attnum = find_column(desc, strVal(linitial(cref->fields)));
	if (attnum == 0)
		return NULL;
	att = TupleDescAttr(desc, attnum - 1);

	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = attnum;
	param->paramtype = att->atttypid;
	param->paramtypmod = att->atttypmod;
	param->paramcollid = att->attcollation;
	param->location = cref->location;
	return (Node *) param;
}

static void
setup_parser(ParseState *pstate, void *arg)
{
	pstate->p_pre_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = arg;
}

static void
prepare(TriggerExpr *expr, TupleDesc desc)
{
	char *sql = psprintf("select %s", expr->source);
	SPIPlanPtr plan = SPI_prepare_params(sql, setup_parser, desc, 0);

	if (!plan)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	expr->plan = plan;
}

/* Run the expression; its one row is in SPI_tuptable. */
static void
evaluate(TriggerExpr *expr, TupleDesc desc, const EventRow *row)
{
	ParamListInfo params = makeParamList(desc->natts);
	int rc;

	if (!expr->plan)
		prepare(expr, desc);

	/* where the plan is made again, it is by this descriptor */
	params->parserSetup = setup_parser;
	params->parserSetupArg = desc;
	for (int i = 0; i < desc->natts; i++)
	{
		params->params[i].value = row->values[i];
		params->params[i].isnull = row->isnull[i];
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = TupleDescAttr(desc, i)->atttypid;
	}
	rc = SPI_execute_plan_with_paramlist(expr->plan, params, true, 0);
	if (rc != SPI_OK_SELECT || SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("Expect 1 row from override query, got " UINT64_FORMAT,
						SPI_processed),
				 errdetail("The query is: select %s", expr->source)));
}

/*
 * Evaluate a when= condition over a row.  Raises an error if it is NULL or
 * not boolean.
 */
bool
trigger_expr_condition(TriggerExpr *expr, TupleDesc desc, const EventRow *row)
{
	Oid type;
	Datum value;
	bool isnull;

	evaluate(expr, desc, row);
	type = SPI_gettypeid(SPI_tuptable->tupdesc, 1);
	if (type != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("when= query result must be boolean, got=%u", type)));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("when= should not be NULL"),
				 errhint("Use coalesce() in the condition.")));
	return DatumGetBool(value);
}

/*
 * The text of an expression over a row; the memory is SPI's and goes with
 * SPI_finish().
 */
EventField
trigger_expr_text(TriggerExpr *expr, TupleDesc desc, const EventRow *row)
{
	EventField field;

	evaluate(expr, desc, row);
	field.str = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	field.len = field.str ? (int) strlen(field.str) : -1;
	return field;
}
