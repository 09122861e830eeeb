/*-------------------------------------------------------------------------
 *
 * emit.c
 *		pgq.emit_event() and pgq.emit_events(): produce events through the WAL
 *		alone, with no table written.
 *
 * The event is a logical message of the transaction.  It reaches the queue
 * with the transaction's other changes, in order, when pgqd has ingested the
 * commit; if the transaction rolls back, there is no event.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "event/frame.h"
#include "event/message.h"
#include "capture/slot.h"
#include "queue/event_arrays.h"
#include "queue/target.h"
#include "queue/own.h"

PG_FUNCTION_INFO_V1(pgq_emit_event);
PG_FUNCTION_INFO_V1(pgq_emit_events);

/* Checked and read once a (sub)transaction, which may roll back what it saw. */
static FullTransactionId ready_xid;
static SubTransactionId ready_subxact;
static uint32 messages; /* written in the transaction, rolled back or not */
static char secret[EVENT_SECRET_LEN];
static bool slot_is_remote;

/* The WAL's end after the last message, until that is known to be past. */
static XLogRecPtr message_end = InvalidXLogRecPtr;

/*
 * Logical decoding merges the changes of a transaction and its subtransactions by
 * their LSN.  That of a message is its end, though, which is where the next record
 * begins (logicalmsg_decode() and heap_decode(), PostgreSQL 14 to 19): if that is a
 * change of another subtransaction, either may come first.  So there is an empty
 * record between.
 */
static void
keep_order(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
		   void *arg)
{
	if (XLogRecPtrIsInvalid(message_end) || event == SUBXACT_EVENT_ABORT_SUB ||
		event == SUBXACT_EVENT_COMMIT_SUB)
		return;
	if (GetXLogInsertRecPtr() == message_end)
	{
		XLogBeginInsert();
		(void) XLogInsert(RM_XLOG_ID, XLOG_NOOP);
	}
	message_end = InvalidXLogRecPtr;
}

static void
get_ready(void)
{
	static bool registered = false;
	FullTransactionId xid = GetTopFullTransactionId();
	SlotRow *slot;
	Relation rel;
	bool found;

	if (FullTransactionIdEquals(ready_xid, xid) &&
		ready_subxact == GetCurrentSubTransactionId())
		return;
	if (!registered)
	{
		RegisterSubXactCallback(keep_order, NULL);
		registered = true;
	}
	slot_require_logical_wal();
	slot = slot_read_row();
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no capture slot in this database"),
				 errdetail("Without a slot the event would get nowhere."),
				 errhint("Call pgq.start_capture() first, or use "
						 "pgq.insert_event().")));
	rel = table_open(own_oid(OWN_SECRET), AccessShareLock);
	found = event_secret_read(rel, secret);
	table_close(rel, AccessShareLock);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table pgq.secret has no secret"),
				 errhint("As a superuser: SELECT pgq._new_secret();")));
	if (!FullTransactionIdEquals(ready_xid, xid))
		messages = 0;
	slot_is_remote = slot->remote;
	ready_xid = xid;
	ready_subxact = GetCurrentSubTransactionId();
}

/* The queue's name, palloc'd, if events can be emitted into it. */
static char *
require_queue(text *name)
{
	char *queue = text_to_cstring(name);
	Target *target;

	PreventCommandIfReadOnly("pgq.emit_event()");
	get_ready();
	if (slot_is_remote)
	{
		if (!queue_is_remote(queue, false))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("queue \"%s\" is not among those of another server "
							"that the capture slot feeds", queue),
					 errhint("For a queue of this database use "
							 "pgq.insert_event(); others are declared by "
							 "pgq.declare_remote_queue().")));
		return queue;
	}
	target = target_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (target == NULL)
		queue_refuse_unknown(queue);
	target_require_enabled(target);
	return queue;
}

/* Write one event into the WAL; its strings are copied. */
static void
emit(const char *queue, const Event *event)
{
	StringInfoData buf;
	FrameWriter w = {.buf = &buf, .start = -1};

	if (frame_event_size(event) > FRAME_MAX_EVENT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large"),
				 errdetail("It has %zu bytes, %d at most.",
						   frame_event_size(event), FRAME_MAX_EVENT)));
	initStringInfo(&buf);
	enlargeStringInfo(&buf, EVENT_SEAL_LEN);
	buf.len = EVENT_SEAL_LEN;
	pq_sendint32(&buf, ++messages);
	frame_open_events(&w, queue, 0);
	frame_put_event(&w, event);
	frame_close_events(&w);
	event_message_seal(secret, ready_xid, buf.data + EVENT_SEAL_LEN,
					   buf.len - EVENT_SEAL_LEN, (uint8 *) buf.data);
	message_end = LOG_EVENT_MESSAGE(EVENT_MESSAGE_PREFIX, buf.data, buf.len);
	pfree(buf.data);
}

static void
refuse_null_queue(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("Queue name must not be NULL")));
}

/*
 * pgq.emit_event(i_queue, i_type, i_data [, i_extra1 .. i_extra4]) → void
 */
Datum
pgq_emit_event(PG_FUNCTION_ARGS)
{
	char *queue;
	Event event;

	refuse_null_queue(fcinfo);
	queue = require_queue(PG_GETARG_TEXT_PP(0));
	event.time = 0;
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		event.field[i] = event_field_of_text(PG_GETARG_DATUM(i + 1),
											 PG_ARGISNULL(i + 1));
	emit(queue, &event);
	PG_RETURN_VOID();
}

/*
 * pgq.emit_events(i_queue, i_types text[], i_datas text[]) → int: one event
 * for each pair; returns their number.
 */
Datum
pgq_emit_events(PG_FUNCTION_ARGS)
{
	char *queue;
	EventArrays arrays;
	Event event = {0};

	refuse_null_queue(fcinfo);
	event_arrays_read(fcinfo, 1, &arrays);
	queue = require_queue(PG_GETARG_TEXT_PP(0));
	for (int i = 0; i < arrays.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		event_arrays_get(&arrays, i, event.field);
		emit(queue, &event);
	}
	PG_RETURN_INT32(arrays.n);
}
