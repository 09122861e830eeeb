/*-------------------------------------------------------------------------
 *
 * batch.c
 *		A batch: open it, read its events, retry some, finish it.
 *
 * next_batch() runs in a transaction of its own, so that an unfinished batch
 * keeps its id and no row lock is held while the caller works.  Events, the
 * caller's own work and finish_batch() share the transaction that follows.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer/internal.h"

/* A page should take about this much memory: above it shrinks, below grows. */
#define PAGE_BYTES			(1024 * 1024)
#define PAGE_ROWS_MAX		5000

#define EVENT_COLUMNS	"ev_id, ev_time, ev_txid, ev_retry, ev_type, " \
	"ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4"
#define BATCH_CURSOR	"pgq_batch"

/* Runs one statement without parameters and result. */
static PgqResult
run(PgqConsumer *c, const char *sql)
{
	PGresult   *res = libpgq_query(c, sql, 0, NULL);

	if (res == NULL)
		return c->status;
	PQclear(res);
	return PGQ_OK;
}

/* After a refused statement: ends the transaction, keeps the error's text. */
static PgqResult
give_up(PgqConsumer *c)
{
	if (c->status == PGQ_ERROR)
		pgq_abandon(c);
	return c->status;
}

/* Takes a fetched page in use and chooses the size of the next one. */
static void
take_page(PgqConsumer *c, PGresult *res)
{
	size_t		size = PQresultMemorySize(res);

	c->page = res;
	c->page_next = 0;
	c->last_page = PQntuples(res) < c->page_rows;
	if (size > PAGE_BYTES)
		c->page_rows = (int) (c->page_rows / (size / PAGE_BYTES + 1));
	else if (size < PAGE_BYTES / 2)
		c->page_rows *= 2;
	if (c->page_rows < 1)
		c->page_rows = 1;
	if (c->page_rows > PAGE_ROWS_MAX)
		c->page_rows = PAGE_ROWS_MAX;
}

PgqResult
pgq_next_batch(PgqConsumer *c)
{
	const char *names[2] = {c->queue, c->consumer};
	const char *params[2];
	char		id[32];
	char		rows[16];
	PGresult   *res;

	pgq_abandon(c);
	if (libpgq_connect(c) != PGQ_OK)
		return c->status;

	/*
	 * Losing this commit in a crash only means that the batch is made again,
	 * so it need not wait for the disk.
	 */
	res = libpgq_query(c, "select pgq.next_batch($1::text, $2::text), "
					   "pg_catalog.set_config('synchronous_commit', 'off', "
					   "true)", 2, names);
	if (res == NULL)
		return c->status;
	if (PQgetisnull(res, 0, 0))
	{
		PQclear(res);
		return libpgq_done(c, PGQ_NONE);
	}
	snprintf(id, sizeof(id), "%s", PQgetvalue(res, 0, 0));
	PQclear(res);

	if (run(c, "begin isolation level read committed read write") != PGQ_OK)
		return c->status;
	c->batch_id = strtoll(id, NULL, 10);
	snprintf(rows, sizeof(rows), "%d", c->page_rows);
	params[0] = id;
	params[1] = rows;
	res = libpgq_query(c, "select " EVENT_COLUMNS " from "
					   "pgq.get_batch_cursor($1::bigint, '" BATCH_CURSOR "', "
					   "$2::integer)", 2, params);
	if (res == NULL)
		return give_up(c);
	take_page(c, res);
	return libpgq_done(c, PGQ_OK);
}

int64_t
pgq_batch_id(const PgqConsumer *c)
{
	return c->batch_id;
}

static PgqResult
no_batch(PgqConsumer *c)
{
	if (c->conn == NULL)
		return c->status = PGQ_LOST;
	return libpgq_fail(c, PGQ_ERROR, "55000", "no batch is open");
}

static const char *
field(const PGresult *res, int row, int col)
{
	return PQgetisnull(res, row, col) ? NULL : PQgetvalue(res, row, col);
}

