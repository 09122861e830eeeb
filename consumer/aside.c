/*-------------------------------------------------------------------------
 *
 * aside.c
 *		Events of a batch that are put aside: to come again, or dead.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer/internal.h"

#define RETRY_DELAY 10       /* seconds */
#define MAX_RETRY_DELAY 3600 /* the same */

/*
 * A reason that the server takes: it must not keep an event from being put aside.  It
 * is UTF-8, of which other encodings have a part.  The caller frees it; NULL stays
 * NULL, and so becomes one that there is no memory for.
 */
static char *
clean_reason(PgqConsumer *c, const char *reason)
{
	const char *encoding = c->conn
							   ? PQparameterStatus(c->conn, "server_encoding")
							   : NULL;
	char *text = reason ? strdup(reason) : NULL;

	if (text && (encoding == NULL || strcmp(encoding, "UTF8") != 0))
		for (char *p = text; *p; p++)
			if ((unsigned char) *p > 127)
				*p = '?';
	return text;
}

/*
 * Runs a statement on an event of the open batch.  Its first parameters are the
 * batch and the event, the others are n texts.
 */
static PgqResult
put_aside(PgqConsumer *c, const char *sql, int64_t ev_id, int n,
		  const char *const *texts)
{
	char batch[32];
	char event[32];
	const char *params[6] = {batch, event};
	PGresult *res;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	snprintf(batch, sizeof(batch), "%lld", (long long) c->batch_id);
	snprintf(event, sizeof(event), "%lld", (long long) ev_id);
	for (int i = 0; i < n; i++)
		params[2 + i] = texts[i];
	if (!libpgq_keep_page(c))
		return libpgq_give_up(c);
	if (libpgq_connect(c) != PGQ_OK)
		return c->status;
	res = libpgq_query(c, sql, 2 + n, params);
	if (res == NULL)
	{
		if (strcmp(c->sqlstate, "42883") == 0)
			libpgq_fail(c, PGQ_ERROR, "42883",
						"PgQ of this database can't put events aside like that",
						"Update the extension: ALTER EXTENSION pgq UPDATE;");
		return libpgq_give_up(c);
	}
	PQclear(res);
	return libpgq_done(c, PGQ_OK);
}

PgqResult
pgq_retry(PgqConsumer *c, int64_t ev_id, int seconds)
{
	char wait[16];
	const char *texts[1] = {wait};

	snprintf(wait, sizeof(wait), "%d", seconds);
	return put_aside(c,
					 "select pgq.event_retry($1::pg_catalog.int8, "
					 "$2::pg_catalog.int8, $3::pg_catalog.int4)",
					 ev_id, 1, texts);
}

PgqResult
pgq_postpone(PgqConsumer *c, int64_t ev_id, int seconds)
{
	char wait[16];
	const char *texts[1] = {wait};

	snprintf(wait, sizeof(wait), "%d s", seconds);
	return put_aside(c,
					 "select pgq.event_postpone($1::pg_catalog.int8, "
					 "$2::pg_catalog.int8, $3::pg_catalog.interval)",
					 ev_id, 1, texts);
}

PgqResult
pgq_dead(PgqConsumer *c, int64_t ev_id, const char *reason)
{
	char *clean = clean_reason(c, reason);
	const char *texts[1] = {clean};
	PgqResult rc;

	rc = put_aside(c,
				   "select pgq.event_dead($1::pg_catalog.int8, "
				   "$2::pg_catalog.int8, $3::pg_catalog.text)",
				   ev_id, 1, texts);
	free(clean);
	return rc;
}

void
pgq_set_on_error(PgqConsumer *c, PgqOnError on_error, int delay, int max_delay,
				 int max_retries)
{
	c->on_error = on_error;
	c->retry_delay = delay;
	c->max_retry_delay = max_delay;
	c->max_retries = max_retries;
}

PgqResult
pgq_fail(PgqConsumer *c, int64_t ev_id, const char *reason)
{
	char delay[16];
	char max_delay[16];
	char limit[16];
	char *clean;
	const char *texts[4] = {NULL, delay, max_delay,
							c->max_retries < 0 ? NULL : limit};
	PgqResult rc;

	if (c->on_error == PGQ_ON_ERROR_DEAD)
		return pgq_dead(c, ev_id, reason);
	if (c->on_error == PGQ_ON_ERROR_STOP)
	{
		if (c->batch_id == 0)
			return libpgq_no_batch(c);
		pgq_abandon(c);
		return libpgq_fail(c, PGQ_ERROR, NULL,
						   reason ? reason : "the work of an event failed",
						   NULL);
	}
	snprintf(delay, sizeof(delay), "%d s",
			 c->retry_delay > 0 ? c->retry_delay : RETRY_DELAY);
	snprintf(max_delay, sizeof(max_delay), "%d s",
			 c->max_retry_delay > 0 ? c->max_retry_delay : MAX_RETRY_DELAY);
	snprintf(limit, sizeof(limit), "%d", c->max_retries);
	clean = clean_reason(c, reason);
	texts[0] = clean;
	rc = put_aside(c,
				   "select pgq.event_failed($1::pg_catalog.int8, "
				   "$2::pg_catalog.int8, $3::pg_catalog.text, "
				   "$4::pg_catalog.interval, $5::pg_catalog.interval, "
				   "$6::pg_catalog.int4)",
				   ev_id, 4, texts);
	free(clean);
	return rc;
}
