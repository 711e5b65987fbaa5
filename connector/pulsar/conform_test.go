package pulsar

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestSourceConforms(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{exclusive, failover, shared, keyShared} {
		t.Run(kind, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			config := SourceConfig{Type: kind}
			f.env.Resumes = config.alone()
			conform.Source(t, conform.SourceHarness{
				Spec:     config.SpecFor(sourceSpec),
				Features: conform.SourceFeatures{Ordered: true, Resumes: config.alone()},
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					topic := f.topic(t, 0)
					f.send(t, topic, bodies...)
					n := 0
					return func(t testing.TB) penstock.Source {
						n++
						c := config
						c.Topic = penstock.Template{Source: topic}
						c.Subscription = penstock.Template{Source: "s"}
						if config.alone() {
							c.Subscription = penstock.Template{Source: fmt.Sprintf("s%d", n)} // as if the broker had lost the one before
						}
						return f.source(t, c)
					}
				},
			})
		})
	}
}

// TestSubscriptionConforms: the brokers keep what is acknowledged. They count entries, each of one message or of a batch of them, here ten.
func TestSubscriptionConforms(t *testing.T) {
	t.Parallel()
	server := service.NewPulsar(t)
	for _, kind := range []string{exclusive, failover, shared, keyShared} {
		for _, batch := range []uint{1, 10} {
			t.Run(fmt.Sprintf("%s by %d", kind, batch), func(t *testing.T) {
				f := on(t, server)
				config := SourceConfig{Type: kind, Subscription: drive.Template("s")}
				conform.Broker(t, conform.BrokerHarness{
					Spec:     config.SpecFor(sourceSpec),
					Features: conform.BrokerFeatures{Shares: !config.alone(), Remembers: true},
					New: func(t testing.TB) conform.BrokerMedium {
						config, topic := config, f.topic(t, 0)
						config.Topic = drive.Template(topic)
						processes := map[penstock.Source]*fixture{}
						return conform.BrokerMedium{
							Put: func(t testing.TB, bodies []string) { f.sendBy(t, batch, topic, bodies...) },
							Source: func(t testing.TB) penstock.Source { // a process of its own
								own := through(t, server, &ConnectionConfig{URL: drive.Template(server.Proxied()), Listener: "proxied"})
								s := own.source(t, config)
								processes[s] = own
								return s
							},
							Die: func(t testing.TB, s penstock.Source) {
								heard(t, s) // an acknowledgement that is asked for while the client ends is waited for without end
								server.Proxy().Cut()
								processes[s].drop()
								t.Cleanup(func() { drive.Closed(t, s) })
							},
							Cut: func(testing.TB) { server.Proxy().Cut() },
						}
					},
				})
			})
		}
	}
}

// heard waits until the brokers have heard of what was settled.
func heard(t testing.TB, s penstock.Source) {
	t.Helper()
	r, ok := s.(*reader)
	if !ok {
		r = s.(*positioned).reader
	}
	drive.Until(t, "the brokers have heard", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		open := map[*entry]bool{}
		for _, d := range r.out {
			open[d.entry] = true
		}
		return len(r.ledger.entries) == len(open)
	})
}

func TestSinkConforms(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]SinkConfig{"batches": {}, "alone": {Batching: Batching{By: "none"}}} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Pulsar(t))
			conform.Sink(t, conform.SinkHarness{
				Features: conform.SinkFeatures{Continues: true},
				New: func(t testing.TB) conform.SinkMedium {
					topic := f.topic(t, 0)
					return conform.SinkMedium{
						Sink: func(t testing.TB) penstock.Sink {
							c := c
							c.Topic = drive.Template(topic)
							return &identified{Sink: f.sink(t, c)}
						},
						Written: func(t testing.TB) []string { return f.written(t, topic) },
					}
				},
			})
		})
	}
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
