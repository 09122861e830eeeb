/*-------------------------------------------------------------------------
 *
 * args.h
 *		The arguments of a capture or a trigger: which changes become events,
 *		and how they look.
 *
 * A capture takes the trigger functions' own arguments, word for word
 * (doc/triggers.md), and some that only a capture has.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_ARGS_H
#define PGQ_ARGS_H

#include "nodes/pg_list.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"

typedef enum EventFormat
{
	EVENT_FORMAT_JSON,
	EVENT_FORMAT_URLENC,
	EVENT_FORMAT_SQL,
	EVENT_FORMAT_DEBEZIUM /* of captures only */
} EventFormat;

/* What a change is; the values are bits of EventArgs.ops. */
typedef enum EventOp
{
	EVENT_OP_INSERT = 1,
	EVENT_OP_UPDATE = 2,
	EVENT_OP_DELETE = 4,
	EVENT_OP_TRUNCATE = 8
} EventOp;

#define EVENT_OPS 4
#define EVENT_OP_NO(op) pg_leftmost_one_pos32(op)
#define EVENT_OPS_ALL 15
/* these need to name the row that they changed */
#define EVENT_OPS_KEYED (EVENT_OP_UPDATE | EVENT_OP_DELETE)

#define EVENT_FIELDS 6

typedef struct EventArgs
{
	EventFormat format;
	int ops;          /* EventOp bits */
	bool backup;      /* old row into ev_extra2 */
	bool origin_none; /* not what replication applied here */
	bool copy;        /* the rows that are there now come first */

	char *when;               /* SQL expressions, NULL where not given */
	char *expr[EVENT_FIELDS]; /* ev_type, ev_data, ev_extra1 .. 4 */

	/* a trigger's only */
	bool is_trigger;
	bool skip; /* suppress the change of the row */
	bool deny; /* refuse it */

	/*
	 * Lists of char *.  ignore and columns are trimmed of blanks; pkey is
	 * kept word for word, since that is how ev_type shows it: use
	 * event_args_column_name() to find the column.
	 */
	List *ignore;
	List *columns; /* NIL: all */
	List *pkey;
	bool has_pkey; /* pkey= was given, though maybe empty */
} EventArgs;

extern EventArgs *event_args_parse(ArrayType *array);
extern bool event_args_has_name(List *names, const char *name);
extern EventArgs *event_args_parse_trigger(int nargs, char **words,
										   EventFormat format);
extern const char *event_args_expression_name(int field);
extern char *event_args_column_name(const char *word);

/* args_rename.c */
extern ArrayType *event_args_rename_column(ArrayType *array, const char *from,
										   const char *to);

#endif /* PGQ_ARGS_H */
