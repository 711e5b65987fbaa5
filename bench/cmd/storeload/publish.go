package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// message makes message i as it stands in a channel.
func message(dst []byte, i int64) []byte {
	now := time.Now()
	return record.Draft{Time: now.UnixNano(), Key: fmt.Sprint(i % 1000), Format: jsonview.JSON, Body: load.Body(nil, i)}.Append(dst)
}

// publisher sends message i to a channel, one a transaction, and waits until it is durable.
func publisher(ctx context.Context, db store.Store, channel string) func(int, int64) error {
	return func(_ int, i int64) error {
		now := time.Now().UnixNano()
		b := store.Bundle{N: 1, MinTime: now, MaxTime: now, Data: store.AppendFrame(nil, message(nil, i))}
		return db.Submit(store.Small, func(tx store.Tx) error {
			_, err := tx.Append(channel, b)
			return err
		}).Wait(ctx)
	}
}

func publishing(r *load.Result, prefix string, p load.Publishing) {
	r.Add(prefix+"rate", "messages/s", p.Rate())
	r.Add(prefix+"p50", "ms", p.Quantile(0.5))
	r.Add(prefix+"p99", "ms", p.Quantile(0.99))
}

// publishers measures single messages, and counts what the channel holds then.
func publishers(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	send := publisher(ctx, db, "bench")
	warm, err := load.Publish(s.publishers, 0, s.lasts/5, s.pace, send)
	if err != nil {
		return err
	}
	before := db.Stats()
	p, err := load.Publish(s.publishers, warm.Next(), s.lasts, s.pace, send)
	if err != nil {
		return err
	}
	after := db.Stats()
	publishing(r, "", p)
	r.Add("CPU", "µs a message", float64(p.CPU.Microseconds())/float64(len(p.Took)))
	r.Add("in a commit", "messages", float64(after.Transactions-before.Transactions)/float64(max(1, after.Commits-before.Commits)))
	return holds(ctx, db, "bench", p.Next())
}

// holds reads a channel and counts its messages.
func holds(ctx context.Context, db store.Store, channel string, want int64) error {
	var n, next int64
	for {
		var all []store.Segment
		if err := db.View(ctx, func(v store.View) (err error) {
			all, err = v.Log().Segments(channel, next, 4<<20)
			return err
		}); err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
		for _, g := range all {
			next = g.End()
			for data := g.Data; len(data) > 0; n++ {
				var err error
				if _, data, err = store.NextFrame(data); err != nil {
					return err
				}
			}
		}
	}
	if n != want {
		return fmt.Errorf("%d messages were acknowledged, channel %s holds %d", want, channel, n)
	}
	return nil
}

// sagas is how many of them are under way at a time.
const sagas = 16

// small measures transactions as a saga makes them: read its state, write it, append an event; beside a flow that appends bundles of
// a thousand messages, four on their way at a time.
func small(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	over := make(chan struct{})
	var (
		beside sync.WaitGroup
		failed error
	)
	if !s.alone {
		beside.Go(func() { failed = saturate(ctx, db, "bulk", over) })
	}
	value := make([]byte, 200)
	step := func(_ int, i int64) error {
		key := fmt.Appendf(nil, "saga-%08d", rand.N(100_000))
		now := time.Now().UnixNano()
		b := store.Bundle{N: 1, MinTime: now, MaxTime: now, Data: store.AppendFrame(nil, message(nil, i))}
		return db.Submit(store.Small, func(tx store.Tx) error {
			if _, _, err := tx.State().Get("sagas", key); err != nil {
				return err
			}
			if err := tx.Put("sagas", store.Entry{Key: key, Value: value, Due: rand.Int64N(1e9) + 1}); err != nil {
				return err
			}
			_, err := tx.Append("events", b)
			return err
		}).Wait(ctx)
	}
	warm, err := load.Publish(sagas, 0, s.lasts/5, 0, step)
	if err != nil {
		return err
	}
	before := db.Stats().Messages
	p, err := load.Publish(sagas, warm.Next(), s.lasts, 0, step)
	if err != nil {
		return err
	}
	bulk := float64(db.Stats().Messages-before) - float64(len(p.Took))
	close(over)
	beside.Wait()
	if failed != nil {
		return failed
	}
	r.Add("rate", "transactions/s", p.Rate())
	r.Add("p50", "ms", p.Quantile(0.5))
	r.Add("p99", "ms", p.Quantile(0.99))
	r.Add("longest", "ms", p.Quantile(1))
	r.Add("beside", "messages/s", max(0, bulk)/p.Wall.Seconds())
	return holds(ctx, db, "events", p.Next())
}

// saturate appends bundles of a thousand messages, four on their way at a time, until over is closed.
func saturate(ctx context.Context, db store.Store, channel string, over <-chan struct{}) error {
	b := bundle(0, 1000)
	var window []*store.Commit
	for {
		select {
		case <-over:
			for _, c := range window {
				if err := c.Wait(ctx); err != nil {
					return err
				}
			}
			return nil
		default:
		}
		window = append(window, db.Submit(store.Bulk, func(tx store.Tx) error {
			_, err := tx.Append(channel, b)
			return err
		}))
		if len(window) == 4 {
			if err := window[0].Wait(ctx); err != nil {
				return err
			}
			window = window[1:]
		}
	}
}

// bundle makes n messages from number first.
func bundle(first int64, n int) store.Bundle {
	now := time.Now().UnixNano()
	b := store.Bundle{N: n, MinTime: now, MaxTime: now}
	var mem []byte
	body := load.Body(nil, first)
	for i := range int64(n) {
		body = load.Body(body[:0], first+i)
		mem = record.Draft{Time: now, Key: fmt.Sprint((first + i) % 1000), Format: jsonview.JSON, Body: body}.Append(mem[:0])
		b.Data = store.AppendFrame(b.Data, mem)
	}
	return b
}
