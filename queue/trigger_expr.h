/*-------------------------------------------------------------------------
 *
 * trigger_expr.h
 *		SQL expressions in trigger arguments.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_TRIGGER_EXPR_H
#define PGQ_TRIGGER_EXPR_H

#include "access/tupdesc.h"
#include "executor/spi.h"

#include "event/event.h"

/* An expression and its plan, which lives until trigger_expr_free(). */
typedef struct TriggerExpr
{
	char *source;
	SPIPlanPtr plan;
} TriggerExpr;

extern TriggerExpr *trigger_expr_make(char *source);
extern void trigger_expr_free(TriggerExpr *expr);
extern bool trigger_expr_condition(TriggerExpr *expr, TupleDesc desc,
								   const EventRow *row);
extern EventField trigger_expr_text(TriggerExpr *expr, TupleDesc desc,
									const EventRow *row);

#endif /* PGQ_TRIGGER_EXPR_H */
