package mqtt

import (
	"strings"
	"testing"

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
