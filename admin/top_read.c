/*-------------------------------------------------------------------------
 *
 * top_read.c
 *		pgqadm top: read the state of the queues, again and again, from a
 *		connection that is made again when it is lost.
 *
 * Only top_wait() waits, for the server and for the keyboard at once, so that a
 * server that hangs does not take the keys from the user.
 *
 *		DOWN -> OPENING -> TRUSTING -> PROBING -> READY -> READING -> READY ...
 *
 * and from each of them back to DOWN when the connection breaks.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/clock.h"
#include "common/trust.h"
#include "admin/top.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/problems.h"

/* Seconds to bear a server that says nothing, and between two attempts. */
#define PATIENCE 15.0
#define RETRY_PERIOD 2.0

enum
{
	LINK_DOWN,
	LINK_OPENING,
	LINK_TRUSTING,
	LINK_PROBING,
	LINK_READY,
	LINK_READING
};

#define EPOCH(x) "pg_catalog.date_part('epoch', " x ")"

/* What the database can do, and how it is called. */
static const char probe_sql[] =
	"select pg_catalog.to_regprocedure('pgq.get_slot_info()') is not null, "
	"pg_catalog.format('%s   PostgreSQL %s   PgQ %s', "
	"pg_catalog.current_database(), pg_catalog.split_part("
	"pg_catalog.current_setting('server_version'), ' ', 1), pgq.version()), " HAS_PROBLEMS_4_1;

/*
 * Columns of a sample's results, after the row's name and queue: state,
 * problem, events, lag_events, lag_bytes, lag_seconds, bytes.  The first
 * result is the time, with a warning or NULL.
 */
#define TIME_SQL(from)                                                          \
	"select pg_catalog.to_char(pg_catalog.now(), 'HH24:MI:SS'), "               \
	"(select pg_catalog.string_agg(case when n < 6 then problem end, '; ') "    \
	"|| case when pg_catalog.count(*) > 5 then pg_catalog.format("              \
	"'; and %s more: see pgqadm status', pg_catalog.count(*) - 5) else '' end " \
	"from (select problem, pg_catalog.row_number() over (order by severity "    \
	"<> 'standstill', severity <> 'problem') as n from " from ") p);"

static const char time_sql[] = TIME_SQL(PROBLEMS_4_1(""));
static const char time_4_0_sql[] = TIME_SQL(PROBLEMS_4_0);

/* The same before PgQ 4. */
static const char time_3_sql[] =
	"select pg_catalog.to_char(pg_catalog.now(), 'HH24:MI:SS'), "
	"case when not exists (select from pg_catalog.pg_stat_activity "
	"where application_name ~ '^pgqd(/|$)' and datname = "
	"pg_catalog.current_database()) and not pg_catalog.pg_is_in_recovery() "
	"then 'pgqd does not look after this database: no ticks, nothing "
	"arrives' end;";

/* Bytes an event: from the current table, filled since the last rotation. */
static const char queues_sql[] =
	"select q.queue_name, '', case when q.queue_ticker_paused then 'paused' "
	"else '' end, '', pgq.seq_getval(q.queue_event_seq), i.ev_new, null, " EPOCH(
		"i.ticker_lag") ", "
						"(select sum(pg_catalog.pg_total_relation_size(c.inhrelid)) "
						"from pg_catalog.pg_inherits c where c.inhparent = "
						"pg_catalog.to_regclass(q.queue_data_pfx)) "
						"from pgq.get_queue_info() i "
						"join pgq.queue q on q.queue_name = i.queue_name;";

static const char consumers_sql[] =
	"select c.co_name, q.queue_name, case when s.sub_batch is not null "
	"then 'batch' else '' end, '', t.tick_event_seq, "
	"greatest(q.seq - t.tick_event_seq, 0), "
	"greatest(q.seq - t.tick_event_seq, 0) * q.width, " EPOCH(
		"pg_catalog.clock_timestamp() - t.tick_time") ", null "
													  "from (select *, pgq.seq_getval(queue_event_seq) as seq, "
													  "pg_catalog.pg_table_size(pg_catalog.to_regclass(queue_data_pfx || '_' "
													  "|| queue_cur_table)) / nullif(pgq.seq_getval(queue_event_seq) - (select "
													  "w.tick_event_seq from pgq.tick w where w.tick_queue = queue_id and "
													  "w.tick_time >= queue_switch_time order by w.tick_id limit 1), 0)::float8 "
													  "as width from pgq.queue) q "
													  "join pgq.subscription s on s.sub_queue = q.queue_id "
													  "join pgq.consumer c on c.co_id = s.sub_consumer "
													  "left join pgq.tick t on t.tick_queue = s.sub_queue "
													  "and t.tick_id = s.sub_last_tick order by q.queue_name, c.co_name;";

