// Package conform is the suite that every driver of the store passes.
//
//	func TestConform(t *testing.T) { conform.Run(t, harness) }
//	func BenchmarkStore(b *testing.B) { conform.Bench(b, harness) }
package conform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
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
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, open: h(t), volatile: volatile}
			f.start()
			c.test(f)
			f.stop()
		})
	}
}

// fixture is a store under test.
type fixture struct {
	*testing.T
	open func() store.Store
	s    store.Store
	ctx  context.Context

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

func messages(f *fixture) {
	long := strings.Repeat("x", 100_000)
	f.do(appendTo("c", 5, "a", "", long))
	f.do(appendTo("other", 6, "z"))
	f.do(func(tx store.Tx) error {
		data := Bundle(9, "b", "c")
		base, err := tx.Append("c", data)
		clear(data.Data) // it is copied
		f.equal("base", base, 3)
		if err == nil {
			data = Bundle(7, "d")
			base, err = tx.Append("c", data)
			f.equal("base", base, 5)
		}
		return err
	})
	want := []string{"a", "", long, "b", "c", "d"}
	for from := range int64(7) {
		f.equal(fmt.Sprint("from ", from), f.read("c", from), want[from:])
	}
	f.equal("other", f.read("other", 0), []string{"z"})
	f.equal("nothing", f.read("nothing", 0), []string{})
	b := f.bounds("c")
	f.equal("bounds", []any{b.Channel, b.First, b.Next, b.Oldest.UnixNano()}, []any{"c", 0, 6, 5})
	if b.Segments < 1 || b.Bytes < 100_000 {
		f.Errorf("%+v", b)
	}
	f.equal("no channel", f.bounds("none"), store.Bounds{Channel: "none"})
	f.view(func(v store.View) error {
		all, err := v.Log().Channels()
		f.equal("channels", len(all), 2)
		if len(all) == 2 {
			f.equal("channels", []any{all[0], all[1].Channel, all[1].Next}, []any{b, "other", 1})
		}
		s, err2 := v.Log().Segments("c", 0, 1)
		f.equal("at least one segment", len(s), 1)
		last := s
		for len(s) > 0 && err2 == nil {
			last = s
			s, err2 = v.Log().Segments("c", s[len(s)-1].End(), 1<<20)
		}
		f.equal("times of the last segment", []int64{last[len(last)-1].MinTime, last[len(last)-1].MaxTime}, []int64{7, 9})
		return errors.Join(err, err2)
	})
}

// positions: many publishers, some of whose transactions fail.
func positions(f *fixture) {
	const publishers, each = 8, 60
	var mu sync.Mutex
	at := map[int64]string{}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(p)))
			for i := range each {
				n := 1 + rnd.IntN(4)
				class := store.Class(rnd.IntN(2))
				bad := rnd.IntN(4) == 0
				var base int64
				var sent []string
				for j := range n {
					sent = append(sent, fmt.Sprintf("%d/%d/%d", p, i, j))
				}
				err := f.s.Submit(class, func(tx store.Tx) (err error) {
					base, err = tx.Append("c", Bundle(1, sent...))
					if err == nil && bad {
						err = errWanted
					}
					return err
				}).Wait(f.ctx)
				if bad != errors.Is(err, errWanted) || (!bad && err != nil) {
					f.Errorf("wanted to fail: %v, and got %v", bad, err)
				}
				if bad {
					continue
				}
				mu.Lock()
				for j, m := range sent {
					if other, taken := at[base+int64(j)]; taken {
						f.Errorf("position %d was given to %s and to %s", base+int64(j), other, m)
					}
					at[base+int64(j)] = m
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := f.read("c", 0)
	f.equal("messages", len(got), len(at))
	for i, m := range got {
		if at[int64(i)] != m {
			f.Fatalf("at %d is %q, and was told of %q", i, m, at[int64(i)])
		}
	}
}

// held makes the writer wait, so that what is submitted meanwhile may become one commit.
func (f *fixture) held(submit func()) {
	started, release := make(chan struct{}), make(chan struct{})
	c := f.s.Submit(store.Small, func(store.Tx) error {
		close(started)
		<-release
		return nil
	})
	<-started
	submit()
	close(release)
	if err := f.wait(c); err != nil {
		f.Fatal(err)
	}
}

func undone(f *fixture) {
	f.do(put("s", "k", "old"))
	f.do(appendTo("c", 1, "first"))
	var commits []*store.Commit
	f.held(func() {
		for i := range 9 {
			do := func(tx store.Tx) error {
				return errors.Join(
					appendTo("c", 1, fmt.Sprint("m", i))(tx), appendTo(fmt.Sprint("new", i), 1, "x")(tx), appendTo("c", 1, fmt.Sprint("n", i))(tx),
					put("s", "k", fmt.Sprint("v", i))(tx), put("s", fmt.Sprint("k", i), "x")(tx), put(fmt.Sprint("new", i), "k", "x")(tx),
					tx.Delete("s", fmt.Append(nil, "k", i-1)))
			}
			if i%3 > 0 {
				do = failing(do)
			}
			commits = append(commits, f.s.Submit(store.Class(i%2), do))
		}
	})
	for i, c := range commits {
		if err := f.wait(c); (i%3 > 0) != errors.Is(err, errWanted) || (i%3 == 0 && err != nil) {
			f.Errorf("transaction %d: %v", i, err)
		}
	}
	got := f.read("c", 0)
	slices.Sort(got) // the classes may pass each other
	f.equal("messages", got, []string{"first", "m0", "m3", "m6", "n0", "n3", "n6"})
	f.view(func(v store.View) error {
		all, err := v.State().Scan("s", nil, 100)
		f.equal("entries", keys(all), "k k0 k3 k6")
		spaces, err2 := v.State().Spaces("")
		f.equal("spaces", len(spaces), 4)
		for i := range 9 {
			b, err := v.Log().Bounds(fmt.Sprint("new", i))
			if err != nil {
				return err
			}
			f.equal(fmt.Sprint("channel new", i), b.Next, map[bool]int64{true: 1, false: 0}[i%3 == 0])
		}
		return errors.Join(err, err2)
	})
}

// undoneLooked: transactions that read in between, which makes a driver write before it knows that they fail.
func undoneLooked(f *fixture) {
	f.do(appendTo("c", 1, "a", "b"))
	f.do(put("s", "k", "old"))
	f.do(func(tx store.Tx) error { return tx.Put("s", store.Entry{Key: []byte("due"), Due: 5}) })
	look := func(tx store.Tx) {
		due, err := tx.State().Due("s", 100, 10)
		all, err2 := tx.State().Scan("s", nil, 10)
		_, err3 := tx.Log().Bounds("c")
		sp, err4 := tx.State().Spaces("s")
		if err := errors.Join(err, err2, err3, err4); err != nil || len(due) == 0 || len(all) == 0 || len(sp) == 0 {
			f.Errorf("looking: %v %v %v %v", due, all, sp, err)
		}
	}
	bad := failing(func(tx store.Tx) error {
		look(tx)
		err := errors.Join(appendTo("c", 1, "bad")(tx), put("s", "k", "bad")(tx), put("s", "bad", "x")(tx), put("bad", "k", "x")(tx))
		look(tx)
		_, err2 := tx.Drop("c", 2)
		err3 := errors.Join(put("s", "k", "worse")(tx), tx.Delete("s", []byte("due")), put("s", "due2", "")(tx))
		look2, err4 := tx.State().Scan("s", nil, 10)
		if k := keys(look2); !strings.HasSuffix(k, "bad before due2 k") {
			f.Errorf("inside: %s", k)
		}
		err5 := tx.Clear("s")
		look3, err6 := tx.State().Scan("s", nil, 10)
		f.equal("inside, cleared", keys(look3), "")
		err7 := errors.Join(put("s", "again", "x")(tx), appendTo("c", 1, "bad again")(tx))
		return errors.Join(err, err2, err3, err4, err5, err6, err7)
	})
	var commits []*store.Commit
	f.held(func() {
		commits = append(commits,
			f.s.Submit(store.Small, put("s", "before", "x")),
			f.s.Submit(store.Small, appendTo("c", 1, "c")),
			f.s.Submit(store.Small, bad),
			f.s.Submit(store.Small, appendTo("c", 1, "d")),
			f.s.Submit(store.Small, func(tx store.Tx) error {
				look(tx)
				e, _, err := tx.State().Get("s", []byte("k"))
				f.equal("k", string(e.Value), "old")
				return errors.Join(err, put("s", "after", "x")(tx))
			}),
			f.s.Submit(store.Small, bad))
	})
	for i, c := range commits {
		if err := f.wait(c); errors.Is(err, errWanted) != (i == 2 || i == 5) || (i != 2 && i != 5 && err != nil) {
			f.Errorf("transaction %d: %v", i, err)
		}
	}
	check := func() {
		f.Helper()
		f.equal("messages", f.read("c", 0), []string{"a", "b", "c", "d"})
		f.view(func(v store.View) error {
			all, err := v.State().Scan("s", nil, 10)
			f.equal("entries", keys(all), "after before due k")
			sp, err2 := v.State().Spaces("")
			if f.equal("spaces", len(sp), 1); len(sp) == 1 {
				f.equal("entries of s", sp[0].Entries, 4)
			}
			d, err3 := v.State().Due("s", 100, 10)
			f.equal("due", keys(d), "due")
			return errors.Join(err, err2, err3)
		})
		value, _ := f.get("s", "k")
		f.equal("k", value, "old")
	}
	check()
	f.reopen()
	check()
}

func panics(f *fixture) {
	err := f.try(func(tx store.Tx) error {
		_ = put("s", "k", "x")(tx)
		panic("the test wants this panic")
	})
	if err == nil {
		f.Error("no error")
	}
	f.do(put("s", "k2", "x"))
	if _, ok := f.get("s", "k"); ok {
		f.Error("half a transaction is there")
	}
}

func sees(f *fixture) {
	f.do(put("s", "b", "1"))
	f.do(func(tx store.Tx) error {
		st := tx.State()
		err := errors.Join(put("s", "a", "2")(tx), put("s", "b", "3")(tx), put("s", "c", "4")(tx), tx.Delete("s", []byte("c")),
			tx.Put("t", store.Entry{Key: []byte("d"), Due: 7}))
		if err != nil {
			return err
		}
		e, ok, err := st.Get("s", []byte("b"))
		f.equal("b", []any{string(e.Value), ok}, []any{"3", true})
		_, ok, err2 := st.Get("s", []byte("c"))
		f.equal("c", ok, false)
		all, err3 := st.Scan("s", nil, 10)
		f.equal("scan", keys(all), "a b")
		d, err4 := st.Due("t", 7, 10)
		f.equal("due", keys(d), "d")
		sp, err5 := st.Spaces("")
		f.equal("spaces", len(sp), 2)
		// But not its own messages.
		_, err6 := tx.Append("c", Bundle(1, "m"))
		b, err7 := tx.Log().Bounds("c")
		f.equal("next", b.Next, 0)
		s, err8 := tx.Log().Segments("c", 0, 100)
		f.equal("segments", len(s), 0)
		base, err9 := tx.Append("c", Bundle(1, "n"))
		f.equal("base", base, 1)
		return errors.Join(err, err2, err3, err4, err5, err6, err7, err8, err9)
	})
	f.equal("messages", f.read("c", 0), []string{"m", "n"})
}

func seesBefore(f *fixture) {
	var commits []*store.Commit
	f.held(func() {
		for i := range 20 {
			commits = append(commits, f.s.Submit(store.Small, func(tx store.Tx) error {
				s, err := tx.Log().Segments("c", 0, 1<<20)
				n := 0
				for _, g := range s {
					n += g.N
				}
				f.equal("messages before", n, i)
				b, err2 := tx.Log().Bounds("c")
				f.equal("next", b.Next, i)
				e, _, err3 := tx.State().Get("s", []byte("n"))
				f.equal("counter", len(e.Value), i)
				all, err4 := tx.State().Scan("s", nil, 100)
				f.equal("entries before", len(all), min(i, 1))
				return errors.Join(err, err2, err3, err4, appendTo("c", 1, "x")(tx), put("s", "n", string(e.Value)+".")(tx))
			}))
		}
	})
	for _, c := range commits {
		if err := f.wait(c); err != nil {
			f.Error(err)
		}
	}
}

func order(f *fixture) {
	var mu sync.Mutex
	ran := map[store.Class][]int{}
	var commits []*store.Commit
	const n = 300
	for i := range n {
		c := store.Class(i % 2)
		commits = append(commits, f.s.Submit(c, func(tx store.Tx) error {
			mu.Lock()
			defer mu.Unlock()
			ran[c] = append(ran[c], i)
			_, err := tx.Append(fmt.Sprint("c", c), Bundle(1, fmt.Sprint(i)))
			return err
		}))
	}
	for _, c := range commits {
		if err := f.wait(c); err != nil {
			f.Fatal(err)
		}
	}
	for c, got := range ran {
		if !slices.IsSorted(got) || len(got) != n/2 {
			f.Errorf("class %d ran in the order %v", c, got)
		}
		f.equal("channel", f.read(fmt.Sprint("c", c), 0), got)
	}
}

// classes: what is small and comes while bulk waits does not wait for all of it; and bulk gets its turn while there is always something small.
func classes(f *fixture) {
	big := strings.Repeat("x", 300<<10)
	var bulk []*store.Commit
	var small *store.Commit
	f.held(func() {
		for range 40 {
			bulk = append(bulk, f.s.Submit(store.Bulk, appendTo("bulk", 1, big)))
		}
		small = f.s.Submit(store.Small, put("s", "k", "v"))
	})
	if err := f.wait(small); err != nil {
		f.Fatal(err)
	}
	for _, c := range bulk {
		if err := f.wait(c); err != nil {
			f.Fatal(err)
		}
	}
	// A chain of small transactions that submit their successor: there is always one waiting.
	last := make(chan struct{})
	var next func(store.Tx) error
	ended := f.s.Submit(store.Bulk, appendTo("bulk", 1, "m"))
	left := 200
	next = func(tx store.Tx) error {
		if left--; left == 0 {
			close(last)
			return nil
		}
		f.s.Submit(store.Small, next)
		return put("s", "k", fmt.Sprint(left))(tx)
	}
	f.s.Submit(store.Small, next)
	bulkDone := f.s.Submit(store.Bulk, appendTo("bulk", 1, "n"))
	if err := errors.Join(f.wait(ended), f.wait(bulkDone)); err != nil {
		f.Fatal(err)
	}
	<-last
}

func drop(f *fixture) {
	for i := range 10 {
		f.do(appendTo("c", int64(100+i), fmt.Sprint("a", i), fmt.Sprint("b", i)))
	}
	dropped := func(before int64) (n int) {
		f.do(func(tx store.Tx) (err error) {
			n, err = tx.Drop("c", before)
			return err
		})
		return n
	}
	f.equal("nothing to drop", []int{dropped(0), dropped(-1), dropped(1)}, []int{0, 0, 0})
	all := f.bounds("c")
	f.equal("bounds", []int64{all.First, all.Next, all.Segments}, []int64{0, 20, 10})
	f.equal("half a segment stays", dropped(7), 3)
	b := f.bounds("c")
	f.equal("bounds", []int64{b.First, b.Next, b.Segments, b.Oldest.UnixNano(), b.Bytes}, []int64{6, 20, 7, 103, all.Bytes / 10 * 7})
	f.equal("rest", f.read("c", 0), []string{"a3", "b3", "a4", "b4", "a5", "b5", "a6", "b6", "a7", "b7", "a8", "b8", "a9", "b9"})
	if err := f.try(failing(func(tx store.Tx) error { _, err := tx.Drop("c", 100); return err })); !errors.Is(err, errWanted) {
		f.Error(err)
	}
	f.equal("a drop that failed", f.bounds("c"), b)
	f.do(func(tx store.Tx) error {
		n, err := tx.Drop("c", 10)
		f.equal("dropped", n, 2)
		b, err2 := tx.Log().Bounds("c")
		f.equal("first, inside", b.First, 10)
		again, err3 := tx.Drop("c", 10)
		f.equal("dropped again", again, 0)
		return errors.Join(err, err2, err3)
	})
	f.reopen()
	b = f.bounds("c")
	f.equal("bounds", []int64{b.First, b.Next, b.Segments}, []int64{10, 20, 5})
	f.equal("the rest", dropped(1000), 5)
	for range 2 {
		b = f.bounds("c")
		f.equal("empty", []any{b.First, b.Next, b.Segments, b.Bytes, b.Oldest.IsZero()}, []any{20, 20, 0, 0, true})
		f.equal("empty", f.read("c", 0), []string{})
		f.equal("no more", dropped(1000), 0)
		f.reopen()
	}
	f.do(func(tx store.Tx) error {
		base, err := tx.Append("c", Bundle(1, "after"))
		f.equal("base after all is dropped", base, 20)
		return err
	})
	f.equal("rest", f.read("c", 0), []string{"after"})
	f.do(func(tx store.Tx) error {
		n, err := tx.Drop("c", 21)
		base, err2 := tx.Append("c", Bundle(1, "same commit"))
		f.equal("drop and append", []int64{int64(n), base}, []int64{1, 21})
		return errors.Join(err, err2)
	})
	f.reopen()
	f.equal("rest", f.read("c", 0), []string{"same commit"})
	f.do(func(tx store.Tx) error {
		n, err := tx.Drop("none", 21)
		f.equal("no channel", n, 0)
		return err
	})
}

func seek(f *fixture) {
	find := func(at int64) (p int64) {
		f.view(func(v store.View) (err error) {
			p, err = v.Log().Seek("c", time.Unix(0, at))
			return err
		})
		return p
	}
	f.equal("no channel", find(1), 0)
	times := []int64{10, 20, 30, 25, 40, 40, 50} // the clock is set back once
	for i, at := range times {
		f.do(appendTo("c", at, fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i)))
	}
	want := map[int64]int64{0: 0, 10: 0, 11: 3, 20: 3, 25: 6, 30: 6, 31: 12, 40: 12, 41: 18, 50: 18, 51: 21}
	for at, p := range want {
		f.equal(fmt.Sprint("at ", at), find(at), p)
	}
	f.do(func(tx store.Tx) error { _, err := tx.Drop("c", 9); return err })
	for at, p := range map[int64]int64{0: 9, 25: 9, 26: 12, 30: 12, 40: 12, 51: 21} {
		f.equal(fmt.Sprint("after a drop, at ", at), find(at), p)
	}
	f.do(func(tx store.Tx) error { _, err := tx.Drop("c", 21); return err })
	f.equal("empty", find(1), 21)
}

