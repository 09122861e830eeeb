/*-------------------------------------------------------------------------
 *
 * batch_sql.c
 *		A batch as SQL text, and cursors over it: pgq.batch_event_sql(),
 *		pgq.batch_event_tables() and pgq.get_batch_cursor().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "event/compat.h"
#include "queue/batch.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq_batch_event_sql);
PG_FUNCTION_INFO_V1(pgq_batch_event_tables);
PG_FUNCTION_INFO_V1(pgq_get_batch_cursor);

#define RESULT_COLUMNS                                                         \
	"ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data, "                    \
	"ev_extra1, ev_extra2, ev_extra3, ev_extra4"

/* Append a snapshot as a literal: xmin:xmax:xip,xip,... */
static void
append_snapshot(StringInfo buf, const TickSnapshot *snapshot)
{
	appendStringInfo(buf, "'" UINT64_FORMAT ":" UINT64_FORMAT ":",
					 snapshot->xmin, snapshot->xmax);
	for (uint32 i = 0; i < snapshot->nxip; i++)
		appendStringInfo(buf, "%s" UINT64_FORMAT, i > 0 ? "," : "",
						 snapshot->xip[i]);
	appendStringInfoString(buf, "'::pg_catalog.txid_snapshot");
}

/* The quoted name of an event table. */
static char *
quoted_table(const Queue *queue, int table)
{
	char *name = queue_table_name(queue, table);
	char *dot = strchr(name, '.');

	if (dot == NULL)
		return quote_qualified_identifier("public", name);
	*dot = '\0';
	return quote_qualified_identifier(name, dot + 1);
}

/*
 * Append the query for a batch's events in one table: the condition "ids" on
 * ev_txid, then what the batch's snapshots and owner ask for.  It runs under the
 * search_path of whoever asks.
 */
static void
append_select(StringInfo buf, const Batch *batch, int table, const char *ids)
{
	appendStringInfo(buf, "%sselect " RESULT_COLUMNS " from only %s where %s",
					 buf->len > 0 ? " union all " : "",
					 quoted_table(&batch->queue, table), ids);
	appendStringInfoString(buf, " and not pg_catalog."
								"txid_visible_in_snapshot(ev_txid, ");
	append_snapshot(buf, batch->from.snapshot);
	appendStringInfoString(buf, ") and pg_catalog."
								"txid_visible_in_snapshot(ev_txid, ");
	append_snapshot(buf, batch->to.snapshot);
	appendStringInfo(buf,
					 ") and (ev_owner is null or ev_owner"
					 " operator(pg_catalog.=) %d)",
					 batch->sub_id);
}

/*
 * The query for the rows of a batch, ordered by ev_id; palloc'd.  It finds by
 * index what pgq.get_batch_events() finds.
 */
static char *
batch_sql(const Batch *batch)
{
	StringInfoData buf;
	StringInfoData ids;
	BatchSpan span;
	int tables[BATCH_MAX_TABLES];
	int ntables;

	initStringInfo(&buf);
	initStringInfo(&ids);
	batch_plan_span(batch->from.snapshot, batch->to.snapshot, &span);
	ntables = batch_list_tables(&batch->queue, span.from, span.to, tables);
	for (int t = 0; t < ntables; t++)
	{
		resetStringInfo(&ids);
		appendStringInfo(&ids,
						 "ev_txid operator(pg_catalog.>=) " UINT64_FORMAT
						 " and ev_txid operator(pg_catalog.<) " UINT64_FORMAT,
						 span.low, span.high);
		append_select(&buf, batch, tables[t], ids.data);
		if (span.nsingles == 0)
			continue;

		resetStringInfo(&ids);
		appendStringInfoString(&ids, "ev_txid operator(pg_catalog.=) any ('{");
		for (int i = 0; i < span.nsingles; i++)
			appendStringInfo(&ids, "%s" UINT64_FORMAT, i > 0 ? "," : "",
							 span.singles[i]);
		appendStringInfoString(&ids, "}'::pg_catalog.int8[])");
		append_select(&buf, batch, tables[t], ids.data);
	}
	appendStringInfoString(&buf, " order by 1");
	return buf.data;
}

