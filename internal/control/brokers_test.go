package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/test/bus"
)

// onBus is a service whose programs know the broker in memory, and the broker that they reach.
func onBus(t *testing.T) (*control.Service, *bus.Broker) {
	t.Helper()
	r := edition.Standard()
	bus.Register(r)
	return &control.Service{Registry: r}, bus.At(t.Name())
}

// orderFlows are flows between channels on the broker, and a channel of the store.
func orderFlows(t *testing.T, store string) string {
	t.Helper()
	return strings.NewReplacer("$store", store, "$address", t.Name()).Replace(`apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { store: { path: "$store" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: prod }
spec: { log: { address: "$address" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: mail }
spec: { post: { address: "$address" } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec: { key: body.key, broker: { log: { connection: prod, topic: shop.orders, partitions: 3 } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: work }
spec: { mode: queue, broker: { post: { connection: mail } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: kept }
spec: {}
`)
}

const intoOrders = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: in }
spec:
  from: { stdin: { format: { json: {} } } }
  steps: [ { to: { channel: kept } } ]
  to: { channel: orders }
`

const outOfOrders = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: out }
spec:
  from: { channel: orders }
  to: { channel: work }
`

// numbered are JSON documents with numbers from from up to to, of three keys.
func numbered(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `{"key":"k%d","n":%d}`+"\n", i%3, i)
	}
	return b.String()
}

func bodies(rs []bus.Record) string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.Body + "\n")
	}
	return b.String()
}

func runFlows(t *testing.T, s *control.Service, text, stdin string) (*control.Summary, error) {
	t.Helper()
	return s.Run(t.Context(), checked(t, s, text), control.RunOptions{Stdin: strings.NewReader(stdin), Once: true})
}

func TestWhatGoesToABrokerIsRelayed(t *testing.T) {
	s, b := onBus(t)
	text := orderFlows(t, filepath.Join(t.TempDir(), "s.db"))
	if _, err := runFlows(t, s, text+intoOrders, numbered(0, 500)); err != nil {
		t.Fatal(err)
	}
	got := b.Records("shop.orders")
	if bodies(got) != numbered(0, 500) {
		t.Fatalf("the topic holds %d messages: %s", len(got), bodies(got))
	}
	for i, r := range got {
		if want := fmt.Sprintf("k%d", i%3); r.Key != want {
			t.Fatalf("message %d has the key %q, not %q", i, r.Key, want)
		}
	}
	// Another run sends on, directly: what it reads and sends is on the broker.
	if _, err := runFlows(t, s, text+outOfOrders, ""); err != nil {
		t.Fatal(err)
	}
	if bodies(b.Records("work")) != numbered(0, 500) || b.Left("shop.orders", "out") != 0 {
		t.Fatalf("the queue holds %d messages, and %d are left", len(b.Records("work")), b.Left("shop.orders", "out"))
	}
	if g := b.Groups("shop.orders"); !slices.Equal(g, []string{"out"}) {
		t.Errorf("the groups are %v", g)
	}
}

// TestOutboxOutlivesTheRun ends a run at once while the broker takes nothing; the next run relays what the first has accepted, in its order, and
// what it could not tell to be written a second time under the same identity.
func TestOutboxOutlivesTheRun(t *testing.T) {
	s, b := onBus(t)
	text := orderFlows(t, filepath.Join(t.TempDir(), "s.db")) + intoOrders
	var tries atomic.Int64
	abort := make(chan struct{})
	refused := false // the bus calls Refuse under its lock
	b.LoseAnswers(1)
	b.Refuse(func(r bus.Record) error {
		n := tries.Add(1)
		if n == 310 {
			close(abort)
		}
		if r.Body == `{"key":"k1","n":100}` && !refused {
			refused = true
			return &penstock.Error{Code: penstock.Unavailable, Err: errors.New("not yet")}
		}
		if n > 300 {
			return &penstock.Error{Code: penstock.Unavailable, Err: errors.New("no")}
		}
		return nil
	})
	in, feed := io.Pipe()
	go func() { // ends when the run is aborted
		_, _ = io.WriteString(feed, numbered(0, 500))
		<-abort
		_ = feed.Close()
	}()
	_, err := s.Run(t.Context(), checked(t, s, text), control.RunOptions{Stdin: in, Abort: abort})
	if !errors.Is(err, control.ErrAborted) {
		t.Fatalf("the run ended with %v", err)
	}
	b.Refuse(nil)
	if _, err := runFlows(t, s, text, numbered(500, 600)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{} // by key
	ids := map[string]string{}
	for _, r := range b.Records("shop.orders") {
		if id := r.Meta["message-id"]; ids[r.Body] == "" {
			got[r.Key], ids[r.Body] = got[r.Key]+r.Body+"\n", id
		} else if ids[r.Body] != id {
			t.Errorf("%s has come as %s and as %s", r.Body, ids[r.Body], id)
		}
	}
	want := map[string]string{}
	for i, line := range strings.SplitAfter(strings.TrimSuffix(numbered(0, 600), "\n"), "\n") {
		want[fmt.Sprintf("k%d", i%3)] += strings.TrimSuffix(line, "\n") + "\n"
	}
	if !maps.Equal(got, want) {
		t.Fatalf("what was accepted is not all there, in the order of each key: %s", got)
	}
	if n := len(b.Records("shop.orders")); n == len(ids) {
		t.Error("nothing was written twice: the test has not done what it is about")
	}
}

func TestTopologyIsMadeOrRefused(t *testing.T) {
	s, b := onBus(t)
	text := orderFlows(t, filepath.Join(t.TempDir(), "s.db")) + intoOrders + outOfOrders
	b.Make("shop.orders", 5)
	_, err := runFlows(t, s, text, "")
	if err == nil || penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "channel orders") || !strings.Contains(err.Error(), "partitions is 5 there, and 3 here") ||
		!strings.Contains(err.Error(), "partitions: 5") {
		t.Errorf("the error is %v", err)
	}
	if g := b.Groups("work"); g != nil {
		t.Errorf("something was made in spite of the conflict: %v", g)
	}
}

