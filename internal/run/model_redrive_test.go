package run

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// redrive gives some of a flow's dead letters in again: those that choose says. It returns how many are left.
func (l *life) redrive(flow string, choose func() bool) (left int) {
	ctx := context.Background()
	hub := channel.NewHub(l.store, penstock.SystemClock{}, channel.Options{})
	defer hub.Close()
	c, err := hub.Open(channel.Config{Name: deadChannel(flow), Queue: true})
	if err != nil {
		l.t.Fatal(err)
	}
	g, err := c.Group(ctx, deadGroup, channel.Start{})
	if err != nil {
		l.t.Fatal(err)
	}
	r := g.Join(channel.Waits{})
	defer r.Leave()
	g.End()
	var data []byte
	var ranges []channel.Range
	for waiting, _ := g.Lag(); waiting > 0; {
		ds, err := r.Next(ctx, 100)
		if err == io.EOF {
			break
		}
		if err != nil {
			l.t.Fatal(err)
		}
		waiting -= int64(len(ds))
		for _, d := range ds {
			if !choose() {
				left++
				continue
			}
			data = store.AppendFrame(data, d.Record)
			ranges = append(ranges, channel.Range{From: d.Position, To: d.Position + 1})
		}
	}
	if len(ranges) == 0 {
		return left
	}
	if err := l.store.Submit(store.Bulk, func(tx store.Tx) error {
		if _, err := tx.Append(inChannel(flow), store.Bundle{N: len(ranges), Data: data}); err != nil {
			return err
		}
		return g.Ack(tx, ranges)
	}).Wait(ctx); err != nil {
		l.t.Fatal(err)
	}
	return left
}

// TestWhatIsGivenInAgainDoesWhatTheModelDoes lets messages die, kills runs, and gives any of the dead letters in again between them,
// until what let them die is mended and none is left. Then every durable channel holds what it would hold if nothing had ever failed: with
// onError.order: park in the order of each key.
func TestWhatIsGivenInAgainDoesWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := found(t, true)
		want := w.think(true)
		l := w.live(t)
		some := func() bool { return rapid.IntRange(0, 2).Draw(t, "again") > 0 }
		for _, kill := range rapid.SliceOfN(rapid.IntRange(-1, 16), 0, 8).Draw(t, "kills") {
			l.run(kill, rapid.Bool().Draw(t, "unsure"))
			for _, f := range w.flows {
				if rapid.Bool().Draw(t, "redrive") {
					l.redrive(f.name, some)
				}
			}
		}
		l.mended = true
		for rounds := 0; ; rounds++ {
			l.run(-1, false)
			left := 0
			for _, f := range w.flows {
				left += l.redrive(f.name, some)
			}
			if left == 0 && l.run(-1, false) && l.deadLeft() == 0 {
				break
			}
			if rounds > 200 {
				t.Fatalf("dead letters are left after %d rounds\n%s", rounds, w)
			}
		}
		for _, f := range w.flows {
			l.compareStored(f, want[f.name])
		}
		l.nothingLeft()
		if t.Failed() {
			t.Logf("%s", w)
		}
	})
}

// deadLeft counts the dead letters that are not dealt with.
func (l *life) deadLeft() (n int64) {
	if err := l.store.View(context.Background(), func(v store.View) error {
		for _, f := range l.flows {
			all, err := channel.Cursors(v, deadChannel(f.name))
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all, func(c channel.Cursor) bool { return strings.HasSuffix(c.Group, deadGroup) })
			b, err := v.Log().Bounds(deadChannel(f.name))
			if i >= 0 {
				n += all[i].Left
			} else {
				n += b.Next
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return n
}