static const char slots_sql[] =
	"select slot_name, '', state, problem, events, null, lag_bytes, " EPOCH(
		"coalesce(lag_time, '0')") ", null from pgq.get_slot_info();";

/* Copies that wait or are under way. */
static const char copies_sql[] =
	"select table_name, queue_name, state, problem, copied_rows, "
	"total_rows - copied_rows, null, "
	"pg_catalog.date_part('epoch', time_left), bytes from pgq.get_copy_info() "
	"where state not in ('done', 'cancelled');";

static const TopKind kinds_4[] = {TOP_SLOT, TOP_COPY, TOP_QUEUE, TOP_CONSUMER};
static const TopKind kinds_3[] = {TOP_QUEUE, TOP_CONSUMER};

/* ---- rows ---- */

static bool
is_row(const TopRow *row, TopKind kind, const char *name, const char *queue)
{
	return row->kind == kind && strcmp(row->name, name) == 0 &&
		   strcmp(row->queue, queue) == 0;
}

/*
 * The row of this name at place "at", moved or made if it is not there: the
 * server's order seldom changes, so that the first look mostly finds it.
 */
static TopRow *
find_row(Top *top, int at, TopKind kind, const char *name, const char *queue)
{
	TopRow row = {.kind = kind, .rate = NAN, .events = NAN};
	int i = at;

	while (i < top->nrows && !is_row(&top->rows[i], kind, name, queue))
		i++;
	if (i == top->nrows)
	{
		TopRow *rows = memory_resize(top->rows, (i + 1) * sizeof(TopRow));

		top->rows = rows;
		top->nrows++;
		row.name = text_copy(name);
		row.queue = text_copy(queue);
	}
	else
		row = top->rows[i];
	memmove(top->rows + at + 1, top->rows + at, (i - at) * sizeof(TopRow));
	top->rows[at] = row;
	return &top->rows[at];
}

static void
free_row(TopRow *row)
{
	free(row->name);
	free(row->queue);
	free(row->state);
	free(row->problem);
}

static double
number(const PGresult *res, int row, int column)
{
	return PQgetisnull(res, row, column)
			   ? NAN
			   : strtod(PQgetvalue(res, row, column), NULL);
}

static void
add_to_curve(TopRow *row, double value)
{
	if (row->ncurve == TOP_HISTORY)
		memmove(row->curve, row->curve + 1,
				--row->ncurve * sizeof(row->curve[0]));
	row->curve[row->ncurve++] = isnan(value) ? 0 : value;
}

/* One result; the last sample was "took" seconds before, 0 if there was none. */
static void
take_rows(Top *top, TopKind kind, const PGresult *res, double took)
{
	for (int i = 0; i < PQntuples(res); i++)
	{
		TopRow *row = find_row(top, top->nseen++, kind, PQgetvalue(res, i, 0),
							   PQgetvalue(res, i, 1));
		double events = number(res, i, 4);
		double change = events - row->events;

		text_set(&row->state, PQgetvalue(res, i, 2));
		text_set(&row->problem, PQgetvalue(res, i, 3));
		/* it goes back when the queue or slot was made anew */
		row->rate = took > 0 && change >= 0 ? change / took : NAN;
		row->events = events;
		row->lag_events = number(res, i, 5);
		row->lag_bytes = number(res, i, 6);
		/* a tick may be newer than the time that we compare it with */
		row->lag_seconds = number(res, i, 7);
		if (row->lag_seconds < 0)
			row->lag_seconds = 0;
		row->bytes = number(res, i, 8);
		row->seen = true;
		if (kind == TOP_SLOT)
			add_to_curve(row, row->lag_bytes);
		else if (kind == TOP_CONSUMER)
			add_to_curve(row, row->lag_seconds);
		else if (!isnan(row->rate))
			add_to_curve(row, row->rate);
	}
}

