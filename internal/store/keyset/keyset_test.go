package keyset

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"pgregory.net/rapid"
)

// disk is a store of one space whose transactions become durable when the test says so.
type disk struct {
	rows    map[string][]byte
	waiting []*change
	views   int
}

type change struct {
	rows map[string][]byte // nil: deleted
	size int
}

func newDisk() *disk { return &disk{rows: map[string][]byte{}} }

func (d *disk) begin() *change {
	c := &change{rows: map[string][]byte{}}
	d.waiting = append(d.waiting, c)
	return c
}

func (c *change) Put(key, value []byte, _ int64) {
	c.rows[string(key)] = append([]byte{}, value...)
	c.size += len(value)
}
func (c *change) Delete(key []byte) { c.rows[string(key)] = nil }

// commit makes the oldest n transactions durable.
func (d *disk) commit(n int) {
	for _, c := range d.waiting[:n] {
		for k, v := range c.rows {
			if v == nil {
				delete(d.rows, k)
			} else {
				d.rows[k] = v
			}
		}
	}
	d.waiting = d.waiting[n:]
}

func (d *disk) View(_ context.Context, f func(store.View) error) error {
	d.views++
	return f(d)
}
func (d *disk) Log() store.Log     { return nil }
func (d *disk) State() store.State { return d }

func (d *disk) Get(_ string, key []byte) (store.Entry, bool, error) {
	v, ok := d.rows[string(key)]
	return store.Entry{Key: key, Value: v}, ok, nil
}

func (d *disk) Scan(_ string, after []byte, limit int) ([]store.Entry, error) {
	keys := slices.Sorted(maps.Keys(d.rows))
	keys = keys[sort.SearchStrings(keys, string(after)+"\x00"):]
	var out []store.Entry
	for _, k := range keys[:min(limit, len(keys))] {
		out = append(out, store.Entry{Key: []byte(k), Value: d.rows[k]})
	}
	return out, nil
}
func (d *disk) Due(string, int64, int) ([]store.Entry, error) { return nil, nil }
func (d *disk) Spaces(string) ([]store.Space, error)          { return nil, nil }

var tiny = shape{memory: 6, page: 80, chunk: 8, most: 60, log: 60, least: 3, cache: 240}

// model is what a set should be.
type model struct {
	clock, ahead int64
	keys         map[int]int64
}

func newModel() model { return model{never, 0, map[int]int64{}} }

func (m model) clone() model { return model{m.clock, m.ahead, maps.Clone(m.keys)} }

func (m *model) add(window, now int64, keys []int, at []int64) []bool {
	if m.clock != never && m.clock > now+m.ahead+slack {
		m.ahead = m.clock - now
	}
	var added []bool
	for i, k := range keys {
		m.clock = max(m.clock, min(at[i], now)+m.ahead)
		t, ok := m.keys[k]
		fresh := !ok || window > 0 && m.clock-t >= window
		if fresh {
			m.keys[k] = m.clock
		}
		added = append(added, fresh)
	}
	return added
}

func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// ms is a time in nanoseconds that falls into a millisecond.
func ms(t int64) int64 { return t*1e6 + 999_999 }

func flip(bs []bool) []bool {
	out := make([]bool, len(bs))
	for i, b := range bs {
		out[i] = !b
	}
	return out
}

