// Package drop is the sink that discards.
package drop

import (
	"context"
	"sync/atomic"

	"penstock.dev/penstock"
)

// Config is the configuration of the sink: there is nothing to configure.
type Config struct{}

// Register adds the driver.
func Register(r *penstock.Registry) {
	penstock.RegisterSink(r, penstock.Spec{
		Name:       "drop",
		Summary:    "Discards every message and counts them.",
		Idempotent: true,
		Rewrite:    penstock.RewriteNothing,
		Loses:      "everything: that is its purpose",
	}, func(_ Config, env penstock.Env) (penstock.Sink, error) { return New(env), nil })
}

// Sink discards messages. It is safe for concurrent use.
type Sink struct {
	env   penstock.Env
	count atomic.Int64
}

var _ penstock.Sink = (*Sink)(nil)

// New makes the sink.
func New(env penstock.Env) *Sink { return &Sink{env: env} }

// Count is how many messages were discarded.
func (s *Sink) Count() int64 { return s.count.Load() }

// Open implements penstock.Sink.
func (s *Sink) Open(context.Context) error { return nil }

// Write implements penstock.Sink.
func (s *Sink) Write(_ context.Context, b *penstock.Batch) error {
	s.count.Add(int64(len(b.Msgs)))
	return nil
}

// Close implements penstock.Sink.
func (s *Sink) Close(context.Context) error {
	if s.env.Logger != nil {
		s.env.Logger.Debug("messages dropped", "count", s.Count())
	}
	return nil
}
