/*-------------------------------------------------------------------------
 *
 * event.h
 *		From a changed row to events.
 *
 * An EventPlan is made once per table and set of arguments; it holds all that
 * does not change from row to row.  event_build() then turns a change into
 * the fields of an event.  Data goes one way:
 *
 *		args.c, relation.c -> plan.c -> build.c -> debezium.c -> json.c
 *		                                 expr.c    json.c, urlenc.c, sql.c
 *		                                           all of them -> value.c
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EVENT_H
#define PGQ_EVENT_H

#include "access/tupdesc.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/relcache.h"

#include "event/args.h"
#include "event/frame.h"

/* How the text of a value is made. */
typedef enum ValueKind
{
	VALUE_OUTPUT,  /* by the type's output function */
	VALUE_VARLENA, /* the text is the value's own bytes */
	VALUE_BOOL,
	VALUE_INT2,
	VALUE_INT4,
	VALUE_INT8,
	VALUE_DATE,
	VALUE_TIMESTAMP,
	VALUE_TIMESTAMPTZ
} ValueKind;

typedef struct EventColumn
{
	int index; /* into EventRow's arrays */
	char *name;
	Oid typid;
	int16 typlen;
	bool typbyval;
	ValueKind kind;
	FmgrInfo output; /* for all kinds but VARLENA, BOOL, INTx */
	bool is_key;
	bool ignored; /* by ignore= or columns=, or magic */

	/*
	 * A column named _pgq_ev_type and so on gives that field of the event its
	 * value and is in no data: the EventFieldNo, else -1.
	 */
	int magic;
	bool generated;
	bool fixed;        /* an identity that no UPDATE may set */
	bool comparable;   /* a literal can be compared with it */
	const char *label; /* the name as the format writes it */
	int label_len;

	/* of the debezium format: its digits and the like, -1: none said; where it is an
	 * array, what its elements are */
	int32 typmod;
	struct EventColumn *element;
	char element_align;
} EventColumn;

/*
 * A row in the column order of the plan's table.  A value that is absent is
 * unknown, not NULL: an unchanged TOAST value, or a column outside of the
 * replica identity in an old row.
 */
typedef struct EventRow
{
	Datum *values;
	bool *isnull;
	bool *absent;
	bool complete; /* nothing is absent */
} EventRow;

typedef struct EventPlan
{
	EventFormat format;
	int ops;
	bool backup;
	bool has_ignore;
	bool has_key;
	bool has_magic;

	/*
	 * A trigger refuses a change of the key, but by the type's equality; what
	 * it lets pass is an update.
	 */
	bool is_trigger;
	int ncolumns;               /* without dropped ones */
	EventColumn *columns;       /* in the order of the table */
	EventField type[EVENT_OPS]; /* by EVENT_OP_NO() */
	EventField table;           /* schema.table, for ev_extra1 */
	/* for the sql format: "(c1,c2) values (" and what ends it */
	const char *insert_head;
	const char *insert_tail;
	EventField source; /* for the debezium format */

	/* a capture's expressions; a trigger has its own, which may query */
	struct EventExpr *when;
	struct EventExpr *expr[EVENT_FIELDS];
	bool has_expr; /* any of expr */

	/* counted by event_build(), set back by whoever reads them */
	bool failed_row;    /* an expression failed on the row */
	int64 large_events; /* events that came without their data */
	int64 broken_rows;  /* ... since it could not be written */
	char *reason;       /* of the last one; as long as the call's memory */
} EventPlan;

/* Where changes come from; only the debezium format looks at it. */
typedef struct EventSource
{
	XLogRecPtr lsn; /* of the change */
	XLogRecPtr commit_lsn;
	TransactionId xid; /* invalid: none */
	TimestampTz commit_time;
	bool is_copy; /* rows that were there, not changes */
} EventSource;

/*
 * Buffers that the fields of built events point into, and where the next one
 * comes from, which the caller sets for a capture.
 */
typedef struct EventScratch
{
	EventSource source;
	StringInfoData data[2];
	StringInfoData extra2;
	StringInfoData extra4;
} EventScratch;

/* An update of the key can take two events. */
#define EVENT_BUILD_MAX 2

/* plan.c */
extern EventPlan *event_plan_make(Relation rel, const EventArgs *args);

/* build.c */
extern void event_scratch_init(EventScratch *scratch);
extern int event_build(EventPlan *plan, EventScratch *scratch, EventOp op,
					   const EventRow *oldrow, const EventRow *newrow,
					   Event *events);
extern void event_build_truncate(const EventPlan *plan, EventScratch *scratch,
								 Event *event);

/* value.c */
extern ValueKind event_value_kind(Oid typid);
extern const char *event_value_text(const EventColumn *col, Datum value,
									char *buf, int *len);
extern bool event_value_same(const EventColumn *col, const EventRow *a,
							 const EventRow *b);
/* big enough for every kind that writes into the caller's buffer */
#define EVENT_VALUE_BUFLEN 32

/*
 * The formats.  Each row writer appends the columns that are in the data and
 * not absent.
 */
extern void event_json_string(StringInfo buf, const char *str, int len);
extern void event_json_value(const EventColumn *col, Datum value,
							 StringInfo buf);
extern void event_json_row(const EventPlan *plan, const EventRow *row,
						   bool keys_only, StringInfo buf);
extern void event_urlenc_string(StringInfo buf, const char *str, int len);
extern void event_urlenc_row(const EventPlan *plan, const EventRow *row,
							 bool keys_only, StringInfo buf);
extern void event_sql_insert(const EventPlan *plan, const EventRow *row,
							 StringInfo buf);
extern bool event_sql_update(const EventPlan *plan, const EventRow *oldrow,
							 const EventRow *newrow, StringInfo buf);
extern void event_sql_delete(const EventPlan *plan, const EventRow *row,
							 StringInfo buf);
extern void event_debezium_change(const EventPlan *plan,
								  const EventSource *source, EventOp op,
								  const EventRow *before, const EventRow *after,
								  StringInfo buf);
extern void event_debezium_source(const char *schema, const char *table,
								  StringInfo buf);
extern void event_debezium_value(const EventColumn *col, Datum value,
								 StringInfo buf);
extern void event_debezium_column(EventColumn *col);

#endif /* PGQ_EVENT_H */
