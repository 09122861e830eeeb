/*-------------------------------------------------------------------------
 *
 * conn.h
 *		One connection to a database, driven by the event loop.
 *
 * A Conn lives as long as its owner and is opened and closed any number of
 * times.  Queries go out as soon as they are sent (libpq's pipeline mode, a
 * transaction each unless BEGIN was sent) and are answered in order.  Nothing
 * here waits.
 *
 * A connection that calls PgQ looks first whose functions those are, see
 * common/trust.h.
 *
 * When the connection breaks, or cannot be made, it is closed, the queries
 * that are unanswered are forgotten, and the owner's lost() is called once; it
 * decides when to open again.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_CONN_H
#define PGQD_CONN_H

#include <stdbool.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "ticker/config.h"

typedef struct Conn Conn;

typedef struct ConnHooks
{
	/* logged in, session settings made */
	void (*ready)(Conn *conn, void *arg);
	/* "why" is the server's or libpq's text */
	void (*lost)(Conn *conn, const char *why, void *arg);
	/* replication connections: there is something to read in copy mode */
	void (*readable)(Conn *conn, void *arg);
} ConnHooks;

/* Gets the last result of the query, or its error; the result is freed after. */
typedef void (*ConnAnswer)(Conn *conn, const PGresult *res, void *arg);

extern Conn *conn_create(struct event_base *base, const Config *config,
						 const char *dbname, const char *job, bool replication,
						 const ConnHooks *hooks, void *arg);
extern void conn_require_trust(Conn *conn, bool on);
extern void conn_set_server(Conn *conn, const char *connstr, const char *job);
extern void conn_free(Conn *conn);
extern void conn_set_hooks(Conn *conn, const ConnHooks *hooks);
extern void conn_open(Conn *conn);
extern void conn_open_later(Conn *conn, double seconds);
extern double conn_back_off(Conn *conn);
extern void conn_reset_back_off(Conn *conn);
extern void conn_close(Conn *conn);
extern bool conn_is_ready(const Conn *conn);
extern bool conn_is_busy(const Conn *conn);
extern double conn_age(const Conn *conn);
extern char *conn_find_wait(const Conn *conn);
extern PGconn *conn_get_pg(const Conn *conn);
extern bool conn_send(Conn *conn, const char *sql, int nparams,
					  const char *const *values, ConnAnswer answer, void *arg);
extern void conn_use_utf8(Conn *conn);
extern bool conn_send_often(Conn *conn, const char *sql, int nparams,
							const char *const *values, const int *lengths,
							const int *formats, ConnAnswer answer, void *arg);
extern bool conn_ask_trust(Conn *conn, const char *schema, ConnAnswer answer,
						   void *arg);
extern void conn_want_read(Conn *conn, bool on);
extern void conn_flush(Conn *conn);
extern void conn_fail(Conn *conn, const char *why);

extern bool conn_failed(const PGresult *res);
extern const char *conn_sqlstate(const PGresult *res);
extern bool conn_is_true(const PGresult *res, int col);

#endif /* PGQD_CONN_H */