// TestModel holds a set to a map, with small pages and runs so that everything happens often, transactions that become durable late, and
// a crash between any two of them.
func TestModel(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.SampledFrom([]int64{0, 5, 60, 2000}).Draw(t, "window")
		universe := rapid.SampledFrom([]int{10, 80, 1000}).Draw(t, "universe")
		d := newDisk()
		reopen := func() *Set {
			s, err := open(ctx, d, "x", time.Duration(window)*time.Millisecond, tiny)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := reopen()
		durable, m := newModel(), newModel()
		var after []model // each waiting transaction
		now := int64(1_000_000)
		draw := func() ([]int, []int64, []Key) {
			n := rapid.IntRange(0, 12).Draw(t, "n")
			var ks []int
			var ats []int64
			var keys []Key
			for range n {
				k := rapid.IntRange(0, universe-1).Draw(t, "key")
				at := now + int64(rapid.SampledFrom([]int{0, 0, 0, -3, -70, 5, 100_000}).Draw(t, "at"))
				ks, ats, keys = append(ks, k), append(ats, at), append(keys, Key{Sum(number(k)), ms(at)})
			}
			return ks, ats, keys
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				ks, ats, keys := draw()
				tx := d.begin()
				got, err := s.Add(ctx, tx, time.UnixMilli(now), keys, nil)
				if err != nil {
					t.Fatal(err)
				}
				want := m.add(window, now, ks, ats)
				if !slices.Equal(got, want) {
					t.Fatalf("Add at %d of %v at %v: %v, want %v", now, ks, ats, got, want)
				}
				if rapid.Bool().Draw(t, "maintain") {
					if _, err := s.Maintain(ctx, tx); err != nil {
						t.Fatal(err)
					}
				}
				after = append(after, m.clone())
			},
			"seen": func(*rapid.T) {
				ks, ats, keys := draw()
				c := m.clone()
				want := flip(c.add(window, now, ks, ats))
				got, err := s.Seen(ctx, time.UnixMilli(now), keys, nil)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("Seen at %d of %v at %v: %v, want %v (%v)", now, ks, ats, got, want, err)
				}
			},
			"time": func(*rapid.T) {
				now += int64(rapid.SampledFrom([]int{1, 1, 4, 30, 500, -2, -990, -1005, -200_000, 100_000}).Draw(t, "step"))
			},
			"maintain": func(*rapid.T) {
				if _, err := s.Maintain(ctx, d.begin()); err != nil {
					t.Fatal(err)
				}
				after = append(after, m.clone())
			},
			"commit": func(*rapid.T) {
				n := rapid.IntRange(0, len(after)).Draw(t, "commits")
				d.commit(n)
				if n > 0 {
					durable, after = after[n-1].clone(), after[n:]
				}
			},
			"crash": func(*rapid.T) {
				d.waiting, after = nil, nil
				m = durable.clone()
				s = reopen()
			},
		})
		d.commit(len(d.waiting))
		s = reopen()
		for more := true; more; d.commit(len(d.waiting)) {
			var err error
			if more, err = s.Maintain(ctx, d.begin()); err != nil {
				t.Fatal(err)
			}
		}
		nothingLeft(t, d, s)
	})
}

// nothingLeft checks that the store holds what belongs to the runs, and no more.
func nothingLeft(t interface{ Fatalf(string, ...any) }, d *disk, s *Set) {
	want := map[byte]int{}
	for _, r := range s.runs {
		want['p'] += r.pages
		want['b'] += pieces(len(r.filter), s.shape.chunk)
		want['f'] += pieces(r.pages, s.shape.chunk)
	}
	got := map[byte]int{}
	for k := range d.rows {
		got[k[0]]++
	}
	for _, kind := range []byte("pbf") {
		if got[kind] != want[kind] {
			t.Fatalf("%d entries of kind %c are in the store, want %d", got[kind], kind, want[kind])
		}
	}
}

