package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"penstock.dev/penstock/internal/store"
)

// ledger is what was acknowledged, kept outside of the store. For each channel: how many messages.
type ledger map[string]int64

// message is what is at a position of a channel: longer ones cover several pages.
func message(channel string, p int64) []byte {
	random := rand.New(rand.NewPCG(uint64(p), uint64(len(channel))))
	b := make([]byte, 20+random.IntN(200))
	if random.IntN(20) == 0 {
		b = make([]byte, 6000)
	}
	binary.BigEndian.PutUint64(b, uint64(p))
	for i := 8; i < len(b); i++ {
		b[i] = byte(random.Uint32())
	}
	return b
}

// publish appends n messages to a channel, and in the same transaction what has to agree with that: the count, and an entry for the last one.
func publish(channel string, n int) func(store.Tx) error {
	return func(tx store.Tx) error {
		key := []byte("next")
		e, _, err := tx.State().Get(channel, key)
		if err != nil {
			return err
		}
		next := int64(0)
		if e.Value != nil {
			next = int64(binary.BigEndian.Uint64(e.Value))
		}
		var frames []byte
		for i := range int64(n) {
			frames = store.AppendFrame(frames, message(channel, next+i))
		}
		base, err := tx.Append(channel, store.Bundle{N: n, Data: frames, MinTime: next, MaxTime: next + int64(n)})
		if err != nil {
			return err
		}
		if base != next {
			return fmt.Errorf("channel %s continues at %d, and its count is %d", channel, base, next)
		}
		next += int64(n)
		return errors.Join(tx.Put(channel, store.Entry{Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(next)), Due: next}),
			tx.Put(channel+" last", store.Entry{Key: binary.BigEndian.AppendUint64(nil, uint64(next%50)), Value: message(channel, next)}))
	}
}

// survived compares a store with a ledger: everything acknowledged is there, nothing is half there, and what is there was written.
func survived(s store.Store, l ledger) (now ledger, err error) {
	now = ledger{}
	err = s.View(context.Background(), func(v store.View) error {
		channels, err := v.Log().Channels()
		if err != nil {
			return err
		}
		for _, b := range channels {
			now[b.Channel] = b.Next
			for p := b.First; p < b.Next; {
				segments, err := v.Log().Segments(b.Channel, p, 1<<20)
				if err != nil {
					return err
				}
				if len(segments) == 0 {
					return fmt.Errorf("channel %s has nothing from %d on, and should have messages up to %d", b.Channel, p, b.Next)
				}
				for _, s := range segments {
					if s.Base != p {
						return fmt.Errorf("channel %s goes on at %d behind %d", b.Channel, s.Base, p)
					}
					for rest := s.Data; len(rest) > 0; p++ {
						m, more, err := store.NextFrame(rest)
						if err != nil {
							return err
						}
						if string(m) != string(message(b.Channel, p)) {
							return fmt.Errorf("message %d of channel %s is another one", p, b.Channel)
						}
						rest = more
					}
				}
			}
			e, _, err := v.State().Get(b.Channel, []byte("next"))
			if err != nil {
				return err
			}
			if len(e.Value) != 8 || int64(binary.BigEndian.Uint64(e.Value)) != b.Next {
				return fmt.Errorf("channel %s has %d messages, and the entry that was written with them says %x", b.Channel, b.Next, e.Value)
			}
			e, _, err = v.State().Get(b.Channel+" last", binary.BigEndian.AppendUint64(nil, uint64(b.Next%50)))
			if err != nil {
				return err
			}
			if string(e.Value) != string(message(b.Channel, b.Next)) {
				return fmt.Errorf("the entry for message %d of channel %s is another one", b.Next, b.Channel)
			}
		}
		return nil
	})
	for ch, n := range l {
		if now[ch] < n && err == nil {
			err = fmt.Errorf("%d messages of channel %s were acknowledged, and it has %d", n, ch, now[ch])
		}
	}
	return now, err
}

// powered is one life of a store on a disk, until the power is cut.
type powered struct {
	left  image
	acked ledger
}

