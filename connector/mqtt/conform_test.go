package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestSourceConforms(t *testing.T) {
	for _, c := range []struct {
		name     string
		config   SourceConfig
		features conform.SourceFeatures
	}{
		{"qos 1", SourceConfig{QoS: 1}, conform.SourceFeatures{Ordered: true}},
		{"qos 2", SourceConfig{QoS: 2}, conform.SourceFeatures{Ordered: true}},
		{"qos 1, once", SourceConfig{QoS: 1}, conform.SourceFeatures{Ordered: true, Finite: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conform.Source(t, conform.SourceHarness{
				Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
					f := onServer(t)
					topic := unique(t)
					c.config.Topics = []penstock.Template{text(topic)}
					mk := func(t testing.TB) penstock.Source {
						return f.source(t, topic, c.config, func(env *penstock.Env) { env.Once = c.features.Finite })
					}
					drive.Closed(t, drive.Opened(t, mk(t))) // the session begins
					s := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: c.config.QoS}))
					if err := s.Write(t.Context(), conform.Batch(bodies...)); err != nil {
						t.Fatal(err)
					}
					return mk
				},
				Spec:     c.config.SpecFor(sourceSpec),
				Features: c.features,
			})
		})
	}
}

// TestSessionConforms: the broker keeps what is acknowledged in the session of a client, whatever process that is.
func TestSessionConforms(t *testing.T) {
	t.Parallel()
	server := service.Mosquitto(t)
	for _, qos := range []int{1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			t.Parallel()
			conform.Broker(t, conform.BrokerHarness{
				Spec:     sourceSpec,
				Features: conform.BrokerFeatures{Remembers: true},
				New: func(t testing.TB) conform.BrokerMedium {
					topic := unique(t)
					config := SourceConfig{Topics: topics(topic), QoS: qos}
					line := service.NewProxy(t, server.Address())
					f := on(server, address(line))
					first := f.source(t, topic, config) // begins the session
					if err := first.Open(t.Context()); err != nil {
						t.Fatal(err)
					}
					drive.Closed(t, first)
					out := drive.Opened(t, onServer(t).sink(t, SinkConfig{Topic: text(topic), QoS: qos}))
					var s penstock.Source // that reads now
					return conform.BrokerMedium{
						Put: func(t testing.TB, bodies []string) {
							if err := out.Write(t.Context(), conform.Batch(bodies...)); err != nil {
								t.Fatal(err)
							}
						},
						Source: func(t testing.TB) penstock.Source {
							s = f.source(t, topic, config)
							return s
						},
						Die: func(t testing.TB, s penstock.Source) {
							line.Cut()
							t.Cleanup(func() { drive.Closed(t, s) })
						},
						Cut: func(t testing.TB) {
							heard(t, s.(*source))
							line.Cut()
						},
					}
				},
			})
		})
	}
}

// heard waits until the broker has heard of what was acknowledged: it answers in order.
func heard(t testing.TB, s *source) {
	t.Helper()
	s.mu.Lock()
	l := s.line
	s.mu.Unlock()
	if l == nil {
		return
	}
	if _, err := l.client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: s.filters[0], QoS: byte(s.config.QoS), RetainHandling: 2}}}); err != nil && !l.isDown() {
		t.Fatal(err)
	}
}

func TestSinkConforms(t *testing.T) {
	for _, qos := range []int{1, 2} {
		t.Run("qos "+string('0'+rune(qos)), func(t *testing.T) {
			conform.Sink(t, conform.SinkHarness{
				New: func(t testing.TB) conform.SinkMedium {
					server := service.Mosquitto(t)
					proxy := service.NewProxy(t, server.Address())
					f, direct := on(server, address(proxy)), on(server, server.Address())
					f.config.Patience = 1
					topic := unique(t)
					in := direct.source(t, topic, SourceConfig{Topics: []penstock.Template{text(topic)}, QoS: qos}, once)
					drive.Closed(t, drive.Opened(t, in)) // the session begins
					return conform.SinkMedium{
						Sink: func(t testing.TB) penstock.Sink {
							return f.sink(t, SinkConfig{Topic: refusing(topic), QoS: qos})
						},
						Written: func(t testing.TB) []string {
							return everything(t, drive.Opened(t, direct.source(t, topic, SourceConfig{Topics: []penstock.Template{text(topic)}, QoS: qos}, once)))
						},
						Break: func(testing.TB) {
							proxy.Refuse(true)
							proxy.Cut()
						},
					}
				},
				Features: conform.SinkFeatures{Continues: true},
				Refused:  `{"n":"refused"}`,
			})
		})
	}
}

// refusing is a topic; a wrong one for the body "refused".
func refusing(topic string) penstock.Template {
	return penstock.Template{Source: "topic", Program: drive.Program(func(f *penstock.Frame) penstock.Value {
		if strings.Contains(string(f.Msg.Body.Original()), `"refused"`) {
			return penstock.StringValue("a/+/b")
		}
		return penstock.StringValue(topic)
	})}
}
