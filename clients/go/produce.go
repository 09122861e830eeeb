package pgq

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	insertSQL = "select pgq.insert_event($1::pg_catalog.text, $2::pg_catalog.text," +
		" $3::pg_catalog.text, $4::pg_catalog.text, $5::pg_catalog.text," +
		" $6::pg_catalog.text, $7::pg_catalog.text)"
	emitSQL = "select pgq.emit_event($1::pg_catalog.text, $2::pg_catalog.text," +
		" $3::pg_catalog.text, $4::pg_catalog.text, $5::pg_catalog.text," +
		" $6::pg_catalog.text, $7::pg_catalog.text)"
	insertManySQL = "select pgq.insert_event($1::pg_catalog.text, e.type, e.data)" +
		" from rows from (pg_catalog.unnest($2::pg_catalog.text[])," +
		" pg_catalog.unnest($3::pg_catalog.text[])) with ordinality e (type, data, n)" +
		" order by e.n"
)

// Querier is what producers work on: a pgx.Tx, a *pgx.Conn or a *pgxpool.Pool.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// New events have a type, data and up to four extra fields. Data is a string, or what
// json.Marshal takes; nil is SQL NULL.
type NewEvent struct {
	Type  string
	Data  any
	Extra []*string
}

// Insert puts an event into the queue and returns its id.
func Insert(ctx context.Context, db Querier, queue string, ev NewEvent) (id int64, err error) {
	args, err := ev.args(queue)
	if err != nil {
		return 0, err
	}
	return id, wrap("insert", db.QueryRow(ctx, insertSQL, args...).Scan(&id))
}

// InsertMany puts events into the queue, in one call, and returns their ids. Of the
// events only type and data are taken.
func InsertMany(ctx context.Context, db Querier, queue string, events []NewEvent) ([]int64, error) {
	types := make([]string, len(events))
	datas := make([]*string, len(events))
	for i, ev := range events {
		if len(ev.Extra) > 0 {
			return nil, errors.New("pgq: insert many: extra fields are not taken")
		}
		data, err := text(ev.Data)
		if err != nil {
			return nil, err
		}
		types[i], datas[i] = ev.Type, data
	}
	rows, err := db.Query(ctx, insertManySQL, queue, types, datas)
	if err != nil {
		return nil, wrap("insert many", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return ids, wrap("insert many", err)
}

// Emit puts an event into the queue through the WAL alone, without writing a table. The
// database must have a capture slot.
func Emit(ctx context.Context, db Querier, queue string, ev NewEvent) error {
	args, err := ev.args(queue)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, emitSQL, args...)
	return wrap("emit", err)
}

func (ev NewEvent) args(queue string) ([]any, error) {
	if len(ev.Extra) > 4 {
		return nil, errors.New("pgq: an event has four extra fields")
	}
	data, err := text(ev.Data)
	if err != nil {
		return nil, err
	}
	args := []any{queue, ev.Type, data, nil, nil, nil, nil}
	for i, extra := range ev.Extra {
		args[3+i] = extra
	}
	return args, nil
}

// text is what becomes ev_data: a string as it is, anything else as JSON.
func text(data any) (*string, error) {
	switch v := data.(type) {
	case nil:
		return nil, nil
	case string:
		return &v, nil
	case *string:
		return v, nil
	}
	b, err := json.Marshal(data)
	if err != nil {
		return nil, wrap("data", err)
	}
	s := string(b)
	return &s, nil
}
