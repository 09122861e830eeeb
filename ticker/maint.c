/*-------------------------------------------------------------------------
 *
 * maint.c
 *		Maintenance and retry of one database, each a cycle of its own.
 *
 * A cycle connects, does what there is to do, closes, and sleeps.  Each
 * statement is a transaction; one that fails is logged and the next is done
 * nevertheless.  A function that returns a number other than zero has more to
 * do and is called again at once.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/maint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ticker/conn.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/trust.h"
#include "ticker/trouble.h"
#include "ticker/timer.h"

/* Seconds until the next cycle after one that could not be done. */
#define PAUSE_AFTER_FAILURE 2.0

static const char list_sql[] =
	"select func_name, func_arg from pgq.maint_operations()";

/* PgQ before it had maint_operations(): the same list, in its order. */
static const char old_list_sql[] =
	"select f, a from ("
	"select 1, 'pgq.maint_rotate_tables_step1', queue_name"
	" from pgq.get_queue_info()"
	" union all select 2, 'pgq.maint_rotate_tables_step2', null"
	" union all select 3, 'vacuum', t from pgq.maint_tables_to_vacuum() t"
	") o (n, f, a) order by n";

static const char function_sql[] = TRUST_FUNCTION_SQL;

static const char retry_sql[] = "select * from pgq.maint_retry_events()";

typedef struct Operation
{
	char *func;
	char *arg; /* or NULL */
} Operation;

struct Maint
{
	const Config *config;
	char *dbname;
	MaintKind kind;
	Stats *stats;
	Conn *conn;
	struct event *timer;
	int major;
	bool running;  /* in a cycle */
	bool old_list; /* there is no pgq.maint_operations() */
	bool foreign;  /* it would read a schema that is not trusted */
	bool told;     /* that was logged */

	Operation *ops;
	int nops;
	int next_op;

	Trouble trouble;
};

static void run_next(Maint *maint);

static const char *
kind_name(const Maint *maint)
{
	return maint->kind == MAINT_RETRY ? "retry" : "maintenance";
}

static void
free_operations(Maint *maint)
{
	for (int i = 0; i < maint->nops; i++)
	{
		free(maint->ops[i].func);
		free(maint->ops[i].arg);
	}
	free(maint->ops);
	maint->ops = NULL;
	maint->nops = maint->next_op = 0;
}

/* Close, and begin the next cycle after so many seconds. */
static void
end_cycle(Maint *maint, bool done)
{
	double seconds = maint->kind == MAINT_RETRY ? maint->config->retry_period
												: maint->config->maint_period;

	if (!done && seconds > PAUSE_AFTER_FAILURE)
		seconds = PAUSE_AFTER_FAILURE;
	maint->running = false;
	free_operations(maint);
	conn_close(maint->conn);
	timer_set(maint->timer, seconds);
}

static void
was_lost(Conn *conn, const char *why, void *arg)
{
	Maint *maint = arg;

	trouble_report(&maint->trouble, maint->dbname, "%s: connection: %s",
				   kind_name(maint), why);
	end_cycle(maint, false);
}

/* Quote a name as PgQ does: schema before the first dot, or else public. */
static char *
quote_name(Conn *conn, const char *name)
{
	PGconn *pg = conn_get_pg(conn);
	const char *dot = strchr(name, '.');
	const char *schema = dot ? name : "public";
	size_t schema_len = dot ? (size_t) (dot - name) : strlen(schema);
	const char *object = dot ? dot + 1 : name;
	char *first = PQescapeIdentifier(pg, schema, schema_len);
	char *second = PQescapeIdentifier(pg, object, strlen(object));
	char *quoted = NULL;

	/* NULL for a name that is not text in the database's encoding */
	if (first && second)
		quoted = text_format("%s.%s", first, second);
	PQfreemem(first);
	PQfreemem(second);
	return quoted;
}