// TestInboxOfABroker reads a queue whose messages come twice: those that have an id are known by it, and others, of another program, are taken as they come.
func TestInboxOfABroker(t *testing.T) {
	s, b := onBus(t)
	text := orderFlows(t, filepath.Join(t.TempDir(), "s.db")) + `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: back }
spec:
  from: { channel: work }
  steps: [ { to: { channel: kept } } ]
  to: { channel: orders }
`
	known := func(id string) bus.Record {
		return bus.Record{Body: `{"key":"k","n":"` + id + `"}`, Meta: map[string]string{"message-id": id}}
	}
	foreign := bus.Record{Body: `{"key":"k","n":"foreign"}`}
	b.Send("work", known("a"), foreign, known("a"), known("b"), foreign)
	if _, err := runFlows(t, s, text, ""); err != nil {
		t.Fatal(err)
	}
	b.Send("work", known("b"), known("c"), foreign)
	if _, err := runFlows(t, s, text, ""); err != nil {
		t.Fatal(err)
	}
	want := known("a").Body + foreign.Body + known("b").Body + foreign.Body + known("c").Body + foreign.Body
	if got := strings.ReplaceAll(bodies(b.Records("shop.orders")), "\n", ""); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if n := b.Left("work", "work"); n != 0 {
		t.Errorf("%d messages are not settled", n)
	}
}

// TestWhatAMoveLeavesBehind: a channel that is moved to a broker has unread messages in the store, and one that is moved back has some in its outbox. A run
// says so, until somebody has worked on them.
func TestWhatAMoveLeavesBehind(t *testing.T) {
	s, b := onBus(t)
	path := filepath.Join(t.TempDir(), "s.db")
	moved := orderFlows(t, path)
	inStore := strings.Replace(moved, "broker: { log: { connection: prod, topic: shop.orders, partitions: 3 } } }", "}", 1)
	said := func(text, stdin string) string {
		t.Helper()
		var log bytes.Buffer
		if _, err := s.Run(t.Context(), checked(t, s, text), control.RunOptions{Store: path, Stdin: strings.NewReader(stdin), Once: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
			t.Fatal(err)
		}
		var out string
		for line := range strings.SplitSeq(log.String(), "\n") {
			if strings.Contains(line, "they stay") {
				out += line
			}
		}
		return out
	}
	if log := said(inStore+intoOrders, numbered(0, 70)); log != "" {
		t.Error(log)
	}
	const directly = `---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: directly }
spec:
  from: { stdin: { format: { json: {} } } }
  to: { channel: orders }
`
	stateless := strings.Replace(moved, fmt.Sprintf("spec: { store: { path: %q } }", path), "spec: {}", 1)
	for _, text := range []string{moved + outOfOrders, moved + outOfOrders, stateless + directly} { // as long as it is so, and also in a run that keeps no state
		if log := said(text, ""); !strings.Contains(log, "channel=orders broker=log messages=70") || !strings.Contains(log, "without -k") {
			t.Errorf("%q does not say that messages were left in the store", log)
		}
	}
	if log := said(inStore+outOfOrders, ""); log != "" { // which works on them
		t.Error(log)
	}
	if log := said(moved+outOfOrders, ""); log != "" {
		t.Errorf("nothing is left: %s", log)
	}

	// The other way: the broker takes nothing, and the channel is moved back.
	abort := make(chan struct{})
	var tries atomic.Int64
	b.Refuse(func(bus.Record) error {
		if tries.Add(1) == 20 {
			close(abort)
		}
		return &penstock.Error{Code: penstock.Unavailable, Err: errors.New("no")}
	})
	in, feed := io.Pipe()
	go func() { _, _ = io.WriteString(feed, numbered(0, 50)) }() // ends when the run is aborted
	if _, err := s.Run(t.Context(), checked(t, s, moved+intoOrders), control.RunOptions{Stdin: in, Abort: abort}); err != nil {
		t.Logf("aborted: %v", err)
	}
	b.Refuse(nil)
	_ = in.Close()
	if log := said(inStore+intoOrders, ""); !strings.Contains(log, "in its outbox") || !strings.Contains(log, "channel=orders") {
		t.Errorf("%q does not say that messages were left in the outbox", log)
	}
	if log := said(moved+intoOrders, ""); log != "" { // which sends them
		t.Error(log)
	}
	if log := said(inStore+intoOrders, ""); log != "" {
		t.Errorf("nothing is left: %s", log)
	}
}
