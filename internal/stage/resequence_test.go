package stage

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
)

// seqModel is a resequencer by the book.
type seqModel struct {
	op    *plan.Resequence
	clock modelClock
	next  map[string]int64
	held  []waiting // in the order of arrival
}

type waiting struct {
	key    string
	number int64
	came   int64
	record string
}

func (m *seqModel) clone() *seqModel {
	c := *m
	c.next, c.held = maps.Clone(m.next), slices.Clone(m.held)
	return &c
}

func (m *seqModel) restarted() {
	m.clock.last = noTime
	for _, h := range m.held {
		m.clock.last = max(m.clock.last, h.came)
	}
}

// first is the held message of a key that is to leave next; -1: none.
func (m *seqModel) first(key string) int {
	best := -1
	for i, h := range m.held {
		if h.key == key && (best < 0 || h.number < m.held[best].number) {
			best = i
		}
	}
	return best
}

// drain lets out what is in order now.
func (m *seqModel) drain(o *told, key string) {
	for i := m.first(key); i >= 0 && m.held[i].number <= m.next[key]; i = m.first(key) {
		h := m.held[i]
		m.held = slices.Delete(m.held, i, i+1)
		o.emitted = append(o.emitted, h.record)
		m.next[key] = max(m.next[key], h.number+1)
	}
}

func (m *seqModel) giveUp(o *told, key string) {
	number := m.held[m.first(key)].number
	o.count(Gaps, int(number-m.next[key]))
	m.next[key] = number
	m.drain(o, key)
}

func (m *seqModel) absorb(now time.Time, items []Item) *told {
	o := &told{}
	t := m.clock.tick(now)
	for i, it := range items {
		if _, ok := m.next[it.Key]; !ok {
			m.next[it.Key] = m.op.Start
		}
		twice := slices.ContainsFunc(m.held, func(h waiting) bool { return h.key == it.Key && h.number == it.Number })
		over := it.Number < m.next[it.Key]
		if over || twice {
			o.count(Late, 1)
		}
		switch {
		case (over || twice) && m.op.Late == plan.LateDrop:
			o.count(Dropped, 1)
		case (over || twice) && m.op.Late == plan.LateDeadLetter:
			o.rejected = append(o.rejected, i)
		case over:
			o.emitted = append(o.emitted, string(it.Record))
		default:
			m.held = append(m.held, waiting{it.Key, it.Number, t, string(it.Record)})
			m.drain(o, it.Key)
		}
		if m.op.Bound > 0 && len(m.held) > m.op.Bound {
			o.count(ByBound, 1)
			m.giveUp(o, m.held[0].key)
		}
	}
	return o
}

func (m *seqModel) fire(now time.Time) *told {
	o := &told{}
	t := m.clock.tick(now)
	for m.op.Timeout > 0 && len(m.held) > 0 && m.held[0].came+int64(m.op.Timeout) <= t {
		m.giveUp(o, m.held[0].key)
	}
	return o
}

func (m *seqModel) end(time.Time) *told {
	o := &told{}
	if m.op.Timeout == 0 && len(m.held) > 0 {
		o.count(Unfinished, len(m.held))
	}
	return o
}

func (m *seqModel) due() int64 {
	if m.op.Timeout == 0 || len(m.held) == 0 {
		return 0
	}
	return m.held[0].came + int64(m.op.Timeout) - m.clock.ahead
}

func TestResequenceIsWhatTheModelIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := &plan.Resequence{
			Start:   rapid.SampledFrom([]int64{0, 1, -3}).Draw(t, "start"),
			Timeout: rapid.SampledFrom([]time.Duration{0, 4 * time.Second}).Draw(t, "timeout"),
			Bound:   rapid.SampledFrom([]int{1, 4, 1000}).Draw(t, "bound"),
			Late:    rapid.SampledFrom([]plan.Late{"", plan.LateInclude, plan.LateDrop, plan.LateDeadLetter}).Draw(t, "late"),
		}
		first := &seqModel{op: op, clock: modelClock{last: noTime}, next: map[string]int64{}}
		sent := map[string]int64{}
		hold(t, func() Machine { return NewResequence(op, space) }, first, func(t *rapid.T, _ time.Time, n int) Item {
			key := rapid.SampledFrom([]string{"", "a", strings.Repeat("long", 2000)}).Draw(t, "key")
			sent[key]++
			return Item{Key: key, Number: op.Start + sent[key] - 1 + int64(rapid.IntRange(-3, 3).Draw(t, "number")), Record: fmt.Append(nil, "message ", n)}
		}, func(s string) string { return s })
	})
}

// In whatever order they come: each leaves once, in its place.
func TestResequencePutsAllInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		numbers := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "numbers")
		w := newWorld(t, func() Machine { return NewResequence(&plan.Resequence{}, space) })
		var got []string
		for _, i := range numbers {
			got = append(got, w.absorb(Item{Number: int64(i), Record: fmt.Append(nil, i)}).emitted...)
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				w.settle()
				w.restart()
			}
		}
		for i, g := range got {
			if g != fmt.Sprint(i) {
				t.Fatalf("%v", got)
			}
		}
		w.settle()
		if len(got) != n || w.entries() != 1 || len(w.end().counts) != 0 {
			t.Fatalf("%d of %d, %d entries", len(got), n, w.entries())
		}
	})
}

func TestResequenceAtTheEndOfNumbers(t *testing.T) {
	w := newWorld(t, func() Machine {
		return NewResequence(&plan.Resequence{Start: math.MinInt64, Timeout: time.Second}, space)
	})
	w.absorb(Item{Number: math.MaxInt64, Record: []byte("last")}, Item{Number: math.MaxInt64 - 1, Record: []byte("before")})
	w.now = w.now.Add(time.Second)
	if out := w.fire(); !slices.Equal(out.emitted, []string{"before", "last"}) || out.counts[Gaps] <= 0 {
		t.Errorf("%v %v", out.emitted, out.counts)
	}
}

// Gaps that very many wait behind are given up in portions.
func TestResequenceLeavesInPortions(t *testing.T) {
	w := newWorld(t, func() Machine { return NewResequence(&plan.Resequence{Timeout: time.Second}, space) })
	for i := range 3500 {
		w.absorb(Item{Number: int64(2*i + 1), Record: fmt.Append(nil, i)})
	}
	w.now = w.now.Add(time.Second)
	got := 0
	for more := true; more; {
		out := &taken{}
		var err error
		if more, err = w.m.Fire(t.Context(), out, w.now); err != nil || len(out.emitted) > portion {
			t.Fatalf("%d at once, %v", len(out.emitted), err)
		}
		got += len(out.emitted)
		w.pending = append(w.pending, out.ops...)
		w.settle()
		w.restart()
	}
	if got != 3500 {
		t.Errorf("%d came out", got)
	}
}