func entries(f *fixture) {
	long := strings.Repeat("long ", 50_000)
	f.do(func(tx store.Tx) error {
		k, v := []byte("k1"), []byte("v1")
		err := tx.Put("s", store.Entry{Key: k, Value: v})
		copy(k, "zz") // they are copied
		copy(v, "zz")
		return errors.Join(err, put("s", "", "empty")(tx), put("s", "k\x00", "")(tx), put("s", "\xff\xff", long)(tx), put("t", "k1", "other")(tx))
	})
	for _, c := range [][3]string{{"s", "k1", "v1"}, {"s", "", "empty"}, {"s", "k\x00", ""}, {"s", "\xff\xff", long}, {"t", "k1", "other"}} {
		if v, ok := f.get(c[0], c[1]); !ok || v != c[2] {
			f.Errorf("%s %q: %.20q %v", c[0], c[1], v, ok)
		}
	}
	for _, c := range [][2]string{{"s", "k2"}, {"s", "k"}, {"none", "k1"}} {
		if v, ok := f.get(c[0], c[1]); ok {
			f.Errorf("%s %q is there: %q", c[0], c[1], v)
		}
	}
	scan := func(after []byte, limit int) (k string) {
		f.view(func(v store.View) error {
			all, err := v.State().Scan("s", after, limit)
			k = fmt.Sprintf("%q", keys(all))
			return err
		})
		return k
	}
	f.equal("all", scan(nil, 10), `" k\x00 k1 \xff\xff"`)
	f.equal("two", scan(nil, 2), `" k\x00"`)
	f.equal("behind the empty key", scan([]byte{}, 10), `"k\x00 k1 \xff\xff"`)
	f.equal("behind k", scan([]byte("k"), 10), `"k\x00 k1 \xff\xff"`)
	f.equal("behind k1", scan([]byte("k1"), 10), `"\xff\xff"`)
	f.equal("none", scan(nil, 0), `""`)
	f.do(func(tx store.Tx) error {
		return errors.Join(put("s", "k1", "v2")(tx), tx.Delete("s", []byte("")), tx.Delete("s", []byte("nothing")), tx.Delete("none", []byte("k")),
			tx.Delete("s", []byte("k\x00")), put("s", "k\x00", "back")(tx))
	})
	f.reopen()
	f.equal("all", scan(nil, 10), `"k\x00 k1 \xff\xff"`)
	v, _ := f.get("s", "k1")
	f.equal("k1", v, "v2")
	v, _ = f.get("s", "k\x00")
	f.equal("k0", v, "back")
	// What is returned may be kept, and changed.
	f.do(func(tx store.Tx) error {
		e, _, err := tx.State().Get("s", []byte("k1"))
		copy(e.Value, "##")
		copy(e.Key, "##")
		e2, ok, err2 := tx.State().Get("s", []byte("k1"))
		f.equal("k1", []any{string(e2.Key), string(e2.Value), ok}, []any{"k1", "v2", true})
		return errors.Join(err, err2)
	})
}

