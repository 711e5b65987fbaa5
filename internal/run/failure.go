package run

import (
	"context"
	"encoding/json"
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
	unsafe   bool // what failed may have had its effect
}

func (e *exhausted) Error() string { return e.err.Error() }
func (e *exhausted) Unwrap() error { return e.err }

// retryOf is what a node does that failed with err: its own retry, that of its connection, or the flow's. Only the
// innermost declared one acts. What stands in a step or a flow is declared by somebody who sees what is asked; that of a connection,
// and the default, act only where another try is no second effect.
func (x *exec) retryOf(n *node, err error) *plan.Retry {
	if n.Retry != nil {
		return n.Retry
	}
	ep, safe := n.asks()
	if ep != nil {
		safe = safe || !n.unsafe(err)
		if ep.Retry != nil && safe {
			return ep.Retry
		}
		if !safe && !x.f.plan.OnError.Declared {
			return nil
		}
	}
	if n.Catch != plan.End {
		return nil
	}
	return x.inherit
}

// unsafe says that a node which failed with err may have had its effect, so that doing it again would be a second one. Nothing was done
// where nothing has left, or where the other side wanted nothing more (limited).
func (n *node) unsafe(err error) bool {
	ep, idempotent := n.asks()
	return ep != nil && !idempotent && !penstock.IsUnsent(err) && penstock.CodeOf(err) != penstock.Limited
}

// asks is the endpoint that a node calls or sends to, nil if it does neither, and whether that may be done twice.
func (n *node) asks() (ep *plan.Endpoint, idempotent bool) {
	switch op := n.Op.(type) {
	case *plan.Call:
		return op.Endpoint, op.Idempotent
	case *plan.Send:
		return op.Endpoint, op.Idempotent
	}
	return nil, false
}

// inner is what the nodes inside a fork or loop inherit: a retry or catch of its own
// stands before the flow's.
func (x *exec) inner(n *node) *plan.Retry {
	if n.Retry != nil || n.Catch != plan.End {
		return nil
	}
	return x.inherit
}

// patient says that a message which a guard has refused, after so many tries, waits until it is let through: nothing was tried, and so it has
// cost no try. Where somebody waits for the answer to a request, or no more tries are left, it fails at once.
func (x *exec) patient(r *plan.Retry, tries int) bool {
	return r != nil && r.Attempts > 1 && tries < r.Attempts && !x.awaited()
}

// awaited says that somebody waits for what becomes of the message.
func (x *exec) awaited() bool { return x.req != nil || x.inRequest }

func again(r *plan.Retry, attempt int, err error) bool {
	var ex *exhausted
	return r != nil && (!errors.As(err, &ex) || !ex.final) && !overdrawn(err) && policy.Again(*r, attempt, err)
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
	var r *plan.Retry
	trying := make([]try, 0, len(fails))
	for _, f := range fails {
		trying = append(trying, try{failure: f, number: 1}.counted())
	}
	for len(trying) > 0 {
		var retry []*penstock.Message
		kept := trying[:0]
		longest, retries := 0, int64(0)
		var after time.Duration
		for _, t := range trying {
			own := x.retryOf(n, t.err)
			switch {
			case t.behind:
			case isRefusal(t.err) && x.patient(own, t.number):
				r, longest, after = own, max(longest, t.number, 1), max(after, penstock.RetryAfterOf(t.err))
			case !isRefusal(t.err) && again(own, t.number, t.err):
				r, longest, after = own, max(longest, t.number), max(after, penstock.RetryAfterOf(t.err))
				retries++
			default:
				x.giveUp(w, n, t.failure, max(t.number, 1))
				continue
			}
			kept, retry = append(kept, t), append(retry, t.m)
		}
		if len(retry) == 0 {
			return
		}
		pause := time.Duration(0)
		if longest > 0 {
			pause = policy.PauseAfter(*r, longest, after, x.f.r.random)
		}
		var why error
		vain := false
		if longest > 0 && x.awaited() {
			vain, why = x.inVain(n, pause)
		}
		if vain || x.ctx.Err() != nil || longest > 0 && !x.f.sleep(x.ctx, pause) {
			for _, t := range kept {
				if why != nil {
					t.err = why
				}
				x.giveUp(w, n, t.failure, max(t.number, 1))
			}
			return
		}
		x.f.stats.Retries.Add(retries)
		n.stats.Retries.Add(retries)
		x.tries = longest
		if retries > 0 {
			x.tries++
		}
		fails := x.op(w, pc, n, retry)
		x.tries = 0
		trying = tried(kept, fails)
	}
}

