package examples_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestPulsar runs examples/pulsar against a real broker: a paid order is packed, and a customer is reminded of another, later.
func TestPulsar(t *testing.T) {
	server := service.Pulsar(t)
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: server.URL(), Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler)), MetricsRegisterer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{"pulsar"}, Params: map[string]string{"url": server.URL(), "admin": server.AdminURL(), "patience": "1s"}}, true)
	if !checked.OK {
		t.Fatalf("%+v", checked.Findings)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Store: filepath.Join(t.TempDir(), "store.db"), Stdout: io.Discard})
		over <- err
	}()
	p, err := client.CreateProducer(pulsar.ProducerOptions{Topic: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	start := time.Now()
	for key, body := range map[string]string{"C-1": `{"id":"A-1","customer":"C-1","status":"paid","items":3}`, "C-2": `{"id":"A-2","customer":"C-2","status":"open","items":1}`} {
		if _, err := p.Send(t.Context(), &pulsar.ProducerMessage{Key: key, Payload: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	for topic, want := range map[string]string{"packed": `{"order":"A-1","parcels":1}`, "reminders": `{"id":"A-2","customer":"C-2","status":"open","items":1}`} {
		c, err := client.Subscribe(pulsar.ConsumerOptions{Topic: topic, SubscriptionName: "test", Type: pulsar.Shared, SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest})
		if err != nil {
			t.Fatal(err)
		}
		waiting, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		m, err := c.Receive(waiting)
		cancel()
		if err != nil || string(m.Payload()) != want {
			t.Errorf("%s: %v, %v", topic, m, err)
		}
		if topic == "reminders" && time.Since(start) < 900*time.Millisecond {
			t.Errorf("it came after %s", time.Since(start))
		}
		c.Close()
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
