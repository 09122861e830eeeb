/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the PostgreSQL versions that we compile with,
 *		14 to 18.  All guards on the server's version are here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_COMPAT_H
#define PGQ_COMPAT_H

/* Decoded tuples are plain HeapTuples since 17. */
#if PG_VERSION_NUM >= 170000
#define CHANGE_OLD_TUPLE(change) ((change)->data.tp.oldtuple)
#define CHANGE_NEW_TUPLE(change) ((change)->data.tp.newtuple)
#else
#define CHANGE_OLD_TUPLE(change) \
	((change)->data.tp.oldtuple ? &(change)->data.tp.oldtuple->tuple : NULL)
#define CHANGE_NEW_TUPLE(change) \
	((change)->data.tp.newtuple ? &(change)->data.tp.newtuple->tuple : NULL)
#endif

#if PG_VERSION_NUM >= 150000
#define TXN_COMMIT_TIME(txn) ((txn)->xact_time.commit_time)
#else
#define TXN_COMMIT_TIME(txn) ((txn)->commit_time)
#endif

/*
 * OutputPluginUpdateProgress tells since 15 whether the transaction was
 * skipped; since 16 the server itself calls it while changes pass by.
 */
#if PG_VERSION_NUM >= 150000
#define UPDATE_PROGRESS(ctx, skipped) OutputPluginUpdateProgress(ctx, skipped)
#else
#define UPDATE_PROGRESS(ctx, skipped) OutputPluginUpdateProgress(ctx)
#endif

/* PG_MODULE_MAGIC with name and version came with 18. */
#ifdef PG_MODULE_MAGIC_EXT
#define PGQ_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "pgq", .version = "4.0")
#else
#define PGQ_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Failover slots came with 17.  $1 is the slot's name. */
#if PG_VERSION_NUM >= 170000
#define CREATE_SLOT_QUERY(plugin) \
	"select lsn from pg_catalog.pg_create_logical_replication_slot(" \
	"$1, '" plugin "', false, false, true)"
#else
#define CREATE_SLOT_QUERY(plugin) \
	"select lsn from pg_catalog.pg_create_logical_replication_slot(" \
	"$1, '" plugin "', false, false)"
#endif

/* A non-transactional logical message; 17 can flush it by itself. */
#if PG_VERSION_NUM >= 170000
#define LOG_MARKER_MESSAGE(prefix, message, size) \
	LogLogicalMessage(prefix, message, size, false, false)
#else
#define LOG_MARKER_MESSAGE(prefix, message, size) \
	LogLogicalMessage(prefix, message, size, false)
#endif

#endif /* PGQ_COMPAT_H */
