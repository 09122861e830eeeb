package pgq

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Event is one event of a queue. A nil pointer is SQL NULL.
type Event struct {
	ID    int64
	Time  time.Time
	Txid  int64
	Retry int    // how often it was retried
	Type  string // "" for NULL, too
	Data  *string
	Extra [4]*string
}

// JSON reads the event's data into v, as json.Unmarshal does.
func (e *Event) JSON(v any) error {
	if e.Data == nil {
		return errors.New("the event has no data")
	}
	return json.Unmarshal([]byte(*e.Data), v)
}

// OnError says what becomes of an event whose handler fails.
type OnError int

const (
	// OnErrorStop: the batch comes again, and Run returns the error.
	OnErrorStop OnError = iota
	// OnErrorRetry: the event comes again, after pauses that double; after
	// MaxRetries it is dead.
	OnErrorRetry
	// OnErrorDead: the event is kept as a dead event, with the error.
	OnErrorDead
)

type retryError struct{ after time.Duration }

func (e retryError) Error() string { return fmt.Sprintf("retry in %v", e.after) }

// Retry is what a handler returns so that the event comes again, so much later at the
// earliest.
func Retry(after time.Duration) error { return retryError{after} }

type deadError struct{ reason string }

func (e deadError) Error() string { return e.reason }

// Dead is what a handler returns for an event that can never be done: it is kept, with
// the reason.
func Dead(reason string) error { return deadError{reason} }

// decide makes of a handler's error one of Retry or Dead, or nil: the batch fails.
func (o *Options) decide(ev *Event, err error) error {
	var retry retryError
	var dead deadError
	switch {
	case errors.As(err, &retry):
		return retry
	case errors.As(err, &dead):
		return dead
	case o.OnError == OnErrorStop:
		return nil
	case o.OnError == OnErrorDead, o.MaxRetries > 0 && ev.Retry >= o.MaxRetries:
		return deadError{err.Error()}
	}
	delay := float64(o.RetryDelay) * math.Pow(2, float64(ev.Retry))
	return retryError{time.Duration(min(delay, float64(o.MaxRetryDelay)))}
}
