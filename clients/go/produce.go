package pgq

import (
	"context"
	"encoding/json"
	"errors"
	"time"

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
	insertManySQL = "select pgq.insert_events($1::pg_catalog.text, $2::pg_catalog.text[]," +
		" $3::pg_catalog.text[], $4::pg_catalog.text[], $5::pg_catalog.text[]," +
		" $6::pg_catalog.text[], $7::pg_catalog.text[])"
	insertOnceSQL = "select pgq.insert_event_once($1::pg_catalog.text," +
		" $2::pg_catalog.text, $3::pg_catalog.text, $4::pg_catalog.text," +
		" pg_catalog.make_interval(secs => $5::pg_catalog.float8)," +
		" $6::pg_catalog.text, $7::pg_catalog.text, $8::pg_catalog.text," +
		" $9::pg_catalog.text)"
	seekTimeSQL = "select pgq.seek_consumer($1::pg_catalog.text, $2::pg_catalog.text," +
		" $3::pg_catalog.timestamptz)"
	seekTickSQL = "select pgq.seek_consumer($1::pg_catalog.text, $2::pg_catalog.text," +
		" $3::pg_catalog.int8)"
)

// Querier is what producers work on: a pgx.Tx, a *pgx.Conn or a *pgxpool.Pool.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// NewEvent has a type, data and up to four extra fields. Data is a string, or what
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

// InsertMany puts events into the queue, in one call, and returns their ids.
func InsertMany(ctx context.Context, db Querier, queue string, events []NewEvent) (ids []int64, err error) {
	var columns [6][]*string
	for _, ev := range events {
		fields, err := ev.fields()
		if err != nil {
			return nil, err
		}
		for i, field := range fields {
			columns[i] = append(columns[i], field)
		}
	}
	args := []any{queue}
	for _, column := range columns {
		if column == nil {
			column = []*string{}
		}
		args = append(args, column)
	}
	return ids, wrap("insert many", db.QueryRow(ctx, insertManySQL, args...).Scan(&ids))
}

// InsertOnce puts an event into the queue, unless one with this key was put there in the
// time that keys are kept. It returns the id of the first.
func InsertOnce(ctx context.Context, db Querier, queue, key string, ev NewEvent,
	keep time.Duration) (id int64, err error) {
	f, err := ev.fields()
	if err != nil {
		return 0, err
	}
	return id, wrap("insert once", db.QueryRow(ctx, insertOnceSQL, queue, key, f[0], f[1],
		keep.Seconds(), f[2], f[3], f[4], f[5]).Scan(&id))
}

// Seek moves a consumer, forwards or back, so that it gets what came from a time on. It is
// refused while a batch is open.
func Seek(ctx context.Context, db Querier, queue, consumer string, to time.Time) error {
	_, err := db.Exec(ctx, seekTimeSQL, queue, consumer, to)
	return wrap("seek", err)
}

// SeekTick is Seek to a tick.
func SeekTick(ctx context.Context, db Querier, queue, consumer string, tick int64) error {
	_, err := db.Exec(ctx, seekTickSQL, queue, consumer, tick)
	return wrap("seek", err)
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
	fields, err := ev.fields()
	args := []any{queue}
	for _, field := range fields {
		args = append(args, field)
	}
	return args, err
}

// fields are the type, the data and the extra fields as SQL has them.
func (ev NewEvent) fields() (fields [6]*string, err error) {
	if len(ev.Extra) > 4 {
		return fields, errors.New("pgq: an event has four extra fields")
	}
	fields[0] = &ev.Type
	fields[1], err = text(ev.Data)
	copy(fields[2:], ev.Extra)
	return fields, err
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
