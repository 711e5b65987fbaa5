package mqtt

import (
	"slices"
	"testing"

	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestTheWill: the broker publishes it where the connection ends without a word, and does not where it ends with one.
func TestTheWill(t *testing.T) {
	server := service.Mosquitto(t)
	proxy := service.NewProxy(t, server.Address())
	f, direct := on(server, address(proxy)), on(server, server.Address())
	topic := unique(t)
	f.config.Will = &Will{Topic: text(topic + "/will"), Payload: text(`"gone"`), QoS: 1}
	heard := drive.Opened(t, direct.source(t, topic+"-heard", SourceConfig{Topics: topics(topic + "/will"), QoS: 1}))
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}))
	drive.Closed(t, s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := drive.Opened(t, direct.sink(t, SinkConfig{Topic: text(topic + "/will"), QoS: 1}))
	if err := w.Write(t.Context(), conform.Batch(`"closed"`)); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	var got []string
	for len(got) < 2 {
		for _, m := range drive.Some(t, heard, 1) {
			got = append(got, conform.Text(t, m.Body))
			drive.Settle(t, heard, m)
		}
	}
	if !slices.Equal(got, []string{`"closed"`, `"gone"`}) {
		t.Error(got)
	}
}
