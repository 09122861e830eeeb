/*-------------------------------------------------------------------------
 *
 * stream.c
 *		A replication connection that reads a slot.
 *
 *		connect, IDENTIFY_SYSTEM: is this the system and WAL of the position?
 *		on another timeline TIMELINE_HISTORY: did it branch off later than that?
 *		START_REPLICATION at the position; then CopyData messages:
 *
 *		from the server
 *			'w'	int64 start, int64 end, int64 time, bytes of the plugin
 *			'k'	int64 end of what was read, int64 time, byte reply wanted
 *		to the server
 *			'r'	int64 written, int64 flushed, int64 applied, int64 time,
 *				byte reply wanted
 *
 * The server sends a keepalive each time it has read all there is; to answer each
 * would make thousands a second.  So answers go by the timer, but for those
 * asked for and for positions to confirm.  If the plugin may hold transactions
 * back, a keepalive may overtake them and says nothing of how far the stream is.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "event/frame_format.h"

#include "ticker/conn.h"
#include "ticker/frames.h"
#include "common/log.h"
#include "common/memory.h"
#include "ticker/timer.h"

/* Seconds between looks whether there is something to tell the server. */
#define FEEDBACK_PERIOD 1.0

/* Tell it that we are alive after so many of these. */
#define FEEDBACK_IDLE_PERIODS 5

#define DATA_HEADER_LEN (1 + 8 + 8 + 8)
#define KEEPALIVE_LEN (1 + 8 + 8 + 1)
#define FEEDBACK_LEN (1 + 8 + 8 + 8 + 8 + 1)

/* Read from the socket so often before others get their turn. */
#define MAX_READS 16

struct Stream
{
	Conn *conn;
	const StreamHooks *hooks;
	void *arg;
	struct event *timer;

	char *slot;
	uint64_t position;
	bool hold_back; /* the plugin may */
	char *sysid;
	unsigned timeline;        /* of the position, 0: unknown */
	unsigned server_timeline; /* 0 before it is known */

	unsigned serial;    /* goes up when opened or closed */
	uint64_t confirmed; /* 0: nothing may be confirmed yet */
	uint64_t confirmed_sent;
	int quiet_periods; /* since we last said something */
	bool paused;
	int pid; /* of the walsender; 0 before the first */
};

static void conn_became_ready(Conn *conn, void *arg);
static void conn_was_lost(Conn *conn, const char *why, void *arg);
static void read_stream(Conn *conn, void *arg);
static void handle_timer(evutil_socket_t fd, short what, void *arg);

static const ConnHooks conn_hooks = {conn_became_ready, conn_was_lost,
									 read_stream};

/* Read an LSN as the server prints it; false if it is none. */
bool
stream_parse_lsn(const char *text, uint64_t *lsn)
{
	unsigned high;
	unsigned low;
	char rest;

	if (sscanf(text, "%8X/%8X%c", &high, &low, &rest) != 2)
		return false;
	*lsn = (uint64_t) high << 32 | low;
	return true;
}

/* Make a closed stream; hooks must outlive it, arg is handed to them. */
Stream *
stream_create(struct event_base *base, const Config *config, const char *dbname,
			  const StreamHooks *hooks, void *arg)
{
	Stream *stream = memory_make(sizeof(Stream));

	stream->hooks = hooks;
	stream->arg = arg;
	stream->conn = conn_create(base, config, dbname, "stream", true,
							   &conn_hooks, stream);
	stream->timer = timer_make(base, EV_PERSIST, handle_timer, stream);
	return stream;
}

/* Read the slot of the database that a libpq connect string names. */
void
stream_set_server(Stream *stream, const char *connstr)
{
	conn_set_server(stream->conn, connstr, "source-stream");
}

/* Close and free; not from one of its hooks. */
void
stream_free(Stream *stream)
{
	if (stream == NULL)
		return;
	stream_close(stream);
	event_free(stream->timer);
	conn_free(stream->conn);
	free(stream->slot);
	free(stream->sysid);
	free(stream);
}

/*
 * Begin to read "slot" from "position" on; one of the hooks started() or
 * ended() follows later.  sysid and timeline are what the position belongs to,
 * timeline 0 if that is not known.  hold_back: the server's plugin has that
 * option.
 */
void
stream_open(Stream *stream, const char *slot, uint64_t position,
			const char *sysid, unsigned timeline, bool hold_back)
{
	stream_close(stream);
	free(stream->slot);
	free(stream->sysid);
	stream->slot = text_copy(slot);
	stream->sysid = text_copy(sysid);
	stream->position = position;
	stream->hold_back = hold_back;
	stream->timeline = timeline;
	stream->server_timeline = 0;
	stream->confirmed = stream->confirmed_sent = 0;
	stream->quiet_periods = 0;
	stream->paused = false;
	conn_open(stream->conn);
}

/* Close at once, without a hook being called. */
void
stream_close(Stream *stream)
{
	stream->serial++;
	event_del(stream->timer);
	conn_close(stream->conn);
}