func due(f *fixture) {
	at := func(space, key string, due int64) func(store.Tx) error {
		return func(tx store.Tx) error {
			return tx.Put(space, store.Entry{Key: []byte(key), Value: []byte(key), Due: due})
		}
	}
	for i, k := range []string{"c", "a", "b", "never", "late", "early"} {
		f.do(at("s", k, []int64{20, 20, 10, 0, 99, -5}[i]))
	}
	f.do(at("t", "x", 1))
	find := func(until int64, limit int) (k string) {
		f.view(func(v store.View) error {
			all, err := v.State().Due("s", until, limit)
			k = keys(all)
			for _, e := range all {
				f.equal("value", string(e.Value), string(e.Key))
			}
			return err
		})
		return k
	}
	f.equal("up to 20", find(20, 10), "early b a c")
	f.equal("up to 19", find(19, 10), "early b")
	f.equal("three", find(100, 3), "early b a")
	f.do(func(tx store.Tx) error {
		return errors.Join(at("s", "b", 30)(tx), at("s", "a", 0)(tx), tx.Delete("s", []byte("early")), at("s", "never", 25)(tx))
	})
	f.reopen()
	f.equal("later", find(100, 10), "c never b late")
	f.view(func(v store.View) error {
		e, ok, err := v.State().Get("s", []byte("b"))
		f.equal("due", []any{e.Due, ok}, []any{30, true})
		return err
	})
}

