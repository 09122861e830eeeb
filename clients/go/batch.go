package pgq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	eventColumns = "ev_id, ev_time, ev_txid, ev_retry, ev_type, ev_data," +
		" ev_extra1, ev_extra2, ev_extra3, ev_extra4"
	firstPageRows = 10
	firstPageSQL  = "select " + eventColumns +
		" from pgq.get_batch_cursor($1::pg_catalog.int8, 'pgq_batch', $2::pg_catalog.int4)"
	pageSQL   = "fetch %d from pgq_batch"
	pageRows  = 1000
	pageBytes = 8 << 20

	failedSQL = "select pgq.event_failed($1::pg_catalog.int8, $2::pg_catalog.int8," +
		" $3::pg_catalog.text, pg_catalog.make_interval(secs => $4::pg_catalog.float8)," +
		" pg_catalog.make_interval(secs => $5::pg_catalog.float8), $6::pg_catalog.int4)"
	postponeSQL = "select pgq.event_postpone($1::pg_catalog.int8, $2::pg_catalog.int8," +
		" pg_catalog.make_interval(secs => $3::pg_catalog.float8))"
	deadSQL = "select pgq.event_dead($1::pg_catalog.int8, $2::pg_catalog.int8," +
		" $3::pg_catalog.text)"
	finishSQL = "select pgq.finish_batch($1::pg_catalog.int8)"

	// of a part of a batch, when several workers do it together
	shareCursorSQL = "declare pgq_batch no scroll cursor for select " + eventColumns +
		" from pgq.get_share_events(%d)"
	// keeps it from others as long as the transaction lasts, however long that is
	keepShareSQL = "select pgq.renew_share($1::pg_catalog.int8," +
		" pg_catalog.make_interval(secs => $2::pg_catalog.float8))"
	finishShareSQL = "select 1 from pgq.finish_share($1::pg_catalog.int8)"
)

// ErrBatchLost: another session of the same consumer has finished the batch, and what
// was done for it here is undone.
var ErrBatchLost = errors.New("pgq: the batch is no longer open")

// Batch is what came between two ticks: any number of events, maybe none.
type Batch struct {
	ID int64
	// Tx is the transaction that finishes the batch: what is done in it is done exactly
	// once. Leave its end to the consumer.
	Tx pgx.Tx

	consumer *Consumer
	share    *int64 // nil: all of it
}

// Events reads the batch's events, in their order and page by page, so that a large
// batch takes some megabytes at most. Events that are not read count as done.
func (b *Batch) Events(ctx context.Context) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		asked := firstPageRows
		page, size, err := b.firstPage(ctx, asked)
		for {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			if len(page) < asked {
				return
			}
			asked = max(1, min(asked*4, pageRows, pageBytes*len(page)/size))
			page, size, err = b.page(ctx, fmt.Sprintf(pageSQL, asked))
		}
	}
}

// Retry asks for an event of the batch to come again, so much later at the earliest. That
// is no failure: MaxRetries does not count it.
func (b *Batch) Retry(ctx context.Context, ev *Event, after time.Duration) error {
	return b.exec(ctx, postponeSQL, b.ID, ev.ID, after.Seconds())
}

// Failed says that the work of an event of the batch failed: it comes again after a pause,
// or is dead if it has failed too often, as with OnErrorRetry.
func (b *Batch) Failed(ctx context.Context, ev *Event, reason string) error {
	o := &b.consumer.options
	var limit *int
	if o.MaxRetries > 0 {
		limit = &o.MaxRetries
	}
	reason = b.consumer.session.cleanReason(reason)
	return b.exec(ctx, failedSQL, b.ID, ev.ID, reason, o.RetryDelay.Seconds(),
		o.MaxRetryDelay.Seconds(), limit)
}

// Dead gives an event of the batch up: it is kept, with the reason.
func (b *Batch) Dead(ctx context.Context, ev *Event, reason string) error {
	return b.exec(ctx, deadSQL, b.ID, ev.ID, b.consumer.session.cleanReason(reason))
}

// each gives the handler each event, in a savepoint, and does what the options say about
// those that fail.
func (b *Batch) each(ctx context.Context, handler Handler) error {
	for ev, err := range b.Events(ctx) {
		if err != nil {
			return err
		}
		tx, err := b.Tx.Begin(ctx)
		if err != nil {
			return err
		}
		if err = handler(ctx, tx, ev); err == nil {
			err = b.release(ctx, tx)
		}
		if err != nil {
			if err = b.failed(ctx, tx, ev, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Batch) release(ctx context.Context, tx pgx.Tx) error {
	if b.consumer.session.PgConn().TxStatus() == 'E' {
		return errors.New("a statement failed, and the handler hid it")
	}
	return tx.Commit(ctx)
}

func (b *Batch) failed(ctx context.Context, tx pgx.Tx, ev *Event, err error) error {
	if b.consumer.session.IsClosed() || passes(err) {
		return err
	}
	decision := b.consumer.options.decide(err)
	if decision == nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return err
	}
	b.consumer.log.Warn("event failed", "event", ev.ID, "error", err, "then", decision)
	var retry retryError
	if errors.As(decision, &retry) {
		return b.Retry(ctx, ev, retry.after)
	}
	var failed failedError
	if errors.As(decision, &failed) {
		return b.Failed(ctx, ev, failed.reason)
	}
	return b.Dead(ctx, ev, decision.Error())
}

func (b *Batch) finish(ctx context.Context) error {
	var done int
	sql, id := finishSQL, b.ID
	if b.share != nil {
		sql, id = finishShareSQL, *b.share
	}
	err := b.Tx.QueryRow(ctx, sql, pgx.QueryExecModeExec, id).Scan(&done)
	if err != nil {
		return err
	}
	if done != 1 {
		return ErrBatchLost
	}
	return b.Tx.Commit(ctx)
}

func (b *Batch) exec(ctx context.Context, sql string, args ...any) error {
	_, err := b.Tx.Exec(ctx, sql, append([]any{pgx.QueryExecModeExec}, args...)...)
	return err
}

func (b *Batch) firstPage(ctx context.Context, rows int) ([]Event, int, error) {
	if b.share == nil {
		return b.page(ctx, firstPageSQL, b.ID, rows)
	}
	if _, err := b.Tx.Exec(ctx, fmt.Sprintf(shareCursorSQL, *b.share)); err != nil {
		return nil, 0, err
	}
	return b.page(ctx, fmt.Sprintf(pageSQL, rows))
}

// page reads some events, and tells how many bytes they take.
func (b *Batch) page(ctx context.Context, sql string, args ...any) ([]Event, int, error) {
	args = append([]any{pgx.QueryExecModeExec}, args...)
	rows, err := b.Tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, 0, err
	}
	size := 1
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (ev Event, err error) {
		var retry *int
		var kind *string
		err = row.Scan(&ev.ID, &ev.Time, &ev.Txid, &retry, &kind, &ev.Data,
			&ev.Extra[0], &ev.Extra[1], &ev.Extra[2], &ev.Extra[3])
		if retry != nil {
			ev.Retry = *retry
		}
		if kind != nil {
			ev.Type = *kind
		}
		if ev.Data != nil {
			size += len(*ev.Data)
		}
		size += 200
		return ev, err
	})
	return events, size, err
}
