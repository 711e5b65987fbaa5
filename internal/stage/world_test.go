package stage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// fataler is testing.T, testing.B or rapid.T.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

const space = "flow/step"

// taken is an Output that keeps what it is given, as an engine does until the transaction.
type taken struct {
	emitted  []string
	rejected []int
	counts   map[Counted]int
	ops      []op
}

type op struct {
	delete bool
	e      store.Entry
}

func (o *taken) Emit(r []byte) { o.emitted = append(o.emitted, string(r)) }
func (o *taken) Put(key, value []byte, due int64) {
	o.ops = append(o.ops, op{e: store.Entry{Key: slices.Clone(key), Value: slices.Clone(value), Due: due}})
}
func (o *taken) Delete(key []byte) {
	o.ops = append(o.ops, op{delete: true, e: store.Entry{Key: slices.Clone(key)}})
}
func (o *taken) Reject(i int, err error) {
	if err == nil {
		panic("rejected without a reason")
	}
	o.rejected = append(o.rejected, i)
}
func (o *taken) Count(what Counted, n int) {
	if n <= 0 {
		panic("counted nothing")
	}
	if o.counts == nil {
		o.counts = map[Counted]int{}
	}
	o.counts[what] += n
}

// world is a store with a machine over it, whose transactions become durable later than it thinks.
type world struct {
	t       fataler
	st      *memory.Store
	build   func() Machine
	m       Machine
	pending []op
	now     time.Time
}

var beginning = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newWorld(t fataler, build func() Machine) *world {
	w := &world{t: t, st: memory.New(), build: build, now: beginning}
	w.restart()
	return w
}

// restart throws away what is in memory, and what is not durable.
func (w *world) restart() {
	w.t.Helper()
	w.pending = nil
	w.m = w.build()
	if err := w.m.Load(context.Background(), w.st); err != nil {
		w.t.Fatalf("load: %v", err)
	}
}

