package nats

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func specOf(c SourceConfig) penstock.Spec { return c.SpecFor(sourceSpec) }

func TestSourceConforms(t *testing.T) {
	cases := map[string]struct {
		config SourceConfig
		retain jetstream.RetentionPolicy
	}{
		"pull":      {},
		"push":      {config: SourceConfig{Push: &Push{}}},
		"shared":    {config: SourceConfig{Shared: true}},
		"workqueue": {retain: jetstream.WorkQueuePolicy},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.NATS(t))
			f.env.Resumes = true
			c.config.Stream = "x"
			spec := specOf(c.config)
			conform.Source(t, conform.SourceHarness{
				Spec:     spec,
				Features: conform.SourceFeatures{Ordered: true, Resumes: spec.Replay == penstock.ReplayPosition && c.retain == jetstream.LimitsPolicy},
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, Retention: c.retain})
					f.send(t, stream+".a", bodies...)
					n := 0
					return func(t testing.TB) penstock.Source {
						n++
						config := c.config
						config.Stream = stream
						if c.retain == jetstream.LimitsPolicy {
							config.Consumer = fmt.Sprintf("c%d", n) // as if the server had lost the one before
						}
						return f.source(t, config)
					}
				},
			})
		})
	}
}

// TestConsumerConforms: the server keeps what is acknowledged.
func TestConsumerConforms(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	for what, c := range map[string]struct {
		config SourceConfig
		retain jetstream.RetentionPolicy
	}{
		"pull":           {},
		"push":           {config: SourceConfig{Push: &Push{}}},
		"shared":         {config: SourceConfig{Shared: true}},
		"shared by push": {config: SourceConfig{Shared: true, Push: &Push{Group: "g"}}},
		"workqueue":      {retain: jetstream.WorkQueuePolicy},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := on(t, server)
			c.config.Stream = "x"
			conform.Broker(t, conform.BrokerHarness{
				Spec:     specOf(c.config),
				Features: conform.BrokerFeatures{Shares: c.config.Shared, Remembers: true},
				New: func(t testing.TB) conform.BrokerMedium {
					config := c.config
					config.Stream, config.AckWait = f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, Retention: c.retain}), penstock.Duration(500*time.Millisecond)
					processes, lines := map[penstock.Source]*fixture{}, map[penstock.Source]*service.Proxy{}
					return conform.BrokerMedium{
						Put: func(t testing.TB, bodies []string) { f.send(t, config.Stream+".a", bodies...) },
						Source: func(t testing.TB) penstock.Source { // a process of its own
							line := service.NewProxy(t, server.Address())
							own := through(t, fmt.Sprintf("nats://127.0.0.1:%d", line.Port()))
							s := own.source(t, config)
							processes[s], lines[s] = own, line
							return s
						},
						Die: func(t testing.TB, s penstock.Source) {
							lines[s].Refuse(true)
							lines[s].Cut()
							processes[s].drop()
							t.Cleanup(func() { drive.Closed(t, s) })
						},
						Cut: func(testing.TB) {
							for _, line := range lines {
								line.Cut()
							}
						},
					}
				},
			})
		})
	}
}

func TestListenerConforms(t *testing.T) {
	f := on(t, service.NATS(t))
	spec := specOf(SourceConfig{Subject: penstock.Template{Source: "x"}})
	conform.Source(t, conform.SourceHarness{
		Spec:     spec,
		Features: conform.SourceFeatures{Ordered: true},
		Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
			return func(t testing.TB) penstock.Source {
				subject := name()
				return &sends{Source: f.source(t, SourceConfig{Subject: penstock.Template{Source: subject}}), f: f, subject: subject, bodies: bodies}
			}
		},
	})
}

func TestSinkConforms(t *testing.T) {
	t.Parallel()
	t.Run("stream", func(t *testing.T) {
		f := on(t, service.NATS(t))
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Continues: true, Knows: true},
			New: func(t testing.TB) conform.SinkMedium {
				stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink {
						return &identified{Sink: f.sink(t, SinkConfig{Subject: penstock.Template{Source: stream + ".a"}, Stream: stream})}
					},
					Written: func(t testing.TB) []string { return f.written(t, stream) },
				}
			},
		})
	})
	t.Run("power cut", func(t *testing.T) {
		s := service.NewNATS(t, service.NATSOptions{Sync: true})
		f := on(t, s)
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Continues: true, Knows: true},
			New: func(t testing.TB) conform.SinkMedium {
				stream := f.stream(t, jetstream.StreamConfig{})
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink {
						return &identified{Sink: f.sink(t, SinkConfig{Subject: penstock.Template{Source: stream + ".a"}, Stream: stream})}
					},
					Written: func(t testing.TB) []string { return f.written(t, stream) },
					Crash: func(t testing.TB) {
						s.Kill(t)
						s.Start(t)
						drive.Until(t, "the test's client is connected again", f.nc.IsConnected)
					},
				}
			},
		})
	})
	t.Run("refuses", func(t *testing.T) {
		f := on(t, service.NATS(t))
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Knows: true},
			Refused:  `{"n":"` + string(make1k()) + `"}`,
			New: func(t testing.TB) conform.SinkMedium {
				stream := f.stream(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage, MaxMsgSize: 1000})
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink {
						return &identified{Sink: f.sink(t, SinkConfig{Subject: penstock.Template{Source: stream + ".a"}, Stream: stream})}
					},
					Written: func(t testing.TB) []string { return f.written(t, stream) },
				}
			},
		})
	})
	t.Run("core", func(t *testing.T) {
		f := on(t, service.NATS(t))
		conform.Sink(t, conform.SinkHarness{
			New: func(t testing.TB) conform.SinkMedium {
				subject := name()
				sub, err := f.nc.SubscribeSync(subject)
				if err == nil {
					err = f.nc.Flush()
				}
				if err != nil {
					t.Fatal(err)
				}
				var have []string
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink {
						return f.sink(t, SinkConfig{Subject: penstock.Template{Source: subject}})
					},
					Written: func(t testing.TB) []string {
						if err := f.nc.Flush(); err != nil { // what the server had is here
							t.Fatal(err)
						}
						for n, _, _ := sub.Pending(); n > 0; n-- {
							m, err := sub.NextMsg(time.Second)
							if err != nil {
								t.Fatal(err)
							}
							have = append(have, string(m.Data))
						}
						return have
					},
				}
			},
		})
	})
}

func make1k() []byte {
	b := make([]byte, 1000)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
