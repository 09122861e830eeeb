/*-------------------------------------------------------------------------
 *
 * libpgq.h
 *		libpgq, the C client of a PgQ consumer: its whole public interface.
 *
 * A consumer is a name registered on a queue.  The server hands it batches,
 * one after the other; a batch holds all events between two ticks, maybe
 * none.  The consumer reads a batch's events and finishes it; a batch that
 * was not finished comes again, whatever happened.  A whole consumer:
 *
 *		PgqConsumer *c = pgq_open("dbname=shop", "orders", "mailer",
 *								  PGQ_REGISTER);
 *		PgqEvent	ev;
 *		PgqResult	rc = pgq_status(c);
 *
 *		while (rc != PGQ_ERROR)
 *		{
 *			rc = pgq_next_batch(c);
 *			if (rc == PGQ_OK)
 *			{
 *				while ((rc = pgq_next_event(c, &ev)) == PGQ_OK)
 *					work(&ev);
 *				if (rc == PGQ_NONE)
 *					rc = pgq_finish(c);
 *			}
 *			else if (rc == PGQ_NONE || rc == PGQ_LOST)
 *				rc = pgq_wait(c, 60000);
 *		}
 *		fprintf(stderr, "%s\n", pgq_error(c));
 *		pgq_close(c);
 *
 * At least once is the default: if the connection is lost before pgq_finish()
 * has returned PGQ_OK, the same events come again, so work() must bear that.
 * Exactly once is to be had for work in the same database: do it through
 * pgq_connection() between pgq_next_batch() and pgq_finish().  It is then in
 * the transaction that finishes the batch, and both happen or neither.
 *
 * A batch is what came between two ticks; a consumer that is far behind gets
 * some hundred events at once.
 *
 * Lost connections are made again by pgq_next_batch() and pgq_wait(), after
 * pauses that grow to 15 s and differ from one consumer to the next.  A standby
 * counts as no connection: it may be the primary soon, or another host be it.
 * That a server is gone without a word
 * is noticed in two minutes, unless the connect string has other keepalives and
 * another tcp_user_timeout.  The library never prints, never exits
 * and installs no signal handler.  A PgqConsumer belongs to one thread at a
 * time; different ones are independent.  All text it gives is UTF-8, except
 * that of a database in SQL_ASCII, which is as it is there.
 *
 * A connection through a pooler is noticed, and works, too: each transaction
 * sets for itself what it needs, and nothing stays in the pooled session.
 *
 * Servers: the extension pgq 4 and PgQ 3.x, which knows no wake-up by
 * LISTEN; there the queue is looked at once a second.
 *
 * The role needs membership in pgq_reader.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIBPGQ_H
#define LIBPGQ_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#ifdef __cplusplus
extern "C"
{
#endif

typedef struct PgqConsumer PgqConsumer;

/* What a call came to. */
typedef enum PgqResult
{
	PGQ_OK,   /* done */
	PGQ_NONE, /* nothing there: no batch, no more events, no notice in time */
	PGQ_LOST, /* no connection; an open batch comes again; pgq_wait() and
			   * pgq_next_batch() connect anew */
	PGQ_ERROR /* refused by the server or misused: see pgq_error(); an open
			   * batch comes again */
} PgqResult;

/*
 * One event, as pgq.get_batch_events gives it.  The strings belong to the
 * PgqConsumer and are good until the next call on it, except pgq_retry() and those
 * like it, pgq_connection() and the pgq_error() family.  NULL is SQL NULL.
 */
typedef struct PgqEvent
{
	int64_t ev_id;
	const char *ev_time; /* ISO 8601 as PostgreSQL writes it, with zone */
	int64_t ev_txid;
	int32_t ev_retry; /* times this event was retried, -1 for NULL */
	const char *ev_type;
	const char *ev_data;
	const char *ev_extra1;
	const char *ev_extra2;
	const char *ev_extra3;
	const char *ev_extra4;
} PgqEvent;

