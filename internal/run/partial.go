package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// errOverdue is the cause by which a partial's deadline ends what is not done. It is no deadline of a try: nobody was too slow to
// answer.
var errOverdue error = penstock.E(penstock.Cancelled, "", "", "the deadline of partial has passed")

// parts is what became of the branches of a fork, or of its elements.
type parts struct {
	ends   []*penstock.Message // nil: failed, or dropped on the way
	errs   []error
	memory []*penstock.Batch
}

// partial runs the branches, or the elements, each by itself, and makes its result of what succeeded and what failed.
func (x *exec) partial(ctx context.Context, b *penstock.Batch, n *node, op *plan.Fork, m *penstock.Message, children []*penstock.Message, prog func(int) *program) (*reply, error) {
	run, cancel := context.WithCancel(ctx)
	if d := op.Partial.Deadline; d > 0 {
		cancel()
		run, cancel = x.f.bounded(ctx, d, errOverdue)
	}
	defer cancel()
	p := &parts{ends: make([]*penstock.Message, len(children)), errs: make([]error, len(children))}
	if n.waits && op.Concurrency != 1 && len(children) > 1 {
		x.atOnce(run, cancel, n, op, m, children, prog, p)
	} else {
		for i, c := range children {
			c.Seq = 0
			x.part(run, cancel, b, n, op, m, c, prog(i), i, p, nil)
		}
	}
	if errors.Is(context.Cause(run), errOverdue) {
		for i, err := range p.errs {
			if err != nil && penstock.CodeOf(err) == penstock.Cancelled {
				p.errs[i] = overdue(err, n, op)
			}
		}
	}
	err := x.enough(ctx, n, op, p)
	if err == nil {
		r := &reply{memory: p.memory}
		if r.doc, err = p.doc(b, n, op); err == nil {
			return r, nil
		}
	}
	for _, mem := range p.memory {
		x.f.recycle(mem)
	}
	return nil, err
}

// overdue is the failure of what was cancelled by the deadline.
func overdue(err error, n *node, op *plan.Fork) error {
	late := &penstock.Error{Code: penstock.Timeout, Op: n.Name, Err: fmt.Errorf("not done within %s", op.Partial.Deadline)}
	var ex *exhausted
	if errors.As(err, &ex) {
		return &exhausted{err: late, step: ex.step, attempts: ex.attempts, final: ex.final}
	}
	return late
}

// atOnce runs the parts in goroutines and memory of their own, as many at once as the step's concurrency says.
func (x *exec) atOnce(ctx context.Context, cancel context.CancelFunc, n *node, op *plan.Fork, m *penstock.Message, children []*penstock.Message, prog func(int) *program, p *parts) {
	limit := op.Concurrency
	if limit <= 0 || limit > len(children) {
		limit = len(children)
	}
	var next atomic.Int64
	var mu sync.Mutex
	x.f.r.all(limit, func(int) {
		for i := int(next.Add(1) - 1); i < len(children); i = int(next.Add(1) - 1) {
			b := x.f.batches.get()
			b.Runtime = x.f.runtime
			x.part(ctx, cancel, b, n, op, m, child(b, children[i], 0), prog(i), i, p, &mu)
			mu.Lock()
			p.memory = append(p.memory, b)
			mu.Unlock()
		}
	})
}

// part runs one of the parts. Where one fails that must not, the others are not waited for. mu guards p.memory; nil where nobody else is there.
func (x *exec) part(ctx context.Context, cancel context.CancelFunc, b *penstock.Batch, n *node, op *plan.Fork, m, c *penstock.Message, prog *program, i int, p *parts, mu *sync.Mutex) {
	p.errs[i] = x.byItself(ctx, m, func(ctx context.Context) (err error) {
		defer func() {
			if v := recover(); v != nil { // a driver's: this part fails, the others go on
				err = NewFault(x.f.plan.Name+"/"+n.Name, v)
			}
		}()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		res, mem, err := x.branch(ctx, x.ownerOf(m), b, prog, x.inner(n), []*penstock.Message{c})
		if mu != nil {
			mu.Lock()
			defer mu.Unlock()
		}
		p.memory = append(p.memory, mem...)
		if err == nil {
			p.ends[i] = res.msgs[0]
		}
		return err
	})
	if p.errs[i] != nil && op.Partial.Need != nil && op.Partial.Need[i] {
		cancel()
	}
}

