package observe

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// Sampling says which messages are recorded.
type Sampling struct {
	// Ratio of the messages that begin a trace here, 0 to 1.
	Ratio float64
	// Limit is how many traces begin here a second at most, whatever Ratio says; 0: any number. It keeps a flow of millions of messages
	// a second from spending its time on spans that no collector takes at that pace.
	Limit float64
	// Always decides by Ratio also for messages that came with a trace (OpenTelemetry's traceidratio); else those are recorded
	// if, and only if, their trace is (parent-based).
	Always bool
}

// bound is what the last eight bytes of a trace's identity, without their lowest bit, are below of in a trace that is recorded. So
// decides OpenTelemetry's TraceIDRatioBased, too: others that have the same ratio come to the same.
func (s Sampling) bound() uint64 {
	switch {
	case s.Ratio >= 1:
		return 1 << 63
	case s.Ratio <= 0 || math.IsNaN(s.Ratio):
		return 0
	}
	return uint64(s.Ratio * (1 << 63))
}

// keeps reports whether a message that came with a trace is recorded.
func (s Sampling) keeps(parent penstock.TraceContext) bool {
	if !s.Always {
		return parent.Sampled()
	}
	return binary.BigEndian.Uint64(parent.TraceID[8:])>>1 < s.bound()
}

// identity makes the identity of a trace that is recorded.
func (s Sampling) identity(random func() uint64) (id [16]byte) {
	low, bound := random(), s.bound()
	if bound < 1<<63 && bound > 0 {
		low = low>>1%bound<<1 | low&1
	}
	high := random()
	if high == 0 {
		high = 1 // an identity of zeros is none
	}
	binary.BigEndian.PutUint64(id[:8], high)
	binary.BigEndian.PutUint64(id[8:], low)
	return id
}

// burst is how many traces may begin at once, in seconds of the limit.
const burst = 1

// limiter lets so many traces begin a second (the generic cell rate algorithm).
type limiter struct {
	each   int64        // nanoseconds between two; 0: no limit
	due    atomic.Int64 // Unix nanoseconds at which the next may begin, were they evenly spread
	passed atomic.Int64 // that did not begin
}

func (l *limiter) init(rate float64) {
	if rate > 0 {
		l.each = max(1, int64(1e9/rate))
	}
}

// allow lets a trace begin at now, or counts it.
func (l *limiter) allow(now time.Time) bool {
	if l.each == 0 {
		return true
	}
	at := now.UnixNano()
	for {
		due := l.due.Load()
		next := max(due, at) + l.each
		if next-at > burst*1e9 && next-at > l.each {
			l.passed.Add(1)
			return false
		}
		if l.due.CompareAndSwap(due, next) {
			return true
		}
	}
}

// Dice says which of a row of messages begin a trace that is recorded. It costs a subtraction for as many messages as one likes. It
// belongs to one goroutine.
type Dice struct {
	random func() uint64
	ratio  float64
	gap    int64 // messages until the next one that is recorded
}

// Dice makes the dice of one reader.
func (t *Tracer) Dice() *Dice {
	d := &Dice{random: t.random, ratio: t.sampling.Ratio}
	d.next()
	return d
}

// next draws how many messages are passed over: the gaps between events of this probability are geometric.
func (d *Dice) next() {
	switch {
	case d.ratio >= 1:
		d.gap = 0
	case d.ratio <= 0 || math.IsNaN(d.ratio):
		d.gap = math.MaxInt64
	default:
		u := (float64(d.random()>>11) + .5) / (1 << 53) // in (0, 1)
		d.gap = int64(min(math.Log(u)/math.Log1p(-d.ratio), 1<<62))
	}
}

// Roll passes over up to n messages. It returns how many it passed over before one that is recorded; n, where none of them is. Who
// has rolled less than n goes on behind the one that is recorded.
func (d *Dice) Roll(n int) int {
	if d.gap >= int64(n) {
		if d.gap != math.MaxInt64 {
			d.gap -= int64(n)
		}
		return n
	}
	at := int(d.gap)
	d.next()
	return at
}
