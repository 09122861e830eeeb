// Mailer puts a mail into table mail for each event, exactly once. Settings of the
// connection are in PGHOST, PGDATABASE and so on.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5"

	pgq "pgq4"
)

func mail(ctx context.Context, tx pgx.Tx, ev *pgq.Event) error {
	if ev.Data == nil {
		return pgq.Dead("nothing to write about")
	}
	_, err := tx.Exec(ctx, "insert into mail (body) values ($1)", ev.Data)
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	consumer, err := pgq.New("", "orders", "mailer",
		&pgq.Options{OnError: pgq.OnErrorRetry, MaxRetries: 5})
	if err == nil {
		err = consumer.Run(ctx, mail)
	}
	if err != nil {
		log.Fatal(err)
	}
}