/* One operation is done: do it again, or the next. */
static void
finish_operation(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;
	const Operation *op = &maint->ops[maint->next_op];
	int result = 0;

	if (conn_failed(res))
		log_warning("[%s]: maintenance: %s(%s) failed: %s", maint->dbname,
					op->func, op->arg ? op->arg : "",
					PQresultErrorMessage(res));
	else
	{
		maint->stats->maint++;
		if (PQntuples(res) > 0)
			result = atoi(PQgetvalue(res, 0, 0));
	}
	if (result == 0)
		maint->next_op++;
	run_next(maint);
}

static bool
is_vacuum(const char *func)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): never NULL */
	return strcasecmp(func, "vacuum") == 0 ||
		   strcasecmp(func, "vacuum analyze") == 0;
}

/* The operation at hand can't be run: say why, and go on with the next. */
static void
skip_operation(Maint *maint, const char *why)
{
	const Operation *op = &maint->ops[maint->next_op];

	log_warning("[%s]: maintenance: cannot run %s(%s)%s", maint->dbname,
				op->func, op->arg ? op->arg : "", why);
	maint->next_op++;
	run_next(maint);
}

/* Send the statement of the operation at hand. */
static void
send_operation(Maint *maint)
{
	const Operation *op = &maint->ops[maint->next_op];
	bool vacuum = is_vacuum(op->func);
	const char *values[1] = {op->arg};
	char *name = quote_name(maint->conn, vacuum ? op->arg : op->func);
	char *sql;

	if (vacuum)
		sql = text_format("%s %s", op->func, name);
	else
		sql = text_format("select %s(%s)", name,
						  op->arg ? "$1::pg_catalog.text" : "");
	log_debug("[%s]: maintenance: %s [%s]", maint->dbname, sql,
			  op->arg ? op->arg : "");
	conn_send(maint->conn, sql, !vacuum && op->arg ? 1 : 0, values,
			  finish_operation, maint);
	free(sql);
	free(name);
}

static void
take_function(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;

	if (conn_failed(res))
		skip_operation(maint, "");
	else if (PQntuples(res) == 0)
		skip_operation(maint, ": there is no such function that belongs, with "
							  "its schema, to trusted roles - Let a superuser "
							  "own both, or name the owners in "
							  "database_owners.");
	else
		send_operation(maint);
}

static void
run_next(Maint *maint)
{
	const Operation *op = &maint->ops[maint->next_op];
	char *name;

	if (maint->next_op == maint->nops)
	{
		end_cycle(maint, true);
		return;
	}
	name = is_vacuum(op->func)
			   ? op->arg ? quote_name(maint->conn, op->arg) : NULL
			   : quote_name(maint->conn, op->func);
	if (name == NULL)
		skip_operation(maint, "");
	else if (is_vacuum(op->func) || strncmp(op->func, "pgq.", 4) == 0)
		send_operation(maint);
	else
	{
		/* queue_extra_maint and other extensions may name anybody's */
		const char *values[3] = {maint->config->database_owners, name,
								 op->arg ? "t" : "f"};

		conn_send(maint->conn, function_sql, 3, values, take_function, maint);
	}
	free(name);
}

static void
take_list(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;

	if (conn_failed(res))
	{
		if (strcmp(conn_sqlstate(res), "42883") == 0 && maint->major < 4 &&
			!maint->old_list)
		{
			maint->old_list = true;
			conn_send(conn, old_list_sql, 0, NULL, take_list, maint);
			return;
		}
		trouble_report(&maint->trouble, maint->dbname, "maintenance failed: %s",
					   PQresultErrorMessage(res));
		end_cycle(maint, false);
		return;
	}
	trouble_clear(&maint->trouble, maint->dbname, NULL);

	maint->ops = memory_make((PQntuples(res) + 1) * sizeof(Operation));
	for (int row = 0; row < PQntuples(res); row++)
	{
		Operation *op = &maint->ops[maint->nops++];

		op->func = text_copy(PQgetvalue(res, row, 0));
		if (!PQgetisnull(res, row, 1))
			op->arg = text_copy(PQgetvalue(res, row, 1));
	}
	run_next(maint);
}