static char *
find_batch_sql(int64 id)
{
	Snapshot snapshot = table_transaction_snapshot();
	Batch batch;

	if (!batch_find(id, snapshot, &batch))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("batch not found"),
				 errhint("A batch can be read until it is finished.")));
	UnregisterSnapshot(snapshot);
	return batch_sql(&batch);
}

/* pgq.batch_event_sql(x_batch_id) */
Datum
pgq_batch_event_sql(PG_FUNCTION_ARGS)
{
	int64 id = PG_ARGISNULL(0) ? -1 : PG_GETARG_INT64(0);

	PG_RETURN_TEXT_P(cstring_to_text(find_batch_sql(id)));
}

/* pgq.batch_event_tables(x_batch_id) */
Datum
pgq_batch_event_tables(PG_FUNCTION_ARGS)
{
	int tables[BATCH_MAX_TABLES];
	int ntables;
	TableResult result;
	Snapshot snapshot;
	Batch batch;

	table_begin_result(fcinfo, &result);
	snapshot = table_transaction_snapshot();
	if (PG_ARGISNULL(0) || !batch_find(PG_GETARG_INT64(0), snapshot, &batch))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 PG_ARGISNULL(0) ?
				 errmsg("Cannot find data for batch <NULL>") :
				 errmsg("Cannot find data for batch " INT64_FORMAT,
						PG_GETARG_INT64(0)),
				 errhint("A batch can be read until it is finished.")));
	UnregisterSnapshot(snapshot);

	ntables = batch_list_tables(&batch.queue, batch.from.snapshot,
								batch.to.snapshot, tables);
	for (int t = 0; t < ntables; t++)
	{
		bool isnull = false;
		Datum name;

		name = CStringGetTextDatum(queue_table_name(&batch.queue, tables[t]));
		tuplestore_putvalues(result.store, result.tupdesc, &name, &isnull);
	}
	return (Datum) 0;
}

/*
 * The query of a cursor over a batch; palloc'd.
 *
 * One that gives rows at once has to have all of them sorted, and to keep them:
 * pgq.get_batch_events() does that for less than a plan.  One that is read later
 * may be so when the batch is finished.
 */
static char *
cursor_sql(int64 id, int32 limit)
{
	if (limit <= 0)
		return find_batch_sql(id);
	return psprintf("select " RESULT_COLUMNS
					" from pgq.get_batch_events(" INT64_FORMAT ")",
					id);
}

/*
 * Open a cursor over a batch, with the caller's rights, and put its first
 * "limit" rows into "result".
 */
static void
open_cursor(const char *sql, char *name, int32 limit, TableResult *result)
{
	SPIParseOpenOptions options = {0};
	Portal portal;

	options.cursorOptions = CURSOR_OPT_NO_SCROLL;
	truncate_identifier(name, strlen(name), false);

	SPI_connect();
	portal = SPI_cursor_parse_open(name, sql, &options);
	if (limit > 0)
	{
		SPI_cursor_fetch(portal, true, limit);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			tuplestore_puttuple(result->store, SPI_tuptable->vals[i]);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
}

/*
 * pgq.get_batch_cursor(i_batch_id, i_cursor_name, i_quick_limit
 * [, i_extra_where])
 */
Datum
pgq_get_batch_cursor(PG_FUNCTION_ARGS)
{
	TableResult result;
	StringInfoData sql;
	int32 limit;

	table_begin_result(fcinfo, &result);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;

	limit = PG_GETARG_INT32(2);
	initStringInfo(&sql);
	if (PG_NARGS() > 3 && !PG_ARGISNULL(3))
		/* the line break ends a comment in the condition */
		appendStringInfo(&sql, "select * from (%s) b where (%s\n) order by 1",
						 cursor_sql(PG_GETARG_INT64(0), limit),
						 text_to_cstring(PG_GETARG_TEXT_PP(3)));
	else
		appendStringInfoString(&sql, cursor_sql(PG_GETARG_INT64(0), limit));

	open_cursor(sql.data, text_to_cstring(PG_GETARG_TEXT_PP(1)), limit,
				&result);
	return (Datum) 0;
}