/* Flags of pgq_open(). */
#define PGQ_REGISTER 0x01 /* register the consumer if it is not yet */
#define PGQ_BOOKMARK 0x02 /* each batch comes with the consumer's bookmark */

/*
 * Connects and makes the handle of one consumer on one queue.
 *
 * conninfo: libpq's connection string or URI, "" for libpq's environment and
 * defaults.  queue, consumer: names, any text.  flags: 0, or flags
 * with | between.  All are copied.
 *
 * Returns a handle that the caller gives to pgq_close(), also when connecting
 * failed: look at pgq_status().  NULL only when memory is short.  A handle
 * whose status is PGQ_LOST may be used: it connects later.
 *
 * A database whose extension pgq belongs to no superuser is refused, since its
 * owner's code would run with our rights; environment variable
 * PGQ_DATABASE_OWNERS names other roles that may own it, with commas between.
 *
 * With PGQ_REGISTER a consumer that is new starts at the queue's newest tick:
 * it gets the events that come from then on.
 *
 * With PGQ_BOOKMARK the server must know bookmarks.  pgq_get_bookmark() then asks
 * nothing; else it reads up to 100 events of the batch ahead, however large.
 */
extern PgqConsumer *pgq_open(const char *conninfo, const char *queue,
							 const char *consumer, int flags);

/*
 * Returns what pgq_open() came to: PGQ_OK; PGQ_LOST, no connection, which may
 * pass; PGQ_ERROR, refused until somebody mends it (wrong password, no such
 * database, bad connect string, no extension pgq, unknown queue, missing rights).
 * Later: the outcome of the last call that may fail.
 */
extern PgqResult pgq_status(const PgqConsumer *c);

/*
 * Waits until the queue was ticked, at most timeout_ms milliseconds (negative:
 * no limit of the caller's).  It may return PGQ_NONE sooner, so that the
 * caller looks for itself now and then: after 10 s where the server's daemon
 * sends notices, after 1 s where it does not.  Without a connection it pauses,
 * then tries to connect.
 *
 * Returns PGQ_OK, a tick was made or the connection is there again;
 * PGQ_NONE, time is up, pgq_wake() was called, or a signal came; PGQ_LOST;
 * PGQ_ERROR, a batch is open.
 */
extern PgqResult pgq_wait(PgqConsumer *c, int timeout_ms);

/*
 * Ends the running pgq_wait(), or else the next one, at once.  The only call
 * that may be made from a signal handler or another thread.
 */
extern void pgq_wake(PgqConsumer *c);

/*
 * Opens the consumer's next batch and begins the transaction in which its
 * events are read.  A batch that was open and not finished is given again.
 * An open batch of this handle is abandoned first, as by pgq_abandon().
 *
 * Returns PGQ_OK; PGQ_NONE, no tick since the last batch; PGQ_LOST; PGQ_ERROR,
 * for example a consumer that is not registered.
 */
extern PgqResult pgq_next_batch(PgqConsumer *c);

/*
 * Makes the handle one of several workers of its consumer: from the next
 * pgq_next_batch() on it gets shares of batches, those events whose keys fall
 * to a share, in their order, while other workers do the others.
 *
 * worker: a name that no other worker has, copied; NULL for whole batches
 * again.  lease: seconds, after which a share that is not finished is given to
 * another worker, but not while its transaction is open; so it is when the connection
 * is lost.  key: what keys are, as
 * in pgq.next_share(), the same for all workers; NULL for "key".  pgq_finish()
 * then finishes the share; PGQ_ERROR with SQLSTATE PQ002 says that another worker
 * has it by now, and nothing was committed.  PGQ_NONE of pgq_next_batch() may mean
 * that others are at work; pgq_wait() takes that into account.
 *
 * Returns PGQ_OK; PGQ_ERROR, memory is short, or the server knows no shares.
 */
extern PgqResult pgq_set_worker(PgqConsumer *c, const char *worker, int lease,
								const char *key);

