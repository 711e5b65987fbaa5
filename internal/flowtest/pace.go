package flowtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/internal/run"
)

// pace runs a flow step by step: it waits until the run is at rest, and only then gives it the next
// message, or lets the clock go on.
type pace struct {
	clock   *clock
	feeds   []*feed
	runner  *run.Runner
	changed chan struct{} // something happened that may have brought the run to rest
	done    chan struct{} // closed when the run has ended
	err     error         // how; valid once done is closed
	running bool
	epoch   atomic.Int64       // counts what the pace let happen
	ended   func(*run.Summary) // is told how a run ended
}

func newPace() *pace {
	p := &pace{changed: make(chan struct{}, 1), done: make(chan struct{})}
	p.clock = newClock(p.notify)
	return p
}

// notify never blocks. It is the engine's OnIdle.
func (p *pace) notify() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pace) start(ctx context.Context) {
	p.running = true
	go func() {
		defer close(p.done)
		var sum *run.Summary
		sum, p.err = p.runner.Run(ctx)
		p.ended(sum)
	}()
}

// crashed makes ready for another start. The run must have ended.
func (p *pace) crashed() {
	for _, f := range p.feeds {
		f.crashed()
	}
	p.running, p.runner, p.err, p.done = false, nil, nil, make(chan struct{})
}

func (p *pace) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// rests says that nothing goes on. The order of the questions matters: whoever a timer woke counts
// as busy before the timer is stopped.
func (p *pace) rests() bool { return p.clock.quiet() && p.runner.Idle() }

// rest waits until nothing goes on, or the run has ended.
func (p *pace) rest(ctx context.Context) error {
	for {
		if p.over() {
			return nil
		}
		if p.rests() {
			return nil
		}
		select {
		case <-p.changed:
		case <-p.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the test was stopped: %w", context.Cause(ctx))
		}
	}
}

// settle lets everything happen that can happen now: timers that are due, and messages that wait
// in the sources, one at a time.
func (p *pace) settle(ctx context.Context) error {
	if !p.running {
		return nil
	}
	for {
		if err := p.rest(ctx); err != nil || p.over() {
			return err
		}
		if at, ok := p.clock.next(); ok && !at.After(p.clock.Now()) {
			p.step(p.clock.fire)
			continue
		}
		f := p.waiting()
		if f == nil {
			return nil
		}
		p.step(f.release)
	}
}

func (p *pace) step(f func()) {
	p.epoch.Add(1)
	f()
}

// waiting is the first source that has something to give.
func (p *pace) waiting() *feed {
	for _, f := range p.feeds {
		if f.has() {
			return f
		}
	}
	return nil
}

// advance lets d go by.
func (p *pace) advance(ctx context.Context, d time.Duration) error {
	until := p.clock.Now().Add(d)
	for {
		if err := p.settle(ctx); err != nil {
			return err
		}
		at, ok := p.clock.next()
		if !ok || at.After(until) || !p.running {
			break
		}
		p.step(p.clock.fire)
	}
	p.clock.set(until)
	return p.settle(ctx)
}

// finish ends the sources and lets time go by until the run has ended.
func (p *pace) finish(ctx context.Context) error {
	if !p.running { // it crashed, and was not started again
		return nil
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	for _, f := range p.feeds {
		f.end()
	}
	for !p.over() {
		if err := p.settle(ctx); err != nil {
			return err
		}
		if p.over() {
			break
		}
		if _, ok := p.clock.next(); ok {
			p.step(p.clock.fire)
			continue
		}
		select { // it is closing
		case <-p.changed:
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("the test was stopped: %w", context.Cause(ctx))
		}
	}
	return p.err
}
