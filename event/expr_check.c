/*-------------------------------------------------------------------------
 *
 * expr_check.c
 *		What may stand in an expression that is evaluated while decoding.
 *
 * Nobody's code may run there but the server's own: the session that decodes
 * is not that of the table's owner, and it sees the catalogues as they were.
 * Nor may it look up an object, by oid or by name: that may be gone by then, or
 * mean another, and would be opened under locks that nobody holds.  So there are
 * only constants, columns of the row, and built-in immutable functions,
 * operators and casts over types that are values and no more; the list of these
 * is below.  What is not known is refused when the table is captured.
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
#include "nodes/nodeFuncs.h"
#include "parser/parse_type.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "event/compat.h"
#include "event/expr_check.h"

/*
 * Refuse the expression: detail says why, and hint the way out, NULL for the
 * common one.
 */
void
expr_refuse(const ExprSource *source, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("capture argument \"%s=%s\" is not supported",
					source->option, source->text),
			 errdetail("%s", detail),
			 errhint("%s",
					 hint ? hint
						  : "Use only columns of the row, constants, and "
							"built-in immutable functions, operators, types "
							"and collations.")));
}

/* Has a function or operator a schema that is not the server's own? */
static bool
is_foreign_name(const List *names)
{
	return list_length(names) > 1 &&
		   strcmp(strVal(linitial(names)), "pg_catalog") != 0;
}

static bool
check_names(Node *node, void *context)
{
	const ExprSource *source = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		expr_refuse(source, "Subqueries cannot run while decoding.", NULL);
	if (IsA(node, TypeName))
	{
		Oid type = LookupTypeNameOid(NULL, (TypeName *) node, true);

		if (type >= FirstNormalObjectId)
			expr_refuse(source,
						get_typtype(type) == TYPTYPE_DOMAIN
							? "Casts to domains run the domain's checks."
							: "A type in it is not built in.",
						NULL);
	}
	if (IsA(node, FuncCall) && is_foreign_name(((FuncCall *) node)->funcname))
		expr_refuse(source,
					"A function, operator or cast in it is not immutable or "
					"not built in.",
					NULL);
	if (IsA(node, A_Expr) && is_foreign_name(((A_Expr *) node)->name))
		expr_refuse(source, "An operator in it is not built in.", NULL);
	return raw_expression_tree_walker(node, check_names, context);
}

/*
 * Refuse the names of what is not built in before the expression is analysed:
 * the analysis itself runs the input functions of types on constants, and with
 * them the checks of domains, as whoever asks.
 */
void
expr_check_raw(const ExprSource *source, Node *raw)
{
	(void) check_names(raw, (void *) source);
}

/* Arrays and ranges are what their elements are. */
static Oid
element_type(Oid type)
{
	for (;;)
	{
		Oid element = get_element_type(type);

		if (!OidIsValid(element))
			element = get_range_subtype(type);
		if (!OidIsValid(element))
			element = get_range_subtype(get_multirange_range(type));
		if (!OidIsValid(element))
			return type;
		type = element;
	}
}

/*
 * Types whose values say all of themselves.  Those that stand for an object
 * (regclass and the like), rows, and what only the server handles are none.
 */
static const Oid value_types[] = {
	BOOLOID, BYTEAOID, CHAROID, NAMEOID, TEXTOID, BPCHAROID, VARCHAROID,
	INT2OID, INT4OID, INT8OID, OIDOID, FLOAT4OID, FLOAT8OID, NUMERICOID,
	CASHOID, DATEOID, TIMEOID, TIMETZOID, TIMESTAMPOID, TIMESTAMPTZOID,
	INTERVALOID, BITOID, VARBITOID, UUIDOID, JSONOID, JSONBOID, JSONPATHOID,
	XMLOID, INETOID, CIDROID, MACADDROID, MACADDR8OID, POINTOID, LSEGOID,
	PATHOID, BOXOID, POLYGONOID, LINEOID, CIRCLEOID, TSVECTOROID, TSQUERYOID,
	PG_LSNOID,
	/* a constant that nothing has asked to be of a type */
	UNKNOWNOID};

/* What an expression may be made of. */
/* clang-format off */
static const NodeTag safe_nodes[] = {
	T_List, T_Var, T_Const, T_FuncExpr, T_OpExpr, T_DistinctExpr, T_NullIfExpr,
	T_ScalarArrayOpExpr, T_BoolExpr, T_CaseExpr, T_CaseWhen, T_CaseTestExpr,
	T_CoalesceExpr, T_MinMaxExpr, T_NullTest, T_BooleanTest, T_ArrayExpr,
	T_ArrayCoerceExpr, T_RelabelType, T_CoerceViaIO, T_SubscriptingRef,
	T_NamedArgExpr
};
/* clang-format on */

static bool
is_value_type(Oid type)
{
	type = element_type(type);
	for (int i = 0; i < (int) lengthof(value_types); i++)
		if (value_types[i] == type)
			return true;
	return false;
}

static bool
is_safe_node(const Node *node)
{
	for (int i = 0; i < (int) lengthof(safe_nodes); i++)
		if (safe_nodes[i] == nodeTag(node))
			return true;
	return false;
}