func spaces(f *fixture) {
	list := func(prefix string) (l []store.Space) {
		f.view(func(v store.View) (err error) {
			l, err = v.State().Spaces(prefix)
			return err
		})
		return l
	}
	f.equal("none", list(""), []store.Space{})
	const many = 1200
	f.do(func(tx store.Tx) error {
		for i := range many {
			if err := put("a/one", fmt.Sprintf("%04d", i), "123456")(tx); err != nil {
				return err
			}
		}
		return errors.Join(put("a/two", "k", "")(tx), put("b", "k", "vvv")(tx))
	})
	f.equal("all", list(""), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "a/two", Entries: 1, Bytes: 1}, {Name: "b", Entries: 1, Bytes: 4}})
	f.equal("a/", list("a/"), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "a/two", Entries: 1, Bytes: 1}})
	f.do(func(tx store.Tx) error {
		return errors.Join(put("b", "k", "v")(tx), put("b", "l", "v")(tx), tx.Delete("a/two", []byte("k")), tx.Delete("b", []byte("none")))
	})
	f.equal("counted", list(""), []store.Space{{Name: "a/one", Entries: many, Bytes: 10 * many}, {Name: "b", Entries: 2, Bytes: 4}})
	f.reopen()
	// Overwriting and deleting what is not in any cache.
	f.do(func(tx store.Tx) error {
		return errors.Join(put("b", "k", "vvvv")(tx), tx.Delete("b", []byte("l")), put("b", "m", "")(tx), tx.Delete("b", []byte("none")))
	})
	f.equal("counted", list("b"), []store.Space{{Name: "b", Entries: 2, Bytes: 6}})
	f.do(func(tx store.Tx) error {
		err := put("a/one", "0001", "pending")(tx)
		err2 := tx.Clear("a/one")
		return errors.Join(err, err2, put("a/one", "new", "x")(tx), tx.Clear("none"))
	})
	for range 2 {
		f.equal("cleared", list("a"), []store.Space{{Name: "a/one", Entries: 1, Bytes: 4}})
		f.view(func(v store.View) error {
			all, err := v.State().Scan("a/one", nil, 10)
			f.equal("cleared", keys(all), "new")
			return err
		})
		f.reopen()
	}
	f.do(func(tx store.Tx) error { return tx.Clear("a/one") })
	f.equal("cleared", list("a"), []store.Space{})
}

