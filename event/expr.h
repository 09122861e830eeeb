/*-------------------------------------------------------------------------
 *
 * expr.h
 *		SQL expressions in capture arguments: when= and ev_*=.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EXPR_H
#define PGQ_EXPR_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "event/frame.h"

struct EventRow;
typedef struct EventExpr EventExpr;

extern EventExpr *event_expr_make(Relation rel, const char *option,
								  const char *source, bool is_condition);
extern List *event_expr_find_column(const char *option, const char *source,
									const char *column);
extern bool event_expr_condition(EventExpr *expr, const struct EventRow *row,
								 bool *failed);
extern EventField event_expr_text(EventExpr *expr, const struct EventRow *row,
								  bool *failed);

#endif /* PGQ_EXPR_H */
