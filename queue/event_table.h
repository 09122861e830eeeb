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

extern void event_table_require_columns(Relation rel);
extern void event_table_require(Relation rel);
extern void event_table_check_change(Oid relid);

#endif /* PGQ_EVENT_TABLE_H */
