package penstock

import "time"

// Clock tells the time. Tests and `penstock test` put virtual time behind it.
type Clock interface {
	Now() time.Time
	// NewTimer returns a channel that receives once, d from now, and a function that stops it.
	NewTimer(d time.Duration) (c <-chan time.Time, stop func())
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// NewTimer is time.NewTimer.
func (SystemClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// Runtime is what expressions need beside the message, shared by a whole run.
type Runtime struct {
	Params []Value       // by the slots that the compiler gave out
	Clock  Clock         // for now
	UUID   func() string // for uuid()
}

// Frame is what a [Program] evaluates against: one message, the run, and scratch
// memory. One frame serves one goroutine and is used again for message after message.
type Frame struct {
	Msg     *Message
	Runtime *Runtime
	Arena   *Arena  // where results that need memory are put; they live as long as the batch
	Locals  []Value // variables of comprehensions and bindings; managed by programs
	Cost    int64   // what one evaluation may still spend (LANGUAGE.md §3, cost limit); programs reset it
}

// Now is the current time of the run.
func (f *Frame) Now() time.Time { return f.Runtime.Clock.Now() }
