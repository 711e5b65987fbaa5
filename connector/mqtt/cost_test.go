package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
)

// TestWhatAMessageCosts holds reading and writing to what they allocate for a message; what the client allocates is its own.
func TestWhatAMessageCosts(t *testing.T) {
	const n = 200
	for _, c := range []struct {
		name        string
		properties  paho.UserProperties
		read, write float64 // of each message
	}{
		{"no properties", nil, 0, 8},
		{"properties", paho.UserProperties{{Key: "traceparent", Value: "00-1-2-01"}, {Key: "kind", Value: "order"}, {Key: keyProperty, Value: "k1"}}, 0, 13}, // 12, and one more under the race detector
	} {
		s, b := f0(t), new(penstock.Batch)
		var all []*arrival
		for i := range n {
			all = append(all, &arrival{offset: int64(i), content: &paho.Publish{QoS: 1, Topic: "a", Payload: fmt.Appendf(nil, `{"id":%d,"text":%q}`, i, strings.Repeat("x", 280)),
				Properties: &paho.PublishProperties{ContentType: "application/json", User: c.properties}}})
		}
		if got := testing.AllocsPerRun(20, func() {
			b.Reset()
			for _, a := range all {
				s.append(b, a)
			}
		}); got > n*c.read+2 {
			t.Errorf("%s: reading %d messages allocates %v times", c.name, n, got)
		}
		f := &fixture{config: &ConnectionConfig{URL: text("mqtt://127.0.0.1:1")}}
		f.ref = penstock.ConnectionRef{Name: "test", Config: f.config}
		k := f.sink(t, SinkConfig{Topic: text("a"), QoS: 1}).(*sink)
		k.largest = 1 << 20
		if got := testing.AllocsPerRun(20, func() {
			for _, m := range b.Msgs {
				if _, err := k.letter(b, m); err != nil {
					t.Fatal(err)
				}
			}
		}); got > n*c.write+2 {
			t.Errorf("%s: making %d messages allocates %v times", c.name, n, got)
		}
	}
}
