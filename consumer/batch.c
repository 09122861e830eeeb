/*-------------------------------------------------------------------------
 *
 * batch.c
 *		A batch: open it, read its events, finish it.
 *
 * next_batch() runs in a transaction of its own, so that an unfinished batch
 * keeps its id and no row lock is held while the caller works.  Events, the
 * caller's own work and finish_batch() share the transaction that follows.
 *
 * Events come by pages of a cursor, and each page row by row, so that no more
 * than one event is in memory, however large they are.  Only when the
 * connection is wanted in the middle of a page is the rest of it read ahead.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer/internal.h"

/*
 * Rows of a batch's first page, which the server's function gathers before it
 * sends them, and of the others, which the cursor streams.
 */
#define FIRST_PAGE_ROWS 100
#define PAGE_ROWS 1000

#define MERGE_EVENTS "500"

/* A batch's id, and the time of its end in us of 1970; NULL: there is none. */
#define ID_AND_TIME(b)                                                         \
	b ".batch_id operator(pg_catalog.||) ' ' operator(pg_catalog.||) "         \
	  "(1000000 operator(pg_catalog.*) extract(epoch from " b                  \
	  ".cur_tick_time))::pg_catalog.int8"

/*
 * Ticks come as fast as the fastest consumer takes them.  One that is
 * MERGE_EVENTS behind gets so many at once, or it would never catch up.
 */
static const char next_batch_sql[] = "select coalesce(" ID_AND_TIME(
	"m") ", "
		 "(select " ID_AND_TIME(
			 "n") " from pgq.next_batch_info("
				  "$1::pg_catalog.text, $2::pg_catalog.text) n)) "
				  "from pgq.next_batch_custom($1::pg_catalog.text, "
				  "$2::pg_catalog.text, null, " MERGE_EVENTS ", null) m";

#define EVENT_COLUMNS                                                          \
	"ev_id, ev_time, ev_txid, ev_retry, ev_type, "                             \
	"ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4"
#define BATCH_CURSOR "pgq_batch"

PgqResult
libpgq_give_up(PgqConsumer *c)
{
	if (c->status == PGQ_ERROR)
		pgq_abandon(c);
	return c->status;
}

/* Sends the query for a page; its rows are read one by one later. */
static PgqResult
start_page(PgqConsumer *c, int rows, const char *sql)
{
	if (!PQsendQuery(c->conn, sql) || !PQsetSingleRowMode(c->conn))
		return libpgq_note_failure(c, NULL);
	c->in_page = true;
	c->page_rows = rows;
	c->page_seen = 0;
	return PGQ_OK;
}

bool
libpgq_keep_page(PgqConsumer *c)
{
	PGresult *res;

	if (!c->in_page || c->kept != NULL)
		return true;

	/*
	 * A page has an end result or an error, the first one those of BEGIN and
	 * SET too.
	 */
	c->kept = calloc(c->page_rows + 16, sizeof(PGresult *));
	if (c->kept == NULL)
	{
		libpgq_fail(c, PGQ_ERROR, "53200", "out of memory", NULL);
		return false;
	}
	while ((res = PQgetResult(c->conn)) != NULL)
		c->kept[c->kept_count++] = res;
	return true;
}

/* The page's next result: a row, its end, an error, or NULL after these. */
static PGresult *
next_result(PgqConsumer *c)
{
	if (c->kept == NULL)
		return PQgetResult(c->conn);
	if (c->kept_next < c->kept_count)
		return c->kept[c->kept_next++];
	free(c->kept);
	c->kept = NULL;
	c->kept_next = c->kept_count = 0;
	return NULL;
}

/* The statement that reads the bookmark, malloc'd; NULL: no memory, or the names
 * are none in the connection's encoding. */
