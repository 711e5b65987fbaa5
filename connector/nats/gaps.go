package nats

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gaps are the sequence numbers, below those that a reader has handed out, of messages that may be undone: another process had them, or they were sent
// back and have not come again. A position alone would say that they are done. So it bears them as its mark, and who goes on from it works on them when
// they turn up, where it would else acknowledge them.
type gaps struct {
	ranges []gap // sorted, apart
	looked uint64
	text   string
}

// gap is from the first number to the last.
type gap struct{ first, last uint64 }

// manyGaps bounds how many ranges there are: beyond, the last one takes up what lies between. What is in it and was done may be done twice, if its
// acknowledgement was lost as well.
const manyGaps = 64

// parseGaps reads what mark wrote. What can't be read is nothing: it is of no version that wrote any.
func parseGaps(mark string) (g gaps) {
	for part := range strings.SplitSeq(mark, ",") {
		first, last, ok := strings.Cut(part, "-")
		if !ok {
			last = first
		}
		a, aErr := strconv.ParseUint(first, 10, 64)
		b, bErr := strconv.ParseUint(last, 10, 64)
		if aErr == nil && bErr == nil && a <= b {
			g.ranges = append(g.ranges, gap{a, b})
		}
	}
	g.tidy()
	return g
}

// mark is how a position bears them.
func (g *gaps) mark() string { return g.text }

// has says that a number is in a gap.
func (g *gaps) has(seq uint64) bool {
	return slices.ContainsFunc(g.ranges, func(r gap) bool { return r.first <= seq && seq <= r.last })
}

// look notes what was not seen, from a number, or where it has looked before, to another.
func (g *gaps) look(from, to uint64, seen *seen) {
	for seq := max(from, g.looked+1); seq <= to; seq++ {
		if !seen.has(seq) {
			g.ranges = append(g.ranges, gap{seq, seq})
			if len(g.ranges) > 2*manyGaps {
				g.tidy()
			}
		}
	}
	g.looked = max(g.looked, to)
	g.tidy()
}

// below forgets what lies before a number: the server says that all of it is done.
func (g *gaps) below(floor uint64) {
	if len(g.ranges) == 0 || g.ranges[0].first >= floor {
		return
	}
	g.ranges = slices.DeleteFunc(g.ranges, func(r gap) bool { return r.last < floor })
	if len(g.ranges) > 0 {
		g.ranges[0].first = max(g.ranges[0].first, floor)
	}
	g.tidy()
}

// fill forgets a number: it is done.
func (g *gaps) fill(seq uint64) {
	for i, r := range g.ranges {
		if r.first > seq || seq > r.last {
			continue
		}
		var left []gap
		if r.first < seq {
			left = append(left, gap{r.first, seq - 1})
		}
		if seq < r.last {
			left = append(left, gap{seq + 1, r.last})
		}
		g.ranges = slices.Replace(g.ranges, i, i+1, left...)
		g.tidy()
		return
	}
}

// only forgets all but some numbers.
func (g *gaps) only(some []uint64) {
	if len(g.ranges) == 0 {
		return
	}
	g.ranges = g.ranges[:0]
	for _, seq := range some {
		g.ranges = append(g.ranges, gap{seq, seq})
	}
	g.tidy()
}

// tidy sorts, joins and bounds the ranges, and writes the mark.
func (g *gaps) tidy() {
	slices.SortFunc(g.ranges, func(a, b gap) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	joined := g.ranges[:0]
	for _, r := range g.ranges {
		n := len(joined)
		if n > 0 && (r.first <= joined[n-1].last+1 || n == manyGaps) {
			joined[n-1].last = max(joined[n-1].last, r.last)
			continue
		}
		joined = append(joined, r)
	}
	g.ranges = joined
	var b strings.Builder
	for i, r := range g.ranges {
		if i > 0 {
			b.WriteByte(',')
		}
		if r.first == r.last {
			fmt.Fprintf(&b, "%d", r.first)
		} else {
			fmt.Fprintf(&b, "%d-%d", r.first, r.last)
		}
	}
	g.text = b.String()
}
