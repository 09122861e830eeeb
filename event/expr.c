/*-------------------------------------------------------------------------
 *
 * expr.c
 *		SQL expressions in capture arguments, evaluated while decoding.
 *
 * Nobody's code may run there but the server's own: the session that decodes
 * is not that of the table's owner, and it sees the catalogues as they were.
 * So only built-in immutable functions, operators, types and collations over
 * the columns of the row are allowed, like in a publication's row filter, and
 * what is not is refused when the table is captured.
 *
 * Expressions are parsed with pg_catalog alone in search_path, so that names
 * mean its objects.
 * Nor do other settings of the session change what they mean.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "event/compat.h"
#include "event/event.h"
#include "event/expr.h"

struct EventExpr
{
	ExprState *state;
	ExprContext *econtext;
	TupleTableSlot *slot;
	FmgrInfo output; /* of the result's type */
};

/* What the messages about an expression say of it. */
typedef struct ExprSource
{
	const char *option;
	const char *text;
	TupleDesc desc;
} ExprSource;

static void
refuse(const ExprSource *source, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("capture argument \"%s=%s\" is not supported",
					source->option, source->text),
			 errdetail("%s", detail),
			 errhint("Use only columns of the row, constants, and built-in "
					 "immutable functions, operators, types and collations.")));
}

/* Parser hook: a bare name is a column of the row. */
static Node *
resolve_column(ParseState *pstate, ColumnRef *cref)
{
	const ExprSource *source = pstate->p_ref_hook_state;
	const char *name;

	if (list_length(cref->fields) != 1 || !IsA(linitial(cref->fields), String))
		refuse(source, "A column is named by its bare name.");
	name = strVal(linitial(cref->fields));
	for (int i = 0; i < source->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(source->desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		/* constants beside it would be read as values of its type */
		if (att->atttypid >= FirstNormalObjectId)
			refuse(source, "A type in it is not built in.");
		return (Node *) makeVar(1, att->attnum, att->atttypid, att->atttypmod,
								att->attcollation, 0);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" in capture argument \"%s=%s\" does not exist",
					name, source->option, source->text),
			 errhint("Names with upper-case letters need double quotes.")));
	return NULL; /* keep compiler quiet */
}

/* Has a function or operator a schema that is not the server's own? */
static bool
is_foreign_name(const List *names)
{
	return list_length(names) > 1 &&
		   strcmp(strVal(linitial(names)), "pg_catalog") != 0;
}

/*
 * Refuse the names of what is not built in before the expression is analysed:
 * the analysis itself runs the input functions of types on constants, and with
 * them the checks of domains, as whoever asks.
 */
static bool
check_names(Node *node, void *context)
{
	const ExprSource *source = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		refuse(source, "Subqueries can't run while decoding.");
	if (IsA(node, TypeName))
	{
		Oid type = LookupTypeNameOid(NULL, (TypeName *) node, true);

		if (type >= FirstNormalObjectId)
			refuse(source, get_typtype(type) == TYPTYPE_DOMAIN
							   ? "Casts to domains run the domain's checks."
							   : "A type in it is not built in.");
	}
	if (IsA(node, FuncCall) && is_foreign_name(((FuncCall *) node)->funcname))
		refuse(source, "A function, operator or cast in it is not immutable or "
					   "not built in.");
	if (IsA(node, A_Expr) && is_foreign_name(((A_Expr *) node)->name))
		refuse(source, "An operator in it is not built in.");
	return raw_expression_tree_walker(node, check_names, context);
}

static bool
is_foreign_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId ||
		   func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

static bool
check_node(Node *node, void *context)
{
	const ExprSource *source = context;

	if (node == NULL)
		return false;

	switch (nodeTag(node))
	{
		case T_List:
		case T_Var:
		case T_Const:
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_ArrayExpr:
		case T_ArrayCoerceExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_SubscriptingRef:
		case T_NamedArgExpr:
			break;
		case T_CoerceToDomain:
			refuse(source, "Casts to domains run the domain's checks.");
			break;
		case T_SubLink:
			refuse(source, "Subqueries can't run while decoding.");
			break;
		case T_SQLValueFunction:
			refuse(source, "Its value depends on the session.");
			break;
		default:
			refuse(source, "It has a construct that is not known to be safe.");
	}

	if (IsA(node, List))
		return expression_tree_walker(node, check_node, context);
	if (check_functions_in_node(node, is_foreign_function, NULL))
		refuse(source, "A function, operator or cast in it is not immutable or "
					   "not built in.");
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno >= FirstNormalObjectId)
		refuse(source, "An operator in it is not built in.");
	if (exprType(node) >= FirstNormalObjectId)
		refuse(source, "A type in it is not built in.");
	if (exprCollation(node) >= FirstNormalObjectId ||
		exprInputCollation(node) >= FirstNormalObjectId)
		refuse(source, "A collation in it is not built in.");
	return expression_tree_walker(node, check_node, context);
}