static char *
make_bookmark_sql(PgqConsumer *c)
{
	char *queue = PQescapeLiteral(c->conn, c->queue, strlen(c->queue));
	char *consumer = PQescapeLiteral(c->conn, c->consumer, strlen(c->consumer));
	size_t size = 128;
	char *sql = NULL;

	if (queue && consumer)
	{
		size += strlen(queue) + strlen(consumer);
		sql = malloc(size);
	}
	if (sql)
		snprintf(sql, size,
				 "select pgq.get_bookmark(%s::pg_catalog.text, "
				 "%s::pg_catalog.text);",
				 queue, consumer);
	PQfreemem(queue);
	PQfreemem(consumer);
	return sql;
}

static void
keep_bookmark(PgqConsumer *c, const PGresult *res)
{
	free(c->bookmark);
	c->bookmark = PQgetisnull(res, 0, 0) ? NULL : strdup(PQgetvalue(res, 0, 0));
}

/* Reads the bookmark, which comes before the first page's rows. */
static PgqResult
take_bookmark(PgqConsumer *c)
{
	for (;;)
	{
		PGresult *res = PQgetResult(c->conn);
		ExecStatusType status = PQresultStatus(res);

		if (status == PGRES_SINGLE_TUPLE)
			keep_bookmark(c, res);
		else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			return libpgq_note_failure(c, res);
		PQclear(res);
		if (status == PGRES_TUPLES_OK)
			return PGQ_OK;
	}
}

PgqResult
libpgq_read_batch(PgqConsumer *c, const char *where)
{
	char *bookmark = c->with_bookmark ? make_bookmark_sql(c) : NULL;
	size_t size = 1024 + (bookmark ? strlen(bookmark) : 0);
	char *sql = malloc(size);
	char keep[96] = "";
	PgqResult rc;

	if (sql == NULL || (c->with_bookmark && bookmark == NULL))
	{
		free(bookmark);
		free(sql);
		libpgq_fail(c, PGQ_ERROR, NULL, PQerrorMessage(c->conn), NULL);
		return libpgq_give_up(c);
	}
	/* keeps a share from others as long as the transaction lasts */
	if (c->share_id != 0)
		snprintf(keep, sizeof(keep), "pgq.renew_share(%lld, '%d s') kept, ",
				 (long long) c->share_id, c->lease);
	c->last_page = false;
	snprintf(sql, size,
			 "%s %s "
			 "select " EVENT_COLUMNS " from %s"
			 "pgq.get_batch_cursor(%lld, '" BATCH_CURSOR "', %d%s)",
			 libpgq_begin_sql(c), bookmark ? bookmark : "", keep,
			 (long long) c->batch_id, FIRST_PAGE_ROWS, where);
	rc = start_page(c, FIRST_PAGE_ROWS, sql);
	free(bookmark);
	free(sql);
	if (rc == PGQ_OK && c->with_bookmark)
		rc = take_bookmark(c);
	return rc == PGQ_OK ? libpgq_done(c, PGQ_OK) : libpgq_give_up(c);
}

PgqResult
pgq_next_batch(PgqConsumer *c)
{
	const char *names[2] = {c->queue, c->consumer};
	PGresult *res;
	char *end;

	pgq_abandon(c);
	if (libpgq_connect(c) != PGQ_OK)
		return c->status;
	if (c->worker)
		return libpgq_next_share(c);

	res = libpgq_query(c, next_batch_sql, 2, names);
	if (res == NULL)
		return c->status;
	if (PQgetisnull(res, 0, 0))
	{
		PQclear(res);
		return libpgq_done(c, PGQ_NONE);
	}
	c->batch_id = strtoll(PQgetvalue(res, 0, 0), &end, 10);
	c->batch_time = strtoll(end, NULL, 10);
	PQclear(res);
	return libpgq_read_batch(c, "");
}

int64_t
pgq_batch_id(const PgqConsumer *c)
{
	return c->batch_id;
}

int64_t
pgq_batch_time(const PgqConsumer *c)
{
	return c->batch_id == 0 ? 0 : c->batch_time;
}