/* The sample is complete: what was not in it is gone. */
static void
finish_sample(Top *top)
{
	int kept = 0;

	for (int i = 0; i < top->nrows; i++)
		if (top->rows[i].seen)
			top->rows[kept++] = top->rows[i];
		else
			free_row(&top->rows[i]);
	top->nrows = kept;
	top->nsamples++;
	top->at = top->sent_at;
}

/* ---- the connection ---- */

/* It is lost, or was never there: say why, and try again soon. */
static void
go_down(Top *top, const char *why)
{
	Admin *a = top->admin;

	free(top->trouble);
	top->trouble = text_copy_part(why, admin_message_length(why));
	/* one line of it is enough */
	top->trouble[strcspn(top->trouble, "\n")] = '\0';
	if (a->conn)
		PQfinish(a->conn);
	a->conn = NULL;
	top->link = LINK_DOWN;
	top->due = clock_seconds() + RETRY_PERIOD;
}

/* Send queries, in one transaction with settings of ours. */
static void
send_sql(Top *top, int next_link, const char *sql)
{
	char *text;
	int sent;

	text = text_format("%s;set local statement_timeout=10000;%s;commit",
					   top->admin->begin, sql);
	sent = PQsendQuery(top->admin->conn, text);
	free(text);
	if (!sent)
	{
		go_down(top, PQerrorMessage(top->admin->conn));
		return;
	}
	top->link = next_link;
	top->nresults = 0;
	top->sent_at = clock_seconds();
}

static void
send_sample(Top *top)
{
	char *sql;

	sql = text_format("%s%s%s%s%s",
					  top->has_problems  ? time_sql
					  : top->can_capture ? time_4_0_sql
										 : time_3_sql,
					  top->can_capture ? slots_sql : "",
					  top->can_capture ? copies_sql : "", queues_sql,
					  consumers_sql);
	send_sql(top, LINK_READING, sql);
	free(sql);
}

static void
open_link(Top *top)
{
	top->admin->conn = admin_begin_connect(top->admin);
	top->link = LINK_OPENING;
	top->writing = true; /* so libpq wants it to begin with */
	top->sent_at = clock_seconds();
	if (PQstatus(top->admin->conn) == CONNECTION_BAD)
		go_down(top, PQerrorMessage(top->admin->conn));
}

/* Whose PgQ is it?  As admin_connect() asks. */
static void
ask_trust(Top *top)
{
	const char *params[2] = {getenv(TRUST_VARIABLE), "pgq"};

	if (!PQsendQueryParams(top->admin->conn, TRUST_SQL, 2, NULL, params, NULL,
						   NULL, 0))
	{
		go_down(top, PQerrorMessage(top->admin->conn));
		return;
	}
	top->link = LINK_TRUSTING;
	top->sent_at = clock_seconds();
}

static void
go_on_opening(Top *top)
{
	switch (PQconnectPoll(top->admin->conn))
	{
		case PGRES_POLLING_OK:
			ask_trust(top);
			break;
		case PGRES_POLLING_FAILED:
			go_down(top, PQerrorMessage(top->admin->conn));
			break;
		case PGRES_POLLING_WRITING:
			top->writing = true;
			break;
		default:
			top->writing = false;
	}
}

static void
take_probe(Top *top, const PGresult *res)
{
	top->can_capture = PQgetvalue(res, 0, 0)[0] == 't';
	text_set(&top->title, PQgetvalue(res, 0, 1));
	top->has_problems = PQgetvalue(res, 0, 2)[0] == 't';
}

static void
take_sample(Top *top, const PGresult *res)
{
	const TopKind *kinds = top->can_capture ? kinds_4 : kinds_3;

	if (top->nresults > 0)
	{
		take_rows(top, kinds[top->nresults - 1], res,
				  top->nsamples > 0 ? top->sent_at - top->at : 0);
		return;
	}
	text_set(&top->time, PQgetvalue(res, 0, 0));
	text_set(&top->warnings, PQgetvalue(res, 0, 1));
	top->nseen = 0;
	for (int i = 0; i < top->nrows; i++)
		top->rows[i].seen = false;
}

