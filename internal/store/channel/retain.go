package channel

import (
	"context"
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Cursor says where a group stands.
type Cursor struct {
	Group string `json:"group"`
	Low   int64  `json:"low"`   // everything before it is acknowledged or given back
	Left  int64  `json:"left"`  // messages that are neither
	Given int64  `json:"given"` // messages that were given back and wait
	Next  int64  `json:"next"`  // of the channel
}

// Cursors lists where all the groups of a channel stand, also those of earlier runs.
func Cursors(v store.View, channel string) ([]Cursor, error) {
	b, err := v.Log().Bounds(channel)
	if err != nil {
		return nil, err
	}
	var all []Cursor
	err = eachCursor(v, channel, func(name string, d *done) error {
		given, err := countBack(v, channel, name)
		all = append(all, Cursor{Group: name, Low: d.low, Left: max(0, b.Next-d.low) - d.above(b.Next), Given: given, Next: b.Next})
		return err
	})
	return all, err
}

// SetCursor says in a transaction that a group which is not open in any Hub, and reads the log by itself, is done with everything before a
// position: what is behind it is kept for the group.
func SetCursor(tx store.Writer, channel, group string, low int64) error {
	d := done{low: low}
	return tx.Put(cursorSpace(channel), store.Entry{Key: []byte(group), Value: d.value()})
}

// RemoveCursor forgets a group of SetCursor: nothing is kept for it any more.
func RemoveCursor(tx store.Writer, channel, group string) error {
	return tx.Delete(cursorSpace(channel), []byte(group))
}

func eachCursor(v store.View, channel string, f func(name string, d *done) error) error {
	var after []byte
	for {
		page, err := v.State().Scan(cursorSpace(channel), after, pageEntries)
		if err != nil {
			return err
		}
		for _, e := range page {
			d, err := parseDone(e.Value)
			if err != nil {
				return wrap("group "+string(e.Key), channel, err)
			}
			if err := f(string(e.Key), &d); err != nil {
				return err
			}
			after = e.Key
		}
		if len(page) < pageEntries {
			return nil
		}
	}
}

func countBack(v store.View, channel, group string) (n int64, err error) {
	after := before(backKey(group, 0))
	for {
		page, err := v.State().Scan(backSpace(channel), after, pageEntries)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			if _, ok := readBackKey(group, e.Key); !ok {
				return n, nil
			}
			n++
			after = e.Key
		}
		if len(page) < pageEntries {
			return n, nil
		}
	}
}

// Forget removes a group that nobody reads any more, with what it gave back: what it has not read no longer has to be kept. The group must not
// be open.
func (h *Hub) Forget(ctx context.Context, channel, group string) error {
	g := &Group{c: &Channel{hub: h, config: Config{Name: channel}}, name: group}
	err := h.store.Submit(store.Small, func(tx store.Tx) error {
		if err := g.forget(tx, Range{0, 1<<63 - 1}); err != nil {
			return err
		}
		return tx.Delete(cursorSpace(channel), []byte(group))
	}).Wait(ctx)
	if err != nil {
		return wrap("forget group "+group, channel, err)
	}
	return nil
}

// dropPage is how many bytes of old segments are looked at in one transaction.
const dropPage = 4 << 20

// Retain shortens the open channels by whole segments: queues by what all groups have acknowledged, topics by what of that is older
// than Retain, or beyond RetainBytes. A topic without groups is shortened too, a queue without groups is not. It returns how many
// segments are gone. It is to be called now and then; a channel that has much to drop is shortened in several transactions.
func (h *Hub) Retain(ctx context.Context, now time.Time) (segments int, err error) {
	h.mu.Lock()
	all := make([]*Channel, 0, len(h.channels))
	for _, c := range h.channels {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		for {
			n, more, err := c.retain(ctx, now)
			segments += n
			if err != nil {
				return segments, wrap("retain channel", c.config.Name, err)
			}
			if !more {
				break
			}
		}
	}
	return segments, nil
}

// retain does one transaction. more says that it did not come to the end.
func (c *Channel) retain(ctx context.Context, now time.Time) (n int, more bool, err error) {
	name := c.config.Name
	var to int64
	err = c.hub.view(ctx, func(v store.View) (err error) {
		to, more, err = c.droppable(v, now)
		return err
	})
	if err != nil || to < 0 {
		return 0, false, err
	}
	dropped := 0
	err = c.hub.store.Submit(store.Small, func(tx store.Tx) error { // small: it makes room on a disk that has none
		// groups may have come, or gone back, since
		safe, err := c.safe(tx)
		if err != nil {
			return err
		}
		dropped, err = tx.Drop(name, min(to, safe))
		return err
	}).Wait(ctx)
	if err != nil {
		return 0, false, err
	}
	return dropped, more && dropped > 0, nil
}

// safe is the position before which nobody needs the log.
func (c *Channel) safe(v store.View) (int64, error) {
	safe, groups := int64(1<<63-1), 0
	err := eachCursor(v, c.config.Name, func(_ string, d *done) error {
		if mutation.On("retention-ignores-group") && groups > 0 {
			return nil
		}
		safe = min(safe, d.low)
		groups++
		return nil
	})
	if groups == 0 && c.now.Load().Queue {
		safe = 0
	}
	return safe, err
}

// droppable finds the position up to which whole segments can go; -1 where none can.
func (c *Channel) droppable(v store.View, now time.Time) (to int64, more bool, err error) {
	name := c.config.Name
	b, err := v.Log().Bounds(name)
	if err != nil || b.First >= b.Next {
		return -1, false, err
	}
	safe, err := c.safe(v)
	if err != nil || safe <= b.First {
		return -1, false, err
	}
	if c.now.Load().Queue {
		return safe, false, nil
	}
	to = b.First
	if c.now.Load().Retain > 0 {
		if to, err = v.Log().Seek(name, now.Add(-c.now.Load().Retain)); err != nil {
			return -1, false, err
		}
		to = max(to, b.First)
	}
	if excess := b.Bytes - c.now.Load().RetainBytes; c.now.Load().RetainBytes > 0 && excess > 0 {
		old, err := v.Log().Segments(name, b.First, dropPage)
		if err != nil {
			return -1, false, err
		}
		for _, s := range old {
			if excess <= 0 {
				break
			}
			excess -= int64(len(s.Data))
			to = max(to, s.End())
		}
		more = excess > 0
	}
	if to = min(to, safe); to <= b.First {
		return -1, false, nil
	}
	return to, more, nil
}
