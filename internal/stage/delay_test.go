package stage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
)

// delayModel is a delay by the book.
type delayModel struct {
	wait  time.Duration
	until bool
	clock modelClock
	held  []delayed // in the order of arrival
}

type delayed struct {
	due, came int64
	record    string
}

func (m *delayModel) clone() *delayModel {
	c := *m
	c.held = slices.Clone(m.held)
	return &c
}

func (m *delayModel) restarted() {
	m.clock.last = noTime
	for _, h := range m.held {
		m.clock.last = max(m.clock.last, h.came)
	}
}

func (m *delayModel) time(now time.Time) int64 {
	if m.until {
		return now.UnixNano()
	}
	return m.clock.tick(now)
}

func (m *delayModel) release(o *told, t int64) {
	for {
		best := -1
		for i, h := range m.held {
			if h.due <= t && (best < 0 || h.due < m.held[best].due) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		o.emitted = append(o.emitted, m.held[best].record)
		m.held = slices.Delete(m.held, best, best+1)
	}
}

func (m *delayModel) absorb(now time.Time, items []Item) *told {
	o := &told{}
	t := m.time(now)
	for _, it := range items {
		due := t + int64(m.wait)
		if m.until {
			due = max(it.Due, 1)
		}
		m.held = append(m.held, delayed{due, t, string(it.Record)})
		if due <= t {
			m.release(o, due)
		}
	}
	return o
}

func (m *delayModel) fire(now time.Time) *told {
	o := &told{}
	m.release(o, m.time(now))
	return o
}

func (m *delayModel) end(time.Time) *told { return &told{} }

func (m *delayModel) due() int64 {
	if len(m.held) == 0 {
		return 0
	}
	return slices.MinFunc(m.held, func(a, b delayed) int { return int(a.due - b.due) }).due - m.clock.ahead
}

func TestDelayIsWhatTheModelIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := &delayModel{until: rapid.Bool().Draw(t, "until"), clock: modelClock{last: noTime}}
		if !first.until {
			first.wait = rapid.SampledFrom([]time.Duration{0, time.Second, 5 * time.Second}).Draw(t, "for")
		}
		budget := rapid.SampledFrom([]int64{0, 300, shelfBudget}).Draw(t, "budget")
		build := func() Machine {
			d := NewDelay(&plan.Delay{For: first.wait}, first.until, space)
			d.shelf.budget = budget
			return d
		}
		hold(t, build, first, func(t *rapid.T, now time.Time, n int) Item {
			it := Item{Record: []byte(fmt.Sprint("message ", n))}
			if first.until {
				it.Due = now.Add(time.Duration(rapid.IntRange(-3, 9).Draw(t, "due")) * time.Second).UnixNano()
				if rapid.IntRange(0, 20).Draw(t, "no time") == 0 {
					it.Due = -5
				}
			}
			return it
		}, func(s string) string { return s })
	})
}

// Of very many messages only some are in memory; all come out, in order, in portions, also after a restart.
func TestDelayOfMany(t *testing.T) {
	const n = 5000
	var d *Delay
	w := newWorld(t, func() Machine {
		d = NewDelay(&plan.Delay{For: time.Minute}, false, space)
		d.shelf.budget = 20000
		return d
	})
	body := strings.Repeat("x", 100)
	highest := int64(0)
	for i := range n {
		before := w.pending
		w.absorb(Item{Record: []byte(fmt.Sprint(body, i))})
		if i%3 == 0 { // the transactions before this one are durable now
			after := w.pending[len(before):]
			w.pending = before
			w.settle()
			w.pending = after
		}
		w.now = w.now.Add(time.Millisecond)
		highest = max(highest, d.shelf.bytes)
		if i == n/2 {
			w.settle()
			w.restart()
		}
	}
	if highest > 25000 {
		t.Errorf("%d bytes in memory", highest)
	}
	w.settle()
	w.now = w.now.Add(time.Minute)
	next := 0
	for more := true; more; {
		out := &taken{}
		var err error
		if more, err = w.m.Fire(t.Context(), out, w.now); err != nil || len(out.emitted) > portion {
			t.Fatalf("%d at once, %v", len(out.emitted), err)
		}
		for _, e := range out.emitted {
			if e != fmt.Sprint(body, next) {
				t.Fatalf("%s, not %d", e, next)
			}
			next++
		}
		w.pending = append(w.pending, out.ops...)
		if next < 3000 {
			w.settle()
			w.restart()
		}
	}
	w.settle()
	if next != n || w.entries() != 0 || d.shelf.bytes != 0 {
		t.Errorf("%d came out, %d entries left, %d bytes in memory", next, w.entries(), d.shelf.bytes)
	}
}

// A message that is due as it comes does not overtake what is due before it, however much that is.
func TestDelayKeepsTheOrderOfDue(t *testing.T) {
	w := newWorld(t, func() Machine { return NewDelay(&plan.Delay{}, true, space) })
	until := beginning.Add(time.Second)
	for i := range 2500 {
		w.absorb(Item{Due: until.UnixNano(), Record: fmt.Append(nil, i)})
	}
	w.now = until.Add(time.Second)
	var got []string
	for i := range 2 {
		got = append(got, w.absorb(Item{Due: until.UnixNano() + 5, Record: fmt.Append(nil, 2500+i)}).emitted...)
		w.settle()
		w.restart()
	}
	got = append(got, w.fire().emitted...)
	for i, g := range got {
		if g != fmt.Sprint(i) {
			t.Fatalf("%s at %d", g, i)
		}
	}
	if len(got) != 2502 {
		t.Errorf("%d left", len(got))
	}
}

// A clock that is set back by an hour while nothing happens, before and after a restart.
func TestDelayDoesNotStallWhenTheClockIsSetBack(t *testing.T) {
	w := newWorld(t, func() Machine { return NewDelay(&plan.Delay{For: time.Minute}, false, space) })
	w.absorb(Item{Record: []byte("a")})
	w.settle()
	w.now = w.now.Add(20*time.Second - time.Hour)
	w.restart()
	if got := w.fire(); len(got.emitted) != 0 {
		t.Errorf("too early: %v", got.emitted)
	}
	if d := time.Unix(0, w.m.Due()).Sub(w.now); d != time.Minute {
		t.Errorf("due in %s", d)
	}
	w.settle()
	w.restart()
	w.now = w.now.Add(time.Minute)
	if got := w.fire(); len(got.emitted) != 1 {
		t.Errorf("late")
	}
}

func TestMinHeap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h minHeap[*openGroup]
		var all []*openGroup
		for range rapid.IntRange(0, 60).Draw(t, "ops") {
			switch i := rapid.IntRange(0, 4).Draw(t, "op"); {
			case i > 1 || len(all) == 0:
				g := &openGroup{dueAt: int64(rapid.IntRange(0, 9).Draw(t, "due")), number: uint64(len(all))}
				h.push(g)
				all = append(all, g)
			case i == 0:
				n := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				if g := h.remove(all[n].heapAt); g != all[n] || g.heapAt != -1 {
					t.Fatalf("removed %v", g)
				}
				all = slices.Delete(all, n, n+1)
			default:
				g := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				g.dueAt = int64(rapid.IntRange(0, 9).Draw(t, "due"))
				h.fix(g.heapAt)
			}
			for _, g := range all {
				if h[g.heapAt] != g || g.before(h[0]) {
					t.Fatalf("out of order")
				}
			}
		}
	})
}
