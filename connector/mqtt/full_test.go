package mqtt

import (
	"fmt"
	"slices"
	"testing"

	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestTheQueueOfASessionIsFull: the broker drops what it has no room for while a source is away, and acknowledges it to who wrote it: mosquitto does so, and MQTT
// has no word for it. What it has kept comes in order, each once, and what is written afterwards comes, too.
func TestTheQueueOfASessionIsFull(t *testing.T) {
	const room, sent = 10, 50
	for _, qos := range []int{1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			server := service.NewMosquitto(t, fmt.Sprint("max_queued_messages ", room), fmt.Sprint("max_inflight_messages ", room))
			f := on(server, server.Address())
			topic := unique(t)
			config := SourceConfig{Topics: topics(topic), QoS: qos}
			s := f.source(t, topic, config)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			drive.Closed(t, s)
			w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: qos}))
			var all []string
			for i := range sent {
				all = append(all, fmt.Sprint(i))
				if err := w.Write(t.Context(), conform.Batch(all[i])); err != nil {
					t.Fatal("the broker refuses: say so in docs/mqtt.md: ", err)
				}
			}
			s = f.source(t, topic, config, once)
			if err := s.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			kept := everything(t, s)
			drive.Closed(t, s)
			// What is on its way to a client counts beside what is queued for it.
			if n := len(kept); n < room || n > 2*room || !slices.Equal(kept, all[:n]) {
				t.Errorf("%d were kept: %v", n, kept)
			}
			s = drive.Opened(t, f.source(t, topic, config, once))
			if err := w.Write(t.Context(), conform.Batch("-1")); err != nil {
				t.Fatal(err)
			}
			if got := everything(t, s); !slices.Equal(got, []string{"-1"}) {
				t.Errorf("there is room again, and it gave %v", got)
			}
		})
	}
}
