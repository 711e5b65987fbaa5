// Package stdout is the sink that writes to the process's standard output.
package stdout

import (
	"context"

	"penstock.dev/penstock"
)

// Config is the configuration of the sink.
type Config struct {
	// Codec of the records. Left out, JSON documents, one a line.
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

// New makes the sink.
func New(c Config, env penstock.Env) (penstock.Sink, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "stdout", "format", "no codec")
	}
	if env.Stdout == nil {
		return nil, penstock.E(penstock.Config, "stdout", "", "there is no standard output here")
	}
	return &sink{codec: c.Format.Codec, env: env}, nil
}

type sink struct {
	codec   penstock.Codec
	env     penstock.Env
	encoder penstock.Encoder
	buf     []byte
}

// Open implements penstock.Sink.
func (s *sink) Open(context.Context) error {
	s.encoder = s.codec.NewEncoder()
	s.buf = s.encoder.Begin(s.buf[:0])
	return nil
}

// Write implements penstock.Sink.
func (s *sink) Write(_ context.Context, b *penstock.Batch) error {
	errs := map[int]error{}
	for i, m := range b.Msgs {
		var err error
		if s.buf, err = s.encoder.Append(s.buf, m.Body); err != nil {
			errs[i] = err
		}
	}
	_, err := s.env.Stdout.Write(s.buf)
	s.buf = s.buf[:0]
	switch {
	case err != nil:
		return &penstock.Error{Code: penstock.Internal, Op: "stdout", Err: err, Hint: "the reader of the output has gone"}
	case len(errs) > 0:
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error {
	if s.encoder == nil {
		return nil
	}
	_, err := s.env.Stdout.Write(s.encoder.End(s.buf))
	return err
}
