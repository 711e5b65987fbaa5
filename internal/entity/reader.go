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
	var damage error
	err = o.st.View(ctx, func(v store.View) (err error) {
		events, next, damage, err = l.page(v, from)
		return err
	})
	if err != nil {
		return nil, from, err
	}
	return r.presented(l, events, next, damage, from)
}

var errNotOpen = &penstock.Error{Code: penstock.Unavailable, Op: "read events", Err: errors.New("the store is not open")}

// ReadIn is Read in a view of the store, or in a transaction: of what it sees.
func (r *Reader) ReadIn(v store.View, part int, from int64) (events []Event, next int64, err error) {
	o := r.e.open.Load() // who opens a store may wait for its transactions
	if o == nil {
		return nil, from, errNotOpen
	}
	l := o.lanes[part]
	events, next, damage, err := l.page(v, from)
	if err != nil {
		return nil, from, err
	}
	return r.presented(l, events, next, damage, from)
}

// page reads events as they were written, until about readBytes, or until one that can't be read: damage.
func (l *lane) page(v store.View, from int64) (events []Event, next int64, damage, err error) {
	next = from
	all, err := v.Log().Segments(l.n.events, from, readBytes)
	if err != nil {
		return nil, from, nil, err
	}
	for _, s := range all {
		pos, rest := s.Base, s.Data
		if pos > next {
			return events, next, l.unreadable(&Event{Part: l.n.part, Position: next}, errors.New("it is not there")), nil
		}
		for ; pos < s.End(); pos++ {
			var rec []byte
			if rec, rest, err = store.NextFrame(rest); err != nil {
				return events, next, l.unreadable(&Event{Part: l.n.part, Position: pos}, err), nil
			}
			if pos < from {
				continue
			}
			ev := Event{Part: l.n.part, Position: pos}
			if err = ev.parse(rec); err != nil {
				return events, next, l.unreadable(&ev, err), nil
			}
			if err = l.reveal(v.State(), &ev); err != nil {
				if !isUnreadable(err) {
					return nil, from, nil, err // the store's: the event is as it was
				}
				return events, next, err, nil
			}
			events, next = append(events, ev), pos+1
		}
	}
	return events, next, nil, nil
}

// presented are events that were read as the configuration knows them now.
func (r *Reader) presented(l *lane, events []Event, next int64, damage error, from int64) ([]Event, int64, error) {
	x := r.e.plan.Load()
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
	if err := ev.parse(rec); err != nil {
		return nil, false, l.unreadable(&ev, err)
	}
	if ev.Type == ErasedType {
		return nil, false, nil
	}
	if ev.Subject != nil {
		if err := look(ctx, o.st, func(v store.View) error { return l.reveal(v.State(), &ev) }); err != nil {
			return nil, false, err
		}
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

// looks is how often a view of the store that took too long is tried again.
const looks = 5

// look is a view of the store that is tried again where the store has ended it for taking too long.
func look(ctx context.Context, st store.Store, f func(store.View) error) (err error) {
	for range looks {
		err = st.View(ctx, f)
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return err
}
