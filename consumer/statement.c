/*-------------------------------------------------------------------------
 *
 * statement.c
 *		A statement in a session that may be a pooler's.
 *
 *-------------------------------------------------------------------------
 */
#include "consumer/statement.h"

/* Has it worked? */
bool
libpgq_is_good(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/*
 * Run one statement with text parameters, whose types may be NULL.
 *
 * begin: SQL that begins a transaction, for a session that is not ours but in a
 * transaction; where none is open, the statement has one of its own.  NULL: the
 * session is ours.  Returns the result, or the error, which the caller clears.
 */
PGresult *
libpgq_run_statement(PGconn *conn, const char *begin, const char *sql,
					 int nparams, const Oid *types, const char *const *params)
{
	bool alone = begin && PQtransactionStatus(conn) == PQTRANS_IDLE;
	PGresult *res;
	PGresult *end;

	if (alone)
	{
		res = PQexec(conn, begin);
		if (!libpgq_is_good(res))
		{
			PQclear(PQexec(conn, "rollback"));
			return res;
		}
		PQclear(res);
	}
	res = PQexecParams(conn, sql, nparams, types, params, NULL, NULL, 0);
	if (!alone)
		return res;
	end = PQexec(conn, libpgq_is_good(res) ? "commit" : "rollback");
	if (!libpgq_is_good(res) || libpgq_is_good(end))
	{
		PQclear(end);
		return res;
	}
	PQclear(res);
	return end;
}
