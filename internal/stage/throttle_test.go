package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock/internal/plan"
)

// TestThrottleKeepsItsPromises: nothing is lost or comes twice, order by key, the rate over every time, and nothing is
// held that may pass; with jumps of the clock and restarts that lose what is not durable.
func TestThrottleKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &plan.Throttle{Rate: rapid.SampledFrom([]float64{0.5, 1, 7, 3000}).Draw(t, "rate"), Burst: rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "burst")}
		budget := rapid.SampledFrom([]int64{0, 300, shelfBudget}).Draw(t, "budget")
		var th *Throttle
		w := newWorld(t, func() Machine {
			th = NewThrottle(spec, space)
			th.shelf.budget = budget
			return th
		})
		keys := []string{"", "a", strings.Repeat("long", 2000)}
		next := map[string]int{} // per key: the message that comes next, and the one that has to leave next
		out := map[string]int{}
		left := map[string][]int64{}
		granted := int64(0) // how much time has passed: as far as anybody can tell, forward is forward
		pass := func(d time.Duration) {
			w.now = w.now.Add(d)
			granted += int64(max(d, 0))
		}
		type mark struct {
			next, out map[string]int
			left      map[string]int
		}
		remember := func() mark {
			m := mark{map[string]int{}, map[string]int{}, map[string]int{}}
			for _, k := range keys {
				m.next[k], m.out[k], m.left[k] = next[k], out[k], len(left[k])
			}
			return m
		}
		durable := remember()
		take := func(got *taken) {
			for _, e := range got.emitted {
				key, n, _ := strings.Cut(e, "|")
				if n != fmt.Sprint(out[key]) {
					t.Fatalf("%.9s: %s left, and not %d", key, n, out[key])
				}
				out[key]++
				left[key] = append(left[key], granted)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			switch rapid.IntRange(0, 8).Draw(t, "do") {
			case 0, 1, 2, 3:
				var items []Item
				for range rapid.IntRange(0, 8).Draw(t, "items") {
					key := rapid.SampledFrom(keys).Draw(t, "key")
					items = append(items, Item{Key: key, Record: fmt.Append(nil, key, "|", next[key])})
					next[key]++
				}
				take(w.absorb(items...))
			case 4, 5:
				take(w.fire())
				if d := w.m.Due(); d != 0 && d <= w.now.UnixNano() {
					t.Fatalf("something is still due")
				}
			case 6:
				w.settle()
				durable = remember()
			default:
				if rapid.Bool().Draw(t, "lose") { // and its source gives again what is lost
					for _, k := range keys {
						next[k], out[k], left[k] = durable.next[k], durable.out[k], left[k][:durable.left[k]]
					}
				} else {
					w.settle()
					durable = remember()
				}
				pass(lag) // it takes a while to start
				w.restart()
			}
			for _, k := range keys {
				if tap := th.taps[k]; next[k] > out[k] && (tap == nil || len(tap.held) == 0) {
					t.Fatalf("%d of %.9s are lost", next[k]-out[k], k)
				}
			}
			// However the clock is set: at the latest when a message is due again it gets through to somebody.
			if most := int64(float64(time.Second)/spec.Rate) + jump + int64(lag); len(th.waiting) > 0 && th.waiting[0].when-th.clock.last > most {
				t.Fatalf("the next waits %s", time.Duration(th.waiting[0].when-th.clock.last))
			}
			pass(drawStep(t))
		}
		for range 100000 {
			d := w.m.Due()
			if d == 0 {
				break
			}
			pass(time.Duration(max(0, d-w.now.UnixNano())))
			take(w.fire())
		}
		for _, k := range keys {
			if out[k] != next[k] {
				t.Fatalf("%d of %d of %.9s came out", out[k], next[k], k)
			}
			for i := range left[k] {
				for j := i; j < len(left[k]); j++ {
					d := time.Duration(left[k][j] - left[k][i])
					if n, most := j-i+1, spec.Rate*(d+lag).Seconds()+float64(max(spec.Burst, 1)); float64(n) > most+1e-6 {
						t.Fatalf("%d of %.9s in %s: more than %v", n, k, d, most)
					}
				}
			}
		}
		w.absorb() // it takes notice of the clock
		pass(time.Hour)
		w.absorb()
		w.settle()
		if n := w.entries(); n > 1 { // of the clock
			t.Fatalf("%d entries are left", n)
		}
	})
}
