/*-------------------------------------------------------------------------
 *
 * problems.h
 *		pgq.get_problems() as FROM items, by the version of the extension.
 *
 * Columns: kind, object, severity, problem, hint, statement, age.  For
 * search_path pg_catalog.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_PROBLEMS_H
#define PGQ_PROBLEMS_H

#include "common/lasting.h"

/* A queue's retention, which PgQ 3 has not got. */
#define QUEUE_RETENTION                                                        \
	"coalesce((to_jsonb(q) ->> 'queue_retention')::interval, '0')"

#define PROBLEM_COLUMNS                                                        \
	" w (kind, object, severity, problem, hint, statement, age)"

/* args: "", or a size of WAL that is to be told of */
#define PROBLEMS_4_1(args) "pgq.get_problems(" args ")" PROBLEM_COLUMNS

/* All of them were standstills. */
#define PROBLEMS_4_0                                                           \
	"(select kind, object, 'standstill', problem, hint, null::text, age"       \
	" from pgq.get_problems() union all " LASTING_SQL ")" PROBLEM_COLUMNS

#define PROBLEMS_3 "(" LASTING_SQL ")" PROBLEM_COLUMNS

/* Does the database have the list as it is now? */
#define HAS_PROBLEMS_4_1                                                       \
	"to_regprocedure('pgq.get_problems(bigint)') is not null"

#endif /* PGQ_PROBLEMS_H */
