package redis

import (
	"context"
	"fmt"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func specOf(c SourceConfig) penstock.Spec { return c.SpecFor(sourceSpec) }

func text(s string) penstock.Template { return penstock.Template{Source: s, Constant: true} }

func TestStreamConforms(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]SourceConfig{"alone": {}, "shared": {Shared: true}} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Redis(t))
			f.env.Resumes = true
			c.Stream = text("x")
			spec := specOf(c)
			conform.Source(t, conform.SourceHarness{
				Spec:     spec,
				Features: conform.SourceFeatures{Ordered: true, Resumes: spec.Replay == penstock.ReplayPosition},
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					stream := name()
					f.send(t, stream, bodies...)
					n := 0
					return func(t testing.TB) penstock.Source {
						n++
						config := c
						config.Stream = text(stream)
						if !c.Shared {
							config.Group = text(fmt.Sprintf("g%d", n)) // as if the server had lost the one before
						}
						return f.source(t, config)
					}
				},
			})
		})
	}
}

func TestListConforms(t *testing.T) {
	t.Parallel()
	f := on(t, service.Redis(t))
	f.env.Resumes = true
	n := 0
	conform.Source(t, conform.SourceHarness{
		Spec:     specOf(SourceConfig{List: text("x")}),
		Features: conform.SourceFeatures{Ordered: true},
		Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
			list := name()
			if len(bodies) > 0 {
				f.do(t, append([]string{"LPUSH", list}, bodies...)...)
			}
			return func(t testing.TB) penstock.Source {
				n++
				return f.source(t, SourceConfig{List: text(list), Consumer: text(fmt.Sprintf("c%d", n))})
			}
		},
	})
}