// inVain says that another try of a node after a pause would fail for sure: who waits for the answer has no more patience then, or the
// breaker is open until then, which is the reason that is told.
func (x *exec) inVain(n *node, pause time.Duration) (vain bool, why error) {
	if until, ok := x.ctx.Deadline(); ok && time.Until(until) <= pause {
		return true, nil
	}
	var g *guard
	switch {
	case n.caller != nil:
		g = n.caller.guard
	case n.sink != nil:
		g = n.sink.guard
	}
	if g == nil || g.breaker == nil {
		return false, nil
	}
	wait, refuses := g.breaker.Refuses(g.now())
	if !refuses || wait < pause {
		return false, nil
	}
	return true, g.refused(&g.stats.byBreaker, penstock.Unavailable, wait, "the breaker is open")
}

// try is a message that failed, and how many times it was tried.
type try struct {
	failure
	number int
}

// counted takes back a try that was none.
func (t try) counted() try {
	if t.behind || isRefusal(t.err) {
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
				f.err = cause(f.err, before[j].err)
				break
			}
		}
		after = append(after, try{failure: f, number: n + 1}.counted())
	}
	return after
}

// cause is why a message failed: a retry that was not made says nothing of that, so that what was before it does.
func cause(err, before error) error {
	if before != nil && errors.Is(err, errOverdrawn) {
		return &unpaid{before}
	}
	return err
}

// unpaid is a failure after which nothing is tried again, since the budget of retries is used up.
type unpaid struct{ error }

func (u *unpaid) Unwrap() error { return u.error }

// overdrawn says that err is such a failure, or that of a retry that was not made.
func overdrawn(err error) bool {
	var u *unpaid
	return errors.As(err, &u) || errors.Is(err, errOverdrawn)
}

// settleFailure is failed for one message of a lane whose order lets it wait elsewhere.
func (x *exec) settleFailure(w *work, pc int, n *node, f failure, attempt int) {
	r := x.retryOf(n, f.err)
	refused := isRefusal(f.err)
	var more bool
	switch {
	case x.ctx.Err() != nil:
	case f.behind:
		more = true
	case refused:
		more = x.patient(r, attempt-1)
	default:
		more = again(r, attempt, f.err)
	}
	if !more {
		x.giveUp(w, n, f, attempt)
		return
	}
	p := &parcel{w: w, m: f.m, pc: pc, attempt: attempt, again: true, cause: f.err}
	if !f.behind && !refused {
		p.attempt, p.retry = attempt+1, true
	}
	switch {
	case x.lane.waits(w, f.m): // one of its key before it is away already: it tries again behind that
		x.lane.park(p)
	case f.behind:
		x.lane.later(p, 0)
	default:
		x.lane.later(p, policy.PauseAfter(*r, attempt, penstock.RetryAfterOf(f.err), x.f.r.random))
	}
}

// giveUp sends a message whose tries are over to the catch, to the node around, or to
// the dead letter.
func (x *exec) giveUp(w *work, n *node, f failure, attempt int) {
	if x.req != nil && x.req.stopped() { // which may be why it failed
		x.req.fail(f.m, ended(x.ctx), n.Name)
		return
	}
	if x.f.ctx.Err() != nil && x.results == nil { // aborted, which may be why it failed: no catch may call that a success
		w.mem--
		return
	}
	f.err = x.f.hide(f.err)
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
			f.err = &exhausted{err: f.err, step: step, attempts: attempts, final: x.inherit != nil || x.retryOf(n, f.err) != nil, unsafe: n.unsafe(f.err)}
		}
		x.results.failed(f.m, f.err)
		return
	}
	if x.req != nil {
		if looks := x.f.r.looks.Load(); looks != nil {
			x.ends(*looks, []*penstock.Message{f.m}, step, "refused", f.err)
		}
		x.req.fail(f.m, f.err, step)
		return
	}
	x.dead(w, f.m, f.err, step, attempts)
}

// hide takes the values of secrets out of an error that goes out.
func (f *flow) hide(err error) error {
	if f.r.opts.Secrets == nil || err == nil {
		return err
	}
	redact := f.r.opts.Secrets.RedactError
	var ex *exhausted
	if errors.As(err, &ex) { // what it tells beside its text is still needed
		hidden := *ex
		hidden.err = redact(ex.err)
		return &hidden
	}
	return redact(err)
}

// hideText takes the values of secrets out of JSON that is shown. Where nothing that is JSON is left of it (a number was a secret), otherwise is shown.
func (f *flow) hideText(text []byte, otherwise string) []byte {
	if f.r.opts.Secrets == nil {
		return text
	}
	hidden := f.r.opts.Secrets.Redact(string(text))
	if hidden != string(text) && !json.Valid([]byte(hidden)) {
		hidden = otherwise
	}
	return []byte(hidden)
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