PgqResult
pgq_next_event(PgqConsumer *c, PgqEvent *ev)
{
	int			row;

	if (c->batch_id == 0)
		return no_batch(c);

	while (c->page == NULL || c->page_next >= PQntuples(c->page))
	{
		char		sql[64];
		PGresult   *res;

		if (c->last_page)
			return libpgq_done(c, PGQ_NONE);
		PQclear(c->page);
		c->page = NULL;
		snprintf(sql, sizeof(sql), "fetch %d from " BATCH_CURSOR,
				 c->page_rows);
		res = libpgq_query(c, sql, 0, NULL);
		if (res == NULL)
			return give_up(c);
		take_page(c, res);
	}

	row = c->page_next++;
	ev->ev_id = strtoll(PQgetvalue(c->page, row, 0), NULL, 10);
	ev->ev_time = PQgetvalue(c->page, row, 1);
	ev->ev_txid = strtoll(PQgetvalue(c->page, row, 2), NULL, 10);
	ev->ev_retry = PQgetisnull(c->page, row, 3) ? -1 :
		(int32_t) strtol(PQgetvalue(c->page, row, 3), NULL, 10);
	ev->ev_type = field(c->page, row, 4);
	ev->ev_data = field(c->page, row, 5);
	ev->ev_extra1 = field(c->page, row, 6);
	ev->ev_extra2 = field(c->page, row, 7);
	ev->ev_extra3 = field(c->page, row, 8);
	ev->ev_extra4 = field(c->page, row, 9);
	return libpgq_done(c, PGQ_OK);
}

PgqResult
pgq_retry(PgqConsumer *c, int64_t ev_id, int seconds)
{
	char		batch[32];
	char		event[32];
	char		wait[16];
	const char *params[3] = {batch, event, wait};
	PGresult   *res;

	if (c->batch_id == 0)
		return no_batch(c);
	snprintf(batch, sizeof(batch), "%lld", (long long) c->batch_id);
	snprintf(event, sizeof(event), "%lld", (long long) ev_id);
	snprintf(wait, sizeof(wait), "%d", seconds);
	res = libpgq_query(c, "select pgq.event_retry($1::bigint, $2::bigint, "
					   "$3::integer)", 3, params);
	if (res == NULL)
		return give_up(c);
	PQclear(res);
	return libpgq_done(c, PGQ_OK);
}

PgqResult
pgq_finish(PgqConsumer *c)
{
	char		batch[32];
	const char *params[1] = {batch};
	PGresult   *res;
	bool		ours;
	bool		committed;

	if (c->batch_id == 0)
		return no_batch(c);
	snprintf(batch, sizeof(batch), "%lld", (long long) c->batch_id);
	res = libpgq_query(c, "select pgq.finish_batch($1::bigint)", 1, params);
	if (res == NULL)
		return give_up(c);
	ours = strcmp(PQgetvalue(res, 0, 0), "1") == 0;
	PQclear(res);
	if (!ours)
	{
		libpgq_fail(c, PGQ_ERROR, "55000", "the batch is no longer open: "
					"another session of this consumer finished it, or its "
					"position was moved");
		return give_up(c);
	}

	res = libpgq_query(c, "commit", 0, NULL);
	libpgq_forget_batch(c);
	if (res == NULL)
		return c->status;
	committed = strcmp(PQcmdStatus(res), "COMMIT") == 0;
	PQclear(res);
	if (!committed)
		return libpgq_fail(c, PGQ_ERROR, "25P02",
						   "the batch's transaction was rolled back");
	return libpgq_done(c, PGQ_OK);
}

void
pgq_abandon(PgqConsumer *c)
{
	PGresult   *res;

	if (c->conn == NULL ||
		(c->batch_id == 0 &&
		 PQtransactionStatus(c->conn) == PQTRANS_IDLE))
		return;
	libpgq_forget_batch(c);

	/* The reason for giving up matters more than how this goes. */
	res = PQexec(c->conn, "rollback");
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		libpgq_disconnect(c);
	PQclear(res);
}
