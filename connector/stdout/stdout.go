// Package stdout is the sink that writes to the process's standard output.
package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"

	"penstock.dev/penstock"
)

// Config is the configuration of the sink.
type Config struct {
	// How messages are written. Default: json, one document a line; {json: {pretty: true}} is for people to read.
	Format penstock.Format `json:"format" penstock:"default=json"`
}

// Register adds the sink.
func Register(r *penstock.Registry) {
	penstock.RegisterSink(r, penstock.Spec{
		Name:    "stdout",
		Summary: "Writes records to the standard output.",
		Loses:   "what the reader of the output does not keep: written is all that can be known",
	}, New)
}

// New makes the sink. c.Format must have its codec.
func New(c Config, env penstock.Env) (penstock.Sink, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "stdout", "format", "no codec")
	}
	if env.Stdout == nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "stdout", Err: errors.New("there is no standard output")}
	}
	return &sink{env: env, encoder: c.Format.Codec.NewEncoder()}, nil
}

type sink struct {
	env     penstock.Env
	encoder penstock.Encoder
	buf     []byte
	begun   bool
	broken  error
}

// Open implements penstock.Sink.
func (s *sink) Open(context.Context) error { return nil }

// Write implements penstock.Sink.
func (s *sink) Write(_ context.Context, b *penstock.Batch) error {
	if s.broken != nil {
		return s.broken
	}
	s.begin()
	var failed *penstock.BatchError
	for i, m := range b.Msgs {
		var err error
		if s.buf, err = s.encoder.Append(s.buf, m.Body); err != nil {
			if failed == nil {
				failed = &penstock.BatchError{Errs: map[int]error{}}
			}
			failed.Errs[i] = err
		}
	}
	if err := s.flush(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return nil
}

func (s *sink) begin() {
	if !s.begun {
		s.buf = s.encoder.Begin(s.buf)
		s.begun = true
	}
}

// flush writes what was encoded. After a failure nobody knows how much of it arrived, so that
// there is no going on.
func (s *sink) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	n, err := s.env.Stdout.Write(s.buf)
	if err == nil && n < len(s.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		s.broken = &penstock.Error{Code: penstock.Unavailable, Op: "stdout", Err: fmt.Errorf("the output can't be written: %w", err)}
		return s.broken
	}
	if s.buf = s.buf[:0]; cap(s.buf) > 1<<20 {
		s.buf = nil
	}
	return nil
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error {
	if s.broken != nil {
		return nil //nolint:nilerr // it was told
	}
	s.begin()
	s.buf = s.encoder.End(s.buf)
	return s.flush()
}
