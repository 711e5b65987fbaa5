package main

import (
	"context"
	"fmt"
	"time"

	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/store"
)

// grow does the commands 0 to n-1, by so many at a time.
func grow(ctx context.Context, x *entity.Entity, publishers int, command string, n int64, key func(int64) string) (load.Publishing, error) {
	send := commands(ctx, x, command, false, key)
	return load.Publish(publishers, 0, time.Hour, 0, func(w int, i int64) error {
		if i >= n {
			return load.ErrOver
		}
		return send(w, i)
	})
}

// fills is how many commands make so many events, inFill each.
func fills(events int64) int64 { return (events + inFill - 1) / inFill }

// history fills a store with -events events of -keys entities.
func history(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	_, x, err := entities(db, 0)
	if err != nil {
		return err
	}
	p, err := grow(ctx, x, s.publishers, "fill", fills(s.events), among(max(s.keys, 1)))
	if err != nil {
		return err
	}
	n := int64(len(p.Took)) * inFill
	r.Add("filled", "events/s", float64(n)/p.Wall.Seconds())
	if s.alone {
		return nil
	}
	return holdsEvents(ctx, db, n)
}

// appends measures commands of one event each, one after the other: of entities that are in memory, of -keys of any age, whose states are in the store, and of new ones.
func appends(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	_, x, err := entities(db, 0)
	if err != nil {
		return err
	}
	first := time.Now().UnixNano() // so that no command was done before
	few := func(i int64) string { return fmt.Sprint("few-", i%100) }
	for _, part := range []struct {
		name  string
		lasts time.Duration
		key   func(int64) string
	}{
		{"", s.lasts / 5, few},
		{"append", s.lasts, few},
		{"append to one of any age", s.lasts, among(max(s.keys, 1))},
		{"append to a new one", s.lasts, func(i int64) string { return fmt.Sprint("new-", i) }},
	} {
		p, err := load.Publish(1, first, part.lasts, 0, commands(ctx, x, "move", true, part.key))
		if err != nil {
			return err
		}
		first = p.Next()
		if part.name == "" {
			continue
		}
		r.Add(part.name, "µs", p.Wall.Seconds()*1e6/float64(len(p.Took)))
		r.Add(part.name+", p99", "µs", p.Quantile(0.99)*1000)
	}
	return nil
}

// holdsEvents counts the events of a store, and holds them to their chain of hashes.
func holdsEvents(ctx context.Context, db store.Store, want int64) error {
	v, err := entity.Verify(ctx, db, "account", nil)
	if err != nil {
		return err
	}
	if len(v.Broken) > 0 || v.Events != want {
		return fmt.Errorf("%d events are there, and %d were acknowledged; %v", v.Events, want, v.Broken)
	}
	return nil
}
