// The worker of the behaviours; ../../../behaviours/README.md has the contract.
package main

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	pgq "pgq4"
)

var dsn, queue, consumer = os.Args[1], os.Args[2], os.Args[3]

func handle(ctx context.Context, tx pgx.Tx, ev *pgq.Event) error {
	data := ""
	if ev.Data != nil {
		data = *ev.Data
	}
	if ev.Type == "hold" {
		fmt.Println("hold", ev.ID)
		for {
			if _, err := os.Stat(data); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	_, err := tx.Exec(ctx, `insert into public.done (consumer, ev_id, ev_type, retry, md5)
		values ($1, $2, $3, $4, $5)`, consumer, ev.ID, ev.Type, int32(ev.Retry),
		fmt.Sprintf("%x", md5.Sum([]byte(data))))
	if err != nil {
		return err
	}
	switch ev.Type {
	case "fail":
		return errors.New("told to fail €\x00\xff")
	case "badsql":
		_, err = tx.Exec(ctx, "select 1 / 0")
	case "hidesql":
		_, _ = tx.Exec(ctx, "select 1 / 0")
	case "again":
		_, err = tx.Exec(ctx, "select public.fail_once()")
	case "retry":
		if ev.Retry == 0 {
			return pgq.Retry(0)
		}
	case "dead":
		return pgq.Dead("told to")
	}
	return err
}

func run(mode string, options *pgq.Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := pgq.New(dsn, queue, consumer, options)
	if err != nil {
		return err
	}
	switch mode {
	case "drain":
		return c.Drain(ctx, handle)
	case "iterate":
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return c.RunBatches(ctx, func(ctx context.Context, batch *pgq.Batch) error {
			for ev, err := range batch.Events(ctx) {
				if err != nil {
					return err
				}
				if ev.Type == "stop" {
					cancel()
				}
				if err := handle(ctx, batch.Tx, ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return c.Run(ctx, handle)
}

func produce(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	x, z := "x", "z"
	_, err = pgq.Insert(ctx, conn, queue, pgq.NewEvent{Type: "one",
		Data: map[string]string{"key": "é"}, Extra: []*string{&x, nil, &z}})
	if err != nil {
		return err
	}
	many := make([]pgq.NewEvent, 1000)
	for i := range many {
		many[i] = pgq.NewEvent{Type: "many", Data: strconv.Itoa(i), Extra: []*string{&x}}
	}
	if _, err = pgq.InsertMany(ctx, conn, queue, many); err != nil {
		return err
	}
	for range 2 {
		_, err = pgq.InsertOnce(ctx, conn, queue, "the key",
			pgq.NewEvent{Type: "once", Data: "only"}, time.Hour)
		if err != nil {
			return err
		}
	}
	return pgq.Emit(ctx, conn, queue, pgq.NewEvent{Type: "emitted", Data: "through the WAL"})
}

func seek(ctx context.Context, tick int64) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return pgq.SeekTick(ctx, conn, queue, consumer, tick)
}

func main() {
	var to int64
	mode := "run"
	options := &pgq.Options{NoRegister: true}
	for _, word := range os.Args[4:] {
		name, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		switch name {
		case "mode":
			mode = value
		case "register":
			options.NoRegister = value != "yes"
		case "on_error":
			options.OnError = map[string]pgq.OnError{"retry": pgq.OnErrorRetry,
				"dead": pgq.OnErrorDead}[value]
		case "share":
			options.Share = value
		case "lease":
			options.Lease = time.Duration(number) * time.Second
		case "to":
			to = int64(number)
		case "max_retries":
			options.MaxRetries = number
		case "retry_delay":
			options.RetryDelay = time.Duration(number)*time.Second + 1
		}
	}
	var err error
	switch mode {
	case "produce":
		err = produce(context.Background())
	case "seek":
		err = seek(context.Background(), to)
	default:
		err = run(mode, options)
	}
	if err != nil {
		code := "-"
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			code = pgErr.Code
		}
		fmt.Println("error", code, err)
		os.Exit(1)
	}
}
