package rabbitmq

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestSourceConforms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, kind string
		config     SourceConfig
		features   conform.SourceFeatures
	}{
		{"classic", typeClassic, SourceConfig{}, conform.SourceFeatures{Ordered: true}},
		{"quorum", typeQuorum, SourceConfig{}, conform.SourceFeatures{Ordered: true}},
		{"classic, pulled", typeClassic, SourceConfig{Mode: modePull, Every: 1}, conform.SourceFeatures{Ordered: true}},
		{"classic, once", typeClassic, SourceConfig{}, conform.SourceFeatures{Ordered: true, Finite: true}},
		{"classic, pulled once", typeClassic, SourceConfig{Mode: modePull}, conform.SourceFeatures{Ordered: true, Finite: true}},
		{"stream", typeStream, SourceConfig{Stream: &StreamConfig{}}, conform.SourceFeatures{Ordered: true, Resumes: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conform.Source(t, conform.SourceHarness{
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					f := onServer(t)
					queue := f.declare(t, c.kind, nil)
					f.put(t, queue, bodies...)
					f.env.Once = c.features.Finite
					return func(t testing.TB) penstock.Source { return f.source(t, queue, c.config) }
				},
				Spec:     c.config.SpecFor(sourceSpec),
				Features: c.features,
			})
		})
	}
}

// TestQueueConforms: the server keeps what is acknowledged.
func TestQueueConforms(t *testing.T) {
	t.Parallel()
	server := service.RabbitMQ(t)
	for what, c := range map[string]struct {
		kind   string
		config SourceConfig
	}{
		"classic":         {typeClassic, SourceConfig{}},
		"quorum":          {typeQuorum, SourceConfig{}},
		"classic, pulled": {typeClassic, SourceConfig{Mode: modePull, Every: 1}},
		"quorum, pulled":  {typeQuorum, SourceConfig{Mode: modePull, Every: 1}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			conform.Broker(t, conform.BrokerHarness{
				Spec:     c.config.SpecFor(sourceSpec),
				Features: conform.BrokerFeatures{Shares: true},
				New: func(t testing.TB) conform.BrokerMedium {
					f := onServer(t)
					queue := f.declare(t, c.kind, nil)
					lines := map[penstock.Source]*service.Proxy{}
					return conform.BrokerMedium{
						Put: func(t testing.TB, bodies []string) { f.put(t, queue, bodies...) },
						Source: func(t testing.TB) penstock.Source { // a process of its own
							line := service.NewProxy(t, server.Address())
							s := on(t, server, address(line)).source(t, queue, c.config)
							lines[s] = line
							return s
						},
						Die: func(_ testing.TB, s penstock.Source) {
							lines[s].Refuse(true)
							lines[s].Cut()
						},
						Cut: func(testing.TB) {
							for s, line := range lines {
								heard(s.(*source))
								line.Cut()
							}
						},
					}
				},
			})
		})
	}
}

// heard waits until the server has heard of what was acknowledged. The source gets no more messages on this channel.
func heard(s *source) {
	s.mu.Lock()
	d := s.now
	s.mu.Unlock()
	if d != nil {
		s.finish(d)
	}
}

// TestSinkConforms: the server is killed only with PENSTOCK_CRASHES=1 or more, since it takes its time to start.
func TestSinkConforms(t *testing.T) {
	t.Parallel()
	crash := crashes(t, 0) > 0
	var server *service.RabbitMQServer
	if crash {
		server = service.NewRabbitMQ(t)
	} else {
		server = service.RabbitMQ(t)
	}
	for _, kind := range []string{typeClassic, typeQuorum} {
		t.Run(kind, func(t *testing.T) {
			conform.Sink(t, conform.SinkHarness{
				New: func(t testing.TB) conform.SinkMedium {
					proxy := service.NewProxy(t, server.Address())
					f := on(t, server, address(proxy))
					f.config.Patience = 1
					queue := f.declare(t, kind, nil)
					m := conform.SinkMedium{
						Sink:    func(t testing.TB) penstock.Sink { return f.sink(t, SinkConfig{Queue: text(queue), Priority: refusing}) },
						Written: func(t testing.TB) []string { return payloads(f.drain(t, queue)) },
						Break: func(testing.TB) {
							proxy.Refuse(true)
							proxy.Cut()
						},
					}
					if crash {
						if kind == typeQuorum {
							f.settled(t)
						}
						m.Crash = func(t testing.TB) {
							server.Kill(t)
							server.Start(t)
						}
					}
					return m
				},
				Features: conform.SinkFeatures{Continues: true},
				Refused:  `{"n":"refused"}`,
			})
		})
	}
}

// refusing is a priority that only the body "refused" has, and that is none.
var refusing = penstock.Template{Source: "priority", Program: drive.Program(func(f *penstock.Frame) penstock.Value {
	if strings.Contains(string(f.Msg.Body.Original()), `"refused"`) {
		return penstock.StringValue("none")
	}
	return penstock.IntValue(0)
})}

// crashes is how often tests kill a server or the program: a few times where PENSTOCK_CRASHES does not say.
func crashes(t testing.TB, few int) int {
	t.Helper()
	text := os.Getenv("PENSTOCK_CRASHES")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("PENSTOCK_CRASHES=%q is no number", text)
	}
	return n
}
