package entity

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Reader reads all events of an entity, in the order of their commits, part by part: where a reader stands is a position for each part. It is safe
// for concurrent use.
type Reader struct{ e *Entity }

// Reader reads the events of the entity.
func (e *Entity) Reader() *Reader { return &Reader{e} }

// Parts is in how many parts there are events.
func (r *Reader) Parts() (int, error) {
	o, err := r.e.store()
	if err != nil {
		return 0, err
	}
	return len(o.lanes), nil
}

// Channel is the channel of the store that holds the events of a part: for store.Store.Notify.
func (r *Reader) Channel(part int) string { return partOfChannel(r.e.name, part) }

// End is the position behind the last event of a part.
func (r *Reader) End(ctx context.Context, part int) (int64, error) {
	o, err := r.e.store()
	if err != nil {
		return 0, err
	}
	var b store.Bounds
	err = o.st.View(ctx, func(v store.View) (err error) {
		b, err = v.Log().Bounds(r.Channel(part))
		return err
	})
	return b.Next, err
}

// readBytes is how much a Reader reads at a time, about.
const readBytes = 1 << 20

// Read returns events of a part from a position on, in order, about 1 MiB of them and at least one where there is any, and the position to go on
// from. Their data is as the configuration knows it now, with the personal fields that can still be read. An event of type ErasedType says that
// those of a subject can't be read any more: what was kept of its Key has to be made anew.
//
// An event that can't be read any more ends with an error (code internal, with an UnreadableError) once those before it are read: Read then returns no event
// and the same position, however often it is asked. Nothing is skipped.
func (r *Reader) Read(ctx context.Context, part int, from int64) (events []Event, next int64, err error) {
	o, err := r.e.store()
	if err != nil {
		return nil, from, err
	}
	l := o.lanes[part]
	x := r.e.plan.Load()
	var damage error
	err = o.st.View(ctx, func(v store.View) error {
		events, next, damage = events[:0], from, nil
		all, err := v.Log().Segments(l.n.events, from, readBytes)
		if err != nil {
			return err
		}
		for _, s := range all {
			pos, rest := s.Base, s.Data
			if pos > next {
				damage = l.unreadable(&Event{Part: part, Position: next}, errors.New("it is not there"))
				return nil
			}
			for ; pos < s.End(); pos++ {
				var rec []byte
				if rec, rest, err = store.NextFrame(rest); err != nil {
					damage = l.unreadable(&Event{Part: part, Position: pos}, err)
					return nil
				}
				if pos < from {
					continue
				}
				ev := Event{Part: part, Position: pos}
				if err = ev.parse(rec); err == nil {
					err = l.reveal(v.State(), &ev)
				}
				if err != nil {
					damage = l.unreadable(&ev, err)
					return nil
				}
				events, next = append(events, ev), pos+1
			}
		}
		return nil
	})
	if err != nil {
		return nil, from, err
	}
	b := benches.Get().(*bench)
	defer benches.Put(b)
	for i := range events {
		if err := r.e.present(b, l, x, &events[i]); err != nil {
			events, next, damage = events[:i], events[i].Position, err
			break
		}
	}
	if len(events) == 0 && damage != nil {
		return nil, from, damage
	}
	return events, next, nil
}

// present brings an event to what the configuration knows now.
func (e *Entity) present(b *bench, l *lane, x *plan.Entity, ev *Event) error {
	if ev.Type == ErasedType {
		return nil
	}
	if _, err := b.current(x, e.r.rt.Load(), ev); err != nil {
		return l.unreadable(ev, err)
	}
	return nil
}

// Message appends an event of a part to b as a message, as the configuration knows it now: see [Event.Message]. False: it says that a subject was erased,
// and is no event of the entity.
func (e *Entity) Message(ctx context.Context, part int, pos int64, rec []byte, b *penstock.Batch) (*penstock.Message, bool, error) {
	o, err := e.store()
	if err != nil {
		return nil, false, err
	}
	l := o.lanes[part]
	ev := Event{Part: part, Position: pos}
	err = ev.parse(rec)
	if err == nil && ev.Type == ErasedType {
		return nil, false, nil
	}
	if err == nil && ev.Subject != nil {
		err = o.st.View(ctx, func(v store.View) error { return l.reveal(v.State(), &ev) })
	}
	if err != nil {
		return nil, false, l.unreadable(&ev, err)
	}
	w := benches.Get().(*bench)
	defer benches.Put(w)
	if err := e.present(w, l, e.plan.Load(), &ev); err != nil {
		return nil, false, err
	}
	return ev.Message(b, e.name), true, nil
}

// Channels are the channels of the store that hold the events, by part.
func (e *Entity) Channels() ([]string, error) {
	o, err := e.store()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(o.lanes))
	for p, l := range o.lanes {
		out[p] = l.n.events
	}
	return out, nil
}
