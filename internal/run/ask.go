package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// reply is what a call, fork or loop gives for one message, with the memory it lives in.
type reply struct {
	doc    *jsonview.Doc
	absent bool              // a look-up that missed
	memory []*penstock.Batch // goes to the work that takes the reply
}

// task computes the reply for one message, in the memory of b.
type task func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error)

// ask runs a task for each message and stores the replies. Tasks that wait run at once,
// as many as the window allows: off the lane where the order permits, else the batch
// waits for all of its own while the lanes beside it go on.
func (x *exec) ask(w *work, pc int, n *node, ms []*penstock.Message, window *slots, t task) {
	if d := n.patience(); d > 0 && !n.remembers() { // what is remembered waits for a flight, which has the time of a try
		t = x.f.within(d, n.Name, t)
	}
	if len(n.subs) > 0 {
		t = x.guarded(t)
	}
	t = x.asked(w, n, t)
	if n.caller != nil && x.f.r.looks.Load() != nil {
		t = x.watched(n, t)
	}
	if n.remembers() {
		if ms = x.remembered(w, n, ms); len(ms) == 0 {
			x.give(ms)
			return
		}
	}
	switch {
	case !n.waits:
		kept := ms[:0]
		for _, m := range ms {
			r, err := t(x.ctx, w.batch, m)
			if err == nil {
				err = x.store(w, n, m, r)
			}
			if err != nil {
				x.fail(m, err)
			} else {
				kept = append(kept, m)
			}
		}
		x.put(w, n.Next, kept)
	case x.lane != nil && x.f.detaches():
		for _, m := range ms {
			if x.lane.waits(w, m) { // one before it in this batch has just left
				x.lane.park(&parcel{w: w, m: m, pc: pc, attempt: max(x.tries, 1), again: true})
				continue
			}
			x.away(w, pc, m, window, t)
		}
		x.give(ms)
	case len(ms) == 1:
		x.alone(w, n, ms, window, t)
	case n.commands():
		x.inKeyOrder(w, n, ms, window, t)
	case x.lane != nil && n.writes():
		x.inTurnOf(w, n, ms, window, t)
	default:
		x.together(w, n, ms, window, t)
	}
}

// writes says that branches of the node write to sinks, which under total order must see messages in their order.
func (n *node) writes() bool {
	for _, s := range n.subs {
		for i := range s.nodes {
			inner := &s.nodes[i]
			if _, ok := inner.Op.(*plan.Send); ok && inner.sink.outlet == nil || inner.commands() || inner.writes() {
				return true
			}
		}
	}
	return false
}

// inTurnOf runs the tasks of a batch one after the other.
func (x *exec) inTurnOf(w *work, n *node, ms []*penstock.Message, window *slots, t task) {
	kept := ms[:0]
	for _, m := range ms {
		r, err := x.f.windowed(x.ctx, window, m, t)
		if err == nil {
			err = x.store(w, n, m, r)
		}
		if err != nil {
			x.fail(m, err)
		} else {
			kept = append(kept, m)
		}
	}
	x.put(w, n.Next, kept)
}

// alone runs the task of one message in place, in the work's own memory: nobody else has to wait for it.
func (x *exec) alone(w *work, n *node, ms []*penstock.Message, window *slots, t task) {
	r, err := x.inPlace(w, ms[0], window, t)
	if err == nil {
		err = x.store(w, n, ms[0], r)
	}
	if err != nil {
		x.fail(ms[0], err)
		ms = ms[:0]
	}
	x.put(w, n.Next, ms)
}

func (x *exec) inPlace(w *work, m *penstock.Message, window *slots, t task) (r *reply, err error) {
	if !window.within(x.ctx) {
		return nil, x.ctx.Err()
	}
	defer window.give()
	defer func() {
		if v := recover(); v != nil { // a driver's: this message fails, the others go on
			r, err = nil, NewFault(x.f.plan.Name, v)
		}
	}()
	return t(x.ctx, w.batch, m)
}

// away runs the task off the lane and posts the message back with the reply.
func (x *exec) away(w *work, pc int, m *penstock.Message, window *slots, t task) {
	l := x.lane
	l.leave(w, m)
	attempt, why := max(x.tries, 1), x.cause
	x.f.r.busy()
	x.f.beside.Go(func() {
		defer x.f.r.idle()
		p := &parcel{w: w, m: m, pc: pc, attempt: attempt, called: true, cause: why}
		p.reply, p.err = x.f.windowed(x.ctx, window, m, t)
		l.post(p, nil)
	})
}

