// Package pgqtest is for tests of your own consumers: what pgqd does otherwise, at once.
package pgqtest

import (
	"context"

	pgq "pgq4"
)

// Tick makes what is committed in the queue until now a batch; Consumer.Drain then does
// all that is there. db must not be in a transaction. Needs role pgq_admin.
func Tick(ctx context.Context, db pgq.Querier, queue string) error {
	if _, err := db.Exec(ctx, "select pgq.force_tick($1::pg_catalog.text)", queue); err != nil {
		return err
	}
	_, err := db.Exec(ctx, "select pgq.ticker($1::pg_catalog.text)", queue)
	return err
}

// RetryNow puts retried events whose time has come back into their queues. Tick then
// makes them a batch.
func RetryNow(ctx context.Context, db pgq.Querier) error {
	_, err := db.Exec(ctx, "select pgq.maint_retry_events()")
	return err
}
