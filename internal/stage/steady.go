package stage

import (
	"encoding/binary"
	"math"
	"time"
)

// steady is the engine's clock as a machine sees it: it never goes back. What is due is told in its time, which is
// the engine's plus ahead.
//
// A clock that is set back by a second or more changes nothing that is held: how long it still has to wait stays as it was
// when the machine was last called. Less than a second is not followed: time stands still until the clock is there again. A
// clock that is set forward can't be told from waiting: what would be due within that time is due at once. The zero
// steady is not ready: see newSteady.
type steady struct {
	last  int64 // the greatest time so far
	ahead int64 // of the engine's clock
}

// noTime is before all times, far enough from the end of the range to be reckoned with.
const noTime = math.MinInt64 / 2

// endOfTime is behind all times.
const endOfTime = math.MaxInt64 / 2

// jump is from what on a clock that goes back was set, and did not only drift.
const jump = int64(time.Second)

// clockKey is the entry of a step's space that keeps ahead. It is written when the clock was set back.
var clockKey = []byte("c")

func newSteady() steady { return steady{last: noTime} }

// tick reads the clock.
func (c *steady) tick(out Output, now time.Time) int64 {
	t := now.UnixNano() + c.ahead
	if t < c.last-jump {
		c.ahead += c.last - t
		out.Put(clockKey, binary.BigEndian.AppendUint64(nil, uint64(c.ahead)), 0)
	}
	c.last = max(c.last, t)
	return c.last
}

// load takes over what tick stored.
func (c *steady) load(value []byte) error {
	if len(value) != 8 {
		return errDamaged
	}
	c.ahead = int64(binary.BigEndian.Uint64(value))
	return nil
}

// seen tells of a time that is stored: the clock was there already.
func (c *steady) seen(t int64) { c.last = max(c.last, t) }

// outside is a time of this clock by the engine's clock, as [Machine.Due] gives it: never 0.
func (c *steady) outside(t int64) int64 { return max(t-c.ahead, 1) }
