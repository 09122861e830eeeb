// Package pgq has consumers and producers of PgQ queues, on pgx.
//
//	c, err := pgq.New("dbname=shop", "orders", "mailer", nil)
//	if err != nil {
//		return err
//	}
//	return c.Run(ctx, func(ctx context.Context, tx pgx.Tx, ev *pgq.Event) error {
//		_, err := tx.Exec(ctx, "insert into mail (body) values ($1)", ev.Data)
//		return err
//	})
package pgq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A consumer that is many ticks behind gets some hundred events at once.
const nextBatchSQL = "select coalesce(m.batch_id, pgq.next_batch($1::pg_catalog.text," +
	" $2::pg_catalog.text)) from pgq.next_batch_custom($1::pg_catalog.text," +
	" $2::pg_catalog.text, null, 500, null) m"

const nextShareSQL = "select s.batch_id, s.share_id from pgq.next_share(" +
	"$1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text," +
	" pg_catalog.make_interval(secs => $4::pg_catalog.float8), $5::pg_catalog.text) s"

// The longest wait on a server that sends notices, on one that does not, and while other
// workers are at the last shares of a batch.
const (
	waitNotified = 10 * time.Second
	waitPoll     = time.Second
	waitShare    = 100 * time.Millisecond
)

// Handler does the work of one event. What it does in tx is undone if it fails, and is
// committed together with the batch, so that it is done exactly once.
type Handler func(ctx context.Context, tx pgx.Tx, ev *Event) error

// BatchHandler does the work of a batch. If it fails the batch comes again.
type BatchHandler func(ctx context.Context, batch *Batch) error

// Options of a consumer. The zero value is what most want.
type Options struct {
	// NoRegister refuses a consumer that is not registered. Otherwise it is registered,
	// and gets what comes from then on.
	NoRegister bool
	// OnError says what becomes of an event whose handler fails.
	OnError OnError
	// RetryDelay is the first pause of OnErrorRetry (10 s), MaxRetryDelay the longest
	// one (an hour), MaxRetries how many failures are retried (0: as many as the queue's
	// max_retries says, which holds in any case).
	RetryDelay    time.Duration
	MaxRetryDelay time.Duration
	MaxRetries    int
	// Share lets any number of processes do the batches of this consumer together, so
	// that events of the same key come in order: "key", those of one row; "type", of the
	// same type; "extra1" to "extra4", with the same text there; "none". A share
	// is its worker's as long as its work takes; if the worker is gone, it is given to
	// another, after Lease (a minute) at the latest where the server does not see that.
	Share string
	Lease time.Duration
	// Logger gets what the consumer has to say; slog's default if nil.
	Logger *slog.Logger
}

// Consumer is a consumer of a queue. It is used by one goroutine at a time.
type Consumer struct {
	config          *pgx.ConnConfig
	queue, consumer string
	options         Options
	log             *slog.Logger
	registered      bool
	wasConnected    bool
	session         *session // nil: no connection
	backoff         backoff
	worker          string // our name among those that share batches
	others          bool   // are at work on the batch that we wait for
}

// New makes a consumer, and connects later. dsn is a connection string or URI, as
// pgx takes it; options may be nil.
func New(dsn, queue, consumer string, options *Options) (*Consumer, error) {
	config, err := configure(dsn, consumer)
	if err != nil {
		return nil, wrap("connection string", err)
	}
	c := &Consumer{config: config, queue: queue, consumer: consumer, log: slog.Default()}
	if options != nil {
		c.options = *options
	}
	if c.options.Logger != nil {
		c.log = c.options.Logger
	}
	if c.options.RetryDelay == 0 {
		c.options.RetryDelay = 10 * time.Second
	}
	if c.options.MaxRetryDelay == 0 {
		c.options.MaxRetryDelay = time.Hour
	}
	if c.options.Lease == 0 {
		c.options.Lease = time.Minute
	}
	host, _ := os.Hostname()
	c.worker = fmt.Sprintf("%s-%d-%x", host, os.Getpid(), rand.Uint32())
	c.registered = c.options.NoRegister
	return c, nil
}

// Run gives the handler each event, until ctx is done; the batch at hand is finished
// first, and Run returns nil. Handlers get a context that does not end with ctx.
//
// Lost connections are made again, after pauses that grow to 15 s. What lasts until
// somebody mends it, such as a wrong password or an unknown queue, is returned.
func (c *Consumer) Run(ctx context.Context, handler Handler) error {
	return c.RunBatches(ctx, func(ctx context.Context, b *Batch) error {
		return b.each(ctx, handler)
	})
}

