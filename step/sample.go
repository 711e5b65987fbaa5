package step

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// Sample lets pass a part of the messages and drops the rest. Exactly one of Every, Interval, Share and Rate is
// set. It is a [Binder]: each run begins anew. Its state is in memory, one for all lanes, and is not kept over a
// restart.
type Sample struct {
	// Every lets pass one message of so many: the first, the one so many after it, …
	Every int
	// Interval lets pass the first message, and the next one that comes so long or longer after the last that passed,
	// by the engine's clock.
	Interval time.Duration
	// Share is the part that passes, from 0 to 1. Which ones is decided by a hash of Seed and the number of the message,
	// so that two runs over the same input let the same number pass, and on one lane the same messages.
	Share float64
	// Seed of Share.
	Seed uint64
	// Rate lets pass at most so many a second, by the engine's clock: a token bucket that holds one second's worth (at
	// least one token) and begins full.
	Rate float64

	count  atomic.Uint64
	mu     sync.Mutex
	last   time.Time // Interval: when one passed; Rate: when tokens was right
	tokens float64
}

// NewSample checks the configuration of s. Errors speak of the configuration.
func NewSample(s *Sample) (*Sample, error) {
	set := 0
	for _, there := range []bool{s.Every != 0, s.Interval != 0, s.Share != 0, s.Rate != 0} {
		if there {
			set++
		}
	}
	var msg string
	switch {
	case set != 1:
		msg = "needs exactly one of every and rate"
	case s.Every < 0 || s.Interval < 0:
		msg = "every must be above 0"
	case s.Share < 0 || s.Share > 1 || math.IsNaN(s.Share):
		msg = "the share must be above 0% and at most 100%"
	case s.Rate < 0 || math.IsNaN(s.Rate) || math.IsInf(s.Rate, 0):
		msg = "the rate must be above 0"
	default:
		return s, nil
	}
	return nil, &penstock.Error{Code: penstock.Config, Op: "sample", Err: errors.New(msg)}
}

// Bind gives a sample with fresh state.
func (s *Sample) Bind(penstock.Env) penstock.Step {
	return &Sample{Every: s.Every, Interval: s.Interval, Share: s.Share, Seed: s.Seed, Rate: s.Rate}
}

// Process takes out what doesn't pass.
func (s *Sample) Process(_ context.Context, b *penstock.Batch) error {
	if len(b.Msgs) == 0 {
		return nil
	}
	kept := 0
	switch {
	case s.Every > 0, s.Share > 0:
		first := s.count.Add(uint64(len(b.Msgs))) - uint64(len(b.Msgs))
		for i, m := range b.Msgs {
			if s.takes(first + uint64(i)) {
				b.Msgs[kept] = m
				kept++
			}
		}
	default:
		kept = s.allowed(b.Runtime.Clock.Now(), len(b.Msgs))
	}
	clear(b.Msgs[kept:])
	b.Msgs = b.Msgs[:kept]
	return nil
}

// takes decides on the n-th message, from 0.
func (s *Sample) takes(n uint64) bool {
	if s.Every > 0 {
		return n%uint64(s.Every) == 0
	}
	// 53 bits of the hash are a number from 0 up to, not including, 1.
	return float64(mix(s.Seed^mix(n+1))>>11)/(1<<53) < s.Share
}

// mix is the finalizer of SplitMix64 (G. Steele et al., "Fast Splittable Pseudorandom Number Generators", 2014).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// allowed is how many of n messages that are here now may pass: the first ones.
func (s *Sample) allowed(now time.Time, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Interval > 0 {
		if d := now.Sub(s.last); !s.last.IsZero() && d >= 0 && d < s.Interval { // a clock set back lets one pass
			return 0
		}
		s.last = now
		return 1
	}
	full := max(s.Rate, 1)
	if s.last.IsZero() {
		s.tokens = full
	} else if d := now.Sub(s.last); d > 0 { // a clock set back gives nothing
		s.tokens = min(full, s.tokens+d.Seconds()*s.Rate)
	}
	s.last = now
	pass := min(n, int(s.tokens))
	s.tokens -= float64(pass)
	return pass
}
