/*-------------------------------------------------------------------------
 *
 * subscription_sql.c
 *		What SQL functions use in place of queries with equality on the key of
 *		pgq.subscription: these would read all versions of the row.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/own.h"
#include "queue/subscription.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq_main_consumer);
PG_FUNCTION_INFO_V1(pgq_subscriptions);
PG_FUNCTION_INFO_V1(pgq_batch_subscription);
PG_FUNCTION_INFO_V1(pgq_lock_subscription);
PG_FUNCTION_INFO_V1(pgq_move_subscription);

/* pgq._main_consumer(i_queue_id, i_consumer_id) */
Datum
pgq_main_consumer(PG_FUNCTION_ARGS)
{
	Snapshot snapshot = GetActiveSnapshot();
	Subscription sub;

	if (!subscription_find_ids(PG_GETARG_INT32(0), PG_GETARG_INT32(1), snapshot,
							   &sub))
		PG_RETURN_NULL();
	PG_RETURN_INT32(subscription_main_consumer(&sub, snapshot));
}

/* pgq._subscriptions(i_queue_id): as the caller's query sees them */
Datum
pgq_subscriptions(PG_FUNCTION_ARGS)
{
	Datum queue_id = PG_GETARG_DATUM(0);
	Datum before = Int32GetDatum(PG_INT32_MAX);
	TableResult result;
	bool found;

	table_begin_result(fcinfo, &result);
	do
	{
		OwnScan scan;

		CHECK_FOR_INTERRUPTS();
		own_open(&scan, OWN_SUBSCRIPTION, AccessShareLock);
		own_match(&scan, SUBSCRIPTION_QUEUE, queue_id);
		own_compare(&scan, SUBSCRIPTION_CONSUMER, BTLessStrategyNumber,
					F_INT4LT, before);
		own_begin_ordered(&scan, OWN_SUBSCRIPTION_ACTIVE, BackwardScanDirection,
						  GetActiveSnapshot());
		found = own_next(&scan);
		if (found)
		{
			tuplestore_puttuple(result.store, scan.tup);
			before = scan.values[SUBSCRIPTION_CONSUMER];
		}
		own_close(&scan);
	} while (found);
	return (Datum) 0;
}

/* pgq._batch_subscription(i_batch_id) */
Datum
pgq_batch_subscription(PG_FUNCTION_ARGS)
{
	OwnScan scan;
	Datum result = (Datum) 0;

	own_open(&scan, OWN_SUBSCRIPTION, AccessShareLock);
	own_match(&scan, SUBSCRIPTION_BATCH, PG_GETARG_DATUM(0));
	own_begin_ordered(&scan, OWN_SUBSCRIPTION_BATCH, BackwardScanDirection,
					  GetActiveSnapshot());
	if (own_next(&scan))
		result = heap_copy_tuple_as_datum(scan.tup, RelationGetDescr(scan.rel));
	else
		fcinfo->isnull = true;
	own_close(&scan);
	return result;
}

/*
 * Lock a subscription as a new statement of the transaction sees it, and put
 * its newest version into the slot of "w", which the caller closes in any case;
 * false if there is none.
 */
static bool
lock_row(TableWriter *w, int32 queue_id, int32 consumer)
{
	Snapshot snapshot = table_transaction_snapshot();
	Subscription sub;
	bool found;

	table_open_writer(w, own_oid(OWN_SUBSCRIPTION), RowExclusiveLock);
	found = subscription_find_ids(queue_id, consumer, snapshot, &sub) &&
			table_lock_row(w, &sub.tid, snapshot);
	UnregisterSnapshot(snapshot);
	return found;
}

/* pgq._lock_subscription(i_queue_id, i_consumer_id) */
Datum
pgq_lock_subscription(PG_FUNCTION_ARGS)
{
	TableWriter w;
	Datum result = (Datum) 0;

	if (lock_row(&w, PG_GETARG_INT32(0), PG_GETARG_INT32(1)))
	{
		bool is_copy;
		HeapTuple tup = ExecFetchSlotHeapTuple(w.slot, false, &is_copy);

		result = heap_copy_tuple_as_datum(tup, RelationGetDescr(w.rel));
		if (is_copy)
			heap_freetuple(tup);
	}
	else
		fcinfo->isnull = true;
	table_close_writer(&w);
	return result;
}

/*
 * pgq._move_subscription(i_queue_id, i_consumer_id, i_last_tick, i_batch_id,
 * i_next_tick)
 */
Datum
pgq_move_subscription(PG_FUNCTION_ARGS)
{
	static const int columns[] = {SUBSCRIPTION_LAST_TICK, SUBSCRIPTION_BATCH,
								  SUBSCRIPTION_NEXT_TICK};
	TableWriter w;
	bool found;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	found = lock_row(&w, PG_GETARG_INT32(0), PG_GETARG_INT32(1));
	if (found)
	{
		for (int i = 0; i < (int) lengthof(columns); i++)
			own_set(&w, OWN_SUBSCRIPTION, columns[i], PG_GETARG_DATUM(i + 2),
					PG_ARGISNULL(i + 2));
		own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_ACTIVE,
				TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()),
				false);
		own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_LOST_TIME, (Datum) 0, true);
		own_set(&w, OWN_SUBSCRIPTION, SUBSCRIPTION_LOST_TICK, (Datum) 0, true);
		table_update_row(&w);
	}
	table_close_writer(&w);
	PG_RETURN_BOOL(found);
}
