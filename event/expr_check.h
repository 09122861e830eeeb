/*-------------------------------------------------------------------------
 *
 * expr_check.h
 *		What may stand in an expression that is evaluated while decoding.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EXPR_CHECK_H
#define PGQ_EXPR_CHECK_H

#include "access/tupdesc.h"
#include "nodes/nodes.h"

/* What the messages about an expression say of it. */
typedef struct ExprSource
{
	const char *option;
	const char *text;
	TupleDesc desc;
} ExprSource;

extern void expr_refuse(const ExprSource *source, const char *detail,
						const char *hint);
extern void expr_check_raw(const ExprSource *source, Node *raw);
extern void expr_check_typed(const ExprSource *source, Node *raw, Node *node);
extern void expr_check_planned(const ExprSource *source, Node *node);

#endif /* PGQ_EXPR_CHECK_H */