/*
 * Gives the open share its whole lease again: for work after pgq_detach() that takes
 * longer, which calls it more often than that.  Without a share it does nothing.
 *
 * Returns PGQ_OK; PGQ_LOST, call pgq_wait(), then it again, as long as
 * pgq_batch_id() is not 0; PGQ_ERROR, it is given up, with SQLSTATE PQ002 since
 * another worker has it.
 */
extern PgqResult pgq_renew(PgqConsumer *c);

/* Returns whether the last PGQ_NONE meant that other workers are at work. */
extern bool pgq_others_work(const PgqConsumer *c);

/* Returns the open batch's id, 0 without an open batch. */
extern int64_t pgq_batch_id(const PgqConsumer *c);

/*
 * When the end of the open batch was ticked, in microseconds since 1970; 0 if none
 * is open.  A database that was restored to an older state gives ids anew, and not
 * this.
 */
extern int64_t pgq_batch_time(const PgqConsumer *c);

/*
 * Gives the next event of the open batch, in the order of ev_id, in *ev.
 * They are read one by one, so a large batch takes little memory.
 *
 * Returns PGQ_OK; PGQ_NONE, no more events; PGQ_LOST; PGQ_ERROR.
 */
extern PgqResult pgq_next_event(PgqConsumer *c, PgqEvent *ev);

/*
 * Asks for an event of the open batch to come again in a later batch, seconds
 * (0 or more) from now at the earliest, with its ev_retry raised by one.
 * Takes effect when the batch is finished.  It counts as a failure, since it does
 * not say why: see pgq_fail() and pgq_postpone(), which do.
 *
 * Returns PGQ_OK, also if the event is waiting for its retry already;
 * PGQ_LOST; PGQ_ERROR, for example an id that is not in the batch.
 */
extern PgqResult pgq_retry(PgqConsumer *c, int64_t ev_id, int seconds);

/* As pgq_retry(), but no failure: the limit of retries does not count it. */
extern PgqResult pgq_postpone(PgqConsumer *c, int64_t ev_id, int seconds);

/*
 * Gives an event of the open batch up: it is kept among the consumer's dead
 * events, with the reason, which may be NULL.  Takes effect, and returns, as
 * pgq_retry().
 */
extern PgqResult pgq_dead(PgqConsumer *c, int64_t ev_id, const char *reason);

/* What becomes of an event whose work failed. */
typedef enum PgqOnError
{
	PGQ_ON_ERROR_STOP,  /* the batch is given up, and comes again */
	PGQ_ON_ERROR_RETRY, /* it comes again, after pauses that double */
	PGQ_ON_ERROR_DEAD   /* it is kept as a dead event */
} PgqOnError;

/*
 * Says what pgq_fail() does, PGQ_ON_ERROR_STOP unless it was called.
 *
 * delay, max_delay: the first and the longest pause of PGQ_ON_ERROR_RETRY, in
 * seconds; 0 for 10 seconds and an hour.  max_retries: how many failures are
 * retried, the next one buries the event; negative for what the queue's setting
 * max_retries says, which holds in any case.
 */
extern void pgq_set_on_error(PgqConsumer *c, PgqOnError on_error, int delay,
							 int max_delay, int max_retries);

/*
 * The work of an event of the open batch failed, for the reason, text or NULL:
 * does what pgq_set_on_error() said, as pgq_retry() and pgq_dead() do.  With
 * PGQ_ON_ERROR_STOP the batch is abandoned.
 *
 * What was done for the event through pgq_connection() is the caller's to undo:
 * have a savepoint before each event, and roll back to it first.
 *
 * Returns PGQ_OK, go on with the next event; PGQ_LOST; PGQ_ERROR, the batch comes
 * again: told to stop (pgq_error() is the reason), an id that is not in the batch,
 * a server that is not at 4.1.
 */
extern PgqResult pgq_fail(PgqConsumer *c, int64_t ev_id, const char *reason);