// live has a store live on what a power cut has left, up to the next one; others are taken on the way.
func live(t *testing.T, from powered, random *rand.Rand, soften string) (cuts []powered) {
	t.Helper()
	dir := t.TempDir()
	from.left.write(t, dir)
	disk := newDisk(t)
	acked := maps.Clone(from.acked)                      // under the disk's lock
	cutting := rand.New(rand.NewPCG(random.Uint64(), 1)) // under the disk's lock
	end := 40 + random.IntN(800)
	take := map[int]bool{1 + random.IntN(end): true, 1 + random.IntN(end): true, 1 + random.IntN(end): true, end: true}
	disk.after = func(op int) {
		if take[op] {
			cuts = append(cuts, powered{disk.cut(cutting), maps.Clone(acked)})
		}
	}
	disk.before = func(op int, what, name string) error {
		if op > end {
			return errDead
		}
		return nil
	}
	d, err := Open(context.Background(), disk.options(filepath.Join(dir, "store.db")))
	if err != nil {
		if disk.ops <= end {
			t.Fatal(err)
		}
		return cuts
	}
	channels := []string{"a", "bb", "ccc"}
	for _, ch := range channels {
		// The earliest time at which anybody can know that it is durable.
		d.Notify(ch, func(s store.Segment) {
			disk.mu.Lock()
			acked[ch] = s.End()
			disk.mu.Unlock()
		})
	}
	// A small cache: pages go into the log before their commit.
	err = d.exclusive(func(w *conn) error { return errors.Join(w.text("PRAGMA cache_size = 20"), w.text(soften)) })
	for err == nil {
		var commits []*store.Commit
		for range 1 + random.IntN(4) {
			class, n := store.Small, 1
			if random.IntN(4) == 0 {
				class, n = store.Bulk, 1+random.IntN(100)
			}
			commits = append(commits, d.Submit(class, publish(channels[random.IntN(3)], n)))
		}
		if random.IntN(10) == 0 {
			ch := channels[random.IntN(3)]
			commits = append(commits, d.Submit(store.Bulk, func(tx store.Tx) error {
				b, err := tx.Log().Bounds(ch)
				if err == nil {
					_, err = tx.Drop(ch, b.Next-10)
				}
				return err
			}))
		}
		for _, c := range commits {
			if err = c.Wait(context.Background()); err != nil {
				break
			}
		}
	}
	_ = d.Close() // the disk is dead
	disk.mu.Lock()
	defer disk.mu.Unlock()
	if disk.ops <= end {
		t.Fatal(err)
	}
	return cuts
}

// recovered opens what a power cut has left, with the driver that is really used, and says what is there.
func (p powered) recovered(t *testing.T) (ledger, error) {
	t.Helper()
	dir := t.TempDir()
	p.left.write(t, dir)
	path := filepath.Join(dir, "store.db")
	d, err := Open(context.Background(), patient(Options{Path: path, Reserve: -1}))
	if err != nil {
		return nil, err
	}
	now, err := survived(d, p.acked)
	if err == nil { // it goes on
		err = submit(d, store.Small, publish("a", 3))
	}
	if r, e := d.Check(context.Background(), nil); err == nil && (e != nil || len(r.Problems) > 0) {
		err = fmt.Errorf("%v %v", e, r)
	}
	return now, errors.Join(err, d.Close())
}

// TestPowerCut cuts the power at random points, of one life after the other, also while it recovers from the cut before.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, uint64(longer(1))))
	cuts, most := 0, int64(0)
	from := powered{acked: ledger{}}
	for range longer(8) {
		all := live(t, from, random, "PRAGMA synchronous = FULL")
		for _, p := range all {
			now, err := p.recovered(t)
			if err != nil {
				t.Fatalf("after cut %d: %v", cuts, err)
			}
			cuts++
			for _, n := range now {
				most = max(most, n)
			}
		}
		from = all[len(all)-1]
	}
	if most < 100 {
		t.Errorf("it came to %d messages only", most)
	}
	t.Logf("%d power cuts, the longest channel had %d messages", cuts, most)
}

// TestPowerCutIsNoticed proves that the test above can fail: with weaker settings something is lost.
func TestPowerCutIsNoticed(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"PRAGMA synchronous = NORMAL", "PRAGMA synchronous = OFF"} {
		random := rand.New(rand.NewPCG(8, 8))
		lost := 0
		for range 4 {
			for _, p := range live(t, powered{acked: ledger{}}, random, weak) {
				if _, err := p.recovered(t); err != nil {
					lost++
				}
			}
		}
		if lost == 0 {
			t.Errorf("%s: nothing was lost", weak)
		}
		t.Logf("%s: %d cuts lost something", weak, lost)
	}
}
