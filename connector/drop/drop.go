// Package drop is the sink that discards: the end of a flow whose effect lies in its steps,
// and the destination of benchmarks.
package drop

import (
	"context"

	"penstock.dev/penstock"
)

// Config is the configuration of the sink: none.
type Config struct{}

// Register adds the sink.
func Register(r *penstock.Registry) {
	penstock.RegisterSink(r, penstock.Spec{
		Name:       "drop",
		Summary:    "Discards what is sent. The run's summary says how much it was.",
		Idempotent: true,
		Loses:      "everything: that is what it is for",
	}, New)
}

// New makes the sink.
func New(Config, penstock.Env) (penstock.Sink, error) { return sink{}, nil }

type sink struct{}

// Open implements penstock.Sink.
func (sink) Open(context.Context) error { return nil }

// Write implements penstock.Sink.
func (sink) Write(context.Context, *penstock.Batch) error { return nil }

// Close implements penstock.Sink.
func (sink) Close(context.Context) error { return nil }