static bool
is_foreign_function(Oid function, void *context)
{
	return function >= FirstNormalObjectId ||
		   func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

/* An oid that is given to a function is one to look up. */
static bool
takes_oid(const FuncExpr *call)
{
	ListCell *lc;

	if (call->funcformat == COERCE_IMPLICIT_CAST ||
		call->funcformat == COERCE_EXPLICIT_CAST)
		return false;
	foreach(lc, call->args)
		if (element_type(exprType(lfirst(lc))) == OIDOID)
			return true;
	return false;
}

static bool
check_node(Node *node, void *context)
{
	const ExprSource *source = context;

	if (node == NULL)
		return false;

	if (IsA(node, CoerceToDomain))
		expr_refuse(source, "Casts to domains run the domain's checks.", NULL);
	if (IsA(node, SubLink))
		expr_refuse(source, "Subqueries cannot run while decoding.", NULL);
	if (IsA(node, SQLValueFunction))
		expr_refuse(source, "Its value depends on the session.", NULL);
	if (!is_safe_node(node))
		expr_refuse(source, "It has a construct that is not known to be safe.",
					NULL);
	if (IsA(node, List))
		return expression_tree_walker(node, check_node, context);
	if (check_functions_in_node(node, is_foreign_function, NULL))
		expr_refuse(source,
					"A function, operator or cast in it is not immutable or "
					"not built in.",
					NULL);
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno >= FirstNormalObjectId)
		expr_refuse(source, "An operator in it is not built in.", NULL);
	if (exprType(node) >= FirstNormalObjectId)
		expr_refuse(source, "A type in it is not built in.", NULL);
	if (!is_value_type(exprType(node)) ||
		(IsA(node, FuncExpr) && takes_oid((FuncExpr *) node)))
		expr_refuse(source,
					"It names an object of the database, or has a type that "
					"is no plain value.",
					NULL);
	if (exprCollation(node) >= FirstNormalObjectId ||
		exprInputCollation(node) >= FirstNormalObjectId)
		expr_refuse(source, "A collation in it is not built in.", NULL);
	return expression_tree_walker(node, check_node, context);
}

/* Whether a text has a word that means the moment at which it is read. */
static bool
has_moving_word(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow",
										"yesterday"};

	while (*text)
	{
		int len = 0;

		while (isalpha((unsigned char) text[len]))
			len++;
		for (int i = 0; i < lengthof(words); i++)
			if (len == (int) strlen(words[i]) &&
				pg_strncasecmp(text, words[i], len) == 0)
				return true;
		text += Max(len, 1);
	}
	return false;
}

/* String constants, by where they stand. */
typedef struct FindString
{
	int location;
	const char *text;
} FindString;

static bool
find_string(Node *node, void *context)
{
	FindString *find = context;

	if (node == NULL)
		return false;
	if (IsA(node, A_Const) && ((A_Const *) node)->location == find->location)
		find->text = A_CONST_STRING((A_Const *) node);
	return raw_expression_tree_walker(node, find_string, context);
}

typedef struct ConstantCheck
{
	const ExprSource *source;
	Node *raw;
} ConstantCheck;

static bool
check_constants(Node *node, void *context)
{
	ConstantCheck *check = context;
	Const *con = (Const *) node;
	FindString find = {0, NULL};

	if (node == NULL)
		return false;
	if (!IsA(node, Const))
		return expression_tree_walker(node, check_constants, context);
	find.location = con->location;
	if (con->location < 0 || con->constisnull)
		return false;
	switch (element_type(con->consttype))
	{
		case CASHOID:
			expr_refuse(
				check->source,
				"How an amount of money is read depends on lc_monetary.",
				"Compare it with another column, or let the column be "
				"numeric.");
			break;
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			(void) find_string(check->raw, &find);
			if (find.text && has_moving_word(find.text))
				expr_refuse(check->source,
							"Constants are read once, and not for each row: "
							"\"now\", \"today\", \"tomorrow\" and "
							"\"yesterday\" would stand still.",
							"Compare with a column of the row, or let the "
							"consumer look at the time.");
			break;
	}
	return false;
}

/*
 * Refuse what is not allowed in an expression that is analysed, but not
 * planned.  raw is what it was made of.
 */
void
expr_check_typed(const ExprSource *source, Node *raw, Node *node)
{
	ConstantCheck check = {source, raw};

	(void) check_node(node, (void *) source);
	(void) check_constants(node, &check);
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

static bool
check_language(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_sql_function, NULL))
		expr_refuse(context,
					"A function in it is written in SQL, and its arguments "
					"are too complex for it.",
					NULL);
	return expression_tree_walker(node, check_language, context);
}

/*
 * Refuse what is not allowed in an expression as it will run.  Some built-in
 * functions are written in SQL: the planner replaces them by what they say, but
 * not always, and those that are left would run as queries.
 */
void
expr_check_planned(const ExprSource *source, Node *node)
{
	(void) check_language(node, (void *) source);
	(void) check_node(node, (void *) source);
}
