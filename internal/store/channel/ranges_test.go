package channel

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestDone holds sets of positions to a list of booleans.
func TestDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 40
		var model [size]bool
		var d done
		for range rapid.IntRange(0, 20).Draw(t, "ranges") {
			from := rapid.Int64Range(0, size).Draw(t, "from")
			r := Range{from, min(size, from+rapid.Int64Range(0, 6).Draw(t, "length"))}
			over := false
			for p := r.From; p < r.To; p++ {
				over = over || model[p]
			}
			if d.overlaps(r) != over {
				t.Fatalf("%+v overlaps %v: %v", d, r, !over)
			}
			d.add(r)
			for p := r.From; p < r.To; p++ {
				model[p] = true
			}
			check(t, d, model[:])
			again, err := parseDone(d.value())
			if err != nil || again.low != d.low || !slices.Equal(again.ranges, d.ranges) {
				t.Fatalf("%+v came back as %+v, %v", d, again, err)
			}
		}
	})
}

func check(t *rapid.T, d done, model []bool) {
	var n int64
	for p, in := range model {
		from, end := d.gap(int64(p))
		want := p
		for want < len(model) && model[want] {
			want++
		}
		last := want
		for last < len(model) && !model[last] {
			last++
		}
		if from != int64(want) || last < len(model) && end != int64(last) || last == len(model) && end < int64(last) {
			t.Fatalf("%+v: the gap at %d is %d to %d, not %d to %d", d, p, from, end, want, last)
		}
		if in && int64(p) >= d.low {
			n++
		}
	}
	if d.above(int64(len(model))) != n {
		t.Fatalf("%+v: %d above low, want %d", d, d.above(int64(len(model))), n)
	}
	at := d.low
	for _, r := range d.ranges {
		if r.From <= at || r.To <= r.From {
			t.Fatalf("%+v is not in order", d)
		}
		at = r.To
	}
}

func FuzzCursor(f *testing.F) {
	d := done{low: 300, ranges: []Range{{302, 310}, {311, 1 << 40}}}
	f.Add(d.value())
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDone(b)
		if err != nil {
			return
		}
		again, err := parseDone(d.value())
		if err != nil || again.low != d.low || !slices.Equal(again.ranges, d.ranges) {
			t.Fatalf("%+v came back as %+v, %v", d, again, err)
		}
		_, _, _, _ = readBack(bytes.Clone(b))
	})
}