func notify(f *fixture) {
	var mu sync.Mutex
	var got, other []string
	next := int64(0)
	cancel := f.s.Notify("c", func(s store.Segment) {
		mu.Lock()
		defer mu.Unlock()
		if s.Base != next || s.Channel != "c" {
			f.Errorf("segment of %s at %d after %d", s.Channel, s.Base, next)
		}
		next = s.End()
		got = append(got, frames(f, s)...)
	})
	cancelOther := f.s.Notify("c", func(s store.Segment) {
		mu.Lock()
		defer mu.Unlock()
		other = append(other, frames(f, s)...)
	})
	var want []string
	var commits []*store.Commit
	for i := range 200 {
		do := appendTo("c", 1, fmt.Sprint(i))
		switch {
		case i%5 == 4:
			do = failing(do)
		case i%7 == 3: // reads in between
			do = func(tx store.Tx) error {
				_, err := tx.Log().Bounds("c")
				return errors.Join(err, appendTo("c", 1, fmt.Sprint(i))(tx), appendTo("d", 1, "not told")(tx))
			}
		}
		if i%5 != 4 {
			want = append(want, fmt.Sprint(i))
		}
		c := f.s.Submit(store.Small, do)
		commits = append(commits, c)
		if i%50 == 0 {
			_ = f.wait(c)
			mu.Lock()
			if len(got) < len(want) {
				f.Errorf("%d is committed, and was not told", i)
			}
			mu.Unlock()
		}
	}
	for _, c := range commits {
		_ = f.wait(c)
	}
	mu.Lock()
	f.equal("told", got, want)
	f.equal("the other was told", other, want)
	mu.Unlock()
	cancel()
	f.do(appendTo("c", 1, "last"))
	f.equal("told after it was cancelled", len(got), len(want))
	f.equal("the other was told", len(other), len(want)+1)
	cancelOther()
	f.do(appendTo("c", 1, "untold"))
	f.equal("all", f.read("c", 0), append(want, "last", "untold"))
}

