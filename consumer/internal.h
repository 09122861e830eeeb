/*-------------------------------------------------------------------------
 *
 * internal.h
 *		What the files of libpgq share; not installed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIBPGQ_INTERNAL_H
#define LIBPGQ_INTERNAL_H

#include <stdbool.h>
#include <time.h>

#include "consumer/libpgq.h"

#if defined(__GNUC__)
#define PGQ_HIDDEN __attribute__((visibility("hidden")))
#else
#define PGQ_HIDDEN
#endif

struct PgqConsumer
{
	char *conninfo;
	char *queue;
	char *consumer;
	bool must_register; /* asked for, and not done yet */

	PGconn *conn;       /* NULL while there is no connection */
	bool pooled;        /* its session is a pooler's, ours for a
								 * transaction only */
	bool listening;     /* LISTEN is on */
	bool notified;      /* a notice came on this connection, so the
								 * server's daemon does send them */
	bool was_connected; /* once, so that what is refused now may pass */
	int64_t retry_at;   /* when to connect again, ms, monotonic */
	int backoff_ms;     /* the longest pause after the next failure */
	unsigned seed;      /* of the pauses' jitter */
	int wake_pipe[2];   /* pgq_wake() writes, pgq_wait() polls */

	int64_t batch_id; /* 0 = no batch is open */
	int64_t batch_time;
	int64_t share_id; /* of its lease, if only a share of the batch is read */
	bool detached;    /* the batch is open without a transaction, and stays so
								 * when the connection is lost */
	bool finish_sent; /* no answer to finishing it has come */
	PGresult *row;    /* the event given last */
	bool in_page;     /* a page's query is still running */
	int page_rows;    /* rows asked for, and come so far */
	int page_seen;
	bool last_page;  /* no page follows this one */
	bool borrowed;   /* the caller may have work of his in the transaction */
	PGresult **kept; /* results read early, see libpgq_keep_page */
	int kept_next;
	int kept_count;

	char *worker; /* NULL: takes whole batches */
	char *share_key;
	int lease;        /* seconds */
	bool others_work; /* on a batch that has no share for us */
	int share_pause_ms;

	PgqOnError on_error; /* what pgq_fail() does */
	int retry_delay;     /* seconds */
	int max_retry_delay;
	int max_retries; /* negative: no limit of ours */

	bool with_bookmark; /* each batch is to come with its */
	char *bookmark;     /* what pgq_get_bookmark() gives or gave */

	PgqResult status;
	char *errmsg; /* NULL = no memory for it, or no error */
	char *hint;
	char sqlstate[6];
};

/* The first pause between tries to connect, in ms. */
#define BACKOFF_MIN_MS 200

/* Milliseconds by a clock that is never set. */
static inline int64_t
libpgq_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Begins a transaction, and sets for it what its defaults may be wrong for. */
extern PGQ_HIDDEN const char *libpgq_begin_sql(const PgqConsumer *c);

/*
 * Gives a fresh session of our own its settings, or finds out that it is a
 * pooler's; also whether the server has channels to listen on.
 */
extern PGQ_HIDDEN PgqResult libpgq_set_up_session(PgqConsumer *c,
												  bool *has_channel);

/*
 * Runs one statement.  params is nparams texts or NULL.  Returns its result,
 * which the caller clears, or NULL: then the failure is noted in the handle,
 * and c->status says whether it was PGQ_LOST or PGQ_ERROR.
 */
extern PGQ_HIDDEN PGresult *libpgq_query(PgqConsumer *c, const char *sql,
										 int nparams,
										 const char *const *params);

/* Notes the failure that res tells of, and clears it; returns the outcome. */
extern PGQ_HIDDEN PgqResult libpgq_note_failure(PgqConsumer *c, PGresult *res);

/*
 * Reads what is left of a page that is still coming, so that the connection
 * can take other statements, and keeps it for pgq_next_event().  False, with
 * the failure noted, if memory is short.
 */
extern PGQ_HIDDEN bool libpgq_keep_page(PgqConsumer *c);

/* Connects if there is no connection and the pause is over. */
extern PGQ_HIDDEN PgqResult libpgq_connect(PgqConsumer *c);

/* Notes a failure; sqlstate and hint may be NULL.  Returns rc. */
extern PGQ_HIDDEN PgqResult libpgq_fail(PgqConsumer *c, PgqResult rc,
										const char *sqlstate,
										const char *message, const char *hint);

/* Notes success and returns rc, PGQ_OK or PGQ_NONE. */
extern PGQ_HIDDEN PgqResult libpgq_done(PgqConsumer *c, PgqResult rc);

/*
 * Sets the time of the next try to connect.  Many consumers lose a server at
 * once, and must not come back at once.
 */
extern PGQ_HIDDEN void libpgq_set_retry_time(PgqConsumer *c);

/* Closes the connection and sets the time of the next try. */
extern PGQ_HIDDEN void libpgq_disconnect(PgqConsumer *c);

/* The SQLSTATE of a share that is another worker's by now. */
#define SHARE_LOST "PQ002"

/*
 * Begins to read the batch c->batch_id; where is "" or further arguments of
 * pgq.get_batch_cursor().
 */
extern PGQ_HIDDEN PgqResult libpgq_read_batch(PgqConsumer *c,
											  const char *where);

/* Does what pgq_next_batch() is asked for, for one worker of several. */
extern PGQ_HIDDEN PgqResult libpgq_next_share(PgqConsumer *c);

/* After a refused statement: ends the transaction, keeps the error's text. */
extern PGQ_HIDDEN PgqResult libpgq_give_up(PgqConsumer *c);

/* The outcome of a call that needs an open batch, and has none. */
extern PGQ_HIDDEN PgqResult libpgq_no_batch(PgqConsumer *c);

/* Forgets the open batch, without a word to the server. */
extern PGQ_HIDDEN void libpgq_forget_batch(PgqConsumer *c);

/* Forgets what was read of the open batch; nothing of it may be under way. */
extern PGQ_HIDDEN void libpgq_forget_rows(PgqConsumer *c);

/*
 * After connecting with these parameters of PQconnectdbParams() has failed: will
 * it fail again until somebody mends it?  Asks the server.  sqlstate, 6 bytes,
 * gets the server's, or "".
 */
extern PGQ_HIDDEN bool libpgq_is_refused(const char *const *keys,
										 const char *const *vals,
										 char *sqlstate);

#endif /* LIBPGQ_INTERNAL_H */