static void
end_stream(Stream *stream, StreamEnd end, const char *sqlstate, const char *why)
{
	char *copy = text_copy(why); /* it may belong to the connection */

	stream_close(stream);
	stream->hooks->ended(end, sqlstate, copy, stream->arg);
	free(copy);
}

static void
conn_was_lost(Conn *conn, const char *why, void *arg)
{
	end_stream(arg, STREAM_BROKEN, "", why);
}

static void
replication_started(Conn *conn, const PGresult *res, void *arg)
{
	Stream *stream = arg;

	if (PQresultStatus(res) != PGRES_COPY_BOTH)
	{
		char sqlstate[6];
		char *text = NULL;
		const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
		const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
		const char *main = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		snprintf(sqlstate, sizeof(sqlstate), "%s", conn_sqlstate(res));
		text = text_format("%s%s%s%s%s",
						   main ? main : PQresultErrorMessage(res),
						   detail ? " - " : "", detail ? detail : "",
						   hint ? " - " : "", hint ? hint : "");
		end_stream(stream, STREAM_REFUSED, sqlstate, text);
		free(text);
		return;
	}
	timer_set(stream->timer, FEEDBACK_PERIOD);
	stream->hooks->started(stream->arg);
}

static void
start_replication(Stream *stream)
{
	PGconn *pg = conn_get_pg(stream->conn);
	char *slot = PQescapeIdentifier(pg, stream->slot, strlen(stream->slot));
	char *sql;

	if (slot == NULL)
		abort();
	sql = text_format("START_REPLICATION SLOT %s LOGICAL " LSN_FORMAT
					  " (format 'frames', proto_version '%d'%s)",
					  slot, LSN_ARGS(stream->position), FRAME_PROTO_VERSION,
					  stream->hold_back ? ", hold_back 'true'" : "");
	PQfreemem(slot);
	conn_send(stream->conn, sql, 0, NULL, replication_started, stream);
	free(sql);
}

/*
 * Where a timeline ended, by the lines "timeline, LSN, reason" of a timeline
 * history file; false if it is not among them.
 */
static bool
find_timeline_end(const char *history, unsigned timeline, uint64_t *end)
{
	for (const char *line = history; *line; line += strcspn(line, "\n") + 1)
	{
		unsigned tli;
		char lsn[32];

		if (sscanf(line, "%u %31s", &tli, lsn) == 2 && tli == timeline &&
			stream_parse_lsn(lsn, end))
			return true;
		if (line[strcspn(line, "\n")] == '\0')
			break;
	}
	return false;
}

static void
take_history(Conn *conn, const PGresult *res, void *arg)
{
	Stream *stream = arg;
	uint64_t end = 0;
	char why[200];

	if (conn_failed(res) || PQntuples(res) != 1 || PQnfields(res) < 2)
	{
		end_stream(stream, STREAM_BROKEN, conn_sqlstate(res),
				   PQresultErrorMessage(res));
		return;
	}
	if (find_timeline_end(PQgetvalue(res, 0, 1), stream->timeline, &end) &&
		end >= stream->position)
	{
		start_replication(stream);
		return;
	}
	if (end > 0)
		snprintf(
			why, sizeof(why),
			"the position is of timeline %u, which the server left at " LSN_FORMAT
			", before it",
			stream->timeline, LSN_ARGS(end));
	else
		snprintf(why, sizeof(why),
				 "the position is of timeline %u, which timeline %u of the "
				 "server does not come from",
				 stream->timeline, stream->server_timeline);
	end_stream(stream, STREAM_OTHER_SYSTEM, "", why);
}

/* Is the WAL that the position is in also that of the server? */
static void
check_timeline(Stream *stream)
{
	char sql[64];
	char why[200];

	if (stream->timeline == 0 || stream->timeline == stream->server_timeline)
	{
		start_replication(stream);
		return;
	}
	if (stream->timeline > stream->server_timeline)
	{
		snprintf(why, sizeof(why),
				 "the position is of timeline %u, the server is on timeline "
				 "%u still",
				 stream->timeline, stream->server_timeline);
		end_stream(stream, STREAM_OTHER_SYSTEM, "", why);
		return;
	}
	snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", stream->server_timeline);
	conn_send(stream->conn, sql, 0, NULL, take_history, stream);
}

static void
system_identified(Conn *conn, const PGresult *res, void *arg)
{
	Stream *stream = arg;
	const char *sysid = PQgetvalue(res, 0, 0);
	uint64_t wal_end;
	char why[200];

	if (conn_failed(res) || PQntuples(res) != 1 || PQnfields(res) < 4 ||
		!stream_parse_lsn(PQgetvalue(res, 0, 2), &wal_end))
	{
		end_stream(stream, STREAM_BROKEN, conn_sqlstate(res),
				   PQresultErrorMessage(res));
		return;
	}
	if (strcmp(sysid, stream->sysid) != 0)
	{
		snprintf(why, sizeof(why),
				 "the position belongs to system %s, this is system %s",
				 stream->sysid, sysid);
		end_stream(stream, STREAM_OTHER_SYSTEM, "", why);
		return;
	}
	if (wal_end < stream->position)
	{
		snprintf(why, sizeof(why),
				 "the server's WAL ends at " LSN_FORMAT
				 ", before the position " LSN_FORMAT,
				 LSN_ARGS(wal_end), LSN_ARGS(stream->position));
		end_stream(stream, STREAM_BEHIND, "", why);
		return;
	}

	stream->server_timeline = strtoul(PQgetvalue(res, 0, 1), NULL, 10);
	check_timeline(stream);
}

