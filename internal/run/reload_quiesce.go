package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
)

// quiesceEvery is how often the flows that are to go are asked whether they have anything in flight.
const quiesceEvery = 200 * time.Microsecond

// quiesce waits until the old flows have nothing in flight. What stands in channels in memory that they read, and that nobody reads
// after them, is worked off before.
func (s *swap) quiesce(ctx context.Context) error {
	for _, f := range s.still {
		if f.paused.Load() {
			if n := s.unread(f); n > 0 {
				return &penstock.Error{Code: penstock.Conflict, Op: "reload", Path: f.plan.Name, Err: fmt.Errorf("the flow is paused, and %d messages in memory wait for it that the new one doesn't read", n), Hint: "resume it first"}
			}
		}
		for _, sub := range s.dropped(f) {
			if s.net.channel(sub.ch.plan.Name) == sub.ch {
				sub.cut() // else the channel is gone, and who sends to it is among the old flows
			}
		}
	}
	working := func(p *pump) bool { // reads what must be worked off
		sub, ok := p.source.(*subscription)
		return ok && slices.Contains(s.dropped(p.flow), sub)
	}
	halt := func(reads func(*pump) bool) {
		for _, f := range s.still {
			f.halt(true, reads)
		}
	}
	halt(working)
	tick := time.NewTicker(quiesceEvery)
	defer tick.Stop()
	late := time.NewTimer(s.r.opts.Drain)
	defer late.Stop()
	for all := false; ; {
		if worked := s.worked(working); worked != all {
			if all = worked; all {
				halt(nil)
			} else { // something came behind it
				halt(working)
			}
		}
		if all && s.quiet() && s.worked(working) {
			return nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			return &penstock.Error{Code: penstock.Timeout, Op: "reload", Err: fmt.Errorf("messages in flight did not finish within %s in %s", s.r.opts.Drain, s.names()), Hint: "what runs goes on as it was; reload again when they have, or allow more with --drain"}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.r.ctx.Done():
			return s.r.failure()
		case <-s.r.lives.reading.Done():
			return &penstock.Error{Code: penstock.Cancelled, Op: "reload", Err: errors.New("the run ends")}
		}
	}
}

// worked says that what has to be worked off is.
func (s *swap) worked(working func(*pump) bool) bool {
	for _, f := range s.still {
		for _, p := range f.pumps {
			if working(p) && !p.source.(*subscription).read() {
				return false
			}
		}
	}
	return true
}

func (s *swap) quiet() bool {
	for _, f := range s.still {
		if !f.quiet() {
			return false
		}
	}
	return true
}

// names lists the flows that are not quiet.
func (s *swap) names() (out string) {
	for _, f := range s.still {
		if !f.quiet() {
			if out != "" {
				out += ", "
			}
			out += f.plan.Name
		}
	}
	return out
}

// dropped are the channels in memory that an old flow reads and nobody reads in its place.
func (s *swap) dropped(f *flow) (out []*subscription) {
	heir := s.heir(f)
	for _, p := range f.pumps {
		sub, ok := p.source.(*subscription)
		if ok && (heir == nil || !slices.ContainsFunc(heir.pumps, func(q *pump) bool { return q.heir == p })) {
			out = append(out, sub)
		}
	}
	return out
}

func (s *swap) unread(f *flow) (n int) {
	for _, sub := range s.dropped(f) {
		n += sub.left()
	}
	return n
}

// heir is the flow that takes the place of f; nil: none.
func (s *swap) heir(f *flow) *flow {
	for _, o := range s.fresh {
		if o.plan.Name == f.plan.Name {
			return o
		}
	}
	return nil
}
