package rabbitmq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// TestWhatAMessageCosts holds reading and writing to what they allocate for a message; what the client allocates is its own.
func TestWhatAMessageCosts(t *testing.T) {
	const n = 200
	f := on(t, nil, "127.0.0.1:1")
	for _, c := range []struct {
		name        string
		headers     amqp.Table
		read, write float64 // of each message
	}{
		{"no headers", nil, 0, 2},
		{"headers", amqp.Table{"traceparent": "00-1-2-01", "kind": "order", keyHeader: "k1"}, 0, 7},
	} {
		s := f.source(t, "q", SourceConfig{}).(*source)
		from, b := &delivery{epoch: 1}, new(penstock.Batch)
		var all []amqp.Delivery
		for i := range n {
			all = append(all, amqp.Delivery{DeliveryTag: uint64(i + 1), Exchange: "e", RoutingKey: "k", ContentType: "application/json", MessageId: fmt.Sprintf("id-%d", i), Timestamp: time.Unix(1e9, 0),
				Headers: c.headers, Body: fmt.Appendf(nil, `{"id":%d,"text":%q}`, i, strings.Repeat("x", 280))})
		}
		if got := testing.AllocsPerRun(20, func() {
			b.Reset()
			for i := range all {
				s.append(b, from, &all[i])
			}
		}); got > n*c.read+2 {
			t.Errorf("%s: reading %d messages allocates %v times", c.name, n, got)
		}
		k := f.sink(t, SinkConfig{Queue: text("q")}).(*sink)
		if got := testing.AllocsPerRun(20, func() {
			for _, m := range b.Msgs {
				if _, _, err := k.letter(b, m); err != nil {
					t.Fatal(err)
				}
			}
		}); got > n*c.write+2 {
			t.Errorf("%s: making %d messages allocates %v times", c.name, n, got)
		}
	}
}
