package examples_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/service"
)

// TestRedis runs examples/redis against a real server: orders are priced from a hash and counted, a scarce product is told of, and a parcel gets its label.
func TestRedis(t *testing.T) {
	server := service.Redis(t)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Address()}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	do := func(words ...string) rueidis.RedisResult {
		return c.Do(t.Context(), c.B().Arbitrary(words...).Build())
	}
	must := func(words ...string) {
		t.Helper()
		if err := do(words...).Error(); err != nil {
			t.Fatal(words, err)
		}
	}
	must("HSET", "product:mug", "price", "2.95", "stock", "3")
	must("XADD", "orders", "*", "body", `{"id":"A-1","sku":"mug","quantity":4}`) // before the flow begins
	must("XADD", "orders", "*", "body", `{"id":"A-2","sku":"cup","quantity":1}`) // there is no such product
	heard := make(chan rueidis.PubSubMessage, 10)
	listens := make(chan struct{})
	d, release := c.Dedicate()
	defer release()
	d.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) { heard <- m }, OnSubscription: func(rueidis.PubSubSubscription) { close(listens) }})
	if err := d.Do(t.Context(), d.B().Psubscribe().Pattern("scarce:*").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	<-listens

	s := &control.Service{Registry: edition.Standard()}
	checked := s.Check(control.Project{Paths: []string{"redis"}, Params: map[string]string{"url": server.URL()}}, true)
	if !checked.OK {
		t.Fatalf("%+v", checked.Findings)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, checked, control.RunOptions{Store: filepath.Join(t.TempDir(), "store.db"), Stdout: io.Discard})
		over <- err
	}()
	until := func(what string, is func() bool) {
		t.Helper()
		deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !is() {
			select {
			case err := <-over:
				t.Fatal("it has ended: ", err)
			case <-deadline.Done():
				t.Fatal("never: ", what)
			case <-tick.C:
			}
		}
	}
	var entries []rueidis.XRangeEntry
	until("the order is priced", func() bool {
		entries, err = do("XRANGE", "priced", "-", "+").AsXRange()
		return err == nil && len(entries) > 0
	})
	if e := entries[0].FieldValues; len(entries) != 1 || e["body"] != `{"id":"A-1","sku":"mug","total":11.80}` || e["penstock-key"] != "A-1" || e["penstock-id"] == "" {
		t.Errorf("%+v", entries)
	}
	if n, err := do("GET", "asked:mug").AsInt64(); n != 4 || err != nil {
		t.Errorf("%d were asked for, %v", n, err)
	}
	select {
	case m := <-heard:
		if m.Channel != "scarce:mug" || m.Message != `{"id":"A-1","sku":"mug","quantity":4}` {
			t.Errorf("%+v", m)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody says that it is scarce")
	}
	must("LPUSH", "parcels", `{"order":"A-1","weight":0.9}`)
	until("the parcel has a label", func() bool {
		text, err := do("GET", "parcel:A-1").ToString()
		return err == nil && text == `{"order":"A-1","label":"P-A-1","heavy":false}`
	})
	until("all is settled", func() bool {
		pending, err1 := do("XPENDING", "orders", "price-orders").ToArray()
		parcels, err2 := do("LLEN", "{parcels}:processing:send-parcels").AsInt64()
		if err1 != nil || err2 != nil || parcels != 0 {
			return false
		}
		n, err := pending[0].AsInt64()
		return err == nil && n == 0
	})
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
