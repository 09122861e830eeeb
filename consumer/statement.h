/*-------------------------------------------------------------------------
 *
 * statement.h
 *		A statement in a session that may be a pooler's.
 *
 * Not of libpgq's interface: for programs that link the archive.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_STATEMENT_H
#define PGQ_STATEMENT_H

#include <stdbool.h>

#include <libpq-fe.h>

extern bool libpgq_is_good(const PGresult *res);
extern PGresult *libpgq_run_statement(PGconn *conn, const char *begin,
									  const char *sql, int nparams,
									  const Oid *types,
									  const char *const *params);

#endif /* PGQ_STATEMENT_H */
