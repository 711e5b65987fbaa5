package examples_test

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestKafka runs examples/kafka with a real broker: what is there is worked off, twice, of which the second time finds nothing new.
func TestKafka(t *testing.T) {
	server := service.Kafka(t)
	for topic, config := range map[string][]string{"orders": nil, "paid-orders": nil, "dead-orders": nil, "price-changes": nil, "prices": {"cleanup.policy=compact"}} {
		server.Topic(t, topic, 2, config...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl := server.Client(t)
	for _, r := range []kgo.Record{
		{Topic: "orders", Key: []byte("A-1"), Value: []byte(`{"id":"A-1","status":"paid","lines":[{"sku":"cup","quantity":2,"price":9.95}]}`)},
		{Topic: "orders", Key: []byte("A-2"), Value: []byte(`{"id":"A-2","status":"open","lines":[]}`)},
		{Topic: "orders", Key: []byte("A-3"), Value: []byte(`{"id":"A-3","sta`)},
		{Topic: "price-changes", Value: []byte(`{"sku":"cup","price":9.95,"since":"2026-01-05"}`)},
		{Topic: "price-changes", Value: []byte(`{"sku":"pot"}`)},
	} {
		if err := cl.ProduceSync(ctx, &r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s := &control.Service{Registry: edition.Standard()}
	project := control.Project{Paths: []string{"kafka"}, Params: map[string]string{"broker": server.Brokers()}}
	for range 2 {
		checked := s.Check(project, false)
		if !checked.OK {
			t.Fatalf("%+v", checked.Findings)
		}
		if _, err := s.Run(ctx, checked, control.RunOptions{Project: project, Once: true, Stdout: io.Discard, Store: filepath.Join(t.TempDir(), "store.db")}); err != nil {
			t.Fatal(err)
		}
	}
	reader := server.Client(t, kgo.ConsumeTopics("paid-orders", "dead-orders", "prices"), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var got []string
	for len(got) < 4 {
		f := reader.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("%v: %v", got, err)
		}
		f.EachRecord(func(r *kgo.Record) { got = append(got, r.Topic+" "+string(r.Key)+" "+string(r.Value)) })
	}
	slices.Sort(got)
	want := []string{`dead-orders A-3 {"id":"A-3","sta`, `paid-orders A-1 {"order":"A-1","total":19.90,"items":2}`, `prices cup {"price":9.95,"since":"2026-01-05"}`, `prices pot `}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