func snapshot(f *fixture) {
	f.do(put("s", "k", "1"))
	f.do(appendTo("c", 1, "a"))
	inside, outside := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	ctx := f.ctx
	go func() {
		done <- f.s.View(ctx, func(v store.View) error {
			_, _, err := v.State().Get("s", []byte("none"))
			close(inside)
			<-outside
			e, _, err2 := v.State().Get("s", []byte("k"))
			f.equal("k", string(e.Value), "1")
			b, err3 := v.Log().Bounds("c")
			f.equal("next", b.Next, 1)
			_, ok, err4 := v.State().Get("s", []byte("new"))
			f.equal("new", ok, false)
			return errors.Join(err, err2, err3, err4)
		})
	}()
	<-inside
	commit := f.s.Submit(store.Small, func(tx store.Tx) error {
		return errors.Join(put("s", "k", "2")(tx), put("s", "new", "x")(tx), appendTo("c", 1, "b")(tx))
	})
	close(outside)
	if err := <-done; err != nil {
		f.Error(err)
	}
	if err := f.wait(commit); err != nil {
		f.Error(err)
	}
	v, _ := f.get("s", "k")
	f.equal("afterwards", v, "2")
	if err := f.s.View(f.ctx, func(store.View) error { return errWanted }); !errors.Is(err, errWanted) {
		f.Errorf("a view gives the error of its function, and gave %v", err)
	}
	cancelled, cancel := context.WithCancelCause(f.ctx)
	cancel(errWanted)
	if err := f.s.View(cancelled, func(v store.View) error { _, err := v.Log().Channels(); return err }); err == nil {
		f.Error("a view whose context has ended reads")
	}
}

