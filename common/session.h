/*-------------------------------------------------------------------------
 *
 * session.h
 *		How the sessions of pgqd and pgqadm start: with settings of ours,
 *		whatever those of role, database and server are.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>

#include <libpq-fe.h>

extern char *session_make_options(const char *const *keys,
								  const char *const *values, const char *more);
extern char *session_make_setup(const PGconn *conn, const char *more);
extern char *session_make_begin(const PGconn *conn);
extern bool session_is_refused(const PGconn *conn);

#endif /* SESSION_H */
