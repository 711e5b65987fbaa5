package stage

import (
	"context"
	"encoding/binary"
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Delay holds every message back: for a time, or until the time that the message says (Item.Due). Messages leave in
// the order in which they are due, and those of one time in the order in which they came; one that is due as it comes, with none
// before it, is not stored.
//
// For a time is by a clock that does not go back (see steady): where the engine's is set back, what is left to wait stays as it
// was. Until a time is by the engine's clock, whatever that says: set back it means a longer wait, set forward a
// shorter one.
type Delay struct {
	wait  time.Duration
	until bool
	space string
	clock steady
	held  minHeap[held]
	shelf shelf
	batch []held
}

var _ Machine = (*Delay)(nil)

// NewDelay makes the machine of a delay step that keeps its state in the space. With until, Item.Due says how long.
func NewDelay(spec *plan.Delay, until bool, space string) *Delay {
	return &Delay{wait: spec.For, until: until, space: space, clock: newSteady(), shelf: newShelf(space)}
}

// time is the clock that the step goes by.
func (d *Delay) time(out Output, now time.Time) int64 {
	if d.until {
		return now.UnixNano()
	}
	return d.clock.tick(out, now)
}

// Absorb holds messages back.
func (d *Delay) Absorb(ctx context.Context, out Output, now time.Time, items []Item) error {
	t := d.time(out, now)
	left, leftBytes := portion, portionBytes
	for i := range items {
		it := &items[i]
		due := t + int64(d.wait)
		if d.until {
			due = max(it.Due, 1)
		}
		if due <= t {
			if err := d.release(ctx, out, due, &left, &leftBytes); err != nil {
				return err
			}
			if len(d.held) == 0 || d.held[0].due > due {
				out.Emit(it.Record)
				continue
			}
		}
		value := make([]byte, 0, binary.MaxVarintLen64+len(it.Record))
		value = binary.AppendVarint(value, due-t)
		d.held.push(d.shelf.put(out, due, append(value, it.Record...)))
	}
	return d.shelf.trim(ctx, d.all)
}

// release emits what is due at t, as long as the portion lasts.
func (d *Delay) release(ctx context.Context, out Output, t int64, left, leftBytes *int) error {
	for *left > 0 && *leftBytes > 0 && len(d.held) > 0 && d.held[0].due <= t {
		d.batch = d.batch[:0]
		for len(d.batch) < min(fetchAtOnce, *left) && len(d.held) > 0 && d.held[0].due <= t {
			d.batch = append(d.batch, d.held.remove(0))
		}
		n := len(d.batch)
		if missing(d.batch) {
			var err error
			if n, err = d.shelf.fetch(ctx, d.batch); err != nil {
				return err
			}
		}
		for i, h := range d.batch {
			if i >= n || *leftBytes <= 0 {
				d.held.push(h)
				continue
			}
			_, w := binary.Varint(h.value)
			if w <= 0 {
				return damaged(d.space, numberKey(nil, shelfKind, h.id), errDamaged)
			}
			out.Emit(h.value[w:])
			d.shelf.remove(out, h)
			*left--
			*leftBytes -= len(h.value)
		}
		clear(d.batch)
	}
	return nil
}

// all walks over what is held.
func (d *Delay) all(f func(*held)) {
	for i := range d.held {
		f(&d.held[i])
	}
}

// Due says when the next message is due.
func (d *Delay) Due() int64 {
	switch {
	case len(d.held) == 0:
		return 0
	case d.until:
		return max(d.held[0].due, 1)
	}
	return d.clock.outside(d.held[0].due)
}

// Fire emits what is due.
func (d *Delay) Fire(ctx context.Context, out Output, now time.Time) (more bool, err error) {
	t := d.time(out, now)
	if mutation.On("delay-early") {
		t += int64(time.Minute)
	}
	left, leftBytes := portion, portionBytes
	if err := d.release(ctx, out, t, &left, &leftBytes); err != nil {
		return false, err
	}
	return len(d.held) > 0 && d.held[0].due <= t, nil
}

// End leaves what is held to the clock.
func (d *Delay) End(context.Context, Output, time.Time) (more bool, err error) { return false, nil }

// Load reads what is held.
func (d *Delay) Load(ctx context.Context, s store.Store) error {
	d.shelf.store = s
	return scan(ctx, s, d.space, func(e store.Entry) error {
		if e.Key[0] == clockKey[0] {
			return d.clock.load(e.Value)
		}
		h, ok, err := d.shelf.load(e)
		switch {
		case err != nil:
			return err
		case !ok:
			return errDamaged
		}
		wait, w := binary.Varint(e.Value)
		if w <= 0 {
			return errDamaged
		}
		if mutation.On("delay-lost-at-restart") {
			return nil
		}
		if !d.until {
			d.clock.seen(h.due - wait) // when it came
		}
		d.held.push(h)
		return nil
	})
}
