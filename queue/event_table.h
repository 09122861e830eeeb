/*-------------------------------------------------------------------------
 *
 * event_table.h
 *		Whether a table can take events.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_EVENT_TABLE_H
#define PGQ_EVENT_TABLE_H

#include "utils/relcache.h"

/* Columns of an event table, in their order. */
typedef enum EventTableColumn
{
	EV_ID,
	EV_TIME,
	EV_TXID,
	EV_OWNER,
	EV_RETRY,
	EV_TYPE,
	EV_DATA,
	EV_EXTRA1,
	EV_EXTRA2,
	EV_EXTRA3,
	EV_EXTRA4
} EventTableColumn;

#define EVENT_NCOLUMNS (EV_EXTRA4 + 1)

extern void event_table_require_columns(Relation rel);
extern void event_table_require(Relation rel);
extern void event_table_check_change(Oid relid);

#endif /* PGQ_EVENT_TABLE_H */