PgqResult
libpgq_no_batch(PgqConsumer *c)
{
	if (c->conn == NULL)
		return c->status = PGQ_LOST;
	return libpgq_fail(c, PGQ_ERROR, "55000", "no batch is open", NULL);
}

static const char *
field(const PGresult *res, int col)
{
	return PQgetisnull(res, 0, col) ? NULL : PQgetvalue(res, 0, col);
}

/* Puts the next row in c->row, from this page or the next. */
static PgqResult
next_row(PgqConsumer *c)
{
	PGresult *res;

	PQclear(c->row);
	c->row = NULL;
	for (;;)
	{
		if (!c->in_page)
		{
			char sql[64];

			if (c->last_page)
				return PGQ_NONE;
			snprintf(sql, sizeof(sql), "fetch %d from " BATCH_CURSOR,
					 PAGE_ROWS);
			if (start_page(c, PAGE_ROWS, sql) != PGQ_OK)
				return c->status;
		}
		res = next_result(c);
		switch (PQresultStatus(res))
		{
			case PGRES_SINGLE_TUPLE:
				c->page_seen++;
				c->row = res;
				return PGQ_OK;
			case PGRES_COMMAND_OK: /* of BEGIN, SET */
				PQclear(res);
				break;
			case PGRES_TUPLES_OK:
				PQclear(res);
				c->last_page = c->page_seen < c->page_rows;
				while ((res = next_result(c)) != NULL)
					PQclear(res);
				c->in_page = false;
				break;
			default:
				return libpgq_note_failure(c, res);
		}
	}
}

PgqResult
pgq_next_event(PgqConsumer *c, PgqEvent *ev)
{
	PgqResult rc;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	rc = c->detached ? PGQ_NONE : next_row(c);
	if (rc == PGQ_NONE)
		return libpgq_done(c, PGQ_NONE);
	if (rc != PGQ_OK)
		return libpgq_give_up(c);

	ev->ev_id = strtoll(PQgetvalue(c->row, 0, 0), NULL, 10);
	ev->ev_time = PQgetvalue(c->row, 0, 1);
	ev->ev_txid = strtoll(PQgetvalue(c->row, 0, 2), NULL, 10);
	ev->ev_retry = PQgetisnull(c->row, 0, 3)
					   ? -1
					   : (int32_t) strtol(PQgetvalue(c->row, 0, 3), NULL, 10);
	ev->ev_type = field(c->row, 4);
	ev->ev_data = field(c->row, 5);
	ev->ev_extra1 = field(c->row, 6);
	ev->ev_extra2 = field(c->row, 7);
	ev->ev_extra3 = field(c->row, 8);
	ev->ev_extra4 = field(c->row, 9);
	return libpgq_done(c, PGQ_OK);
}

/* Commits what is in the transaction; false, with the failure noted, if not. */
static bool
commit(PgqConsumer *c)
{
	PGresult *res = libpgq_query(c, "commit", 0, NULL);
	bool committed;

	if (res == NULL)
		return false;
	committed = strcmp(PQcmdStatus(res), "COMMIT") == 0;
	PQclear(res);
	if (!committed)
		libpgq_fail(c, PGQ_ERROR, "25P02",
					"the batch's transaction was rolled back", NULL);
	return committed;
}

PgqResult
pgq_detach(PgqConsumer *c)
{
	PGresult *res;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	if (c->detached)
		return libpgq_done(c, PGQ_OK);
	if (c->in_page && c->kept == NULL)
		while ((res = PQgetResult(c->conn)) != NULL)
			PQclear(res);
	libpgq_forget_rows(c);
	if (!commit(c))
		return libpgq_give_up(c);
	c->detached = true;
	return libpgq_done(c, PGQ_OK);
}

/* After pgq_finish() failed: a batch without a transaction stays open. */
static PgqResult
refuse_finish(PgqConsumer *c)
{
	if (!c->detached)
		return libpgq_give_up(c);
	if (c->status == PGQ_ERROR)
		c->finish_sent = false;
	if (c->conn != NULL && PQtransactionStatus(c->conn) != PQTRANS_IDLE)
		PQclear(PQexec(c->conn, "rollback"));
	return c->status;
}

