/*-------------------------------------------------------------------------
 *
 * conn_internal.h
 *		A connection as its own files see it.
 *
 * Calls go one way: conn.c -> conn_start.c -> conn_query.c.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_CONN_INTERNAL_H
#define PGQD_CONN_INTERNAL_H

#include "ticker/conn.h"
#include "ticker/dial.h"

typedef enum ConnState
{
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_SETUP,
	CONN_READY,
	CONN_COPY
} ConnState;

/* Statements that one connection prepares, at most. */
#define MAX_PREPARED 8

typedef struct Query
{
	struct Query *next;
	ConnAnswer answer;
	void *arg;
	bool prepared;
	PGresult *res; /* last result, or the first error */
} Query;

struct Conn
{
	struct event_base *base;
	const Config *config;
	char *dbname;
	char *connstr; /* of a server of its own; NULL: config->base_connstr */
	char *job;     /* names the session: pgqd/<job> */
	bool replication;
	bool trust_needed; /* ready only where PgQ is a trusted role's */
	const ConnHooks *hooks;
	void *arg;

	ConnState state;
	PGconn *pg;
	struct event *io;
	short io_what;
	int io_fd;
	bool want_read;
	struct event *timer; /* time to open, to give up, or to look at dial */
	Dial *dial;          /* while connecting */
	bool lookup_logged;  /* that a name server does not answer */
	double opened_at;
	double pause;      /* last pause of conn_back_off() */
	char *fatal;       /* the server's last words */
	char *start_error; /* connecting failed before it began */

	Query *first; /* unanswered, oldest first */
	Query *last;

	/* what the session has prepared; named by its number */
	const char *prepared[MAX_PREPARED];
	int nprepared;

	/*
	 * Goes up with every close: any hook or answer may close the connection,
	 * after which the caller must not touch what it held of it.
	 */
	unsigned serial;
};

/* conn_query.c */
extern void conn_stop_io(Conn *conn);
extern void conn_note_query(Conn *conn, bool ok, bool prepared,
							ConnAnswer answer, void *arg);
extern void conn_send_query(Conn *conn, const char *sql, int nparams,
							const char *const *values, ConnAnswer answer,
							void *arg);

/* conn_start.c */
extern void conn_start_session(Conn *conn);

#endif /* PGQD_CONN_INTERNAL_H */
