package run

import (
	"context"
	"errors"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
)

// exhausted is a failure inside a branch, with the step that it comes from. Where a retry was
// used up, or was not allowed, the nodes around it only pass it on (LANGUAGE.md §5: retries never
// multiply); a branch without one leaves the retry to the node around it.
type exhausted struct {
	err      error
	step     string
	attempts int
	final    bool // a retry acted, or was declined: nobody outside may try again
}

func (e *exhausted) Error() string { return e.err.Error() }
func (e *exhausted) Unwrap() error { return e.err }

// retryOf is what a failing node does: its own retry, that of its connection, or the
// flow's. Only the innermost declared one acts.
func (x *exec) retryOf(n *node) *plan.Retry {
	if n.Retry != nil {
		return n.Retry
	}
	switch op := n.Op.(type) {
	case *plan.Call:
		if op.Endpoint.Retry != nil {
			return op.Endpoint.Retry
		}
		if !op.Idempotent && !x.f.plan.OnError.Declared {
			return nil // a second call could be a second effect
		}
	case *plan.Send:
		if op.Endpoint.Retry != nil {
			return op.Endpoint.Retry
		}
		if !op.Idempotent && !x.f.plan.OnError.Declared {
			return nil
		}
	}
	if n.Catch != plan.End {
		return nil
	}
	return x.inherit
}

// inner is what the nodes inside a fork or loop inherit: a retry or catch of its own
// stands before the flow's.
func (x *exec) inner(n *node) *plan.Retry {
	if n.Retry != nil || n.Catch != plan.End {
		return nil
	}
	return x.inherit
}

func again(r *plan.Retry, attempt int, err error) bool {
	var ex *exhausted
	return r != nil && (!errors.As(err, &ex) || !ex.final) && policy.Again(*r, attempt, err)
}

// failed decides what becomes of messages that failed at a node: another try now or
// later, the catch of a try, or the flow's dead letter.
func (x *exec) failed(w *work, pc int, n *node, fails []failure) {
	if x.lane != nil && x.lane.f.detaches() {
		for _, f := range append([]failure(nil), fails...) {
			x.settleFailure(w, pc, n, f, 1)
		}
		return
	}
	// In place: the messages behind wait too. That is what order: total means; in a branch it is the
	// branch that waits.
	r := x.retryOf(n)
	trying := make([]try, 0, len(fails))
	for _, f := range fails {
		trying = append(trying, try{failure: f, number: 1}.counted())
	}
	for len(trying) > 0 {
		var retry []*penstock.Message
		kept := trying[:0]
		longest, retries := 0, int64(0)
		for _, t := range trying {
			switch {
			case t.behind:
			case again(r, t.number, t.err):
				longest = max(longest, t.number)
				retries++
			default:
				x.giveUp(w, n, t.failure, t.number)
				continue
			}
			kept, retry = append(kept, t), append(retry, t.m)
		}
		if len(retry) == 0 {
			return
		}
		if x.ctx.Err() != nil || longest > 0 && !x.f.sleep(x.ctx, policy.Pause(*r, longest, x.f.r.random)) {
			for _, t := range kept {
				x.giveUp(w, n, t.failure, max(t.number, 1))
			}
			return
		}
		x.f.stats.Retries.Add(retries)
		n.stats.Retries.Add(retries)
		trying = tried(kept, x.op(w, pc, n, retry))
	}
}

// try is a message that failed, and how many times it was tried.
type try struct {
	failure
	number int
}

// counted takes back a try that was none.
func (t try) counted() try {
	if t.behind {
		t.number--
	}
	return t
}

// tried counts the tries of those that failed again.
func tried(before []try, fails []failure) []try {
	after := make([]try, 0, len(fails))
	at := 0
	for _, f := range fails {
		n := 0 // a group that just came about fails for the first time
		for i := range before {
			if j := (at + i) % len(before); before[j].m == f.m { // almost always the next
				at, n = j+1, before[j].number
				break
			}
		}
		after = append(after, try{failure: f, number: n + 1}.counted())
	}
	return after
}

// settleFailure is failed for one message of a lane whose order lets it wait elsewhere.
func (x *exec) settleFailure(w *work, pc int, n *node, f failure, attempt int) {
	r := x.retryOf(n)
	if x.ctx.Err() != nil || !f.behind && !again(r, attempt, f.err) {
		x.giveUp(w, n, f, attempt)
		return
	}
	p := &parcel{w: w, m: f.m, pc: pc, attempt: attempt, again: true}
	if !f.behind {
		p.attempt, p.retry = attempt+1, true
	}
	switch {
	case x.lane.waits(w, f.m): // one of its key before it is away already: it tries again behind that
		x.lane.park(p)
	case f.behind:
		x.lane.later(p, 0)
	default:
		x.lane.later(p, policy.Pause(*r, attempt, x.f.r.random))
	}
}

// giveUp sends a message whose tries are over to the catch, to the node around, or to
// the dead letter.
func (x *exec) giveUp(w *work, n *node, f failure, attempt int) {
	if x.f.ctx.Err() != nil && x.results == nil { // aborted, which may be why it failed: no catch may call that a success
		w.mem--
		return
	}
	step, attempts := n.Name, attempt
	var ex *exhausted
	if errors.As(f.err, &ex) {
		step, attempts = ex.step, ex.attempts
	}
	if n.Catch != plan.End && x.f.ctx.Err() == nil {
		if n.ErrorSlot >= 0 {
			f.m.Vars[n.ErrorSlot] = errorValue(f.err, step, attempts)
		}
		s := append(x.take(), f.m)
		x.put(w, n.Catch, s)
		return
	}
	if x.results != nil {
		if ex == nil {
			f.err = &exhausted{err: f.err, step: step, attempts: attempts, final: x.inherit != nil || x.retryOf(n) != nil}
		}
		x.results.failed(f.m, f.err)
		return
	}
	x.dead(w, f.m, f.err, step, attempts)
}

// errorValue is the root `error` of catch and of dead letters: code, message, step,
// path and attempts.
func errorValue(err error, step string, attempts int) penstock.Value {
	path := pathOf(err)
	str := penstock.StringValue
	return penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
		{Key: str("code"), Value: str(string(penstock.CodeOf(err)))},
		{Key: str("message"), Value: str(err.Error())},
		{Key: str("step"), Value: str(step)},
		{Key: str("path"), Value: str(path)},
		{Key: str("attempts"), Value: penstock.IntValue(int64(attempts))},
	}})
}

// pathOf is where a failure was, as far out in its chain as it is said.
func pathOf(err error) string {
	var e *penstock.Error
	for next := err; errors.As(next, &e); next = e.Err {
		if e.Path != "" {
			return e.Path
		}
	}
	var placed interface{ Path() string }
	if errors.As(err, &placed) {
		return placed.Path()
	}
	return ""
}

// sleep waits on the run's clock; false when the run was stopped meanwhile. Who sleeps is
// not busy: a test may advance the clock.
func (f *flow) sleep(ctx context.Context, d time.Duration) bool {
	c, stop := f.r.clock.NewTimer(d)
	defer stop()
	return f.r.Await(ctx, c)
}