static void
take_retried(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;
	const char *count;

	if (conn_failed(res) || PQntuples(res) != 1)
	{
		trouble_report(&maint->trouble, maint->dbname, "retry failed: %s",
					   PQresultErrorMessage(res));
		end_cycle(maint, false);
		return;
	}
	trouble_clear(&maint->trouble, maint->dbname, "retry works again");
	count = PQgetvalue(res, 0, 0);
	maint->stats->retry += strtoul(count, NULL, 10);
	if (strcmp(count, "0") == 0 || *count == '\0')
		end_cycle(maint, true);
	else
		conn_send(conn, retry_sql, 0, NULL, take_retried, maint);
}

static void
ask_list(Maint *maint)
{
	conn_send(maint->conn,
			  maint->old_list || maint->foreign ? old_list_sql : list_sql, 0,
			  NULL, take_list, maint);
}

/*
 * Is a schema that PgQ 3's maint_operations() reads a stranger's?  That of PgQ
 * 4 sees to it itself.
 */
static void
take_schema_trust(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;

	if (conn_failed(res) || !PQgetisnull(res, 0, 1))
	{
		if (!maint->told)
			log_warning("[%s]: maintenance: extra operations are left out: %s",
						maint->dbname,
						conn_failed(res) ? PQresultErrorMessage(res)
										 : PQgetvalue(res, 0, 1));
		maint->foreign = maint->told = true;
	}
}

static void
take_last_schema_trust(Conn *conn, const PGresult *res, void *arg)
{
	Maint *maint = arg;

	take_schema_trust(conn, res, arg);
	maint->told = maint->foreign;
	ask_list(maint);
}

static void
became_ready(Conn *conn, void *arg)
{
	Maint *maint = arg;

	maint->foreign = false;
	if (maint->kind == MAINT_RETRY)
		conn_send(conn, retry_sql, 0, NULL, take_retried, maint);
	else if (maint->major >= 4)
		ask_list(maint);
	else
	{
		conn_ask_trust(conn, "pgq_node", take_schema_trust, maint);
		conn_ask_trust(conn, "londiste", take_last_schema_trust, maint);
	}
}

static const ConnHooks hooks = {became_ready, was_lost, NULL};

static void
begin_cycle(evutil_socket_t fd, short what, void *arg)
{
	Maint *maint = arg;

	maint->running = true;
	conn_open(maint->conn);
}

/* Make the cycle of a database; it sleeps until maint_start(). */
Maint *
maint_create(struct event_base *base, const Config *config, const char *dbname,
			 MaintKind kind, Stats *stats)
{
	Maint *maint = memory_make(sizeof(Maint));

	maint->config = config;
	maint->dbname = text_copy(dbname);
	maint->kind = kind;
	maint->stats = stats;
	maint->conn = conn_create(base, config, dbname,
							  kind == MAINT_RETRY ? "retry" : "maint", false,
							  &hooks, maint);
	conn_require_trust(maint->conn, true);
	maint->timer = timer_make(base, 0, begin_cycle, maint);
	return maint;
}

/* Stop and free. */
void
maint_free(Maint *maint)
{
	if (maint == NULL)
		return;
	maint_stop(maint);
	event_free(maint->timer);
	conn_free(maint->conn);
	trouble_clear(&maint->trouble, maint->dbname, NULL);
	free(maint->dbname);
	free(maint);
}

/*
 * Begin the first cycle now, unless it was started before; what could not be done
 * then is tried again.  major is the version of the extension.
 */
void
maint_start(Maint *maint, int major)
{
	maint->major = major;
	maint->old_list = maint->old_list && major < 4;
	if (maint->running || (event_pending(maint->timer, EV_TIMEOUT, NULL) &&
						   maint->trouble.text == NULL))
		return;
	event_del(maint->timer);
	begin_cycle(-1, 0, maint);
}

/* Close at once and sleep until maint_start(). */
void
maint_stop(Maint *maint)
{
	maint->running = false;
	event_del(maint->timer);
	conn_close(maint->conn);
	free_operations(maint);
}

/* Is a statement under way? */
bool
maint_is_busy(const Maint *maint)
{
	return maint->running && conn_is_busy(maint->conn);
}

/* What is wrong with it, NULL: nothing.  The text is the object's. */
const Trouble *
maint_get_trouble(const Maint *maint)
{
	return &maint->trouble;
}
