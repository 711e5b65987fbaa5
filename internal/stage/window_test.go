package stage

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
)

// windowModel is a sample by the book.
type windowModel struct {
	op    *plan.Window
	clock modelClock
	count int64
	last  int64
}

func (m *windowModel) clone() *windowModel {
	c := *m
	return &c
}

func (m *windowModel) restarted() { m.clock.last = m.last }

func (m *windowModel) absorb(now time.Time, items []Item) *told {
	o := &told{}
	t := m.clock.tick(now)
	for _, it := range items {
		var takes bool
		if m.op.Every > 0 {
			takes = m.count%m.op.Every == 0
			m.count++
		} else if takes = m.last == noTime || t >= m.last+int64(m.op.Interval); takes {
			m.last = t
		}
		if takes {
			o.emitted = append(o.emitted, string(it.Record))
		} else {
			o.count(Dropped, 1)
		}
	}
	return o
}

func (m *windowModel) fire(time.Time) *told { return &told{} }
func (m *windowModel) end(time.Time) *told  { return &told{} }
func (m *windowModel) due() int64           { return 0 }

func TestWindowIsWhatTheModelIs(t *testing.T) {
	for _, op := range []*plan.Window{{Every: 1}, {Every: 3}, {Interval: 2 * time.Second}} {
		t.Run(fmt.Sprint(*op), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				hold(t, func() Machine { return NewWindow(op, space) }, &windowModel{op: op, clock: modelClock{last: noTime}, last: noTime},
					func(_ *rapid.T, _ time.Time, n int) Item { return Item{Record: fmt.Append(nil, "message ", n)} },
					func(s string) string { return s })
			})
		})
	}
}

// A rate lets its bucket pass, and then so many a second; also over a restart, and whatever the clock does.
func TestWindowOfARate(t *testing.T) {
	w := newWorld(t, func() Machine { return NewWindow(&plan.Window{Rate: 2}, space) })
	for i, c := range []struct {
		step    time.Duration
		n, pass int
	}{
		{0, 5, 2}, {0, 5, 0}, {500 * time.Millisecond, 5, 1}, {499 * time.Millisecond, 1, 0}, {2 * time.Millisecond, 2, 1}, {time.Hour, 5, 2},
		{-time.Hour, 5, 0}, {500 * time.Millisecond, 5, 1}, {-300 * time.Millisecond, 3, 0}, {800 * time.Millisecond, 3, 1},
	} {
		w.now = w.now.Add(c.step)
		out := w.absorb(make([]Item, c.n)...)
		if len(out.emitted) != c.pass || out.counts[Dropped] != c.n-c.pass {
			t.Errorf("%d: %d passed, %d dropped", i, len(out.emitted), out.counts[Dropped])
		}
		w.settle()
		w.restart()
	}
	slow := NewWindow(&plan.Window{Rate: 0.1}, space)
	out := &taken{}
	for i, want := range []int{1, 1, 2} {
		if err := slow.Absorb(t.Context(), out, beginning.Add(time.Duration(i)*5001*time.Millisecond), make([]Item, 3)); err != nil || len(out.emitted) != want {
			t.Errorf("%d: %d passed, %v", i, len(out.emitted), err)
		}
	}
}