/* All results of what was sent are here. */
static void
finish_results(Top *top)
{
	if (top->link == LINK_READING)
	{
		finish_sample(top);
		top->due = top->sent_at + top->interval;
	}
	else
		top->due = clock_seconds();
	top->link = LINK_READY;
	text_set(&top->trouble, NULL);
}

/* Takes what has arrived. */
static void
read_results(Top *top)
{
	PGconn *conn = top->admin->conn;

	if (!PQconsumeInput(conn))
	{
		go_down(top, PQerrorMessage(conn));
		return;
	}
	while (!PQisBusy(conn))
	{
		PGresult *res = PQgetResult(conn);

		if (res == NULL && top->link == LINK_TRUSTING)
		{
			send_sql(top, LINK_PROBING, probe_sql);
			return;
		}
		if (res == NULL)
		{
			finish_results(top);
			return;
		}
		if (PQresultStatus(res) == PGRES_COMMAND_OK)
		{
			PQclear(res);
			continue;
		}
		if (PQresultStatus(res) != PGRES_TUPLES_OK)
		{
			/* whatever it is, a new session looks at everything anew */
			go_down(top, PQresultErrorMessage(res));
			PQclear(res);
			return;
		}
		if (top->link == LINK_TRUSTING && !PQgetisnull(res, 0, 1))
		{
			go_down(top, PQgetvalue(res, 0, 1));
			PQclear(res);
			return;
		}
		if (top->link == LINK_TRUSTING)
			; /* all is well */
		else if (top->link == LINK_PROBING)
			take_probe(top, res);
		else
			take_sample(top, res);
		top->nresults++;
		PQclear(res);
	}
}

/* Begin, with a connection that is there already. */
void
top_start(Top *top, Admin *a)
{
	top->admin = a;
	text_set(&top->title, "");
	text_set(&top->time, "");
	text_set(&top->warnings, "");
	send_sql(top, LINK_PROBING, probe_sql);
}

/* Take the next sample at once. */
void
top_hurry(Top *top)
{
	if (top->link == LINK_READY)
		top->due = clock_seconds();
}

/* Milliseconds until something is to be done even if nothing comes; -1: never. */
static int
find_timeout(const Top *top)
{
	double due = top->link == LINK_DOWN || top->link == LINK_READY
					 ? top->due
					 : top->sent_at + PATIENCE;
	double left = due - clock_seconds();

	if (top->link == LINK_READY && top->paused)
		return -1;
	return left <= 0 ? 0 : (int) (left * 1000) + 1;
}

/*
 * Wait until the file descriptor fd (-1: none) can be read, or a signal came;
 * work on the connection meanwhile.  Returns earlier if there is something new
 * to show.  True if fd can be read, or is at its end.
 */
bool
top_wait(Top *top, int fd)
{
	int nsamples = top->nsamples;
	const char *trouble = top->trouble;

	while (top->nsamples == nsamples && top->trouble == trouble)
	{
		bool waits = top->link != LINK_DOWN && top->link != LINK_READY;
		struct pollfd polled[2] = {
			{.fd = fd, .events = POLLIN},
			{.fd = waits ? PQsocket(top->admin->conn) : -1,
			 .events = top->link == LINK_OPENING && top->writing ? POLLOUT
																 : POLLIN}};
		int n = poll(polled, 2, find_timeout(top));

		if (n < 0 || polled[0].revents)
			return polled[0].revents != 0;
		if (polled[1].revents && top->link == LINK_OPENING)
			go_on_opening(top);
		else if (polled[1].revents)
			read_results(top);
		else if (top->link == LINK_DOWN)
			open_link(top);
		else if (top->link == LINK_READY)
			send_sample(top);
		else
			go_down(top, "the server does not answer");
	}
	return false;
}

/* Free what top_start and its successors made; the connection is Admin's. */
void
top_free(Top *top)
{
	for (int i = 0; i < top->nrows; i++)
		free_row(&top->rows[i]);
	free(top->rows);
	free(top->title);
	free(top->time);
	free(top->warnings);
	free(top->trouble);
}
