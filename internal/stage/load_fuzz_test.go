package stage

import (
	"testing"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// FuzzLoad gives machines entries that they have not written: they are refused, or gone on with, but nothing breaks.
func FuzzLoad(f *testing.F) {
	builds := []func() Machine{
		func() Machine {
			return NewAggregate(&plan.Group{Size: 3, Idle: time.Second, MaxGroups: 5}, true, space)
		},
		func() Machine { return NewAggregate(&plan.Group{AtEnd: true}, false, space) },
		func() Machine { return NewDelay(&plan.Delay{For: time.Second}, false, space) },
		func() Machine { return NewThrottle(&plan.Throttle{Rate: 1, Burst: 2}, space) },
		func() Machine { return NewResequence(&plan.Resequence{Timeout: time.Second, Bound: 3}, space) },
		func() Machine { return NewWindow(&plan.Window{Rate: 2}, space) },
	}
	for i, build := range builds { // what they do write
		w := newWorld(f, build)
		var items []Item
		for n := range 4 {
			items = append(items, Item{Key: "k", At: beginning.UnixNano(), Number: int64(2*n + 1), Record: message("k", "1", "id")})
		}
		w.absorb(items[:2]...)
		w.absorb(items[2:]...)
		w.settle()
		var keys, values [2][]byte
		n := 0
		if err := scan(f.Context(), w.st, space, func(e store.Entry) error {
			keys[n%2], values[n%2] = e.Key, e.Value
			n++
			return nil
		}); err != nil {
			f.Fatal(err)
		}
		f.Add(i, keys[0], values[0], keys[1], values[1])
	}
	f.Fuzz(func(t *testing.T, which int, key1, value1, key2, value2 []byte) {
		if which < 0 || which >= len(builds) || len(key1) == 0 || len(key2) == 0 || len(key1) > 4096 || len(key2) > 4096 {
			return
		}
		w := newWorld(t, builds[which])
		w.pending = []op{{e: store.Entry{Key: key1, Value: value1, Due: 5}}, {e: store.Entry{Key: key2, Value: value2, Due: 9}}}
		w.settle()
		m := builds[which]()
		if m.Load(t.Context(), w.st) != nil {
			return
		}
		out := &taken{}
		it := Item{Key: "k", At: beginning.UnixNano(), Number: 3, Record: message("k", "1", "id")}
		if err := m.Absorb(t.Context(), out, beginning, []Item{it, it}); err != nil {
			return
		}
		for range 5 {
			if _, err := m.Fire(t.Context(), out, beginning.Add(time.Hour)); err != nil {
				return
			}
		}
		if _, err := m.End(t.Context(), out, beginning.Add(time.Hour)); err != nil {
			return
		}
		m.Due()
	})
}
