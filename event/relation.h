/*-------------------------------------------------------------------------
 *
 * relation.h
 *		What event building has to know of a table: its key, and the same
 *		columns in another one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELATION_H
#define PGQ_RELATION_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "event/args.h"

extern List *event_relation_primary_key(Relation rel);
extern List *event_relation_key_names(Relation rel);
extern List *event_relation_key(Relation rel, const EventArgs *args);
extern AttrNumber event_relation_find_column(TupleDesc desc, const char *name);
extern bool event_relation_is_virtual(Form_pg_attribute att);
extern int *event_relation_map_columns(TupleDesc marked, TupleDesc changed);

#endif /* PGQ_RELATION_H */