// byItself runs a part of a try as a try of its own: where it fails, what was recorded in it is taken back, and nothing else.
func (x *exec) byItself(ctx context.Context, m *penstock.Message, f func(ctx context.Context) error) error {
	tr, ok := m.Lineage.(*track)
	if !ok || !x.f.durable {
		return f(ctx)
	}
	around, _ := ctx.Value(tryKey{}).(*attempt)
	try, good := &attempt{around: around}, false
	defer func() { // also where it panics
		if !good {
			tr.recorded.failed(try)
		}
	}()
	err := f(context.WithValue(ctx, tryKey{}, try))
	good = err == nil
	return err
}

// enough looks whether so much has succeeded as must.
func (x *exec) enough(ctx context.Context, n *node, op *plan.Fork, p *parts) error {
	var first error
	ok := 0
	for i, err := range p.errs {
		switch {
		case err == nil && p.ends[i] != nil:
			ok++
		case err == nil:
		case op.Partial.Need != nil && op.Partial.Need[i]:
			if first == nil || penstock.CodeOf(first) == penstock.Cancelled { // which another one's failure may be the reason of
				first = lacking(err, fmt.Sprintf("branch %s, which must not fail", op.Branches[i].Name))
			}
		}
	}
	if ctx.Err() != nil && x.f.ctx.Err() != nil {
		return ctx.Err() // the run is being stopped: what is cancelled by that has not failed
	}
	if first != nil || ok >= op.Partial.AtLeast {
		return first
	}
	for _, err := range p.errs {
		if err != nil {
			return lacking(err, fmt.Sprintf("%d of %d elements succeeded, and at least %d must", ok, len(p.errs), op.Partial.AtLeast))
		}
	}
	return &penstock.Error{Code: penstock.Unprocessable, Op: n.Name, Err: fmt.Errorf("%d of %d elements gave a result, and at least %d must", ok, len(p.errs), op.Partial.AtLeast)}
}

func lacking(err error, what string) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Err: fmt.Errorf("%s: %w", what, err)}
}

// doc writes {ok, failed}.
func (p *parts) doc(b *penstock.Batch, n *node, op *plan.Fork) (*jsonview.Doc, error) {
	ok, err := joined(b, op, p.ends)
	if err != nil {
		return nil, err
	}
	dst := append(b.Arena().Tail(1024), `{"ok":`...)
	dst = append(dst, ok.Bytes()...)
	dst = append(dst, `,"failed":`...)
	open, shut := byte('{'), byte('}')
	if op.Each != nil {
		open, shut = '[', ']'
	}
	dst = append(dst, open)
	first := true
	for i, failure := range p.errs {
		if failure == nil {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		step, attempts := n.Name, 1
		var ex *exhausted
		if errors.As(failure, &ex) {
			step, attempts = ex.step, ex.attempts
		}
		v := errorValue(failure, step, attempts)
		if op.Each == nil {
			dst = append(jsonview.AppendString(dst, op.Branches[i].Name), ':')
		} else {
			entries := v.Map().Entries
			v = penstock.MapValue(&penstock.Map{Entries: append([]penstock.Entry{{Key: penstock.StringValue("index"), Value: penstock.IntValue(int64(i))}}, entries...)})
		}
		if dst, err = v.AppendJSON(dst); err != nil {
			return nil, err
		}
	}
	dst = b.Arena().Keep(append(dst, shut, '}'))
	d := b.NewDoc()
	d.Reset(jsonview.JSON, dst)
	return d, nil
}