func viewEnds(f *fixture) {
	f.do(put("s", "k", "1"))
	var kept store.View
	f.view(func(v store.View) error { kept = v; return nil })
	if _, _, err := kept.State().Get("s", []byte("k")); err == nil {
		f.Error("a view can be used after its function")
	}
	var tx store.Tx
	f.do(func(t store.Tx) error { tx = t; return nil })
	if err := tx.Put("s", store.Entry{Key: []byte("k")}); err == nil {
		f.Error("a transaction can be used after its function")
	}
	if _, err := tx.Append("c", Bundle(1, "a")); err == nil {
		f.Error("a transaction can be used after its function")
	}
}

// concurrent: transfers between accounts while views count; all of them see the same sum.
func concurrent(f *fixture) {
	const accounts, workers, each = 10, 4, 50
	f.do(func(tx store.Tx) error {
		for i := range accounts {
			if err := put("accounts", fmt.Sprint(i), "100")(tx); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, cancel := context.WithCancel(f.ctx)
	var writers, readers sync.WaitGroup
	for w := range workers {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			for i := range each {
				from, to, amount := rnd.IntN(accounts), rnd.IntN(accounts), rnd.IntN(50)
				if err := f.s.Submit(store.Class(i%2), transfer(from, to, amount)).Wait(f.ctx); err != nil && !errors.Is(err, errWanted) {
					f.Error(err)
				}
			}
		})
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := f.s.View(f.ctx, func(v store.View) error { return f.sum(v, accounts*100) }); err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	f.view(func(v store.View) error { return f.sum(v, accounts*100) })
}

func transfer(from, to, amount int) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, leg := range []struct{ account, change int }{{from, -amount}, {to, amount}} {
			key := fmt.Append(nil, leg.account)
			e, _, err := tx.State().Get("accounts", key)
			if err != nil {
				return err
			}
			var have int
			if _, err := fmt.Sscan(string(e.Value), &have); err != nil {
				return err
			}
			if err := tx.Put("accounts", store.Entry{Key: key, Value: fmt.Append(nil, have+leg.change)}); err != nil {
				return err
			}
			if have+leg.change < 0 {
				return errWanted
			}
		}
		return nil
	}
}