// TestGroupConforms: the server keeps what is acknowledged, of a stream in a group, of a list in that of the consumer.
func TestGroupConforms(t *testing.T) {
	t.Parallel()
	server := service.Redis(t)
	for what, c := range map[string]SourceConfig{"alone": {Stream: text("x")}, "shared": {Stream: text("x"), Shared: true}, "list": {List: text("x")}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f := on(t, server)
			conform.Broker(t, conform.BrokerHarness{
				Spec:     specOf(c),
				Features: conform.BrokerFeatures{Shares: what != "alone", Remembers: true},
				New: func(t testing.TB) conform.BrokerMedium {
					config, place, n := c, name(), 0
					config.ClaimAfter = penstock.Duration(500 * time.Millisecond)
					lines := map[penstock.Source]*service.Proxy{}
					return conform.BrokerMedium{
						Put: func(t testing.TB, bodies []string) {
							if what == "list" {
								f.do(t, append([]string{"LPUSH", place}, bodies...)...)
							} else {
								f.send(t, place, bodies...)
							}
						},
						Source: func(t testing.TB) penstock.Source { // a process of its own
							n++
							if what == "list" {
								config.List = text(place)
							} else {
								config.Stream = text(place)
							}
							if what != "alone" {
								config.Consumer = text(fmt.Sprintf("c%d", n))
							}
							line := service.NewProxy(t, server.Address())
							s := through(t, fmt.Sprintf("redis://127.0.0.1:%d", line.Port())).source(t, config)
							lines[s] = line
							return s
						},
						Die: func(_ testing.TB, s penstock.Source) {
							crashed(s)
							lines[s].Refuse(true)
							lines[s].Cut()
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
	t.Parallel()
	f := on(t, service.Redis(t))
	conform.Source(t, conform.SourceHarness{
		Spec:     specOf(SourceConfig{Channels: []penstock.Template{text("x")}}),
		Features: conform.SourceFeatures{Ordered: true},
		Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
			return func(t testing.TB) penstock.Source {
				channel := name()
				return &sends{Source: f.source(t, SourceConfig{Channels: []penstock.Template{text(channel)}}), f: f, t: t, channel: channel, bodies: bodies}
			}
		},
	})
}

// sends is a source of a channel, to which bodies are sent as soon as it listens: what was there before it never hears of.
type sends struct {
	penstock.Source
	f       *fixture
	t       testing.TB
	channel string
	bodies  []string
}

func (s *sends) Open(ctx context.Context) error {
	if err := s.Source.Open(ctx); err != nil {
		return err
	}
	for _, b := range s.bodies {
		s.f.do(s.t, "PUBLISH", s.channel, b)
	}
	s.bodies = nil
	return nil
}

func TestSinkConforms(t *testing.T) {
	t.Parallel()
	t.Run("stream", func(t *testing.T) {
		f := on(t, service.Redis(t))
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Continues: true},
			New: func(t testing.TB) conform.SinkMedium {
				stream := name()
				return conform.SinkMedium{
					Sink:    func(t testing.TB) penstock.Sink { return f.sink(t, SinkConfig{Stream: text(stream)}) },
					Written: func(t testing.TB) []string { return f.written(t, stream) },
				}
			},
		})
	})
	t.Run("list", func(t *testing.T) {
		f := on(t, service.Redis(t))
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Continues: true},
			New: func(t testing.TB) conform.SinkMedium {
				list := name()
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink { return f.sink(t, SinkConfig{List: text(list), Push: pushRight}) },
					Written: func(t testing.TB) []string {
						m := f.do(t, "LRANGE", list, "0", "-1")
						all, err := m.AsStrSlice()
						if err != nil {
							t.Fatal(err)
						}
						return all
					},
				}
			},
		})
	})
	t.Run("channel", func(t *testing.T) {
		f := on(t, service.Redis(t))
		conform.Sink(t, conform.SinkHarness{
			New: func(t testing.TB) conform.SinkMedium {
				channel := name()
				from := drive.Opened(t, f.source(t, SourceConfig{Channels: []penstock.Template{text(channel)}}))
				var have []string
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink { return f.sink(t, SinkConfig{Channel: text(channel)}) },
					Written: func(t testing.TB) []string {
						f.do(t, "PUBLISH", channel, `"end"`)
						for len(have) == 0 || have[len(have)-1] != `"end"` {
							have = append(have, drive.Bodies(drive.Read(t, from, 1))...)
						}
						have = have[:len(have)-1]
						return have
					},
				}
			},
		})
	})
	t.Run("refuses", func(t *testing.T) {
		f := on(t, service.Redis(t))
		conform.Sink(t, conform.SinkHarness{
			Refused: `{"k":"wrong"}`,
			New: func(t testing.TB) conform.SinkMedium {
				stream := name()
				f.do(t, "SET", stream+"wrong", "a text")
				return conform.SinkMedium{
					Sink: func(t testing.TB) penstock.Sink {
						return f.sink(t, SinkConfig{Stream: penstock.Template{Source: stream + "${body.k}", Program: elsewhere(stream)}})
					},
					Written: func(t testing.TB) []string { return f.written(t, stream) },
				}
			},
		})
	})
	t.Run("power cut", func(t *testing.T) {
		s := service.NewRedis(t, service.RedisSaves...)
		f := on(t, s)
		f.config.Fsync = true
		conform.Sink(t, conform.SinkHarness{
			Features: conform.SinkFeatures{Continues: true},
			New: func(t testing.TB) conform.SinkMedium {
				stream := name()
				return conform.SinkMedium{
					Sink:    func(t testing.TB) penstock.Sink { return f.sink(t, SinkConfig{Stream: text(stream)}) },
					Written: func(t testing.TB) []string { return f.written(t, stream) },
					Crash: func(t testing.TB) {
						s.Kill(t)
						s.Start(t)
						f.back(t)
					},
				}
			},
		})
	})
}

// elsewhere is the Program of the name of a stream, and of another for messages with a member k.
type elsewhere string

func (p elsewhere) Eval(f *penstock.Frame) penstock.Value {
	if v := drive.Field("k").Eval(f); v.Kind() == penstock.KindString {
		return penstock.StringValue(string(p) + v.Str())
	}
	return penstock.StringValue(string(p))
}
