package conform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// held makes the writer wait, so that what is submitted meanwhile may become one commit.
func (f *fixture) held(submit func()) {
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c := f.s.Submit(store.Small, func(store.Tx) error {
		once.Do(func() { close(started) })
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
		err3 := errors.Join(put("s", "k", "worse")(tx), tx.Delete("s", []byte("due")), put("s", "due2", "")(tx), put("late", "k", "x")(tx))
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
	f.do(put("late", "other", "x"))
	f.view(func(v store.View) error {
		sp, err := v.State().Spaces("late")
		f.equal("a space that a failed transaction made", sp, []store.Space{{Name: "late", Entries: 1, Bytes: 6}})
		return err
	})
	f.do(func(tx store.Tx) error { return tx.Delete("late", []byte("other")) })
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
			if n := len(ran[c]); n == 0 || ran[c][n-1] < i { // it may run again, and others before it
				ran[c] = append(ran[c], i)
			}
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
	var next func(left int) func(store.Tx) error
	ended := f.s.Submit(store.Bulk, appendTo("bulk", 1, "m"))
	next = func(left int) func(store.Tx) error {
		var once sync.Once // it may run more than once
		return func(tx store.Tx) error {
			once.Do(func() {
				if left == 0 {
					close(last)
					return
				}
				f.s.Submit(store.Small, next(left-1))
			})
			return put("s", "k", fmt.Sprint(left))(tx)
		}
	}
	f.s.Submit(store.Small, next(200))
	bulkDone := f.s.Submit(store.Bulk, appendTo("bulk", 1, "n"))
	if err := errors.Join(f.wait(ended), f.wait(bulkDone)); err != nil {
		f.Fatal(err)
	}
	<-last
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
