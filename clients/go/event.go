package pgq

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Event is one event of a queue. A nil pointer is SQL NULL.
type Event struct {
	ID    int64
	Time  time.Time
	Txid  int64
	Retry int    // how often it came again, failed or postponed
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
	// MaxRetries failures it is dead.
	OnErrorRetry
	// OnErrorDead: the event is kept as a dead event, with the error.
	OnErrorDead
)

type retryError struct{ after time.Duration }

func (e retryError) Error() string { return fmt.Sprintf("retry in %v", e.after) }

// Retry is what a handler returns so that the event comes again, so much later at the
// earliest. That is no failure: MaxRetries does not count it.
func Retry(after time.Duration) error { return retryError{after} }

type deadError struct{ reason string }

func (e deadError) Error() string { return e.reason }

// Dead is what a handler returns for an event that can never be done: it is kept, with
// the reason.
func Dead(reason string) error { return deadError{reason} }

type failedError struct{ reason string }

func (e failedError) Error() string { return "failed: " + e.reason }

// decide makes of a handler's error what becomes of the event; nil: the batch fails.
func (o *Options) decide(err error) error {
	var retry retryError
	var dead deadError
	reason := err.Error()
	switch {
	case errors.As(err, &retry):
		return retry
	case errors.As(err, &dead):
		return dead
	case o.OnError == OnErrorRetry:
		return failedError{reason}
	case o.OnError == OnErrorDead:
		return deadError{reason}
	}
	return nil
}
