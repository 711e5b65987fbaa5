package examples_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestNATS runs examples/nats against a real server: streams are made, a price is asked for, an order is priced on its way, and a warning is heard.
func TestNATS(t *testing.T) {
	server := service.NATS(t)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	buckets := map[string]jetstream.KeyValue{}
	for _, b := range []string{"prices", "stock"} {
		if buckets[b], err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: b}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(bucket, key, value string) {
		t.Helper()
		if _, err := buckets[bucket].Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("prices", "mug", "2.95")
	warnings, err := nc.SubscribeSync("warnings.*")
	if err != nil {
		t.Fatal(err)
	}
	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{"nats"}, Params: map[string]string{"url": server.URL()}}, true)
	if !checked.OK {
		t.Fatalf("%+v", checked.Findings)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Store: filepath.Join(t.TempDir(), "store.db"), Stdout: io.Discard})
		over <- err
	}()
	var m *nats.Msg
	for m == nil { // until it listens
		select {
		case err := <-over:
			t.Fatal("it has ended: ", err)
		default:
		}
		if m, err = nc.Request("prices.mug", nil, 10*time.Second); err != nil && !errors.Is(err, nats.ErrNoResponders) {
			t.Fatal(err)
		}
	}
	if string(m.Data) != `{"price":2.95}` {
		t.Errorf("%s", m.Data)
	}
	if m, err = nc.Request("prices.cup", nil, 10*time.Second); err != nil || m.Header.Get("Nats-Service-Error-Code") != "404" {
		t.Errorf("%+v, %v", m, err)
	}
	for range 2 { // the second is known by its id
		if _, err := js.Publish(t.Context(), "orders.new", []byte(`{"id":"A-1","sku":"mug","quantity":3}`), jetstream.WithMsgID("A-1")); err != nil {
			t.Fatal(err)
		}
	}
	priced, err := js.OrderedConsumer(t.Context(), "PRICED", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := priced.Next(jetstream.FetchMaxWait(20 * time.Second))
	if err != nil || string(got.Data()) != `{"id":"A-1","sku":"mug","total":8.85}` || got.Headers().Get("Penstock-Key") != "A-1" {
		t.Errorf("%+v, %v", got, err)
	}
	put("stock", "mug", "40")
	put("stock", "mug", "4")
	w, err := warnings.NextMsg(20 * time.Second)
	if err != nil || string(w.Data) != `{"sku":"mug","left":4}` || w.Subject != "warnings.mug" {
		t.Errorf("%+v, %v", w, err)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
