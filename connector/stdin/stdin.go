// Package stdin is the source that reads the process's standard input.
package stdin

import (
	"context"
	"errors"
	"io"
	"sync"

	"penstock.dev/penstock"
)

// Config is the configuration of the source.
type Config struct {
	// How the input is cut into messages and read. Default: json, documents in any layout.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// The largest message.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
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

// New makes the source. c.Format must have its codec.
func New(c Config, env penstock.Env) (penstock.Source, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "stdin", "format", "no codec")
	}
	if l, ok := c.Format.Codec.(penstock.Limiter); ok && c.MaxRecord > 0 {
		c.Format.Codec = l.WithMaxRecord(int(c.MaxRecord))
	}
	if env.Stdin == nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "stdin", Err: errors.New("there is no standard input")}
	}
	return &source{config: c, env: env, full: make(chan []byte), free: make(chan []byte, 2), closed: make(chan struct{})}, nil
}

// source reads in a goroutine of its own, since a read of a terminal or pipe can't be interrupted.
type source struct {
	config  Config
	env     penstock.Env
	records penstock.Records
	ctx     context.Context // of the Read in progress

	start  sync.Once
	full   chan []byte // what was read
	free   chan []byte // to be used again
	err    error       // why full was closed
	closed chan struct{}
	stop   sync.Once
	now    []byte // read but not handed on
	whole  []byte // the memory of now
}

// block is how much is read at a time.
const block = 64 << 10

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	s.start.Do(func() {
		s.free <- make([]byte, block)
		s.free <- make([]byte, block)
		reader := func(p []byte) (int, error) { return s.env.Stdin.Read(p) }
		if t, ok := s.config.Format.Codec.(penstock.Transcoder); ok {
			reader = (&detector{codec: t, r: s.env.Stdin}).Read
		}
		s.records = penstock.Records{Framer: s.config.Format.Codec.NewFramer("stdin"), Read: s.read, Stream: "stdin", MetaLine: "line"}
		go s.pump(reader)
	})
	return nil
}

// detector finds the character encoding from the first bytes.
type detector struct {
	codec penstock.Transcoder
	r     io.Reader
	begun bool
}

// Read implements io.Reader.
func (d *detector) Read(p []byte) (int, error) {
	if d.begun {
		return d.r.Read(p)
	}
	d.begun = true
	var head [4]byte
	n, err := io.ReadFull(d.r, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err
	}
	rest := io.MultiReader(newHead(head[:n]), d.r)
	if err != nil {
		rest = newHead(head[:n])
	}
	if wrap := d.codec.Transcode(head[:n]); wrap != nil {
		d.r = wrap(rest)
	} else {
		d.r = rest
	}
	return d.r.Read(p)
}

// headReader gives a few bytes.
type headReader struct{ b []byte }

func newHead(b []byte) *headReader { return &headReader{append([]byte(nil), b...)} }

// Read implements io.Reader.
func (h *headReader) Read(p []byte) (int, error) {
	if len(h.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.b)
	h.b = h.b[n:]
	return n, nil
}

// pump reads until the end of the input or of the source.
func (s *source) pump(read func([]byte) (int, error)) {
	defer close(s.full)
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.closed:
			return
		}
		n, err := read(buf[:block])
		if n > 0 {
			select {
			case s.full <- buf[:n]:
			case <-s.closed:
				return
			}
		} else if err == nil {
			s.free <- buf // there is room: this one came out of it
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// read gives the records what the goroutine has read.
func (s *source) read(p []byte) (int, error) {
	if len(s.now) == 0 {
		select {
		case buf, ok := <-s.full:
			if !ok {
				if s.err == nil {
					return 0, io.EOF // closed
				}
				return 0, s.err
			}
			s.now, s.whole = buf, buf
		case <-s.ctx.Done():
			return 0, s.ctx.Err()
		}
	}
	n := copy(p, s.now)
	if s.now = s.now[n:]; len(s.now) == 0 {
		s.free <- s.whole // never blocks: there are two
	}
	return n, nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	s.ctx = ctx
	err := s.records.Next(into)
	if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
		return err
	}
	code := penstock.CodeOf(err)
	if code == penstock.Internal {
		code = penstock.Unavailable
	}
	return &penstock.Error{Code: code, Op: "stdin", Err: err}
}

// Settle implements penstock.Source: the input can't be read twice, so there is nothing to remember.
func (s *source) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source. A read in progress ends with the next input.
func (s *source) Close(context.Context) error {
	s.stop.Do(func() { close(s.closed) })
	return nil
}