func (f *fixture) sum(v store.View, want int) error {
	all, err := v.State().Scan("accounts", nil, 1000)
	if err != nil {
		return err
	}
	sum := 0
	for _, e := range all {
		var have int
		if _, err := fmt.Sscan(string(e.Value), &have); err != nil {
			return err
		}
		sum += have
	}
	if sum != want {
		return fmt.Errorf("the sum is %d, and has to be %d", sum, want)
	}
	return nil
}

func refused(f *fixture) {
	for name, do := range map[string]func(store.Tx) error{
		"a long key":       func(tx store.Tx) error { return tx.Put("s", store.Entry{Key: make([]byte, 4<<10+1)}) },
		"no frames":        func(tx store.Tx) error { _, err := tx.Append("c", store.Bundle{N: 3}); return err },
		"a negative count": func(tx store.Tx) error { _, err := tx.Append("c", store.Bundle{N: -1, Data: []byte{0}}); return err },
	} {
		err := f.try(do)
		if code := penstock.CodeOf(err); err == nil || code.Transient() {
			f.Errorf("%s: %v (%s)", name, err, code)
		}
	}
	f.do(func(tx store.Tx) error { return tx.Put("s", store.Entry{Key: make([]byte, 4<<10)}) })
	f.do(func(tx store.Tx) error {
		base, err := tx.Append("c", store.Bundle{})
		f.equal("an empty bundle", base, 0)
		return err
	})
	f.equal("nothing", f.bounds("c").Next, 0)
}

func stats(f *fixture) {
	before := f.s.Stats()
	f.do(appendTo("c", 1, "abc", "de"))
	f.do(put("s", "k", "v"))
	s := f.s.Stats()
	if c, n, m, b := s.Commits-before.Commits, s.Transactions-before.Transactions, s.Messages-before.Messages, s.Bytes-before.Bytes; c < 1 || n != 2 || m != 2 || b < 5 {
		f.Errorf("%d commits, %d transactions, %d messages, %d bytes", c, n, m, b)
	}
}

func closing(f *fixture) {
	var commits []*store.Commit
	for i := range 100 {
		commits = append(commits, f.s.Submit(store.Class(i%2), appendTo("c", 1, "m")))
	}
	s := f.s
	f.stop()
	for i, c := range commits {
		select {
		case <-c.Done():
			if c.Err() != nil {
				f.Errorf("transaction %d, submitted before the end: %v", i, c.Err())
			}
		default:
			f.Errorf("transaction %d is open after the end", i)
		}
	}
	err := s.Submit(store.Small, appendTo("c", 1, "late")).Wait(f.ctx)
	if penstock.CodeOf(err) != penstock.Unavailable {
		f.Errorf("after the end: %v", err)
	}
	if err := s.View(f.ctx, func(v store.View) error { _, err := v.Log().Channels(); return err }); err == nil {
		f.Error("a view after the end reads")
	}
	if err := s.Close(); err != nil {
		f.Errorf("closing twice: %v", err)
	}
	f.s = f.open()
	if !f.volatile {
		f.equal("messages", len(f.read("c", 0)), 100)
	}
}

func reopen(f *fixture) {
	var want []string
	for i := range 30 {
		f.do(func(tx store.Tx) error {
			base, err := tx.Append("c", Bundle(int64(i), fmt.Sprint(i)))
			f.equal("base", base, i)
			return errors.Join(err, put("s", fmt.Sprint(i), "v")(tx), put("s", "last", fmt.Sprint(i))(tx))
		})
		want = append(want, fmt.Sprint(i))
		if i%7 == 0 {
			f.reopen()
		}
	}
	f.equal("messages", f.read("c", 0), want)
	v, _ := f.get("s", "last")
	f.equal("last", v, "29")
}
