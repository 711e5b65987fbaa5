package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/internal/store/keyset"
)

// fill appends -messages to a channel, ten thousand at a time, and, where a -group is named, puts it -left messages before the end.
func fill(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	const size = 10_000
	var window []*store.Commit
	began := time.Now()
	wait := func() error {
		c := window[0]
		window = window[1:]
		return c.Wait(ctx)
	}
	// One bundle again and again, with the time that it is appended at: to make each anew would take the time.
	full := bundle(0, size)
	for left := s.messages; left > 0; left -= size {
		b := full
		if left < size {
			b = bundle(0, int(left))
		}
		b.MinTime = time.Now().UnixNano()
		b.MaxTime = b.MinTime
		window = append(window, db.Submit(store.Bulk, func(tx store.Tx) error {
			_, err := tx.Append(s.channel, b)
			return err
		}))
		if len(window) == inFlight {
			if err := wait(); err != nil {
				return err
			}
		}
	}
	for len(window) > 0 {
		if err := wait(); err != nil {
			return err
		}
	}
	r.Add("filled", "messages/s", float64(s.messages)/time.Since(began).Seconds())
	if s.group == "" {
		return nil
	}
	hub := channel.NewHub(db, penstock.SystemClock{}, channel.Options{})
	defer hub.Close()
	c, err := hub.Open(channel.Config{Name: s.channel})
	if err != nil {
		return err
	}
	from := c.Next() - s.left
	g, err := c.Group(ctx, s.group, channel.Position(from))
	if err != nil {
		return err
	}
	done := []channel.Range{{From: 0, To: from}}
	if err := db.Submit(store.Small, func(tx store.Tx) error { return g.Ack(tx, done) }).Wait(ctx); err != nil {
		return err
	}
	g.Acked(done)
	return nil
}

// verify fails unless a channel has had -messages, and the group has acknowledged them all.
func verify(ctx context.Context, db store.Store, s settings, _ *load.Result) error {
	return db.View(ctx, func(v store.View) error {
		b, err := v.Log().Bounds(s.channel)
		if err != nil {
			return err
		}
		if b.Next != s.messages {
			return fmt.Errorf("channel %s has had %d messages, not %d", s.channel, b.Next, s.messages)
		}
		all, err := channel.Cursors(v, s.channel)
		if err != nil {
			return err
		}
		for _, c := range all {
			if c.Group != s.group {
				continue
			}
			if c.Low != s.messages || c.Left != 0 || c.Given != 0 {
				return fmt.Errorf("%s has not had all of %s: %+v", s.group, s.channel, c)
			}
			return nil
		}
		return fmt.Errorf("nobody reads %s as %s: %+v", s.channel, s.group, all)
	})
}

// puts is a transaction of a set of keys.
type puts struct {
	entries []store.Entry
	gone    [][]byte
}

func (p *puts) Put(key, value []byte, due int64) {
	p.entries = append(p.entries, store.Entry{Key: append([]byte(nil), key...), Value: append([]byte(nil), value...), Due: due})
}

func (p *puts) Delete(key []byte) { p.gone = append(p.gone, append([]byte(nil), key...)) }

func (p *puts) write(space string) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, e := range p.entries {
			if err := tx.Put(space, e); err != nil {
				return err
			}
		}
		for _, key := range p.gone {
			if err := tx.Delete(space, key); err != nil {
				return err
			}
		}
		return nil
	}
}

// keysInFlight is how many transactions of keys are under way: one beside the one that is being made. With more the log of the store grows
// faster than it is copied, and the set's own snapshots are cancelled at its bound.
const keysInFlight = 1

// keys puts the keys k0, k1, … into the state of a dedupe step with a window of a day.
func keys(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	if s.space == "" {
		return errors.New("-space is missing")
	}
	set, err := keyset.Open(ctx, db, s.space, keyset.Options{Window: 24 * time.Hour})
	if err != nil {
		return err
	}
	const size = 5000
	var (
		window []*store.Commit
		batch  = make([]keyset.Key, 0, size)
		added  []bool
		text   []byte
		began  = time.Now()
	)
	for i := int64(0); i < s.keys || len(window) > 0; {
		if i < s.keys {
			now := time.Now()
			for batch = batch[:0]; i < s.keys && len(batch) < size; i++ {
				text = strconv.AppendInt(append(text[:0], 'k'), i, 10)
				batch = append(batch, keyset.Key{Hash: keyset.Sum(text), At: now.UnixNano()})
			}
			out := &puts{}
			if added, err = set.Add(ctx, out, now, batch, added[:0]); err != nil {
				return err
			}
			if _, err := set.Maintain(ctx, out); err != nil {
				return err
			}
			window = append(window, db.Submit(store.Bulk, out.write(s.space)))
		}
		if len(window) == keysInFlight || i >= s.keys {
			if err := window[0].Wait(ctx); err != nil {
				return err
			}
			window = window[1:]
		}
	}
	r.Add("filled", "keys/s", float64(s.keys)/time.Since(began).Seconds())
	return nil
}
