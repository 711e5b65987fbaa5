package worker

import (
	"encoding/json"
	"errors"
	"time"
)

// Job is a job that this worker holds.
type Job struct {
	// ID is what the job is called.
	ID string `json:"id"`
	// Once is the same for all tries of the job, and for no other job, also of the same ID: a key for idempotent requests.
	Once string `json:"once"`
	// Key is the job's key; "" for none.
	Key string `json:"key"`
	// Attempt counts the tries, from 1.
	Attempt int `json:"attempt"`
	// Priority is from -100 to 100.
	Priority int `json:"priority"`
	// Enqueued is when the job was enqueued.
	Enqueued time.Time `json:"enqueued"`
	// LastError is why the try before failed; "" for none.
	LastError string `json:"lastError"`
	// Data is what the job is about: a JSON text.
	Data json.RawMessage `json:"data"`

	Epoch   uint64 `json:"epoch"`
	LeaseMS int64  `json:"leaseMs"`
	result  json.RawMessage
}

// Decode reads the job's data.
func (j *Job) Decode(into any) error { return json.Unmarshal(j.Data, into) }

// SetResult says what became of the job, for those who look at it while the queue keeps it (`keep`). It is called by the function that does the job.
func (j *Job) SetResult(v any) (err error) {
	j.result, err = json.Marshal(v)
	return err
}

// verdict is an error that says what to do with the job.
type verdict struct {
	err   error
	dead  bool
	after *time.Duration
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// Dead makes err final: the job is not tried again, and becomes a dead letter.
func Dead(err error) error { return &verdict{err: orSome(err), dead: true} }

// After has the job tried again after d, whatever the queue's retry says of pauses.
func After(err error, d time.Duration) error { return &verdict{err: orSome(err), after: &d} }

func orSome(err error) error {
	if err == nil {
		return errors.New("the job failed")
	}
	return err
}
