package stage

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Window lets a sample of the messages pass, and drops the others: the first and then every n-th; one that comes an interval
// or more after the last that passed; or at most so many a second, by a token bucket that holds one second's worth (at least one
// token) and begins full. Its state outlives the process, and it goes by a clock that does not go back (see steady).
type Window struct {
	op    *plan.Window
	space string
	clock steady
	count uint64 // every: messages so far
	last  int64  // interval: when one passed; rate: when the tokens were right; noTime: never
	left  float64
}

var _ Machine = (*Window)(nil)

// NewWindow makes the machine of a sample that keeps its state in the space.
func NewWindow(op *plan.Window, space string) *Window {
	return &Window{op: op, space: space, clock: newSteady(), last: noTime, left: max(op.Rate, 1)}
}

// windowKey is the one entry: count, last and left, eight bytes each.
var windowKey = []byte("s")

// Absorb lets a part of the messages pass.
func (w *Window) Absorb(_ context.Context, out Output, now time.Time, items []Item) error {
	t := w.clock.tick(out, now)
	passed := 0
	for i := range items {
		if w.takes(t) {
			passed++
			out.Emit(items[i].Record)
		}
	}
	if passed < len(items) {
		out.Count(Dropped, len(items)-passed)
	}
	if len(items) > 0 && (w.op.Every > 0 || passed > 0) { // else nothing has changed that would not be so again
		var v [24]byte
		binary.BigEndian.PutUint64(v[:], w.count)
		binary.BigEndian.PutUint64(v[8:], uint64(w.last))
		binary.BigEndian.PutUint64(v[16:], math.Float64bits(w.left))
		out.Put(windowKey, v[:], 0)
	}
	return nil
}

// takes decides on one message.
func (w *Window) takes(t int64) bool {
	switch {
	case w.op.Every > 0:
		w.count++
		return (w.count-1)%uint64(w.op.Every) == 0
	case w.op.Interval > 0:
		if w.last != noTime && t-w.last < int64(w.op.Interval) {
			return false
		}
		w.last = t
		return true
	}
	if w.last != noTime {
		w.left = min(max(w.op.Rate, 1), w.left+time.Duration(t-w.last).Seconds()*w.op.Rate)
	}
	w.last = t
	if w.left < 1 {
		return false
	}
	w.left--
	return true
}

// Due is never: a sample does nothing by itself.
func (w *Window) Due() int64 { return 0 }

// Fire does nothing.
func (w *Window) Fire(context.Context, Output, time.Time) (more bool, err error) { return false, nil }

// End does nothing: another run goes on with the same window.
func (w *Window) End(context.Context, Output, time.Time) (more bool, err error) { return false, nil }

// Load reads where the window stands.
func (w *Window) Load(ctx context.Context, s store.Store) error {
	return scan(ctx, s, w.space, func(e store.Entry) error {
		switch {
		case e.Key[0] == clockKey[0]:
			return w.clock.load(e.Value)
		case e.Key[0] != windowKey[0] || len(e.Value) != 24:
			return errDamaged
		}
		w.count = binary.BigEndian.Uint64(e.Value)
		w.last = int64(binary.BigEndian.Uint64(e.Value[8:]))
		w.left = math.Float64frombits(binary.BigEndian.Uint64(e.Value[16:]))
		w.clock.seen(w.last)
		return nil
	})
}