static void
conn_became_ready(Conn *conn, void *arg)
{
	Stream *stream = arg;

	stream->pid = PQbackendPID(conn_get_pg(conn));
	conn_send(conn, "IDENTIFY_SYSTEM", 0, NULL, system_identified, stream);
}

/* Process id of the walsender of the last stream, 0 if there was none. */
int
stream_get_pid(const Stream *stream)
{
	return stream->pid;
}

/* Timeline of the server, as it said when the stream was opened last. */
unsigned
stream_get_timeline(const Stream *stream)
{
	return stream->server_timeline;
}

static void
send_feedback(Stream *stream)
{
	char msg[FEEDBACK_LEN];
	struct timeval now;
	PGconn *pg = conn_get_pg(stream->conn);

	gettimeofday(&now, NULL);
	msg[0] = 'r';
	frames_put_uint64(msg + 1, stream->confirmed);
	frames_put_uint64(msg + 9, stream->confirmed);
	frames_put_uint64(msg + 17, stream->confirmed);
	frames_put_uint64(msg + 25,
					  (now.tv_sec - POSTGRES_EPOCH) * 1000000LL + now.tv_usec);
	msg[33] = 0;
	/* 0: no room in the socket now; the timer tries again */
	if (PQputCopyData(pg, msg, sizeof(msg)) == 1)
	{
		stream->confirmed_sent = stream->confirmed;
		stream->quiet_periods = 0;
	}
	conn_flush(stream->conn);
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	Stream *stream = arg;

	if (stream->confirmed != stream->confirmed_sent ||
		++stream->quiet_periods >= FEEDBACK_IDLE_PERIODS || stream->paused)
		send_feedback(stream);
}

/* From now on the server may forget everything before "lsn": tell it. */
void
stream_confirm(Stream *stream, uint64_t lsn)
{
	if (lsn <= stream->confirmed)
		return;
	stream->confirmed = lsn;
	send_feedback(stream);
}

/* Stop reading, or go on; the server waits meanwhile. */
void
stream_pause(Stream *stream, bool on)
{
	if (stream->paused == on)
		return;
	stream->paused = on;
	conn_want_read(stream->conn, !on);
}

/* Handle one message; false if the stream is closed now. */
static bool
handle_message(Stream *stream, const char *msg, int len)
{
	unsigned serial = stream->serial;

	if (msg[0] == 'w' && len >= DATA_HEADER_LEN)
	{
		if (!stream->hooks->data(msg + DATA_HEADER_LEN, len - DATA_HEADER_LEN,
								 stream->arg))
			return false;
	}
	else if (msg[0] == 'k' && len == KEEPALIVE_LEN)
	{
		stream->hooks->passed(
			stream->hold_back ? 0 : frames_get_uint64(msg + 1), stream->arg);
		if (serial == stream->serial && msg[KEEPALIVE_LEN - 1])
			send_feedback(stream);
	}
	else
	{
		end_stream(stream, STREAM_BROKEN, "",
				   "unknown message in the replication stream");
		return false;
	}
	return serial == stream->serial;
}

/* The server ended the copy: what does it say? */
static void
end_by_server(Stream *stream)
{
	PGconn *pg = conn_get_pg(stream->conn);
	PGresult *res = PQgetResult(pg);

	conn_fail(stream->conn, res && conn_failed(res)
								? PQresultErrorMessage(res)
								: "the server ended the replication stream");
	PQclear(res);
}

static void
read_stream(Conn *conn, void *arg)
{
	Stream *stream = arg;
	PGconn *pg = conn_get_pg(conn);
	unsigned serial = stream->serial;
	int reads;

	for (reads = 0; reads < MAX_READS && !stream->paused; reads++)
	{
		bool some = false;
		int len;
		char *msg;

		if (!PQconsumeInput(pg))
		{
			conn_fail(conn, PQerrorMessage(pg));
			return;
		}
		while ((len = PQgetCopyData(pg, &msg, 1)) > 0)
		{
			bool go_on = handle_message(stream, msg, len);

			PQfreemem(msg);
			if (!go_on)
				return;
			some = true;
		}
		if (len == -1)
		{
			end_by_server(stream);
			return;
		}
		if (len == -2)
		{
			conn_fail(conn, PQerrorMessage(pg));
			return;
		}
		if (!some)
			break;
	}
	stream->hooks->drained(stream->arg);

	/* libpq or the TLS library may hold more than the socket shows */
	if (reads == MAX_READS && serial == stream->serial && !stream->paused)
		conn_want_read(conn, true);
}
