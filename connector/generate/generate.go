// Package generate is the source of made-up messages, for trials, tests and measurements.
package generate

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the source.
type Config struct {
	// How many messages to make; the source ends after them. Default: no end.
	Count int64 `json:"count" penstock:"min=0"`
	// How many messages a second, minute or hour, as in 100/s. Default: as many as the flow takes.
	Rate penstock.Rate `json:"rate"`
	// What meta.random is drawn from. The same seed gives the same messages.
	Seed int64 `json:"seed"`
	// The body of each message, a data tree. Its templates may use meta.index, which counts from 0, and
	// meta.random, a number from 0 to below 1. Default: an object with the field index.
	Body penstock.DataTree `json:"body"`
}

// Register adds the driver.
func Register(r *penstock.Registry) {
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "generate",
		Summary: "Makes up messages from a data tree, as many and as fast as wanted; the same ones at every start.",
		Settle:  penstock.Cumulative,
		Finite:  true,
		Replay:  penstock.ReplayPosition,
	}, New)
}

// OutputType implements penstock.Typed: the type of the bodies, where no data tree gives another.
func (c *Config) OutputType() *types.Type {
	if !c.Body.IsZero() {
		return nil
	}
	return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "index", Type: types.IntType, Required: true}}}
}

// batchSize is how many messages a Read makes at most.
const batchSize = 128

// stream is the Position.Stream of the messages.
const stream = "generate"

// New makes the source.
func New(c Config, env penstock.Env) (penstock.Source, error) {
	if !c.Body.IsZero() && c.Body.Mapping == nil {
		return nil, &penstock.Error{Code: penstock.Internal, Op: "generate", Err: errors.New("body was not compiled")}
	}
	return &source{config: c, env: env}, nil
}

type source struct {
	body   []byte // scratch
	config Config
	env    penstock.Env
	next   int64     // index of the next message
	begun  time.Time // when the first message was due
	base   int64     // its index

	mu      sync.Mutex
	settled int64
}

var (
	_ penstock.Source     = (*source)(nil)
	_ penstock.Positioned = (*source)(nil)
)

// Open implements penstock.Source.
func (s *source) Open(context.Context) error { return nil }

// Resume implements penstock.Positioned.
func (s *source) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		if p.Stream == stream {
			s.next = max(s.next, p.Next)
		}
	}
	return nil
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := int64(batchSize)
	if s.config.Count > 0 {
		if n = min(n, s.config.Count-s.next); n <= 0 {
			return io.EOF
		}
	}
	if !s.config.Rate.IsZero() {
		due, err := s.wait(ctx)
		if err != nil {
			return err
		}
		n = min(n, due)
	}
	if into.Runtime == nil {
		into.Runtime = s.env.Runtime
	}
	for range n {
		s.make(into)
	}
	return nil
}

// wait waits until a message is due and returns how many are.
func (s *source) wait(ctx context.Context) (int64, error) {
	rate := s.config.Rate
	now := s.env.Clock.Now()
	if s.begun.IsZero() {
		s.begun, s.base = now, s.next
	}
	for {
		elapsed := float64(now.Sub(s.begun)) / float64(rate.Per) * rate.Count
		if due := int64(elapsed) + 1 - (s.next - s.base); due > 0 {
			return due, nil
		}
		at := float64(s.next-s.base) / rate.Count * float64(rate.Per)
		left := time.Duration(math.Ceil(at)) - now.Sub(s.begun)
		if left <= 0 {
			return 1, nil // the division above was rounded down
		}
		timer, stop := s.env.Clock.NewTimer(left)
		select {
		case <-timer:
		case <-ctx.Done():
			stop()
			return 0, ctx.Err()
		}
		now = s.env.Clock.Now()
	}
}

// make appends the next message.
func (s *source) make(into *penstock.Batch) {
	m := into.Append()
	m.Pos = penstock.Position{Stream: stream, Offset: s.next, Next: s.next + 1}
	m.Meta.Add("index", penstock.IntValue(s.next))
	body := s.body[:0] // not in the arena: the mapping takes memory from there while it writes
	if s.config.Body.Mapping == nil {
		body = append(body, `{"index":`...)
		body = append(strconv.AppendInt(body, s.next, 10), '}')
	} else {
		m.Meta.Add("random", penstock.DoubleValue(random(s.config.Seed, s.next)))
		var err error
		if body, err = s.config.Body.Mapping.Append(body, into.Frame(m)); err != nil {
			into.Fail(len(into.Msgs)-1, err)
			body = append(body[:0], "null"...)
		}
	}
	s.body = body
	m.Body.Reset(jsonview.JSON, into.Arena().Copy(body))
	s.next++
}

// random is a number from 0 to below 1 that depends on nothing but the seed and the index (splitmix64:
// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
func random(seed, index int64) float64 {
	z := uint64(seed)*0xd1342543de82ef95 + (uint64(index)+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// Settle implements penstock.Source.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		s.settled = max(s.settled, o.Pos.Next)
	}
	return nil
}

// Close implements penstock.Source.
func (s *source) Close(context.Context) error { return nil }