// windowed runs a task in memory of its own once the window has room.
func (f *flow) windowed(ctx context.Context, window *slots, m *penstock.Message, t task) (r *reply, err error) {
	if !window.within(ctx) {
		return nil, ctx.Err()
	}
	defer window.give()
	b := f.batches.get()
	b.Runtime = f.runtime
	defer func() {
		if v := recover(); v != nil { // a driver's: this message fails, the others go on
			r, err = nil, NewFault(f.plan.Name, v)
		}
	}()
	if r, err = t(ctx, b, m); err != nil {
		f.recycle(b)
		return nil, err
	}
	r.memory = append(r.memory, b)
	return r, nil
}

// together runs the tasks of a batch at once and waits for them.
func (x *exec) together(w *work, n *node, ms []*penstock.Message, window *slots, t task) {
	replies := make([]*reply, len(ms))
	errs := make([]error, len(ms))
	x.f.r.all(len(ms), func(i int) { replies[i], errs[i] = x.f.windowed(x.ctx, window, ms[i], t) })
	kept := ms[:0]
	for i, m := range ms {
		err := errs[i]
		if err == nil {
			err = x.store(w, n, m, replies[i])
		}
		if err != nil {
			x.fail(m, err)
		} else {
			kept = append(kept, m)
		}
	}
	x.put(w, n.Next, kept)
}

// store puts a reply where the step's into says.
func (x *exec) store(w *work, n *node, m *penstock.Message, r *reply) error {
	w.extra = append(w.extra, r.memory...)
	var into step.Target
	switch op := n.Op.(type) {
	case *plan.Call:
		into = op.Into
	case *plan.Fork:
		into = op.Into
	case *plan.Loop:
		into = op.Into
	}
	return x.f.assign(w.batch, m, into, r)
}

func (f *flow) assign(b *penstock.Batch, m *penstock.Message, into step.Target, r *reply) error {
	if into.Root == step.Discard {
		return nil
	}
	if into.Root == step.Body && len(into.Steps) == 0 && !r.absent {
		m.Body = r.doc
		return nil
	}
	v := penstock.Absent
	if !r.absent {
		if err := r.doc.Parse(jsonview.Limits{}); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "reply", Err: err}
		}
		v = penstock.NodeValue(r.doc, 0)
	}
	return step.Assign(b, m, into, v)
}

// call asks the node's endpoint for each message.
func (x *exec) call(w *work, pc int, n *node, ms []*penstock.Message) {
	c, first, patience := n.caller, x.tries <= 1, n.patience()
	x.ask(w, pc, n, ms, c.window, func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		if c.cache != nil {
			return c.cache.ask(carried(ctx, m), c, b, m, n, first)
		}
		into := b.NewMessage()
		into.Body.Reset(jsonview.JSON, []byte("null"))
		if err := c.ask(carried(ctx, m), b.Frame(m), into, patience, first); err != nil {
			return nil, err
		}
		return &reply{doc: into.Body, absent: isAbsent(into)}, nil
	})
}

// patience is how long one try of the node may take: the step's timeout, or its connection's.
// 0 is without end.
func (n *node) patience() time.Duration {
	if n.Timeout > 0 {
		return n.Timeout
	}
	switch op := n.Op.(type) {
	case *plan.Call:
		return op.Endpoint.Timeout
	case *plan.Send:
		return op.Endpoint.Timeout
	}
	return 0
}

// within bounds each run of a task. What comes too late is no answer, even if it comes.
func (f *flow) within(d time.Duration, name string, t task) task {
	return func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		ctx, cancel := f.timeout(ctx, d)
		defer cancel()
		r, err := t(ctx, b, m)
		if err = f.timedOut(ctx, d, name, err); err != nil {
			return nil, err
		}
		return r, nil
	}
}

// timeout bounds a try by the run's clock.
func (f *flow) timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return ctx, func() {}
	}
	return f.bounded(ctx, d, context.DeadlineExceeded)
}

// bounded ends ctx after d of the run's clock, with a cause.
func (f *flow) bounded(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if _, real := f.r.clock.(penstock.SystemClock); real && cause == context.DeadlineExceeded { //nolint:errorlint // this very one
		return context.WithTimeoutCause(ctx, d, cause)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c, stop := f.r.clock.NewTimer(d)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-c:
			f.r.busy() // until the try has taken notice: a clock that is moved by hand must not go on before
			cancel(cause)
			stop()
			<-over
			f.r.idle()
		case <-over:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		stop() // at once: a clock that is moved by hand must not find a timer that nobody waits for
		cancel(context.Canceled)
		close(over)
		<-ended // it may count as busy, and nothing does once a run has ended
	})
}

// timedOut names a time-out as such, whatever the driver made of it.
func (f *flow) timedOut(ctx context.Context, d time.Duration, name string, err error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && !isRefusal(err) && !errors.Is(err, errOverdrawn) {
		if err == nil {
			err = context.DeadlineExceeded
		}
		return &penstock.Error{Code: penstock.Timeout, Op: name, Err: fmt.Errorf("no answer within %s: %w", d, err), Hint: "raise the step's timeout, or look at the other side"}
	}
	return err
}
