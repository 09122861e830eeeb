/*-------------------------------------------------------------------------
 *
 * relation.h
 *		What event building has to know of a table: its key.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELATION_H
#define PGQ_RELATION_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#include "event/args.h"

extern List *event_relation_primary_key(Relation rel);
extern List *event_relation_key(Relation rel, const EventArgs *args);

#endif /* PGQ_RELATION_H */
