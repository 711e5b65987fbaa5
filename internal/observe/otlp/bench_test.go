package otlp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"penstock.dev/penstock/internal/observe"
)

// BenchmarkMessage is what a message costs that is recorded: its span and those of three steps, and their export.
func BenchmarkMessage(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/x-protobuf") }))
	defer s.Close()
	e, err := New(context.Background(), Config{Endpoint: s.URL, Getenv: env(map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "100000"})})
	if err != nil {
		b.Fatal(err)
	}
	tr := observe.NewTracer(e, observe.Sampling{Ratio: 1}, nil)
	root := []observe.Attr{observe.Text("messaging.system", "file"), observe.Text("messaging.destination.name", "file in/*.jsonl"), observe.Text("messaging.operation.name", "process"),
		observe.Text("messaging.operation.type", "process"), observe.Text("messaging.message.id", "in/a.jsonl:123"), observe.Text("penstock.flow", "orders")}
	step := []observe.Attr{observe.Text("code.function.name", "orders/map1"), observe.Text("code.file.path", "flows.yaml"), observe.Int("code.line.number", 12),
		observe.Text("penstock.flow", "orders"), observe.Text("penstock.step", "map1"), observe.Text("penstock.verb", "map")}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		m := tr.Begin(observe.Start{Name: "process orders", Kind: observe.Consumer, At: now, Attrs: root})
		for range 3 {
			c := m.Child("map map1", observe.Internal, now, step...)
			c.End(now)
		}
		m.Done(now, "done")
		m.Close(now)
	}
	if err := e.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(e.Stats().Exported)/float64(b.N), "exported/op")
}
