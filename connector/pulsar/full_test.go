package pulsar

import (
	"context"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestTheBacklogIsFull: a topic whose subscriptions have more to read than its namespace allows takes no more, and says so; what it refused may be written when somebody has
// read, by the same sink.
func TestTheBacklogIsFull(t *testing.T) {
	t.Parallel()
	server := service.NewPulsar(t, "backlogQuotaCheckIntervalInSeconds=1")
	f := on(t, server)
	server.Do(t, "PUT", "/admin/v2/namespaces/public/small", `{"replication_clusters":["standalone"]}`)
	server.Do(t, "POST", "/admin/v2/namespaces/public/small/backlogQuota", `{"limitSize":20000,"limitTime":-1,"policy":"producer_exception"}`)
	topic := "public/small/" + name()
	in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template(topic), Prefetch: 10}))
	out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template(topic), AckTimeout: penstock.Duration(5 * time.Second), Batching: Batching{By: "none"}}))
	n, end := 0, time.Now().Add(60*time.Second)
	write := func() error {
		err := out.Write(t.Context(), drive.Batch("x", int64(n), drive.Numbered(n, n+1)...))
		if err == nil {
			n++
			return nil
		}
		return drive.BatchErrors(t, err)[0]
	}
	var err error
	for err == nil && time.Now().Before(end) {
		err = write()
	}
	drive.Code(t, err, penstock.Limited, "set-backlog-quota")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	had := map[string]bool{}
	var b penstock.Batch
	for len(had) < n {
		b.Reset()
		if err := in.Read(ctx, &b); err != nil {
			t.Fatalf("after %d of %d: %v", len(had), n, err)
		}
		some := drive.Those(t, &b)
		for _, g := range some {
			had[g.Body] = true
		}
		drive.SettleAll(t, in, some...)
	}
	for err = write(); err != nil && ctx.Err() == nil; err = write() {
		if !penstock.CodeOf(err).Transient() {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Errorf("the backlog was read, and nothing can be written: %v", err)
	}
}
