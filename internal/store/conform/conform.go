// Package conform is the suite that every driver of the store passes.
//
//	func TestConform(t *testing.T) { conform.Run(t, harness) }
//	func BenchmarkStore(b *testing.B) { conform.Bench(b, harness) }
package conform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
)

// Harness makes an empty store. What it returns opens that store, and opens it again after Close: with what was
// committed.
type Harness func(t testing.TB) (open func() store.Store)

const limit = 30 * time.Second // what hangs fails its test

// errWanted is what transactions fail with when they are told to.
var errWanted = errors.New("the test wants this transaction to fail")

// Run runs the suite.
func Run(t *testing.T, h Harness) { run(t, h, false) }

// RunVolatile runs what can be asked of a store that forgets everything when it is closed.
func RunVolatile(t *testing.T, h Harness) { run(t, h, true) }

func run(t *testing.T, h Harness, volatile bool) {
	cases := []struct {
		name string
		test func(*fixture)
	}{
		{"messages come back as they were", messages},
		{"positions have no gaps", positions},
		{"a failing transaction leaves nothing", undone},
		{"a failing transaction leaves nothing after it looked", undoneLooked},
		{"a panic fails its transaction", panics},
		{"a transaction sees what it wrote", sees},
		{"a transaction sees what came before it", seesBefore},
		{"transactions of a class keep their order", order},
		{"small transactions are not kept waiting", classes},
		{"drop takes whole segments and keeps the position", drop},
		{"seek finds a time", seek},
		{"entries are replaced, deleted, scanned", entries},
		{"due entries come in their order", due},
		{"spaces are counted and cleared", spaces},
		{"notify tells once, in order, before the commit is done", notify},
		{"a view is a snapshot", snapshot},
		{"a view ends with its function", viewEnds},
		{"concurrent use", concurrent},
		{"what is wrong is refused", refused},
		{"random transactions agree with a model", model},
		{"stats count", stats},
		{"closing", closing},
		{"opening again", reopen},
		{"the parts stay as they were", parts},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, volatile: volatile}
			open := h(t)
			f.open = func() store.Store { return recorded{open(), f} }
			f.start()
			c.test(f)
			f.stop()
			f.report()
		})
	}
}

// fixture is a store under test.
type fixture struct {
	*testing.T
	open func() store.Store
	s    store.Store
	ctx  context.Context
	runs runs

	volatile bool
}

func (f *fixture) start() {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	f.Cleanup(cancel)
	f.ctx, f.s = ctx, f.open()
	if f.s == nil {
		f.Fatal("the harness gave no store")
	}
}

func (f *fixture) stop() {
	f.Helper()
	if f.s == nil {
		return
	}
	if err := f.s.Close(); err != nil {
		f.Errorf("close: %v", err)
	}
	f.s = nil
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	if f.volatile {
		return
	}
	f.stop()
	f.s = f.open()
}

// try runs a small transaction.
func (f *fixture) try(do func(store.Tx) error) error {
	f.Helper()
	return f.wait(f.s.Submit(store.Small, do))
}

func (f *fixture) wait(c *store.Commit) error {
	f.Helper()
	err := c.Wait(f.ctx)
	if f.ctx.Err() != nil {
		f.Fatal("the transaction hangs")
	}
	return err
}

// do runs a small transaction that has to work.
func (f *fixture) do(do func(store.Tx) error) {
	f.Helper()
	if err := f.try(do); err != nil {
		f.Fatal(err)
	}
}

// view reads.
func (f *fixture) view(read func(store.View) error) {
	f.Helper()
	if err := f.s.View(f.ctx, read); err != nil {
		f.Fatal(err)
	}
}

// Bundle makes a bundle of messages that came at one time, in Unix nanoseconds.
func Bundle(at int64, messages ...string) store.Bundle {
	b := store.Bundle{N: len(messages), MinTime: at, MaxTime: at}
	for _, m := range messages {
		b.Data = store.AppendFrame(b.Data, []byte(m))
	}
	return b
}

// appendTo makes a transaction that appends messages.
func appendTo(channel string, at int64, messages ...string) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Append(channel, Bundle(at, messages...))
		return err
	}
}

// put makes a transaction that writes an entry.
func put(space, key, value string) func(store.Tx) error {
	return func(tx store.Tx) error {
		return tx.Put(space, store.Entry{Key: []byte(key), Value: []byte(value)})
	}
}

// failing makes a transaction fail after it did its part.
func failing(do func(store.Tx) error) func(store.Tx) error {
	return func(tx store.Tx) error { return errors.Join(errWanted, do(tx)) }
}

// frames cuts a segment into its messages.
func frames(t testing.TB, s store.Segment) []string {
	t.Helper()
	var all []string
	for data := s.Data; len(data) > 0; {
		m, rest, err := store.NextFrame(data)
		if err != nil {
			t.Fatalf("segment at %d of %s: %v", s.Base, s.Channel, err)
		}
		all = append(all, string(m))
		data = rest
	}
	if len(all) != s.N {
		t.Fatalf("segment at %d of %s: %d frames, N is %d", s.Base, s.Channel, len(all), s.N)
	}
	return all
}

// read reads a channel from a position, and checks that segments join.
func read(t testing.TB, log store.Log, channel string, from int64) []string {
	t.Helper()
	var all []string
	for next := from; ; {
		segments, err := log.Segments(channel, next, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(segments) == 0 {
			return all
		}
		for i, s := range segments {
			if s.Channel != channel || s.End() <= next || (s.Base > next && (i > 0 || next > from)) {
				t.Fatalf("%s: segment %d to %d after position %d", s.Channel, s.Base, s.End(), next)
			}
			m := frames(t, s)
			all = append(all, m[max(0, next-s.Base):]...)
			next = s.End()
		}
	}
}

func (f *fixture) read(channel string, from int64) (all []string) {
	f.Helper()
	f.view(func(v store.View) error {
		all = read(f, v.Log(), channel, from)
		return nil
	})
	return all
}

func (f *fixture) bounds(channel string) (b store.Bounds) {
	f.Helper()
	f.view(func(v store.View) (err error) {
		b, err = v.Log().Bounds(channel)
		return err
	})
	return b
}

func (f *fixture) get(space, key string) (value string, ok bool) {
	f.Helper()
	f.view(func(v store.View) error {
		e, found, err := v.State().Get(space, []byte(key))
		value, ok = string(e.Value), found
		return err
	})
	return value, ok
}

func (f *fixture) equal(what string, got, want any) {
	f.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		f.Errorf("%s:\n got %.2000s\nwant %.2000s", what, g, w)
	}
}

func keys(all []store.Entry) string {
	var k []string
	for _, e := range all {
		k = append(k, string(e.Key))
	}
	return strings.Join(k, " ")
}
