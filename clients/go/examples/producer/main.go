// Producer puts events into queue orders.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	pgq "pgq4"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		id, err := pgq.Insert(ctx, tx, "orders",
			pgq.NewEvent{Type: "new", Data: map[string]string{"name": "pen"}})
		if err == nil {
			fmt.Println("event", id)
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
