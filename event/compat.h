/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the PostgreSQL versions that we compile with,
 *		14 to 19.  All guards on the server's version are here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_COMPAT_H
#define PGQ_COMPAT_H

#include "access/tableam.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "replication/origin.h"
#include "utils/acl.h"

#include "version.h"

/* Decoded tuples are plain HeapTuples since 17. */
#if PG_VERSION_NUM >= 170000
#define CHANGE_OLD_TUPLE(change) ((change)->data.tp.oldtuple)
#define CHANGE_NEW_TUPLE(change) ((change)->data.tp.newtuple)
#else
#define CHANGE_OLD_TUPLE(change)                                               \
	((change)->data.tp.oldtuple ? &(change)->data.tp.oldtuple->tuple : NULL)
#define CHANGE_NEW_TUPLE(change)                                               \
	((change)->data.tp.newtuple ? &(change)->data.tp.newtuple->tuple : NULL)
#endif

#if PG_VERSION_NUM >= 190000
#define TXN_COMMIT_TIME(txn) ((txn)->commit_time)
#elif PG_VERSION_NUM >= 150000
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

/* Where flushed WAL ends; 15 added the timeline. */
#if PG_VERSION_NUM >= 150000
#define FLUSHED_WAL() GetFlushRecPtr(NULL)
#else
#define FLUSHED_WAL() GetFlushRecPtr()
#endif

/* Intervals may be infinite since 17. */
#ifdef INTERVAL_NOT_FINITE
#define INTERVAL_IS_FINITE(i) (!INTERVAL_NOT_FINITE(i))
#else
#define INTERVAL_IS_FINITE(i) true
#endif

/* PG_MODULE_MAGIC with name and version came with 18. */
#ifdef PG_MODULE_MAGIC_EXT
#define PGQ_MODULE_MAGIC                                                       \
	PG_MODULE_MAGIC_EXT(.name = "pgq", .version = PGQ_VERSION)
#else
#define PGQ_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/*
 * pg_create_logical_replication_slot() for a slot that stays; failover slots came
 * with 17.  "slot" and "plugin" are names.  Returns a row of slot_name and lsn.
 */
#if PG_VERSION_NUM >= 170000
#define CREATE_SLOT(slot, plugin)                                              \
	OidFunctionCall5(F_PG_CREATE_LOGICAL_REPLICATION_SLOT, slot, plugin,       \
					 BoolGetDatum(false), BoolGetDatum(false),                 \
					 BoolGetDatum(true))
#else
#define CREATE_SLOT(slot, plugin)                                              \
	OidFunctionCall4(F_PG_CREATE_LOGICAL_REPLICATION_SLOT, slot, plugin,       \
					 BoolGetDatum(false), BoolGetDatum(false))
#endif

/* A non-transactional logical message; 17 can flush it by itself. */
#if PG_VERSION_NUM >= 170000
#define LOG_MARKER_MESSAGE(prefix, message, size)                              \
	LogLogicalMessage(prefix, message, size, false, false)
#else
#define LOG_MARKER_MESSAGE(prefix, message, size)                              \
	LogLogicalMessage(prefix, message, size, false)
#endif

/* A transactional one. */
#if PG_VERSION_NUM >= 170000
#define LOG_EVENT_MESSAGE(prefix, message, size)                               \
	LogLogicalMessage(prefix, message, size, true, false)
#else
#define LOG_EVENT_MESSAGE(prefix, message, size)                               \
	LogLogicalMessage(prefix, message, size, true)
#endif

/* The text of a constant as the parser has it, NULL if it is no string. */
#if PG_VERSION_NUM >= 150000
#define A_CONST_STRING(con)                                                    \
	((con)->isnull || !IsA(&(con)->val, String) ? NULL : (con)->val.sval.sval)
#else
#define A_CONST_STRING(con)                                                    \
	(IsA(&(con)->val, String) ? strVal(&(con)->val) : NULL)
#endif

/* What marks a function that does not return: a prefix, since 18. */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* postgres.h let go of the varlena macros in 16. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Which indexes an update needs to add to: a bool until 15. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes PgqUpdateIndexes;
#define PGQ_UPDATE_SOME_INDEXES(u) ((u) != TU_None)
#define PGQ_UPDATE_CONCERNS(u, info) ((u) == TU_All || (info)->ii_Summarizing)
#else
typedef bool PgqUpdateIndexes;
#define PGQ_UPDATE_SOME_INDEXES(u) (u)
#define PGQ_UPDATE_CONCERNS(u, info) (u)
#endif

/*
 * Add the entries of "slot", which lies in the table already, to the indexes
 * that ExecOpenIndices opened.
 */
static inline void
compat_insert_index_entries(ResultRelInfo *target, TupleTableSlot *slot,
							EState *estate, bool only_summarizing)
{
#if PG_VERSION_NUM >= 190000
	list_free(ExecInsertIndexTuples(
		target, estate, only_summarizing ? EIIT_ONLY_SUMMARIZING : 0, slot, NIL,
		NULL));
#elif PG_VERSION_NUM >= 160000
	list_free(ExecInsertIndexTuples(target, slot, estate, false, false, NULL,
									NIL, only_summarizing));
#else
	list_free(
		ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL));
#endif
}

