package observe

import (
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// The native buckets: eight to a power of two (schema 3: each is 9 % wider than the one before), from about a microsecond to
// somewhat more than an hour.
const (
	// Schema is the resolution of the native buckets, as Prometheus counts it.
	Schema = 3
	perTwo = 1 << Schema

	lowest  = -20 // 2^-20 s: what is shorter is in the zero bucket
	highest = 12  // 2^12 s: what is longer is in the last bucket
	buckets = (highest - lowest) * perTwo
)

// ZeroThreshold is the duration in seconds up to which the zero bucket counts.
const ZeroThreshold = 1.0 / (1 << 20)

// bounds are the upper bounds of the buckets between 1/2 and 1.
var bounds = func() (b [perTwo]float64) {
	for i := range b {
		b[i] = math.Exp2(float64(i+1)/perTwo - 1)
	}
	return b
}()

// DefaultBounds are the classic buckets of durations, in seconds.
func DefaultBounds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
}

// Histogram counts durations, in native (exponential) and in classic buckets. It is safe for concurrent use, and never blocks
// or allocates, but for exemplars. The zero Histogram has no classic buckets and is ready for use.
type Histogram struct {
	zero    atomic.Uint64
	native  [buckets]atomic.Uint64
	sum     atomic.Uint64 // seconds, the bits of a float64
	classic []classic
}

type classic struct {
	bound    float64
	n        atomic.Uint64
	exemplar atomic.Pointer[Exemplar]
}

// Exemplar is a message that was traced, as an example of a bucket.
type Exemplar struct {
	TraceID [16]byte
	Value   float64 // seconds
	At      time.Time
}

// NewHistogram makes a histogram with classic buckets, too: their upper bounds in seconds, in any order.
func NewHistogram(upper ...float64) *Histogram {
	upper = slices.Clone(upper)
	slices.Sort(upper)
	upper = slices.Compact(upper)
	h := &Histogram{classic: make([]classic, len(upper))}
	for i, b := range upper {
		h.classic[i].bound = b
	}
	return h
}

// Observe counts n messages that took d each. A negative d (a clock that was set back) counts as 0.
func (h *Histogram) Observe(d time.Duration, n int) {
	if n <= 0 {
		return
	}
	s := max(0, d.Seconds())
	if i := index(s); i < 0 {
		h.zero.Add(uint64(n))
	} else {
		h.native[i].Add(uint64(n))
	}
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+s*float64(n))) {
			break
		}
	}
	if c := h.at(s); c != nil {
		c.n.Add(uint64(n))
	}
}

// Example keeps a traced message as the exemplar of its classic bucket. It allocates; what is longer than the last bound has none.
func (h *Histogram) Example(d time.Duration, trace [16]byte, at time.Time) {
	s := max(0, d.Seconds())
	if c := h.at(s); c != nil {
		c.exemplar.Store(&Exemplar{TraceID: trace, Value: s, At: at})
	}
}

// at is the classic bucket that counts s seconds; nil is the one without a bound.
func (h *Histogram) at(s float64) *classic {
	low, high := 0, len(h.classic)
	for low < high {
		if mid := (low + high) / 2; h.classic[mid].bound < s {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(h.classic) {
		return nil
	}
	return &h.classic[low]
}

// index is the native bucket of s seconds; -1 is the zero bucket.
func index(s float64) int {
	if s <= ZeroThreshold {
		return -1
	}
	frac, exp := math.Frexp(s) // s = frac * 2^exp, frac in [0.5, 1)
	i := 0
	for i < perTwo-1 && bounds[i] < frac {
		i++
	}
	// The bounds of the last bucket of a power of two are that power; 0.5 itself belongs to the power before.
	at := (exp-1-lowest)*perTwo + i
	if frac == 0.5 {
		at = (exp-1-lowest)*perTwo - 1
	}
	return min(max(at, 0), buckets-1)
}

// Snapshot is what a histogram has counted.
type Snapshot struct {
	Count uint64
	Sum   float64 // seconds
	Zero  uint64  // up to [ZeroThreshold]
	// Native are the counts of the buckets by their index at [Schema]: bucket i ends at 2^(i/8) seconds. Empty ones are left out.
	Native map[int]int64
	// Classic are the buckets with bounds, in order. The one without is what is left of Count.
	Classic []Bucket
}

// Bucket is one classic bucket.
type Bucket struct {
	Bound    float64 // seconds
	Count    uint64  // in this bucket and those below
	Exemplar *Exemplar
}

// Snapshot reads the counts. What is counted meanwhile is in it or not, but its parts agree.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Native: map[int]int64{}, Zero: h.zero.Load()}
	s.Count = s.Zero
	for i := range h.native {
		if n := h.native[i].Load(); n > 0 {
			s.Native[i+lowest*perTwo+1] = int64(n)
			s.Count += n
		}
	}
	s.Sum = math.Float64frombits(h.sum.Load())
	total := uint64(0)
	for i := range h.classic {
		c := &h.classic[i]
		total = min(total+c.n.Load(), s.Count)
		s.Classic = append(s.Classic, Bucket{Bound: c.bound, Count: total, Exemplar: c.exemplar.Load()})
	}
	return s
}

// Quantile is a duration in seconds that a share q of what was counted took at most, to within a ninth of it; 0 where nothing was.
func (h *Histogram) Quantile(q float64) float64 { return Quantiles([]float64{q}, h)[0] }

// Quantiles are quantiles, as [Histogram.Quantile] gives them, of what several histograms have counted together.
func Quantiles(qs []float64, all ...*Histogram) []float64 {
	s := Snapshot{Native: map[int]int64{}}
	for _, h := range all {
		o := h.Snapshot()
		s.Count, s.Zero = s.Count+o.Count, s.Zero+o.Zero
		for i, n := range o.Native {
			s.Native[i] += n
		}
	}
	out := make([]float64, len(qs))
	for i, q := range qs {
		out[i] = s.quantile(q)
	}
	return out
}

func (s *Snapshot) quantile(q float64) float64 {
	if s.Count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(s.Count)))
	below := s.Zero
	if below >= rank {
		return ZeroThreshold
	}
	for _, i := range slices.Sorted(maps.Keys(s.Native)) {
		if below += uint64(s.Native[i]); below >= rank {
			return math.Exp2(float64(i) / perTwo)
		}
	}
	return 0
}
