package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store/memory"
)

// buffers is an Output as an engine's: it copies to memory that it uses again.
type buffers struct {
	data    []byte
	emitted int
	puts    int
	deletes int
}

func (b *buffers) Emit(r []byte)            { b.data = append(b.data, r...); b.emitted++ }
func (b *buffers) Put(k, v []byte, _ int64) { b.data = append(append(b.data, k...), v...); b.puts++ }
func (b *buffers) Delete(k []byte)          { b.data = append(b.data, k...); b.deletes++ }
func (b *buffers) Reject(int, error)        {}
func (b *buffers) Count(Counted, int)       {}
func (b *buffers) reset()                   { b.data = b.data[:0] }
func (b *buffers) rows(n int) (float64, string) {
	return float64(b.puts+b.deletes) / float64(n), "rows/line"
}

// lines are n messages of 300 bytes, 20 of each key; so many keys are open at once.
func lines(n, open int) []Item {
	items := make([]Item, n)
	body := fmt.Sprintf(`{"invoice":"12345678","text":"%s"}`, strings.Repeat("x", 260))
	for i := range items {
		key := fmt.Sprint(i/(20*open)*open + i%open)
		items[i] = Item{Key: key, At: beginning.UnixNano() + int64(i)*1000, Record: message(key, body, "orders.csv:1")}
	}
	return items
}

func BenchmarkAggregate(b *testing.B) {
	for _, open := range []int{1, 1000, 20000} {
		for _, event := range []bool{false, true} {
			b.Run(fmt.Sprintf("open=%d/eventTime=%v", open, event), func(b *testing.B) {
				items := lines(400000/open*open, open)
				m := NewAggregate(&plan.Group{Size: 20, Idle: time.Hour, AtEnd: true, MaxGroups: 100000, MaxBytes: 256 << 20}, event, space)
				out := &buffers{}
				b.SetBytes(300)
				b.ReportAllocs()
				at := 0
				b.ResetTimer()
				for n := 0; n < b.N; n += 1000 {
					if at+1000 > len(items) {
						at = 0
					}
					if err := m.Absorb(b.Context(), out, beginning, items[at:at+1000]); err != nil {
						b.Fatal(err)
					}
					at += 1000
					out.reset()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
				b.ReportMetric(out.rows(b.N))
			})
		}
	}
}

// One group that grows without end.
func BenchmarkAggregateLargeGroup(b *testing.B) {
	items := lines(20, 1)
	m := NewAggregate(&plan.Group{AtEnd: true}, false, space)
	out := &buffers{}
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Absorb(b.Context(), out, beginning, items[:1]); err != nil {
			b.Fatal(err)
		}
		out.reset()
	}
}

func BenchmarkOthers(b *testing.B) {
	items := lines(20000, 1000)
	for i := range items {
		items[i].Number = int64(i / 1000 % 20)
	}
	for name, build := range map[string]func() Machine{
		"delay":           func() Machine { return NewDelay(&plan.Delay{For: time.Second}, false, space) },
		"throttle":        func() Machine { return NewThrottle(&plan.Throttle{Rate: 10, Burst: 5}, space) },
		"throttle/passes": func() Machine { return NewThrottle(&plan.Throttle{Rate: 1e6}, space) },
		"resequence":      func() Machine { return NewResequence(&plan.Resequence{}, space) },
		"window":          func() Machine { return NewWindow(&plan.Window{Every: 10}, space) },
	} {
		b.Run(name, func(b *testing.B) {
			out := &buffers{}
			var m Machine
			now := beginning
			b.ReportAllocs()
			for n := 0; n < b.N; n += 1000 {
				at := n % len(items)
				if at == 0 {
					m = build()
					if err := m.Load(b.Context(), memory.New()); err != nil {
						b.Fatal(err)
					}
				}
				if err := m.Absorb(b.Context(), out, now, items[at:at+1000]); err != nil {
					b.Fatal(err)
				}
				now = now.Add(10 * time.Millisecond)
				for more := m.Due() != 0 && m.Due() <= now.UnixNano(); more; {
					var err error
					if more, err = m.Fire(b.Context(), out, now); err != nil {
						b.Fatal(err)
					}
				}
				out.reset()
			}
		})
	}
}

// What a message may allocate, once a machine is warm.
func TestAllocations(t *testing.T) {
	items := lines(20000, 50)
	ctx := t.Context()
	for name, c := range map[string]struct {
		build func() Machine
		most  float64 // per message
	}{
		"aggregate":  {func() Machine { return NewAggregate(&plan.Group{Size: 20, Idle: time.Hour}, true, space) }, 0.4},
		"delay":      {func() Machine { return NewDelay(&plan.Delay{For: time.Second}, false, space) }, 1.2},
		"throttle":   {func() Machine { return NewThrottle(&plan.Throttle{Rate: 1e6}, space) }, 1.5},
		"resequence": {func() Machine { return NewResequence(&plan.Resequence{}, space) }, 0.2},
		"window":     {func() Machine { return NewWindow(&plan.Window{Every: 2}, space) }, 0.01},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.build()
			if err := m.Load(ctx, memory.New()); err != nil {
				t.Fatal(err)
			}
			out := &buffers{}
			at := 0
			got := testing.AllocsPerRun(15, func() {
				if err := m.Absorb(ctx, out, beginning, items[at:at+1000]); err != nil {
					t.Fatal(err)
				}
				at += 1000
				out.reset()
			})
			if got/1000 > c.most {
				t.Errorf("%.3f allocations a message", got/1000)
			}
			t.Logf("%.3f allocations a message", got/1000)
		})
	}
}