/* Delete or update a row of which no other version may be meant. */
#if PG_VERSION_NUM >= 190000
#define TABLE_TUPLE_DELETE(rel, tid, failure)                                  \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), 0,                 \
					   InvalidSnapshot, InvalidSnapshot, true, failure)
#define TABLE_TUPLE_UPDATE(rel, tid, slot, failure, lockmode, indexes)         \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), 0,           \
					   GetLatestSnapshot(), InvalidSnapshot, true, failure,    \
					   lockmode, indexes)
#else
#define TABLE_TUPLE_DELETE(rel, tid, failure)                                  \
	table_tuple_delete(rel, tid, GetCurrentCommandId(true), InvalidSnapshot,   \
					   InvalidSnapshot, true, failure, false)
#define TABLE_TUPLE_UPDATE(rel, tid, slot, failure, lockmode, indexes)         \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true),              \
					   GetLatestSnapshot(), InvalidSnapshot, true, failure,    \
					   lockmode, indexes)
#endif

/* The least wal_level with which a slot can decode: 19 adds the rest itself. */
#if PG_VERSION_NUM >= 190000
#define WAL_LEVEL_FOR_SLOTS WAL_LEVEL_REPLICA
#define WAL_LEVEL_FOR_SLOTS_NAME "replica"
#else
#define WAL_LEVEL_FOR_SLOTS WAL_LEVEL_LOGICAL
#define WAL_LEVEL_FOR_SLOTS_NAME "logical"
#endif

/* Names of the server's own slots are refused since 18. */
#if PG_VERSION_NUM >= 190000
#define VALIDATE_SLOT_NAME(name) ReplicationSlotValidateName(name, false, ERROR)
#else
#define VALIDATE_SLOT_NAME(name) ReplicationSlotValidateName(name, ERROR)
#endif

/* The process that holds a slot; 0 if none does. */
#if PG_VERSION_NUM >= 190000
#define SLOT_ACTIVE_PID(slot)                                                  \
	((slot)->active_proc == INVALID_PROC_NUMBER                                \
		 ? 0                                                                   \
		 : GetPGProcByNumber((slot)->active_proc)->pid)
#else
#define SLOT_ACTIVE_PID(slot) ((slot)->active_pid)
#endif

/* base64: n bytes into dst, which has room for len; -1 if it does not fit. */
#if PG_VERSION_NUM >= 180000
#define B64_ENCODE(src, n, dst, len)                                           \
	pg_b64_encode((const uint8 *) (src), n, dst, len)
#else
#define B64_ENCODE(src, n, dst, len) pg_b64_encode(src, n, dst, len)
#endif

/* Replication origins: where a change comes from. */
#if PG_VERSION_NUM >= 190000
#define SESSION_ORIGIN replorigin_xact_state.origin
#else
#define SESSION_ORIGIN replorigin_session_origin
typedef RepOriginId ReplOriginId;
#define InvalidReplOriginId InvalidRepOriginId
#endif

/* May "role" execute function "funcid"? */
static inline AclResult
compat_function_aclcheck(Oid funcid, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, funcid, role, ACL_EXECUTE);
#else
	return pg_proc_aclcheck(funcid, role, ACL_EXECUTE);
#endif
}

#if PG_VERSION_NUM >= 170000
#define LOCK_HELD_BY_ME(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define LOCK_HELD_BY_ME(tag, mode) LockHeldByMe(tag, mode)
#endif

#if PG_VERSION_NUM >= 190000
#define DOMAIN_HAS_CONSTRAINTS(type) DomainHasConstraints(type, NULL)
#else
#define DOMAIN_HAS_CONSTRAINTS(type) DomainHasConstraints(type)
#endif

/* Where a relation is stored. */
#if PG_VERSION_NUM >= 160000
#define RELATION_LOCATOR(rel) ((rel)->rd_locator)
#define RELATION_TABLESPACE(rel) ((rel)->rd_locator.spcOid)
typedef RelFileLocator RelationLocator;
#else
#define RELATION_LOCATOR(rel) ((rel)->rd_node)
#define RELATION_TABLESPACE(rel) ((rel)->rd_node.spcNode)
typedef RelFileNode RelationLocator;
#endif

/* Whether this transaction gave the table new storage. */
#if PG_VERSION_NUM >= 160000
#define REL_HAS_NEW_STORAGE(rel)                                               \
	((rel)->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define REL_HAS_NEW_STORAGE(rel)                                               \
	((rel)->rd_firstRelfilenodeSubid != InvalidSubTransactionId)
#endif

#if PG_VERSION_NUM >= 160000
#define IS_TABLE_OWNER(relid, role)                                            \
	object_ownercheck(RelationRelationId, relid, role)
#else
#define IS_TABLE_OWNER(relid, role) pg_class_ownercheck(relid, role)
#endif

#if PG_VERSION_NUM >= 160000
#define IS_SCHEMA_OWNER(oid, role)                                             \
	object_ownercheck(NamespaceRelationId, oid, role)
#else
#define IS_SCHEMA_OWNER(oid, role) pg_namespace_ownercheck(oid, role)
#endif

/* The timeline that a primary writes. */
#if PG_VERSION_NUM >= 150000
#define WAL_TIMELINE() GetWALInsertionTimeLine()
#else
#define WAL_TIMELINE() ThisTimeLineID
#endif

#endif /* PGQ_COMPAT_H */
