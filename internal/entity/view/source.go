package view

import (
	"context"
	"errors"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// source is where the events of a view are: logs of the store, one for each part.
type source interface {
	// Logs are the channels of the store, by part.
	Logs() ([]string, error)
	// Read has f take events of a part from a position on, and before another one; end is the position behind what was read. remake is the position of an event that says
	// that rows which were made before it have to be made anew, or -1.
	Read(ctx context.Context, f *folder, part int, from, limit int64) (end, remake int64, err error)
}

// sourceOf is the source of a view.
func (e *Engine) sourceOf(v *plan.View) source {
	if v.Entity == "" {
		return &topic{e.opts.Store, v}
	}
	return &history{e, v}
}

// topic is a channel.
type topic struct {
	st   store.Store
	view *plan.View
}

func (t *topic) Logs() ([]string, error) { return []string{t.view.Channel}, nil }

// errGone says that the log does not reach back to where reading should go on.
var errGone = &penstock.Error{Code: penstock.Internal, Op: "view", Err: errors.New("events that it has not read are gone from the channel"), Hint: "`penstock view rebuild` makes the rows anew, of what is there"}

func (t *topic) Read(ctx context.Context, f *folder, _ int, from, limit int64) (end, remake int64, err error) {
	var segments []store.Segment
	err = look(ctx, t.st, func(v store.View) (err error) {
		segments, err = v.Log().Segments(t.view.Channel, from, readBytes)
		return err
	})
	if err != nil || len(segments) == 0 {
		return from, -1, err
	}
	if segments[0].Base > from {
		f.broken(from, errGone)
		return from, -1, nil
	}
	end = from
	for _, s := range segments {
		pos := s.Base
		for rest := s.Data; len(rest) > 0 && pos < limit; pos++ {
			var rec []byte
			if rec, rest, err = store.NextFrame(rest); err != nil {
				f.broken(pos, err)
				return pos, -1, nil
			}
			if pos >= from {
				f.take(pos, pos, rec)
			}
			end = pos + 1
		}
	}
	return end, -1, nil
}

// history is the events of an entity.
type history struct {
	e    *Engine
	view *plan.View
}

func (h *history) reader() (*entity.Reader, error) {
	if all := h.e.opts.Entities; all != nil {
		if x := all.Entity(h.view.Entity); x != nil {
			return x.Reader(), nil
		}
	}
	return nil, penstock.E(penstock.Config, "view "+h.view.Name, h.view.Entity, "this run has no such entity")
}

func (h *history) Logs() ([]string, error) {
	r, err := h.reader()
	if err != nil {
		return nil, err
	}
	parts, err := r.Parts()
	out := make([]string, parts)
	for p := range out {
		out[p] = r.Channel(p)
	}
	return out, err
}

func (h *history) Read(ctx context.Context, f *folder, part int, from, limit int64) (end, remake int64, err error) {
	r, err := h.reader()
	if err != nil {
		return from, -1, err
	}
	events, next, err := r.Read(ctx, part, from)
	var unreadable *entity.UnreadableError
	if errors.As(err, &unreadable) {
		f.broken(from, err)
		return from, -1, nil
	}
	if err != nil {
		return from, -1, err
	}
	end, remake = f.takeEvents(events, next, limit)
	return end, remake, nil
}

// takeEvents takes events of an entity that lie before a position; next is the one behind them. What it returns is as of [source.Read].
func (f *folder) takeEvents(events []entity.Event, next, limit int64) (end, remake int64) {
	remake = -1
	for i := range events {
		ev := &events[i]
		if ev.Position >= limit {
			return ev.Position, remake
		}
		if ev.Type == entity.ErasedType {
			remake = ev.Position
			continue
		}
		does := f.events[ev.Type]
		if does == nil && f.view.By == nil {
			if f.view.Strict {
				f.unknown(ev.Position, ev.Time, ev.Type)
			}
			continue
		}
		f.takeMessage(ev.Position, ev.Version, ev.Time, ev.Message(&f.batch, f.view.Entity), does)
	}
	return next, remake
}

// broken notes an event that can't be read.
func (f *folder) broken(pos int64, err error) { f.read = append(f.read, event{pos: pos, err: err}) }

// ends are the positions behind the last events of logs, and the first ones that are there.
func ends(ctx context.Context, st store.Store, logs []string) (first, next []int64, err error) {
	err = look(ctx, st, func(v store.View) error {
		first, next = make([]int64, len(logs)), make([]int64, len(logs))
		for p, name := range logs {
			b, err := v.Log().Bounds(name)
			if err != nil {
				return err
			}
			first[p], next[p] = b.First, b.Next
		}
		return nil
	})
	return first, next, err
}

// reached says that a vector of positions is not before another one.
func reaches(at, target []int64) bool {
	for p, t := range target {
		if p >= len(at) || at[p] < t {
			return false
		}
	}
	return true
}

// between counts the events from one vector of positions to another.
func between(from, to []int64) (n int64) {
	for p, t := range to {
		at := int64(0)
		if p < len(from) {
			at = from[p]
		}
		n += max(0, t-at)
	}
	return n
}

// latest is the later one of two vectors of positions, part by part.
func latest(a, b []int64) []int64 {
	out := slices.Clone(a)
	for p, t := range b {
		if p < len(out) {
			out[p] = max(out[p], t)
		} else {
			out = append(out, t)
		}
	}
	return out
}
