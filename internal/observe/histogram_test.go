package observe

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramCountsInBothKinds(t *testing.T) {
	h := NewHistogram(1, .1, .1, .5)
	h.Observe(100*time.Millisecond, 3) // on a bound: in the bucket that ends there
	h.Observe(101*time.Millisecond, 2)
	h.Observe(2*time.Second, 1)
	h.Observe(-time.Second, 4)
	h.Observe(time.Hour, 0)
	s := h.Snapshot()
	if s.Count != 10 || s.Zero != 4 {
		t.Fatalf("count %d, zero %d", s.Count, s.Zero)
	}
	if want := 3*.1 + 2*.101 + 2; math.Abs(s.Sum-want) > 1e-9 {
		t.Errorf("sum %v, want %v", s.Sum, want)
	}
	var got []Bucket
	got = append(got, s.Classic...)
	want := []Bucket{{Bound: .1, Count: 7}, {Bound: .5, Count: 9}, {Bound: 1, Count: 9}}
	if len(got) != len(want) {
		t.Fatalf("buckets %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("bucket %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// Every duration is in the native bucket whose bounds hold it, as Prometheus defines them: (2^((i-1)/8), 2^(i/8)].
func TestNativeBucketHoldsItsDuration(t *testing.T) {
	hold := func(t interface{ Errorf(string, ...any) }, s float64) {
		var h Histogram
		h.Observe(time.Duration(s*1e9), 1)
		exact := time.Duration(s * 1e9).Seconds()
		snap := h.Snapshot()
		if exact <= ZeroThreshold {
			if snap.Zero != 1 {
				t.Errorf("%v s is not in the zero bucket", exact)
			}
			return
		}
		for i, n := range snap.Native {
			low, high := math.Exp2(float64(i-1)/8), math.Exp2(float64(i)/8)
			if n != 1 || exact <= low*(1-1e-12) || exact > high*(1+1e-12) {
				t.Errorf("%v s is in bucket %d, (%v, %v]", exact, i, low, high)
			}
		}
		if len(snap.Native) != 1 {
			t.Errorf("%v s is in %d buckets", exact, len(snap.Native))
		}
	}
	for _, s := range []float64{1e-6, 1. / (1 << 20), 2e-6, .25, .5, 1, 2, 4096, 3} {
		hold(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { hold(t, math.Exp(rapid.Float64Range(-14, 8.3).Draw(t, "ln s"))) })
}

func TestWhatIsTooLongIsInTheLastBucket(t *testing.T) {
	var h Histogram
	h.Observe(100*time.Hour, 1)
	if s := h.Snapshot(); s.Native[highest*perTwo] != 1 {
		t.Errorf("%v", s.Native)
	}
}

func TestExemplarStandsInItsBucket(t *testing.T) {
	h := NewHistogram(.1, 1)
	at := time.Unix(7, 0)
	h.Example(300*time.Millisecond, [16]byte{1}, at)
	h.Example(time.Minute, [16]byte{2}, at)
	s := h.Snapshot()
	if s.Classic[0].Exemplar != nil || s.Classic[1].Exemplar == nil || s.Classic[1].Exemplar.TraceID != [16]byte{1} {
		t.Errorf("%+v", s.Classic)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	h := NewHistogram(DefaultBounds()...)
	if n := testing.AllocsPerRun(100, func() { h.Observe(3*time.Millisecond, 256) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	h := NewHistogram(DefaultBounds()...)
	for b.Loop() {
		h.Observe(3*time.Millisecond, 256)
	}
}
