// Package stdin is the source that reads the process's standard input.
package stdin

import (
	"context"
	"errors"

	"penstock.dev/penstock"
)

// Config is the configuration of the source.
type Config struct {
	// Codec of the records. Left out, JSON documents.
	Format penstock.Format `json:"format" penstock:"default=json"`
}

// Register adds the source.
func Register(r *penstock.Registry) {
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "stdin",
		Summary: "Reads records from the standard input until it ends. A pipe can't be read again: what was in flight when the process died is lost to it.",
		Settle:  penstock.Cumulative,
		Finite:  true,
	}, New)
}

// New makes the source.
func New(c Config, env penstock.Env) (penstock.Source, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "stdin", "format", "no codec")
	}
	if env.Stdin == nil {
		return nil, penstock.E(penstock.Config, "stdin", "", "there is no standard input here")
	}
	return &source{codec: c.Format.Codec, env: env}, nil
}

type source struct {
	codec   penstock.Codec
	env     penstock.Env
	records *penstock.Records
	input   chan chunk // what the reading goroutine got
	left    []byte          // of the last chunk
	ctx     context.Context // of the Read that is under way
}

// chunk is what one read of the input gave.
type chunk struct {
	data []byte
	err  error
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	if s.records != nil {
		return errors.New("the standard input can't be opened twice")
	}
	s.input = make(chan chunk, 1)
	s.records = &penstock.Records{Framer: s.codec.NewFramer("stdin"), Read: s.read, Stream: "stdin", MetaLine: "line"}
	return nil
}

// Read implements penstock.Source. It returns what one read of the input gave: a pipe is not
// waited for.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	s.ctx = ctx
	return s.records.Next(into)
}

// read gives the next bytes of the input, or ends with the context: the input itself can't
// be interrupted, so that a goroutine of its own waits for it, at most for one read too many.
func (s *source) read(p []byte) (int, error) {
	if len(s.left) == 0 {
		go s.pull(make([]byte, 64<<10))
		select {
		case c := <-s.input:
			if len(c.data) == 0 {
				return 0, c.err
			}
			s.left = c.data
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

func (s *source) pull(buf []byte) {
	n, err := s.env.Stdin.Read(buf)
	if n > 0 {
		err = nil // told again by the next read
	}
	s.input <- chunk{buf[:n], err}
}

// Settle implements penstock.Source: a pipe takes no acknowledgement.
func (*source) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (*source) Close(context.Context) error { return nil }
