package policy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// State is what a breaker does with tries.
type State int32

// The states.
const (
	Closed   State = iota // lets everything through, and counts
	Open                  // lets nothing through
	HalfOpen              // lets a few probes through, which decide
)

// String names the state as metrics and pages do.
func (s State) String() string { return [...]string{"closed", "open", "halfOpen"}[s] }

// Verdict is what a try says of the other side's health.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // it ended before the other side could answer: it was cancelled
	Healthy                // the other side answered, if only with a refusal
	Failing                // it was unreachable, too slow, or broke
)

// VerdictOf is the verdict of a try that ended with err. Unavailable, timeout and internal count against the other side; every
// other code is an answer (a limit, a conflict, a request that is wrong), and cancelled says nothing.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Healthy
	}
	switch penstock.CodeOf(err) {
	case penstock.Unavailable, penstock.Timeout, penstock.Internal:
		return Failing
	case penstock.Cancelled:
		return Unknown
	}
	return Healthy
}

// Breaker stops asking somebody who does not answer. Closed, it counts how tries end over a window; where there were at least
// Minimum of them and the share of failures is reached, it opens. Open, it refuses everything for as long as the rules say;
// then it is half open: it lets so many probes through as the rules say, and closes when all of them went well. One that failed opens
// it anew. It is safe for concurrent use; times are since any fixed moment and come from the caller.
type Breaker struct {
	rules plan.Breaker
	share int64 // millionths

	// life is the state in its lowest two bits, and above them a count of the changes of state: results of tries from before the last
	// one say nothing any more. It is written under mu.
	life   atomic.Uint64
	mu     sync.Mutex
	window window
	opened time.Duration
	probes int // under way
	passed int
	times  int64 // that it opened
}

// Ticket is the leave for one try. It goes back with [Breaker.Done].
type Ticket struct{ life uint64 }

func stateOf(life uint64) State { return State(life & 3) }

// NewBreaker makes a closed breaker.
func NewBreaker(rules plan.Breaker) *Breaker {
	return &Breaker{rules: rules, share: int64(math.Round(rules.Failures * 1e6)), window: window{width: rules.Window}}
}

// Refuses reports whether a try would be refused now, and how long until one is let through: what to look at before
// standing in a queue. It changes nothing.
func (b *Breaker) Refuses(now time.Duration) (time.Duration, bool) {
	if b.state() != Open {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.opened + b.rules.Open - now
	return max(left, 0), b.state() == Open && left > 0
}

// Closed gives the ticket of a breaker that is closed, which lets any number of tries through: the cheap way in, where nobody has to look at a clock.
func (b *Breaker) Closed() (Ticket, bool) {
	life := b.life.Load()
	return Ticket{life}, stateOf(life) == Closed
}

// Allow gives leave for up to n tries at now, for k of them at least one, or for none, and then says after how long it is worth
// asking again. A ticket must go back.
func (b *Breaker) Allow(now time.Duration, n int) (t Ticket, k int, wait time.Duration) {
	if t, ok := b.Closed(); ok {
		return t, n, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state() {
	case Closed:
		return Ticket{b.life.Load()}, n, 0
	case Open:
		if left := b.opened + b.rules.Open - now; left > 0 {
			return Ticket{}, 0, left
		}
		b.become(HalfOpen)
	}
	if k = min(n, b.rules.HalfOpen-b.probes-b.passed); k > 0 {
		b.probes += k
		return Ticket{b.life.Load()}, k, 0
	}
	return Ticket{}, 0, b.rules.Open // the probes decide; who comes after them must not come back at once
}

// Tally is how tries ended, by verdict.
type Tally [3]int

// Of is the tally of one try.
func (v Verdict) Of() Tally {
	var t Tally
	t[v] = 1
	return t
}

// Done takes a ticket back, with what its tries say.
func (b *Breaker) Done(now time.Duration, t Ticket, ends Tally) {
	b.done(now, t, ends[Unknown], ends[Healthy], ends[Failing])
}

// DoneOne is Done for a single try. It is most of what a guard costs: a tally would go through memory.
func (b *Breaker) DoneOne(now time.Duration, t Ticket, v Verdict) {
	switch v {
	case Healthy:
		b.done(now, t, 0, 1, 0)
	case Failing:
		b.done(now, t, 0, 0, 1)
	default:
		b.done(now, t, 1, 0, 0)
	}
}

func (b *Breaker) done(now time.Duration, t Ticket, unknown, healthy, failing int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.life != b.life.Load() {
		return
	}
	if b.state() == HalfOpen {
		b.probed(now, unknown, healthy, failing)
		return
	}
	if healthy+failing == 0 {
		return
	}
	b.window.add(now, 0, int64(healthy))
	if failing > 0 {
		b.window.add(now, 1, int64(failing))
	}
	total := b.window.sums[0] + b.window.sums[1]
	if total >= int64(b.rules.Minimum) && b.window.sums[1]*1e6 >= b.share*total {
		b.open(now)
	}
}

func (b *Breaker) probed(now time.Duration, unknown, healthy, failing int) {
	b.probes -= unknown + healthy + failing
	b.passed += healthy
	switch {
	case failing > 0:
		b.open(now)
	case b.passed >= b.rules.HalfOpen:
		b.window.reset()
		b.become(Closed)
	}
}

func (b *Breaker) open(now time.Duration) {
	b.opened = now
	b.times++
	b.become(Open)
}

func (b *Breaker) become(s State) {
	b.probes, b.passed = 0, 0
	b.life.Store((b.life.Load() | 3) + 1 | uint64(s))
}

func (b *Breaker) state() State { return stateOf(b.life.Load()) }

// BreakerSnapshot is a breaker at one moment.
type BreakerSnapshot struct {
	State           State
	Opened          int64 // times that it opened
	Tries, Failures int64 // of the window; both 0 unless it is closed
}

// Snapshot says how the breaker stands at now.
func (b *Breaker) Snapshot(now time.Duration) BreakerSnapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerSnapshot{State: b.state(), Opened: b.times}
	if s.State == Closed {
		b.window.roll(now)
		s.Tries, s.Failures = b.window.sums[0]+b.window.sums[1], b.window.sums[1]
	}
	return s
}