// settle makes durable what was done so far.
func (w *world) settle() {
	w.t.Helper()
	ops := w.pending
	w.pending = nil
	err := w.st.Submit(store.Bulk, func(tx store.Tx) error {
		for _, o := range ops {
			var err error
			if o.delete {
				err = tx.Delete(space, o.e.Key)
			} else {
				err = tx.Put(space, o.e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}).Wait(context.Background())
	if err != nil {
		w.t.Fatalf("commit: %v", err)
	}
}

func (w *world) absorb(items ...Item) *taken {
	w.t.Helper()
	out := &taken{}
	if err := w.m.Absorb(context.Background(), out, w.now, items); err != nil {
		w.t.Fatalf("absorb: %v", err)
	}
	for i := range items { // nobody may hold on to them
		for j := range items[i].Record {
			items[i].Record[j] = 0xdb
		}
	}
	w.pending = append(w.pending, out.ops...)
	return out
}

// all calls Fire or End until there is no more, and gathers.
func (w *world) all(f func(context.Context, Output, time.Time) (bool, error)) *taken {
	w.t.Helper()
	out := &taken{}
	for round := 0; ; round++ {
		more, err := f(context.Background(), out, w.now)
		if err != nil {
			w.t.Fatalf("fire or end: %v", err)
		}
		if !more {
			break
		}
		if round > 10000 {
			w.t.Fatalf("it does not end")
		}
	}
	w.pending = append(w.pending, out.ops...)
	return out
}

func (w *world) fire() *taken { w.t.Helper(); return w.all(w.m.Fire) }
func (w *world) end() *taken  { w.t.Helper(); return w.all(w.m.End) }

// entries counts what is durable.
func (w *world) entries() (n int) {
	w.t.Helper()
	if err := scan(context.Background(), w.st, space, func(store.Entry) error { n++; return nil }); err != nil {
		w.t.Fatalf("%v", err)
	}
	return n
}

// told is what a model expects of a call.
type told struct {
	emitted  []string
	rejected []int
	counts   map[Counted]int
}

func (o *told) count(what Counted, n int) {
	if o.counts == nil {
		o.counts = map[Counted]int{}
	}
	o.counts[what] += n
}

func same(t fataler, what string, got *taken, shown []string, want *told) {
	t.Helper()
	if !slices.Equal(shown, want.emitted) || !slices.Equal(got.rejected, want.rejected) || !maps.Equal(got.counts, want.counts) {
		t.Fatalf("%s\n got %q rejected %v %v\nwant %q rejected %v %v", what, shown, got.rejected, got.counts, want.emitted, want.rejected, want.counts)
	}
}

// modelClock is what steady promises, of a model.
type modelClock struct{ last, ahead int64 }

func (c *modelClock) tick(now time.Time) int64 {
	if t := now.UnixNano() + c.ahead; t >= c.last {
		c.last = t
	} else if c.last-t > int64(time.Second) {
		c.ahead += c.last - t
	}
	return c.last
}

// drawStep lets time go on, or jump.
func drawStep(t *rapid.T) time.Duration {
	switch rapid.IntRange(0, 11).Draw(t, "clock") {
	case 0:
		return time.Hour
	case 1:
		return -time.Hour
	case 2:
		return -300 * time.Millisecond
	default:
		return time.Duration(rapid.IntRange(0, 30).Draw(t, "tenths")) * 100 * time.Millisecond
	}
}

// model is what a machine is held to.
type model[M any] interface {
	clone() M
	absorb(now time.Time, items []Item) *told
	fire(now time.Time) *told
	end(now time.Time) *told
	due() int64
	restarted()
}

// hold lets a machine and a model do the same, with restarts that lose what is not durable at any point.
func hold[M model[M]](t *rapid.T, build func() Machine, first M, item func(t *rapid.T, now time.Time, n int) Item, show func(string) string) {
	w := newWorld(t, build)
	m, durable := first, first.clone()
	durableAt := w.now
	n := 0
	check := func(what string, got *taken, want *told) {
		t.Helper()
		shown := make([]string, 0, len(got.emitted))
		for _, r := range got.emitted {
			shown = append(shown, show(r))
		}
		same(t, what, got, shown, want)
		if w.m.Due() != m.due() {
			t.Fatalf("%s: due %d, not %d", what, w.m.Due(), m.due())
		}
	}
	for range rapid.IntRange(1, 40).Draw(t, "calls") {
		switch rapid.IntRange(0, 9).Draw(t, "do") {
		case 0, 1, 2, 3, 4:
			var items, same []Item
			for range rapid.IntRange(0, 6).Draw(t, "items") {
				it := item(t, w.now, n)
				n++
				items = append(items, it)
				it.Record = slices.Clone(it.Record)
				same = append(same, it)
			}
			want := m.absorb(w.now, same)
			check(fmt.Sprintf("absorb %d at %s", len(items), w.now.Sub(beginning)), w.absorb(items...), want)
		case 5, 6:
			if w.m.Due() != 0 && rapid.Bool().Draw(t, "in time") {
				w.now = time.Unix(0, max(w.now.UnixNano(), w.m.Due())).UTC()
			}
			want := m.fire(w.now)
			check(fmt.Sprintf("fire at %s", w.now.Sub(beginning)), w.fire(), want)
		case 7:
			w.settle()
			durable, durableAt = m.clone(), w.now
		case 8:
			if rapid.Bool().Draw(t, "lose") {
				m, w.now = durable.clone(), durableAt
			} else {
				w.settle()
				durableAt = w.now
			}
			w.restart()
			m.restarted()
			durable = m.clone()
			if w.m.Due() != m.due() {
				t.Fatalf("restarted: due %d, not %d", w.m.Due(), m.due())
			}
		case 9:
			if rapid.IntRange(0, 3).Draw(t, "end") == 0 {
				want := m.end(w.now)
				check("end", w.end(), want)
			}
		}
		w.now = w.now.Add(drawStep(t))
	}
	// By the clock everything comes out, and nothing is left.
	for range 10000 {
		d := w.m.Due()
		if d == 0 {
			break
		}
		w.now = time.Unix(0, max(w.now.UnixNano(), d)).UTC()
		want := m.fire(w.now)
		check("last", w.fire(), want)
	}
	want := m.end(w.now)
	check("last end", w.end(), want)
}

func storeEntry(key, value string) store.Entry {
	return store.Entry{Key: []byte(key), Value: []byte(value)}
}
