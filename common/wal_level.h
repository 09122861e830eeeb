/*-------------------------------------------------------------------------
 *
 * wal_level.h
 *		Whether a server's wal_level lets slots decode.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_WAL_LEVEL_H
#define PGQ_WAL_LEVEL_H

/*
 * SQL, boolean.  PostgreSQL 19, which has effective_wal_level, writes logical
 * WAL from the first logical slot on where wal_level is replica.
 */
#define WAL_LEVEL_SUFFICES                                                     \
	"(pg_catalog.current_setting('wal_level') operator(pg_catalog.=)"          \
	" 'logical' or (pg_catalog.current_setting('wal_level')"                   \
	" operator(pg_catalog.=) 'replica' and"                                    \
	" pg_catalog.current_setting('effective_wal_level', true) is not null))"

#endif /* PGQ_WAL_LEVEL_H */