/*
 * Ends the transaction in which the batch is read, and keeps the batch open: for
 * work that takes long, so that no transaction is held meanwhile.  To be called
 * when the events have been read; pgq_next_event() gives no more.  Work done
 * through pgq_connection() so far is committed, without finishing the batch.
 *
 * From then on the batch outlives a lost connection: when pgq_finish() returns
 * PGQ_LOST, call pgq_wait(), then pgq_finish() again.  After PGQ_ERROR it may be
 * called again, too, as long as pgq_batch_id() is not 0.  pgq_retry() takes
 * effect at once.
 *
 * Returns PGQ_OK, also if it was called before; PGQ_LOST and PGQ_ERROR, the
 * batch comes again.
 */
extern PgqResult pgq_detach(PgqConsumer *c);

/*
 * Finishes the open batch and commits: its events will not come again.
 * Events that were not read count as done too.  While pgq_connection() was
 * never asked for, the commit does not wait for the server's disk: the batch
 * comes again if the server crashes within a second.
 *
 * Returns PGQ_OK; PGQ_LOST, it may be finished or not; PGQ_ERROR, nothing was
 * committed: the batch comes again, or was not this session's any more
 * (SQLSTATE 55000; another session of the same consumer finished it).
 */
extern PgqResult pgq_finish(PgqConsumer *c);

/*
 * Gives the open batch up: rolls its transaction back, work done in it through
 * pgq_connection() too.  The batch comes again.  Harmless without one.
 */
extern void pgq_abandon(PgqConsumer *c);

/*
 * Returns the connection, for work in the batch's transaction; NULL when there
 * is none.  It belongs to the handle and may be another one after PGQ_LOST.
 * Ask for it anew after each pgq_next_event(): the call makes the connection
 * ready for other statements, reading up to 1000 events ahead into memory.
 * The caller must leave the transaction, the cursor "pgq_batch" and the
 * settings client_encoding and datestyle alone, and read his results to the
 * end.  When a statement of his fails, only pgq_abandon() leads on.
 */
extern PGconn *pgq_connection(PgqConsumer *c);

/*
 * Returns the id of the server's process that serves the connection, 0 without
 * a connection and through a pooler: to find what it does in pg_stat_activity.
 */
extern int pgq_backend_pid(const PgqConsumer *c);

/*
 * Does the connection lead through a pooler, such as PgBouncer?  Then there is
 * no session to listen in, and new batches are looked for once a second.
 */
extern bool pgq_is_pooled(const PgqConsumer *c);

/*
 * The last failure: its message (never NULL, "" if there was none), the
 * server's hint or NULL, and the SQLSTATE ("" if the server gave none, as for
 * a lost connection).  Good until the next call.
 */
extern const char *pgq_error(const PgqConsumer *c);
extern const char *pgq_hint(const PgqConsumer *c);
extern const char *pgq_sqlstate(const PgqConsumer *c);

/*
 * Reads the consumer's bookmark, a text that it kept with pgq_set_bookmark(), in
 * the open batch's transaction; before its first event, with PGQ_BOOKMARK.
 * *bookmark gets it, or NULL if there is none; it belongs to the handle and is good
 * until the next call of this function or of pgq_next_batch().
 *
 * Returns PGQ_OK; PGQ_LOST; PGQ_ERROR, for example a server without bookmarks.
 */
extern PgqResult pgq_get_bookmark(PgqConsumer *c, const char **bookmark);

/*
 * Keeps a text for the consumer in the open batch's transaction: it is there if
 * and only if the batch is finished.
 *
 * Returns PGQ_OK; PGQ_LOST; PGQ_ERROR.
 */
extern PgqResult pgq_set_bookmark(PgqConsumer *c, const char *bookmark);

/* The database's name, NULL without a connection.  Good until the next call. */
extern const char *pgq_database(const PgqConsumer *c);

/* Abandons an open batch, disconnects and frees.  NULL is allowed. */
extern void pgq_close(PgqConsumer *c);

#ifdef __cplusplus
}
#endif

#endif /* LIBPGQ_H */
