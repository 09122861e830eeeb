/*-------------------------------------------------------------------------
 *
 * capture.c
 *		pgq.capture_table and pgq.uncapture_table: set and remove the mark of
 *		a table.  And what a copy does to it.
 *
 * They run with the invoker's rights.  Who may: the table's owner, if a member
 * of pgq_writer or pgq_admin.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "event/compat.h"
#include "capture/capture.h"
#include "capture/copy.h"
#include "capture/slot.h"
#include "queue/own.h"
#include "queue/queue.h"

PG_FUNCTION_INFO_V1(pgq_capture_table);
PG_FUNCTION_INFO_V1(pgq_uncapture_table);
PG_FUNCTION_INFO_V1(pgq_cancel_copy);
PG_FUNCTION_INFO_V1(pgq__start_copy);
PG_FUNCTION_INFO_V1(pgq__restart_copy);
PG_FUNCTION_INFO_V1(pgq__forget_captures);

static bool
has_role(const char *role)
{
	Oid oid = get_role_oid(role, true);

	return OidIsValid(oid) && has_privs_of_role(GetUserId(), oid);
}

static void
refuse_unknown_table(Oid relid)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("table with OID %u does not exist", relid),
					errhint("pgq.get_capture_info() lists captured tables.")));
}

/*
 * Raise an error unless the current user may write to queues.  "what" is what
 * he wants to capture, for the message.
 */
void
capture_require_writer(const char *what)
{
	if (has_role("pgq_writer") || has_role("pgq_admin"))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to capture %s", what),
			 errdetail("Its changes go to a queue, so its owner must be "
					   "allowed to write to queues."),
			 errhint("Run \"GRANT pgq_writer TO %s\".",
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/*
 * Raise an error unless the current user owns the table and may write to
 * queues.
 */
void
capture_require_rights(Oid relid)
{
	if (get_rel_name(relid) == NULL)
		refuse_unknown_table(relid);
	if (!IS_TABLE_OWNER(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	capture_require_writer(psprintf("table \"%s\"", capture_table_name(relid)));
}

/*
 * Lock a queue's row as queue_lock() does; raise an error if there is none, or if
 * it is not on the server that the slot feeds.
 */
void
capture_require_queue(const char *queue)
{
	SlotRow *slot = slot_read_row();
	bool here = queue_lock(queue);

	if (!here && !queue_is_remote(queue, true))
		queue_refuse_unknown(queue);
	if (slot == NULL || slot->remote != here)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 here ? errmsg("queue \"%s\" is of this database, whose capture "
						   "slot feeds another server", queue)
				  : errmsg("queue \"%s\" is on another server, but the capture "
						   "slot feeds queues of this database", queue),
			 errhint("A database has one capture slot. pgq.stop_capture() drops "
					 "it; pgq.start_capture() makes it for queues of another "
					 "server when such are declared.")));
}

/* Raise an error if a mark with these arguments would not fit into its page. */
void
capture_require_size(const char *queue, const ArrayType *args)
{
	Size size = VARSIZE(args) + strlen(queue);

	if (size > CAPTURE_MARK_MAX_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("arguments of the capture are too long"),
				 errdetail("Queue name and arguments have %zu bytes, %d at most.",
						   size, CAPTURE_MARK_MAX_SIZE),
				 errhint("Instead of a long ignore= list use columns=, or the "
						 "other way round.")));
}

static void
raise_if(const CaptureProblem *problem)
{
	if (problem != NULL)
		capture_raise(problem);
}

/*
 * Raise an error unless the table, which is locked, can be captured with these
 * arguments.
 */
static void
require_fit(Oid relid, const EventArgs *args)
{
	Relation rel = table_open(relid, NoLock);

	raise_if(capture_check_table(rel, args));
	table_close(rel, NoLock);
}

/* Valid arguments but for "copy", which is said once; palloc'd. */
static ArrayType *
without_copy(ArrayType *array)
{
	Datum *elems;
	int nelems;
	int n = 0;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL,
					  &nelems);
	for (int i = 0; i < nelems; i++)
		if (strcmp(TextDatumGetCString(elems[i]), "copy") != 0)
			elems[n++] = elems[i];
	return construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * pgq.capture_table(i_queue text, i_table regclass, variadic i_args text[])
 * returns int
 *
 * Set the mark of a table for a queue.  Returns 1 if it is new, 0 if it
 * replaces one.  With the argument "copy" the mark is pgqd's to set, when it
 * begins to copy the table.
 */
Datum
pgq_capture_table(PG_FUNCTION_ARGS)
{
	char *queue;
	Oid relid;
	ArrayType *array;
	EventArgs *args;
	CaptureRow *mark;
	char *table;
	bool is_new;

	PreventCommandDuringRecovery("pgq.capture_table()");
	PreventCommandIfReadOnly("pgq.capture_table()");
	table_refuse_nulls(fcinfo, "pgq.capture_table()");
	queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	relid = PG_GETARG_OID(1);
	array = PG_GETARG_ARRAYTYPE_P(2);

	/* what can be told without waiting comes before the locks */
	raise_if(capture_check_kind(relid));
	capture_require_rights(relid);
	args = event_args_parse(array);
	capture_require_size(queue, array);
	slot_require_logical_wal();
	(void) slot_require_row();
	if (!args->copy)
		capture_refuse_written(relid, capture_mark_find(relid, queue) != NULL);
	capture_require_queue(queue);

	/* a copy locks the table when it begins */
	capture_lock_tree(relid,
					  args->copy ? AccessShareLock : ShareRowExclusiveLock);
	/* the owner may have changed while we waited */
	capture_require_rights(relid);
	require_fit(relid, args);
	mark = capture_mark_find(relid, queue);
	table = capture_table_name(relid);
	if (args->copy)
	{
		if (queue_is_remote(queue, false))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" cannot be copied into a queue of "
							"another server", table),
					 errhint("Capture it without copy, and bring the rows that "
							 "it has to the consumers yourself.")));
		raise_if(capture_check_copy(args));
		is_new = copy_request(queue, relid, table, without_copy(array),
							  mark != NULL);
	}
	else
	{
		copy_require_none(queue, relid, table, mark ? mark->copy : 0);
		is_new = capture_mark_write(relid, queue, array, 0);
	}
	capture_trouble_clear(relid, queue);
	PG_RETURN_INT32(is_new ? 1 : 0);
}

