// Package generate is the source that makes messages up: for trying a flow, for load, and
// for benchmarks.
package generate

import (
	"context"
	"io"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the source.
type Config struct {
	// How many messages there are. Left out, there is no end, until the run is stopped.
	Count int64 `json:"count" penstock:"min=0"`
	// How many messages come in a time, evenly (`100/s`). Left out, as many as the flow takes.
	Rate penstock.Rate `json:"rate"`
	// Body of the messages, a data tree; `meta.index` counts the messages from 0. Left out, the body is {"index": 0} and so on.
	Body penstock.DataTree `json:"body" penstock:"perMessage"`
}

// Register adds the source.
func Register(r *penstock.Registry) {
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "generate",
		Summary: "Makes messages up, from a data tree that may use meta.index. Nothing is acknowledged: it begins anew at every start.",
		Settle:  penstock.Cumulative,
		Finite:  true,
	}, New)
}

// OutputType is the type of the bodies where no data tree gives another.
func (c *Config) OutputType() *types.Type {
	if !c.Body.IsZero() {
		return nil
	}
	return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "index", Type: types.IntType, Required: true}}}
}

// New makes the source.
func New(c Config, env penstock.Env) (penstock.Source, error) {
	s := &source{config: c, env: env, name: env.Name}
	if c.Rate.Count > 0 {
		s.every = time.Duration(float64(c.Rate.Per) / float64(c.Rate.Count))
	}
	return s, nil
}

// batchSize is how many messages are made at a time, where no rate holds them back.
const batchSize = 128

type source struct {
	config Config
	env    penstock.Env
	name   string
	every  time.Duration // between two messages; 0 is none
	next   int64
	start  time.Time
	buf    []byte
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	s.start = s.env.Clock.Now()
	return nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	n := int64(batchSize)
	if s.every > 0 {
		var err error
		if n, err = s.due(ctx); err != nil {
			return err
		}
	}
	if s.config.Count > 0 {
		n = min(n, s.config.Count-s.next)
	}
	if n <= 0 {
		return io.EOF
	}
	into.Runtime = s.env.Runtime
	for range n {
		m := into.Append()
		m.Meta.Set("index", penstock.IntValue(s.next))
		m.Pos = penstock.Position{Stream: s.name, Offset: s.next, Next: s.next + 1}
		if err := s.body(into, m); err != nil {
			into.Fail(len(into.Msgs)-1, err)
		}
		s.next++
	}
	return nil
}

func (s *source) body(b *penstock.Batch, m *penstock.Message) (err error) {
	if s.config.Body.Mapping == nil {
		s.buf = append(strconv.AppendInt(append(s.buf[:0], `{"index":`...), s.next, 10), '}')
	} else if s.buf, err = s.config.Body.Mapping.Append(s.buf[:0], b.Frame(m)); err != nil {
		return err
	}
	m.Body.Reset(jsonview.JSON, b.Arena().Copy(s.buf))
	return nil
}

// due waits until the rate allows another message and says how many it allows.
func (s *source) due(ctx context.Context) (int64, error) {
	for {
		now := s.env.Clock.Now()
		if n := int64(now.Sub(s.start)/s.every) + 1 - s.next; n > 0 {
			return min(n, batchSize), nil
		}
		c, stop := s.env.Clock.NewTimer(s.start.Add(time.Duration(s.next) * s.every).Sub(now))
		select {
		case <-c:
		case <-ctx.Done():
			stop()
			return 0, ctx.Err()
		}
		stop()
	}
}

// Settle implements penstock.Source: there is nobody to tell.
func (*source) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (*source) Close(context.Context) error { return nil }
