package conform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

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

// parts: a store keeps its number of parts, and channels and spaces of all of them work together.
func parts(f *fixture) {
	n := f.s.Parts()
	if n < 1 {
		f.Fatalf("%d parts", n)
	}
	for i := range 3 {
		f.do(func(tx store.Tx) error {
			for p := range n {
				p = (p*7 + i) % n // in any order
				base, err := tx.Append(store.InPart("c", p), Bundle(1, fmt.Sprint(i)))
				f.equal("base", base, i)
				e, _, err2 := tx.State().Get(store.InPart("s", p), []byte("k"))
				f.equal("entry", len(e.Value), i)
				if err := errors.Join(err, err2, put(store.InPart("s", p), "k", string(e.Value)+".")(tx)); err != nil {
					return err
				}
			}
			return nil
		})
		f.reopen()
		f.equal("parts", f.s.Parts(), n)
	}
	for p := range n {
		f.equal(store.InPart("c", p), f.read(store.InPart("c", p), 0), []string{"0", "1", "2"}[:])
	}
}