/*
 * pgq.uncapture_table(i_queue text, i_table regclass) returns int
 *
 * Remove the mark of a table for a queue, and end its copy.  Returns 1, or 0 if
 * there was none.
 */
Datum
pgq_uncapture_table(PG_FUNCTION_ARGS)
{
	char *queue;
	Oid relid;
	bool had_copy;

	PreventCommandDuringRecovery("pgq.uncapture_table()");
	PreventCommandIfReadOnly("pgq.uncapture_table()");
	table_refuse_nulls(fcinfo, "pgq.uncapture_table()");
	queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	relid = PG_GETARG_OID(1);

	/* left over from a table that was dropped without our event trigger */
	if (get_rel_name(relid) == NULL && has_role("pgq_admin"))
	{
		if (capture_mark_delete(relid, queue) == 0)
			refuse_unknown_table(relid);
		PG_RETURN_INT32(1);
	}

	capture_require_rights(relid);
	capture_refuse_written(relid, false);
	(void) queue_lock(queue);
	capture_lock_tree(relid, ShareRowExclusiveLock);
	capture_require_rights(relid);
	had_copy = copy_cancel(queue, relid, true);
	PG_RETURN_INT32(capture_mark_delete(relid, queue) > 0 || had_copy ? 1 : 0);
}

/*
 * pgq.cancel_copy(i_queue text, i_table regclass) returns int
 *
 * Runs with the invoker's rights, who must own the table.
 */
Datum
pgq_cancel_copy(PG_FUNCTION_ARGS)
{
	char *queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid relid = PG_GETARG_OID(1);

	PreventCommandDuringRecovery("pgq.cancel_copy()");
	PreventCommandIfReadOnly("pgq.cancel_copy()");
	capture_require_rights(relid);
	PG_RETURN_INT32(copy_cancel(queue, relid, false) ? 1 : 0);
}

/*
 * pgq._start_copy(i_copy int8, OUT copy_id int8, OUT queue_name text,
 * OUT table_oid oid, OUT table_name text)
 *
 * A copy begins: lock its table against writers, check that it still can be
 * captured, and set its mark.
 */
Datum
pgq__start_copy(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	Datum values[4] = {0};
	bool nulls[4] = {true, true, true, true};
	CopyRow *asked = copy_read_row(id);
	CopyRow *copy = NULL;

	if (asked && queue_lock(asked->queue))
	{
		CaptureRow *mark = capture_mark_find(asked->relid, asked->queue);

		/* the mark follows renamed columns */
		copy = copy_begin(id, mark && mark->copy == id ? mark->args : NULL);
	}
	if (copy)
	{
		capture_lock_tree(copy->relid, ShareRowExclusiveLock);
		require_fit(copy->relid, event_args_parse(copy->args));
		(void) capture_mark_write(copy->relid, copy->queue, copy->args,
								  copy->id);
		values[0] = Int64GetDatum(copy->id);
		values[1] = CStringGetTextDatum(copy->queue);
		values[2] = ObjectIdGetDatum(copy->relid);
		values[3] = CStringGetTextDatum(capture_table_name(copy->relid));
		memset(nulls, false, sizeof(nulls));
	}
	return table_make_record(fcinfo, values, nulls);
}

/*
 * pgq._restart_copy(i_queue text, i_table regclass, i_anew bool) returns bool
 *
 * Changes of a table were lost: a copy of it that is under way starts over.  With
 * i_anew a captured table is copied anew in any case.  Returns whether one is to
 * come.
 */
Datum
pgq__restart_copy(PG_FUNCTION_ARGS)
{
	char *queue = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid relid = PG_GETARG_OID(1);
	bool anew = PG_GETARG_BOOL(2);
	CaptureRow *mark = NULL;
	int64 id;

	if (!queue_lock(queue))
		PG_RETURN_BOOL(false);
	if (anew && (mark = capture_mark_find(relid, queue)) == NULL)
		PG_RETURN_BOOL(false);
	id = copy_restart(queue, relid, mark ? mark->args : NULL);
	if (anew)
		(void) capture_mark_name_copy(relid, queue, 0, id);
	PG_RETURN_BOOL(id != 0);
}

/*
 * pgq._forget_captures(i_queue text) returns void
 *
 * A queue is dropped: delete all that feeds it.  The caller has locked its row.
 */
Datum
pgq__forget_captures(PG_FUNCTION_ARGS)
{
	char *queue = text_to_cstring(PG_GETARG_TEXT_PP(0));

	(void) own_delete_all(OWN_CAPTURE, CAPTURE_QUEUE, queue);
	(void) own_delete_all(OWN_COPY, COPY_QUEUE, queue);
	(void) own_delete_all(OWN_CAPTURE_SCHEMA, RULE_QUEUE, queue);
	(void) own_delete_all(OWN_CAPTURE_TROUBLE, TROUBLE_QUEUE, queue);
	capture_invalidate();
	PG_RETURN_VOID();
}
