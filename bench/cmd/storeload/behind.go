package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// behind measures live publishers beside a consumer that begins -messages behind them, until it has caught up or the time is over;
// with -alone the publishers only. The consumer acknowledges what it has in transactions, as flows do.
func behind(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	hub := channel.NewHub(db, penstock.SystemClock{}, channel.Options{})
	defer hub.Close()
	c, err := hub.Open(channel.Config{Name: s.channel})
	if err != nil {
		return err
	}
	first := c.Next()
	ctx, stop := context.WithTimeout(ctx, s.lasts)
	defer stop()
	caughtUp := make(chan struct{})
	var (
		consumer sync.WaitGroup
		had      int64
		took     time.Duration
		failed   error
	)
	if !s.alone {
		g, err := c.Group(ctx, "behind/from", channel.Position(first-s.messages))
		if err != nil {
			return err
		}
		consumer.Go(func() {
			defer close(caughtUp)
			began := time.Now()
			had, failed = consume(ctx, db, c, g, first-s.messages)
			took = time.Since(began)
		})
	}
	send := publisher(context.WithoutCancel(ctx), db, s.channel)
	p, err := load.Publish(s.publishers, first, s.lasts, s.pace, func(w int, i int64) error {
		select {
		case <-caughtUp:
			return load.ErrOver
		default:
		}
		return send(w, i)
	})
	stop()
	consumer.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	publishing(r, "live ", p)
	if !s.alone {
		r.Add("catch-up", "messages/s", float64(had)/took.Seconds())
	}
	return nil
}

// inFlight is how many transactions of acknowledgements a consumer has under way.
const inFlight = 4

// consume reads a group in order from a position until it has everything, or ctx ends.
func consume(ctx context.Context, db store.Store, c *channel.Channel, g *channel.Group, next int64) (had int64, err error) {
	type ack struct {
		done *store.Commit
		what []channel.Range
	}
	var acks []ack
	settle := func() error {
		a := acks[0]
		acks = acks[1:]
		if err := a.done.Wait(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		g.Acked(a.what)
		had += a.what[0].To - a.what[0].From
		return nil
	}
	reader := g.Join(channel.Waits{})
	defer reader.Leave()
	for next < c.Next() {
		got, err := reader.Next(ctx, 1024)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return had, err
		}
		from := next
		for _, d := range got {
			if d.Position != next {
				return had, fmt.Errorf("position %d came in the place of %d", d.Position, next)
			}
			next++
		}
		what := []channel.Range{{From: from, To: next}}
		acks = append(acks, ack{db.Submit(store.Bulk, func(tx store.Tx) error { return g.Ack(tx, what) }), what})
		if len(acks) == inFlight {
			if err := settle(); err != nil {
				return had, err
			}
		}
	}
	for len(acks) > 0 {
		if err := settle(); err != nil {
			return had, err
		}
	}
	return had, nil
}