PgqResult
pgq_get_bookmark(PgqConsumer *c, const char **bookmark)
{
	const char *names[2] = {c->queue, c->consumer};
	PGresult *res;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	*bookmark = c->bookmark;
	if (c->with_bookmark)
		return libpgq_done(c, PGQ_OK);
	if (!libpgq_keep_page(c))
		return libpgq_give_up(c);
	res = libpgq_query(c,
					   "select pgq.get_bookmark($1::pg_catalog.text, "
					   "$2::pg_catalog.text)",
					   2, names);
	if (res == NULL)
		return libpgq_give_up(c);
	keep_bookmark(c, res);
	*bookmark = c->bookmark;
	PQclear(res);
	return libpgq_done(c, PGQ_OK);
}

PgqResult
pgq_set_bookmark(PgqConsumer *c, const char *bookmark)
{
	char batch[32];
	const char *params[2] = {batch, bookmark};
	PGresult *res;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	snprintf(batch, sizeof(batch), "%lld", (long long) c->batch_id);
	if (!libpgq_keep_page(c))
		return libpgq_give_up(c);
	res = libpgq_query(c,
					   "select pgq.set_bookmark($1::pg_catalog.int8, "
					   "$2::pg_catalog.text)",
					   2, params);
	if (res == NULL)
		return libpgq_give_up(c);
	PQclear(res);
	return libpgq_done(c, PGQ_OK);
}

PgqResult
pgq_finish(PgqConsumer *c)
{
	char batch[32];
	const char *params[1] = {batch};
	char sql[160];
	PGresult *res;
	bool ours;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	if (libpgq_connect(c) != PGQ_OK)
		return c->status;
	snprintf(batch, sizeof(batch), "%lld",
			 (long long) (c->share_id ? c->share_id : c->batch_id));

	/* Finished by a first try whose answer was lost, it is no longer open. */
	ours = c->finish_sent;
	c->finish_sent = true;

	/*
	 * Where nothing of the caller's is in the transaction, a crash of the
	 * server may lose it: the batch comes again.
	 */
	snprintf(sql, sizeof(sql), "select pgq.finish_%s($1::pg_catalog.int8)%s",
			 c->share_id ? "share" : "batch",
			 c->borrowed ? ""
						 : ", pg_catalog.set_config('synchronous_commit', "
						   "'off', true)");
	res = libpgq_query(c, sql, 1, params);
	if (res == NULL && ours && strcmp(c->sqlstate, SHARE_LOST) == 0)
	{
		/* done by the first try, or by who has it now */
		libpgq_forget_batch(c);
		return libpgq_done(c, PGQ_OK);
	}
	if (res == NULL && strcmp(c->sqlstate, SHARE_LOST) == 0)
		c->detached = false;
	if (res == NULL)
		return refuse_finish(c);
	ours = ours || strcmp(PQgetvalue(res, 0, 0), "1") == 0;
	PQclear(res);
	if (!ours)
	{
		libpgq_fail(c, PGQ_ERROR, "55000",
					"the batch is no longer open: "
					"another session of this consumer finished it, or its "
					"position was moved",
					NULL);
		pgq_abandon(c);
		return PGQ_ERROR;
	}
	if (PQtransactionStatus(c->conn) != PQTRANS_IDLE && !commit(c))
		return refuse_finish(c);
	libpgq_forget_batch(c);
	return libpgq_done(c, PGQ_OK);
}

void
pgq_abandon(PgqConsumer *c)
{
	PGresult *res;

	libpgq_forget_batch(c);
	if (c->conn == NULL || PQtransactionStatus(c->conn) == PQTRANS_IDLE)
		return;

	/* The reason for giving up matters more than how this goes. */
	res = PQexec(c->conn, "rollback");
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		libpgq_disconnect(c);
	PQclear(res);
}
