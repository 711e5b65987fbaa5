package conform

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock/internal/store"
)

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
