package nats

import (
	"context"
	"sync/atomic"

	"penstock.dev/penstock"
)

// sends is a source of a subject of core NATS, to which bodies are sent as soon as it listens: what was there before it never hears of.
type sends struct {
	penstock.Source
	f       *fixture
	subject string
	bodies  []string
}

func (s *sends) Open(ctx context.Context) error {
	if err := s.Source.Open(ctx); err != nil {
		return err
	}
	for _, b := range s.bodies {
		if err := s.f.nc.Publish(s.subject, []byte(b)); err != nil {
			return err
		}
	}
	s.bodies = nil
	return s.f.nc.FlushWithContext(ctx)
}

// identified gives each message that is written a position of its own, as a flow does: the suite's have none, and would be known for one.
type identified struct{ penstock.Sink }

var positions atomic.Int64

func (s *identified) Write(ctx context.Context, b *penstock.Batch) error {
	for _, m := range b.Msgs {
		if m.Pos.Stream == "" {
			m.Pos = penstock.Position{Stream: "suite", Offset: positions.Add(1)}
		}
	}
	return s.Sink.Write(ctx, b)
}
