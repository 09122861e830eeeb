/*-------------------------------------------------------------------------
 *
 * share.c
 *		A share of a batch, for one of several workers of a consumer.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer/internal.h"

/*
 * Pauses between questions while others are at work: they grow, so that who waits
 * looks often at first, and loses little time at the end of a batch.
 */
#define PAUSE_MIN_MS 2
#define PAUSE_MAX_MS 250

static const char next_share_sql[] =
	"select s.share_id, s.batch_id, s.share_no, s.share_count, "
	"(select (1000000 operator(pg_catalog.*) extract(epoch from i.batch_end))"
	"::pg_catalog.int8 "
	"from pgq.get_batch_info(s.batch_id) i), s.share_key "
	"from pgq.next_share($1::pg_catalog.text, $2::pg_catalog.text, "
	"$3::pg_catalog.text, $4::pg_catalog.interval, $5::pg_catalog.text) s";

/* Keys are words: they stand in statements. */
static bool
is_word(const char *text)
{
	for (; *text; text++)
		if (!isalnum((unsigned char) *text))
			return false;
	return true;
}

PgqResult
pgq_set_worker(PgqConsumer *c, const char *worker, int lease, const char *key)
{
	char *name = worker ? strdup(worker) : NULL;
	char *word = strdup(key ? key : "key");

	pgq_abandon(c);
	if (word == NULL || (worker && name == NULL))
	{
		free(name);
		free(word);
		return libpgq_fail(c, PGQ_ERROR, "53200", "out of memory", NULL);
	}
	if (!is_word(word) || strlen(word) > 16)
	{
		free(name);
		free(word);
		return libpgq_fail(c, PGQ_ERROR, "22023", "no such key to share by",
						   NULL);
	}
	free(c->worker);
	free(c->share_key);
	c->worker = name;
	c->share_key = word;
	c->lease = lease;
	c->others_work = false;
	c->share_pause_ms = PAUSE_MIN_MS;
	return libpgq_done(c, PGQ_OK);
}

bool
pgq_others_work(const PgqConsumer *c)
{
	return c->others_work;
}

PgqResult
libpgq_next_share(PgqConsumer *c)
{
	char lease[32];
	const char *params[5] = {c->queue, c->consumer, c->worker, lease,
							 c->share_key};
	char where[256];
	PGresult *res;

	snprintf(lease, sizeof(lease), "%d s", c->lease);
	res = libpgq_query(c, next_share_sql, 5, params);
	if (res == NULL)
		return c->status;
	if (PQgetisnull(res, 0, 0))
	{
		bool others = !PQgetisnull(res, 0, 1);

		c->share_pause_ms = others && c->others_work ? c->share_pause_ms * 2
													 : PAUSE_MIN_MS;
		if (c->share_pause_ms > PAUSE_MAX_MS)
			c->share_pause_ms = PAUSE_MAX_MS;
		c->others_work = others;
		PQclear(res);
		return libpgq_done(c, PGQ_NONE);
	}
	c->others_work = false;
	c->share_id = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	c->batch_id = strtoll(PQgetvalue(res, 0, 1), NULL, 10);
	c->batch_time = strtoll(PQgetvalue(res, 0, 4), NULL, 10);
	/* another worker may have cut the batch, by another key */
	snprintf(where, sizeof(where),
			 ", 'pgq.event_share(''%s'', %d, ev_id, ev_type, ev_data, "
			 "ev_extra1, ev_extra2, ev_extra3, ev_extra4) "
			 "operator(pg_catalog.=) %d'",
			 PQgetvalue(res, 0, 5), atoi(PQgetvalue(res, 0, 3)),
			 atoi(PQgetvalue(res, 0, 2)));
	PQclear(res);
	return libpgq_read_batch(c, where);
}

PgqResult
pgq_renew(PgqConsumer *c)
{
	char share[32];
	char lease[32];
	const char *params[2] = {share, lease};
	PGresult *res;

	if (c->batch_id == 0)
		return libpgq_no_batch(c);
	if (c->share_id == 0)
		return libpgq_done(c, PGQ_OK);
	if (!libpgq_keep_page(c))
		return libpgq_give_up(c);
	if (libpgq_connect(c) != PGQ_OK)
		return c->status;
	snprintf(share, sizeof(share), "%lld", (long long) c->share_id);
	snprintf(lease, sizeof(lease), "%d s", c->lease);
	res = libpgq_query(c,
					   "select pgq.renew_share($1::pg_catalog.int8, "
					   "$2::pg_catalog.interval)",
					   2, params);
	if (res == NULL)
		return libpgq_give_up(c);
	PQclear(res);
	return libpgq_done(c, PGQ_OK);
}
