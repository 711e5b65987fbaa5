package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// subResults gathers how the messages of a branch ended, by their Seq.
type subResults struct {
	msgs []*penstock.Message // nil: dropped on the way
	err  error               // the first failure
}

func (r *subResults) end(ms []*penstock.Message, ft fate) {
	if ft != fateDone && ft != fateStopped {
		return
	}
	for _, m := range ms {
		r.msgs[m.Seq] = m
	}
}

func (r *subResults) failed(_ *penstock.Message, err error) {
	if r.err == nil {
		r.err = err
	}
}

// child makes a message for a branch: a copy that shares the body.
func child(b *penstock.Batch, m *penstock.Message, seq int) *penstock.Message {
	c := b.NewMessage()
	c.Body, c.Key, c.Pos, c.Time, c.Lineage, c.Descent, c.Seq = m.Body, m.Key, m.Pos, m.Time, m.Lineage, m.Descent, uint64(seq)
	c.Meta.CopyFrom(&m.Meta)
	c.Vars = append(c.Vars[:0], m.Vars...)
	return c
}

// branch runs a sub-program over messages and gives their ends.
func (x *exec) branch(ctx context.Context, owner *penstock.Message, b *penstock.Batch, p *program, inherit *plan.Retry, ms []*penstock.Message) (*subResults, []*penstock.Batch, error) {
	res := &subResults{msgs: make([]*penstock.Message, len(ms))}
	sub := p.exec(ctx, x.f, inherit)
	sub.results, sub.owner, sub.inRequest = res, owner, x.awaited()
	sub.try, _ = ctx.Value(tryKey{}).(*attempt)
	if x.f.r.tracer != nil {
		sub.span, _ = ctx.Value(spanKey{}).(*observe.Span)
	}
	w := &work{batch: b}
	sub.run(w, 0, ms)
	p.spent(sub) // not where it panics: it is in the middle of something
	return res, w.extra, res.err
}

// exec gives what runs the program once, as a branch.
func (p *program) exec(ctx context.Context, f *flow, inherit *plan.Retry) *exec {
	x := p.execs.get()
	if x.prog == nil {
		*x = *newExec(ctx, f, p, inherit)
	}
	x.ctx, x.inherit = ctx, inherit
	return x
}

// spent takes x back: nothing is left in it but its memory.
func (p *program) spent(x *exec) {
	clear(x.before[:cap(x.before)])
	clear(x.fails[:cap(x.fails)])
	*x = exec{f: x.f, prog: p, buckets: x.buckets, joined: x.joined, spare: x.spare, before: x.before[:0], scratch: x.scratch[:0], fails: x.fails[:0]}
	p.execs.put(x)
}

// fork runs parallel or forEach for each message.
func (x *exec) fork(w *work, pc int, n *node, op *plan.Fork, ms []*penstock.Message) {
	t := func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		return x.forkOne(ctx, b, n, op, m)
	}
	x.ask(w, pc, n, ms, x.f.forks, t)
}

