package stage

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
)

// dedupeModel is dedupe by the book; times are in milliseconds.
type dedupeModel struct {
	window       int64
	clock, ahead int64
	keys         map[string]int64
}

func (m *dedupeModel) clone() *dedupeModel {
	c := *m
	c.keys = maps.Clone(m.keys)
	return &c
}

func (m *dedupeModel) absorb(now time.Time, items []Item) *told {
	o := &told{}
	if ms := now.UnixMilli(); m.clock != math.MinInt64 && m.clock > ms+m.ahead+1000 {
		m.ahead = m.clock - ms
	}
	for _, it := range items {
		m.clock = max(m.clock, min(it.At/1e6, now.UnixMilli())+m.ahead)
		if at, ok := m.keys[it.Key]; ok && m.clock-at < m.window {
			o.count(Dropped, 1)
			continue
		}
		m.keys[it.Key] = m.clock
		o.emitted = append(o.emitted, string(it.Record))
	}
	return o
}

func (m *dedupeModel) fire(time.Time) *told { return &told{} }
func (m *dedupeModel) end(time.Time) *told  { return &told{} }
func (m *dedupeModel) due() int64           { return 0 }
func (m *dedupeModel) restarted()           {}

func TestDedupeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.SampledFrom([]time.Duration{time.Millisecond, 2 * time.Second, 30 * time.Minute}).Draw(t, "window")
		hold(t, func() Machine { return NewDedupe(&plan.Dedupe{Window: window}, space) },
			&dedupeModel{window: window.Milliseconds(), clock: math.MinInt64, keys: map[string]int64{}},
			func(t *rapid.T, now time.Time, n int) Item {
				at := now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, -1, -1000, 1000}).Draw(t, "late")) * time.Second)
				return Item{Key: fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key")), At: at.UnixNano(), Record: fmt.Appendf(nil, "record %d", n)}
			}, func(s string) string { return s })
	})
}

func TestDedupe(t *testing.T) {
	w := newWorld(t, func() Machine { return NewDedupe(&plan.Dedupe{Window: 10 * time.Second}, space) })
	item := func(key, record string) Item { return Item{Key: key, At: w.now.UnixNano(), Record: []byte(record)} }
	steps := []struct {
		after time.Duration
		items []string
		want  []string
	}{
		{0, []string{"a1", "b1", "a2"}, []string{"a1", "b1"}},
		{9999 * time.Millisecond, []string{"a3"}, nil},
		{time.Millisecond, []string{"a4", "a5", "c1"}, []string{"a4", "c1"}}, // a3 did not make the window longer
		{-time.Hour, []string{"a6", "d1"}, []string{"d1"}},                   // the clock is set back: nothing is forgotten, or kept for longer
		{10 * time.Second, []string{"a7", "d2"}, []string{"a7", "d2"}},
	}
	for i, s := range steps {
		w.now = w.now.Add(s.after)
		var items []Item
		for _, r := range s.items {
			items = append(items, item(r[:1], r))
		}
		got := w.absorb(items...)
		if !slices.Equal(got.emitted, s.want) || got.counts[Dropped] != len(s.items)-len(s.want) {
			t.Errorf("step %d: %q and %v, want %q", i, got.emitted, got.counts, s.want)
		}
		w.settle()
		w.restart()
	}
}

func TestDedupeAllocations(t *testing.T) {
	w := newWorld(t, func() Machine { return NewDedupe(&plan.Dedupe{Window: time.Hour}, space) })
	items := make([]Item, 100)
	for i := range items {
		items[i] = Item{Key: fmt.Sprint("a key that is longer than a small buffer holds ", i), At: w.now.UnixNano(), Record: []byte("r")}
	}
	w.absorb(items...)
	out := &taken{counts: map[Counted]int{}}
	n := testing.AllocsPerRun(50, func() {
		if err := w.m.Absorb(t.Context(), out, w.now, items); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 {
		t.Errorf("100 duplicates allocate %v times", n)
	}
}