// add puts numbers into a set with one durable transaction.
func add(t testing.TB, s *Set, d *disk, now int64, from, to int) int {
	t.Helper()
	var keys []Key
	for i := from; i < to; i++ {
		keys = append(keys, Key{Sum(number(i)), ms(now)})
	}
	tx := d.begin()
	added, err := s.Add(context.Background(), tx, time.UnixMilli(now), keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Maintain(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
	d.commit(len(d.waiting))
	n := 0
	for _, a := range added {
		if a {
			n++
		}
	}
	return n
}

func TestManyKeys(t *testing.T) {
	d := newDisk()
	s, err := Open(context.Background(), d, "x", Options{Memory: 1 << 10, Cache: 1 << 18})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	largest := 0
	for i := 0; i < n; i += 1000 {
		if got := add(t, s, d, int64(i), i, i+1000); got != 1000 {
			t.Fatalf("%d of 1000 keys are new", got)
		}
	}
	if got := add(t, s, d, n, 0, n); got != 0 {
		t.Fatalf("%d keys are new the second time", got)
	}
	if s, err = Open(context.Background(), d, "x", Options{Memory: 1 << 10, Cache: 1 << 18}); err != nil {
		t.Fatal(err)
	}
	if got := add(t, s, d, n, 0, n+10); got != 10 {
		t.Fatalf("%d keys are new after a start, want 10", got)
	}
	for i := n + 10; i < 2*n; i++ { // one by one
		tx := d.begin()
		if _, err := s.Add(context.Background(), tx, time.UnixMilli(n), []Key{{Sum(number(i)), ms(n)}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Maintain(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, tx.size)
		d.commit(1)
	}
	st := s.Stats()
	if st.Keys != 2*n || st.Runs > 16 {
		t.Errorf("%+v: want %d keys in at most 16 runs", st, 2*n)
	}
	// A small transaction makes a portion of about 4096 entries at most, beside pieces of indexes.
	if largest > 200<<10 {
		t.Errorf("a transaction of one key wrote %d bytes", largest)
	}
	var index int64
	for _, r := range s.runs {
		index += r.memory()
	}
	if perKey := float64(index) / (2 * n); perKey > 2 {
		t.Errorf("%.2f bytes a key are in memory, want less than 2", perKey)
	}
	logs := 0
	for k := range d.rows {
		if k[0] == 'l' {
			logs++
		}
	}
	if logs > 20 {
		t.Errorf("%d log entries for less than 2048 keys", logs)
	}
}

func TestFilterLetsFewPass(t *testing.T) {
	f := make(filter, filterWords(10_000))
	for i := range 10_000 {
		f.add(Sum(number(i)))
	}
	pass := 0
	for i := range 20_000 {
		has := f.has(Sum(number(i)))
		if i < 10_000 && !has {
			t.Fatalf("%d is not in the filter", i)
		}
		if i >= 10_000 && has {
			pass++
		}
	}
	if pass > 120 {
		t.Errorf("%d of 10000 keys that are not there pass the filter, want at most 120", pass)
	}
}

func TestWindowIsExact(t *testing.T) {
	for _, written := range []bool{false, true} {
		d := newDisk()
		o := Options{Window: 1500*time.Microsecond + 8*time.Millisecond, Memory: 1000} // 10 ms
		s, err := Open(context.Background(), d, "x", o)
		if err != nil {
			t.Fatal(err)
		}
		add(t, s, d, 100, 0, 10)
		if written {
			add(t, s, d, 100, 1000, 2000)
		}
		if got := add(t, s, d, 109, 0, 10); got != 0 {
			t.Errorf("%d keys are forgotten after 9 ms", got)
		}
		if got := add(t, s, d, 110, 0, 10); got != 10 {
			t.Errorf("%d keys are forgotten after 10 ms, want 10", got)
		}
	}
}

func TestOldRunsAreDroppedWhole(t *testing.T) {
	d := newDisk()
	s, err := Open(context.Background(), d, "x", Options{Window: time.Second, Memory: 1000})
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for i := range 200 {
		add(t, s, d, int64(i)*100, i*500, i*500+500)
		most = max(most, len(d.rows))
	}
	if st := s.Stats(); st.Keys > 20_000 {
		t.Errorf("%d keys are there, with 5000 in the window", st.Keys)
	}
	if most > 200 {
		t.Errorf("%d entries were in the store", most)
	}
}

func TestDamageIsTold(t *testing.T) {
	ctx := context.Background()
	for name, break_ := range map[string]func(d *disk){
		"page gone":     func(d *disk) { delete(d.rows, first(d, 'p')) },
		"page cut":      func(d *disk) { k := first(d, 'p'); d.rows[k] = d.rows[k][:len(d.rows[k])-1] },
		"page swapped":  func(d *disk) { k := first(d, 'p'); d.rows[k] = append([]byte{255, 255}, d.rows[k][2:]...) },
		"filter gone":   func(d *disk) { delete(d.rows, first(d, 'b')) },
		"fences cut":    func(d *disk) { d.rows[first(d, 'f')] = nil },
		"manifest cut":  func(d *disk) { d.rows["m"] = d.rows["m"][:5] },
		"newer version": func(d *disk) { d.rows["m"][0] = 200 },
		"log cut":       func(d *disk) { k := first(d, 'l'); d.rows[k] = d.rows[k][:12] },
		"clock cut":     func(d *disk) { d.rows["c"] = d.rows["c"][:3] },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			s, err := Open(ctx, d, "steps", Options{Memory: 100})
			if err != nil {
				t.Fatal(err)
			}
			add(t, s, d, 1, 0, 150)
			add(t, s, d, 1, 150, 160)
			break_(d)
			var keys []Key
			for i := range 160 {
				keys = append(keys, Key{Sum(number(i)), ms(1)})
			}
			s, err = Open(ctx, d, "steps", Options{Memory: 100})
			if err == nil {
				_, err = s.Seen(ctx, time.UnixMilli(1), keys, nil)
			}
			if err == nil || !strings.Contains(err.Error(), "space steps") {
				t.Errorf("the damage is not told: %v", err)
			}
		})
	}
}

func first(d *disk, kind byte) string {
	for _, k := range slices.Sorted(maps.Keys(d.rows)) {
		if k[0] == kind {
			return k
		}
	}
	panic(fmt.Sprintf("no entry of kind %c", kind))
}

func TestAllocations(t *testing.T) {
	ctx := context.Background()
	d := newDisk()
	s, err := Open(ctx, d, "x", Options{Memory: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 40_000; i += 1000 {
		add(t, s, d, 1, i, i+1000)
	}
	keys := make([]Key, 1000)
	for i := range keys {
		keys[i] = Key{Sum(number(i * 30)), ms(1)}
	}
	var seen []bool
	look := func() {
		if seen, err = s.Seen(ctx, time.UnixMilli(1), keys, seen[:0]); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if n := testing.AllocsPerRun(20, look); n > 5 {
		t.Errorf("looking for 1000 keys allocates %v times", n)
	}
}

func FuzzManifest(f *testing.F) {
	d := newDisk()
	s, err := Open(context.Background(), d, "x", Options{Memory: 10})
	if err != nil {
		f.Fatal(err)
	}
	add(f, s, d, 1, 0, 100)
	f.Add(d.rows["m"][1:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Set{}
		s.readManifest(b)
	})
}

func FuzzLog(f *testing.F) {
	var l logTail
	l.add(entry{Sum([]byte("a")), 5})
	l.add(entry{Sum([]byte("b")), 500})
	f.Add(l.data)
	f.Fuzz(func(t *testing.T, b []byte) {
		var l logTail
		n := 0
		if !readLog(b, func(e entry) { l.add(e); n++ }) || n == 0 {
			return
		}
		m := 0
		if !readLog(l.data, func(entry) { m++ }) || m != n {
			t.Errorf("%d keys became %d", n, m)
		}
	})
}

// BenchmarkAdd10M adds new keys to a set of 10 million, and BenchmarkSeen10M looks for keys of it at random:
// go test -run - -bench 10M -benchtime 3s ./internal/store/keyset
func BenchmarkAdd10M(b *testing.B) {
	s, d := tenMillion(b)
	n := 20_000_000
	keys := make([]Key, 2000)
	for b.Loop() {
		for i := range keys {
			keys[i] = Key{Sum(number(n)), 1}
			n++
		}
		tx := d.begin()
		if _, err := s.Add(context.Background(), tx, time.UnixMilli(1), keys, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Maintain(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
		d.commit(1)
	}
	report(b, s, len(keys))
}

func BenchmarkSeen10M(b *testing.B) {
	s, _ := tenMillion(b)
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]Key, 2000)
	var seen []bool
	for b.Loop() {
		for i := range keys {
			keys[i] = Key{Sum(number(r.IntN(10_000_000))), 1}
		}
		var err error
		if seen, err = s.Seen(context.Background(), time.UnixMilli(1), keys, seen[:0]); err != nil || slices.Contains(seen, false) {
			b.Fatal(err)
		}
	}
	report(b, s, len(keys))
}

func BenchmarkOpen10M(b *testing.B) {
	_, d := tenMillion(b)
	for b.Loop() {
		if _, err := Open(context.Background(), d, "x", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func tenMillion(b *testing.B) (*Set, *disk) {
	d := newDisk()
	s, err := Open(context.Background(), d, "x", Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < 10_000_000; i += 10_000 {
		add(b, s, d, 1, i, i+10_000)
	}
	b.ResetTimer()
	return s, d
}

func report(b *testing.B, s *Set, batch int) {
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "keys/s")
	st := s.Stats()
	b.ReportMetric(float64(st.Memory)/float64(st.Keys), "B/key")
	b.ReportMetric(float64(st.Runs), "runs")
}

// TestAddedAgain adds keys again after their window, and has the runs with both times merged: the later one counts.
func TestAddedAgain(t *testing.T) {
	d := newDisk()
	s, err := open(context.Background(), d, "x", 10*time.Millisecond, shape{memory: 10, page: 80, chunk: 8, most: 1000, log: 60, least: 200, cache: 800})
	if err != nil {
		t.Fatal(err)
	}
	// The old keys stay: each of their runs has one that counts.
	add(t, s, d, 100, 0, 9)
	add(t, s, d, 109, 1000, 1001)
	if got := add(t, s, d, 110, 0, 9); got != 9 {
		t.Fatalf("%d of 9 keys are new after their window", got)
	}
	for i := 2000; len(s.runs) != 1 || s.runs[0].entries < 20; i += 10 {
		add(t, s, d, 111, i, i+10)
		if i > 3000 {
			t.Fatal("the runs are not merged")
		}
	}
	if got := add(t, s, d, 119, 0, 9); got != 0 {
		t.Errorf("%d keys are forgotten too early", got)
	}
}

// TestClockOfKnownKeysIsKept has a transaction whose new key comes before a known one that moves the clock on: the log says when the new
// key came, and the clock has to be kept beside it.
func TestClockOfKnownKeysIsKept(t *testing.T) {
	d := newDisk()
	open := func() *Set {
		s, err := open(t.Context(), d, "s", 2*time.Second, tiny)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	add := func(now int64, keys ...Key) []bool {
		added, err := s.Add(t.Context(), d.begin(), time.UnixMilli(now), keys, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.commit(1)
		return added
	}
	one, other := Sum([]byte("one")), Sum([]byte("other"))
	at := func(ms int64) int64 { return ms * int64(time.Millisecond) }
	add(600, Key{one, at(600)})
	add(3000, Key{other, at(2000)}, Key{other, at(3000)})
	s = open()
	// The clock of the machine is set back: the set's goes on from 3000, where the first key is out of the window.
	if added := add(-3600_000, Key{other, at(-3600_000)}, Key{one, at(-3600_000)}); added[0] || !added[1] {
		t.Errorf("added %v, want [false true]: the clock that the known key had moved was forgotten", added)
	}
}