static bool
is_sql_function(Oid function, void *context)
{
	HeapTuple tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool is_sql = HeapTupleIsValid(tup) &&
				  ((Form_pg_proc) GETSTRUCT(tup))->prolang == SQLlanguageId;

	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return is_sql;
}

/*
 * Some built-in functions are written in SQL.  The planner replaces them by
 * what they say, but not always; those that are left would run as queries.
 */
static bool
check_planned(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_sql_function, NULL))
		refuse(context, "A function in it is written in SQL, and its arguments "
						"are too complex for it.");
	return expression_tree_walker(node, check_planned, context);
}

/* Constant calls are evaluated here, for which functions in SQL need a snapshot. */
static Expr *
plan(const ExprSource *source, Node *node)
{
	bool push = !ActiveSnapshotSet();
	Expr *expr;

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	expr = expression_planner((Expr *) node);
	if (push)
		PopActiveSnapshot();
	check_planned((Node *) expr, (void *) source);
	return expr;
}

/*
 * Settings that change what an expression means get fixed values, until
 * AtEOXact_GUC() with the result.
 */
static int
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"}};
	int nest_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(pinned); i++)
		(void) set_config_option(pinned[i][0], pinned[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	return nest_level;
}

/* What makes a statement of an expression, for the parser. */
static const char statement_head[] = "SELECT ";

/* The one expression of "SELECT <source>", raw. */
static Node *
parse_source(const ExprSource *source)
{
	List *raw = raw_parser(psprintf("%s%s", statement_head, source->text),
						   RAW_PARSE_DEFAULT);
	SelectStmt *select;
	SelectStmt bare;

	if (list_length(raw) != 1 ||
		!IsA(linitial_node(RawStmt, raw)->stmt, SelectStmt))
		refuse(source, "It is more than one expression.");
	select = (SelectStmt *) linitial_node(RawStmt, raw)->stmt;

	/* a SELECT with nothing but a list of one expression */
	bare = *select;
	bare.targetList = NIL;
	if (list_length(select->targetList) != 1 || bare.fromClause ||
		bare.whereClause || bare.distinctClause || bare.intoClause ||
		bare.groupClause || bare.havingClause || bare.windowClause ||
		bare.valuesLists || bare.sortClause || bare.limitOffset ||
		bare.limitCount || bare.lockingClause || bare.withClause ||
		bare.op != SETOP_NONE)
		refuse(source, "It is more than one expression.");
	return linitial_node(ResTarget, select->targetList)->val;
}

/* Parse, type and check an expression over the columns of a table. */
static Node *
analyze(const ExprSource *source, bool is_condition)
{
	ParseState *pstate = make_parsestate(NULL);
	Node *node = parse_source(source);

	check_names(node, (void *) source);
	pstate->p_pre_columnref_hook = resolve_column;
	pstate->p_ref_hook_state = (void *) source;
	node = transformExpr(pstate, node, EXPR_KIND_SELECT_TARGET);
	if (pstate->p_hasAggs || pstate->p_hasWindowFuncs ||
		pstate->p_hasTargetSRFs)
		refuse(source, "It must give one value a row.");
	if (is_condition)
		node = coerce_to_boolean(pstate, node, "when");
	else if (exprType(node) == UNKNOWNOID)
		node = coerce_type(pstate, node, UNKNOWNOID, TEXTOID, -1,
						   COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	assign_expr_collations(pstate, node);
	check_node(node, (void *) source);
	free_parsestate(pstate);
	return node;
}

/*
 * Compile an expression over the rows of a table.
 *
 * option is the argument's name, for messages; source is SQL; a condition
 * must be boolean.  Memory is of the current context.  Raises an error with a
 * hint if the expression is invalid or not allowed.
 */
EventExpr *
event_expr_make(Relation rel, const char *option, const char *source,
				bool is_condition)
{
	EventExpr *expr = palloc0(sizeof(EventExpr));
	ExprSource about = {option, source, RelationGetDescr(rel)};
	EState *estate = CreateExecutorState();
	MemoryContext old;
	Node *node;
	int nest_level = pin_settings();
	Oid output;
	bool isvarlena;

	old = MemoryContextSwitchTo(estate->es_query_cxt);
	node = analyze(&about, is_condition);
	expr->state = ExecInitExpr(plan(&about, node), NULL);
	expr->econtext = CreateExprContext(estate);
	expr->slot = MakeSingleTupleTableSlot(
		CreateTupleDescCopy(RelationGetDescr(rel)), &TTSOpsVirtual);
	expr->econtext->ecxt_scantuple = expr->slot;
	MemoryContextSwitchTo(old);
	AtEOXact_GUC(false, nest_level);

	getTypeOutputInfo(exprType(node), &output, &isvarlena);
	fmgr_info(output, &expr->output);
	return expr;
}

typedef struct FindColumn
{
	const char *name;
	List *offsets;
} FindColumn;

static bool
find_column(Node *node, void *context)
{
	FindColumn *find = context;
	ColumnRef *cref = (ColumnRef *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, find_column, context);
	if (IsA(linitial(cref->fields), String) &&
		strcmp(strVal(linitial(cref->fields)), find->name) == 0)
		find->offsets = list_append_unique_int(
			find->offsets, cref->location - (int) strlen(statement_head));
	return false;
}

/*
 * Where an expression names a column: a palloc'd List of the offsets of these
 * names in bytes, in ascending order.  Raises an error if the expression can't
 * be parsed.
 */
List *
event_expr_find_column(const char *option, const char *source,
					   const char *column)
{
	ExprSource about = {option, source, NULL};
	FindColumn find = {column, NIL};
	int nest_level = pin_settings();

	find_column(parse_source(&about), &find);
	AtEOXact_GUC(false, nest_level);
	list_sort(find.offsets, list_int_cmp);
	return find.offsets;
}

/* Evaluate over a row; a value that is absent counts as NULL. */
static Datum
evaluate(EventExpr *expr, const EventRow *row, bool *isnull)
{
	TupleTableSlot *slot = expr->slot;

	ResetExprContext(expr->econtext);
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_isnull[i] = row->isnull[i] || row->absent[i];
		slot->tts_values[i] = slot->tts_isnull[i] ? (Datum) 0 : row->values[i];
	}
	ExecStoreVirtualTuple(slot);
	return ExecEvalExprSwitchContext(expr->state, expr->econtext, isnull);
}

/*
 * Evaluate and print, or note that it failed: division by zero in one row
 * must not stop the stream.  Functions that are allowed here hold nothing
 * that an error would leave behind, but locks and memory that go with the
 * transaction.
 */
static char *
try_evaluate(EventExpr *expr, const EventRow *row, bool *failed)
{
	MemoryContext cxt = CurrentMemoryContext;
	char *volatile result = NULL;

	*failed = false;
	PG_TRY();
	{
		bool isnull;
		Datum value = evaluate(expr, row, &isnull);

		if (!isnull)
			result = OutputFunctionCall(&expr->output, value);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		/* being told to stop is no failure of the expression */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
		*failed = true;
		result = NULL;
	}
	PG_END_TRY();
	return result;
}

/*
 * Whether a row meets a condition.  Where the condition is NULL or fails
 * (then *failed is set), the row counts as wanted: losing it would be worse.
 */
bool
event_expr_condition(EventExpr *expr, const EventRow *row, bool *failed)
{
	char *text = try_evaluate(expr, row, failed);

	return text == NULL || text[0] != 'f';
}

/*
 * The text of an expression over a row, NULL where it fails; palloc'd in the
 * current context.
 */
EventField
event_expr_text(EventExpr *expr, const EventRow *row, bool *failed)
{
	EventField field;

	field.str = try_evaluate(expr, row, failed);
	field.len = field.str ? (int) strlen(field.str) : -1;
	return field;
}