func (x *exec) forkOne(ctx context.Context, b *penstock.Batch, n *node, op *plan.Fork, m *penstock.Message) (*reply, error) {
	if m.Body.Format() != jsonview.Binary {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil { // before branches share it
			return nil, &penstock.Error{Code: penstock.Invalid, Op: n.Name, Path: "body", Err: err}
		}
	}
	if op.Pick != nil {
		return x.balanced(ctx, b, n, op, m)
	}
	var children []*penstock.Message
	if op.Each == nil {
		for i := range op.Branches {
			children = append(children, child(b, m, i))
		}
	} else {
		list := op.Each.Eval(b.Frame(m))
		err := eachOf(list, n.Name, func(i int, v penstock.Value) error {
			c := child(b, m, i)
			c.Descent = m.Descent.Part(i)
			if err := bind(b, c, op.As, op.Index, i, v); err != nil {
				return err
			}
			children = append(children, c)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	prog := func(i int) *program {
		if op.Each == nil {
			return n.subs[i]
		}
		return n.subs[0]
	}
	if op.Partial != nil {
		return x.partial(ctx, b, n, op, m, children, prog)
	}
	ends := make([]*penstock.Message, len(children))
	r := &reply{}
	var err error
	switch {
	case n.waits && op.Concurrency != 1 && len(children) > 1:
		r.memory, err = x.apart(ctx, x.ownerOf(m), n, op, children, prog, ends)
	case op.Each != nil && len(children) > 0: // all elements as one batch
		var res *subResults
		res, r.memory, err = x.branch(ctx, x.ownerOf(m), b, n.subs[0], x.inner(n), children)
		ends = res.msgs
	default:
		for i, c := range children {
			c.Seq = 0
			res, mem, e := x.branch(ctx, x.ownerOf(m), b, prog(i), x.inner(n), []*penstock.Message{c})
			r.memory = append(r.memory, mem...)
			ends[i], err = res.msgs[0], errors.Join(err, e)
		}
	}
	if err != nil {
		for _, mem := range r.memory {
			x.f.recycle(mem)
		}
		return nil, err
	}
	r.doc, err = joined(b, op, ends)
	return r, err
}

// apart runs each child in a goroutine and memory of its own, as many at once as the
// step's concurrency says.
func (x *exec) apart(ctx context.Context, owner *penstock.Message, n *node, op *plan.Fork, children []*penstock.Message, prog func(int) *program, ends []*penstock.Message) ([]*penstock.Batch, error) {
	limit := op.Concurrency
	if limit <= 0 || limit > len(children) {
		limit = len(children)
	}
	var next atomic.Int64
	var mu sync.Mutex
	var memory []*penstock.Batch
	errs := make([]error, len(children))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	one := func(i int) {
		defer func() {
			if v := recover(); v != nil { // a driver's: this message fails, the others go on
				errs[i] = NewFault(x.f.plan.Name+"/"+n.Name, v)
			}
		}()
		b := x.f.batches.get()
		b.Runtime = x.f.runtime
		own := child(b, children[i], 0)
		res, mem, err := x.branch(ctx, owner, b, prog(i), x.inner(n), []*penstock.Message{own})
		ends[i], errs[i] = res.msgs[0], err
		mu.Lock()
		memory = append(append(memory, b), mem...)
		mu.Unlock()
	}
	x.f.r.all(limit, func(int) {
		for i := int(next.Add(1) - 1); i < len(children); i = int(next.Add(1) - 1) {
			one(i)
		}
	})
	for _, err := range errs {
		if err != nil {
			return memory, err
		}
	}
	return memory, nil
}

// joined writes the branches' bodies as an object, or the elements' as a list. A branch
// that dropped its message is left out.
func joined(b *penstock.Batch, op *plan.Fork, ends []*penstock.Message) (*jsonview.Doc, error) {
	dst := b.Arena().Tail(1024)
	open, shut := byte('{'), byte('}')
	if op.Each != nil {
		open, shut = '[', ']'
	}
	dst = append(dst, open)
	first := true
	for i, m := range ends {
		if m == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if op.Each == nil {
			dst = jsonview.AppendString(dst, op.Branches[i].Name)
			dst = append(dst, ':')
		}
		var err error
		if dst, err = appendBody(dst, m.Body); err != nil {
			return nil, err
		}
	}
	dst = b.Arena().Keep(append(dst, shut))
	d := b.NewDoc()
	d.Reset(jsonview.JSON, dst)
	return d, nil
}

// appendBody appends a body as JSON. What is put into another document is checked first:
// nothing malformed gets inside something well-formed.
func appendBody(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "join", Path: "body", Err: err}
	}
	return d.AppendJSON(dst, 0), nil
}

// loop runs the body until the condition holds.
func (x *exec) loop(w *work, pc int, n *node, op *plan.Loop, ms []*penstock.Message) {
	x.ask(w, pc, n, ms, x.f.forks, func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		return x.loopOne(ctx, b, n, op, m)
	})
}

func (x *exec) loopOne(ctx context.Context, b *penstock.Batch, n *node, op *plan.Loop, m *penstock.Message) (*reply, error) {
	r := &reply{}
	cur := child(b, m, 0)
	for round := 0; ; round++ {
		cur.Descent = m.Descent.Part(round)
		if round == op.Max {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: n.Name, Err: errors.New("until does not hold after the last round"), Hint: "raise max, or look at until"}
		}
		if op.Index >= 0 {
			cur.Vars[op.Index] = penstock.IntValue(int64(round))
		}
		res, mem, err := x.branch(ctx, x.ownerOf(m), b, n.subs[0], x.inner(n), []*penstock.Message{cur})
		r.memory = append(r.memory, mem...)
		if err != nil {
			return nil, err
		}
		if res.msgs[0] == nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: n.Name, Err: errors.New("a round of the loop dropped the message"), Hint: "use choice instead of filter inside a loop"}
		}
		cur = res.msgs[0]
		over, err := test(op.Until, b.Frame(cur), n.Name+" until")
		if err != nil {
			return nil, err
		}
		if over {
			r.doc = cur.Body
			return r, nil
		}
	}
}