// RunBatches is Run for batches: the handler reads what it wants of batch.Events and
// works in batch.Tx.
func (c *Consumer) RunBatches(ctx context.Context, handler BatchHandler) error {
	defer c.Close()
	for ctx.Err() == nil {
		found, err := c.turn(ctx, handler)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && !c.goesOn(err):
			return err
		case err != nil:
			c.pause(ctx, err)
		case !found:
			if err := c.wait(ctx); err != nil && ctx.Err() == nil {
				c.pause(ctx, err)
			}
		}
	}
	return nil
}

// Drain gives the handler each event that is there, and returns when there are no more.
// For tests, and for jobs that run now and then.
func (c *Consumer) Drain(ctx context.Context, handler Handler) error {
	defer c.Close()
	for {
		found, err := c.turn(ctx, func(ctx context.Context, b *Batch) error {
			return b.each(ctx, handler)
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !c.goesOn(err):
			return err
		case err != nil:
			c.pause(ctx, err)
		case !found:
			return nil
		}
	}
}

// Pooled tells whether the connection leads through a pooler. Then there is no session
// to listen in, and new batches are looked for once a second.
func (c *Consumer) Pooled() bool { return c.session != nil && c.session.pooled }

// Close disconnects; a batch that is open comes again. Run, RunBatches and Drain do so
// when they return.
func (c *Consumer) Close() {
	if c.session != nil {
		c.session.close()
		c.session = nil
	}
}

// turn does the next batch, if there is one.
func (c *Consumer) turn(ctx context.Context, handler BatchHandler) (found bool, err error) {
	if c.session == nil {
		if c.session, err = c.connect(ctx); err != nil {
			return false, wrap("connect", err)
		}
		c.wasConnected = true
	}
	s := c.session
	s.notified = false
	id, share, err := c.next(ctx)
	if err != nil {
		return false, wrap("next batch", err)
	}
	if id == nil || c.options.Share != "" && share == nil {
		c.others = id != nil
		c.backoff = 0
		return false, nil
	}
	// whoever stops us lets us finish what we have begun
	return true, c.work(context.WithoutCancel(ctx), *id, share, handler)
}

// next asks for ids of the next batch and of our share of it.
func (c *Consumer) next(ctx context.Context) (id, share *int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if c.options.Share == "" {
		err = c.session.query(ctx, []any{&id}, nextBatchSQL, c.queue, c.consumer)
	} else {
		err = c.session.query(ctx, []any{&id, &share}, nextShareSQL, c.queue, c.consumer,
			c.worker, c.options.Lease.Seconds(), c.options.Share)
	}
	return id, share, err
}

func (c *Consumer) work(ctx context.Context, id int64, share *int64, handler BatchHandler) error {
	tx, err := c.session.begin(ctx)
	if err != nil {
		return wrap("begin", err)
	}
	defer tx.Rollback(ctx)
	b := &Batch{ID: id, Tx: tx, consumer: c, share: share}
	if share != nil {
		if err := b.exec(ctx, keepShareSQL, *share, c.options.Lease.Seconds()); err != nil {
			return wrap("keep share", err)
		}
	}
	if err := handler(ctx, b); err != nil {
		return err
	}
	if err := b.finish(ctx); err != nil {
		return wrap("finish batch", err)
	}
	c.backoff = 0
	return nil
}

// wait waits for a tick, or until it is time to look without a notice of one. A notice
// may have come with the answer to the last question: then there is none to wait for.
func (c *Consumer) wait(ctx context.Context) error {
	s := c.session
	longest := waitPoll
	if s.sendsNotices {
		longest = waitNotified
	}
	if c.others {
		longest = waitShare
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for !s.notified {
		if err := s.PgConn().WaitForNotification(ctx); err != nil {
			if s.IsClosed() {
				return wrap("wait", err)
			}
			return nil
		}
	}
	return nil
}

// goesOn tells whether a failure may pass by itself.
func (c *Consumer) goesOn(err error) bool {
	if passes(err) || errors.Is(err, ErrBatchLost) {
		return true
	}
	if c.session != nil {
		return c.session.IsClosed()
	}
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) && (c.wasConnected || sqlstate(err) == "")
}

func (c *Consumer) pause(ctx context.Context, err error) {
	if c.session != nil && (c.session.IsClosed() || sqlstate(err) == "25006") {
		c.Close()
	}
	d := c.backoff.next()
	c.log.Warn("trying again", "queue", c.queue, "consumer", c.consumer, "error", err,
		"in", d.Round(time.Millisecond))
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
