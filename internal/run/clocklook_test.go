package run

import (
	"testing"
	"time"

	"penstock.dev/penstock"
)

// fixedClock is a clock that tells its timers when it is set.
type fixedClock struct{ penstock.SystemClock }

// TestTheMachinesClockIsLookedAtAgain: timers of the machine do not notice that its clock is set. Those of other clocks do.
func TestTheMachinesClockIsLookedAtAgain(t *testing.T) {
	in := func(clock penstock.Clock, d time.Duration) time.Duration {
		return until(clock, clock.Now().Add(d).UnixNano())
	}
	if d := in(penstock.SystemClock{}, time.Hour); d > lookEvery {
		t.Errorf("the machine's clock is looked at after %s", d)
	}
	if d := in(penstock.SystemClock{}, time.Second); d > time.Second {
		t.Errorf("what is due in a second is waited for %s", d)
	}
	if d := in(fixedClock{}, time.Hour); d <= lookEvery {
		t.Errorf("a clock that tells its timers is looked at after %s", d)
	}
}
