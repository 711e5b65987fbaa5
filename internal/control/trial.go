package control

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/run"
)

// trial runs one flow over its dead letters without effects. Those that go on behind a durable step run in a flow of their own
// that begins there.
type trial struct {
	s      *Service
	ctx    context.Context
	cancel context.CancelFunc
	name   string
	flow   *plan.Flow // nil: there is none of this name
	params []penstock.Value
	parts  map[int]*part // by the node where they begin

	count int64
	mu    sync.Mutex
	fates map[string]*fate // of those that are on their way, by id
	pass  int64
	calls map[string]int64 // those that came to what is not done, by step
	tally *operate.Tally
}

// fate is what became of a dead letter in a trial.
type fate struct {
	died    string // when, the first time
	failed  *operate.Reason
	reached string // a step that is not done
}

// part is the run of those dead letters that begin at one node.
type part struct {
	letters chan *operate.DeadLetter
	done    chan error
}

func (s *Service) newTrial(ctx context.Context, name string, p *plan.Plan) *trial {
	t := &trial{s: s, name: name, flow: p.Flow(name), params: p.Params, parts: map[int]*part{}, fates: map[string]*fate{}, calls: map[string]int64{}, tally: operate.NewTally()}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// give tries a dead letter. It waits while others are before it.
func (t *trial) give(d *operate.DeadLetter) error {
	t.count++
	if t.flow == nil {
		return nil
	}
	at := entry(t.flow, d.Reason.Entry)
	if at == plan.End { // behind the last step there is nothing to fail at
		t.pass++
		return nil
	}
	p := t.parts[at]
	if p == nil {
		var err error
		if p, err = t.begin(at); err != nil {
			return err
		}
		t.parts[at] = p
	}
	select {
	case p.letters <- d:
		return nil
	case err := <-p.done:
		p.done <- err
		return cmp.Or(err, error(&penstock.Error{Code: penstock.Internal, Op: "dlq try", Err: errors.New("the trial ended before its dead letters")}))
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

// begin starts the run of those that begin at a node.
func (t *trial) begin(at int) (*part, error) {
	p := &part{letters: make(chan *operate.DeadLetter, 256), done: make(chan error, 1)}
	f := flowFrom(t.flow, at, t.note)
	r, err := run.New(&plan.Plan{Flows: []*plan.Flow{f}, Params: t.params, Store: &plan.Store{}}, run.Options{
		Clock: t.s.clock(), UUID: newUUID,
		Replace: func(_ *plan.Flow, role run.Role, ep *plan.Endpoint) (any, bool) {
			switch role {
			case run.RoleSource:
				return &letters{t: t, in: p.letters, vars: f.Vars}, true
			case run.RoleDeadLetter:
				return &again{t: t}, true
			case run.RoleCaller:
				if local(f.Nodes, ep) {
					return nil, false
				}
				return &unmadeCall{step: stepOf(ep), note: t.note}, true
			}
			return nowhere{}, true
		},
	})
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "dlq try", Err: err}
	}
	go func() {
		defer func() {
			if v := recover(); v != nil {
				p.done <- run.NewFault("dlq try", v)
			}
		}()
		_, err := r.Run(t.ctx)
		p.done <- err
	}()
	return p, nil
}

// finish waits until all have been tried.
func (t *trial) finish() (*operate.TriedFlow, error) {
	var errs []error
	for _, p := range t.parts {
		close(p.letters)
		errs = append(errs, <-p.done)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	out := &operate.TriedFlow{Flow: t.name, Gone: t.flow == nil, Count: t.count, Pass: t.pass, Calls: []operate.Reached{}, Rest: t.tally.Clusters()}
	for step, n := range t.calls {
		out.Calls = append(out.Calls, operate.Reached{Step: step, Count: n})
	}
	slices.SortFunc(out.Calls, func(a, b operate.Reached) int { return cmp.Compare(a.Step, b.Step) })
	return out, nil
}

// set changes the fate of a dead letter. The first that happens to it counts: behind a call that is not made nothing is known, and of
// several parts the first that fails is shown.
func (t *trial) set(id string, change func(*fate)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.fates[id]; f != nil && f.failed == nil && f.reached == "" {
		change(f)
	}
}

// note says that a dead letter came to something that is not done.
func (t *trial) note(step, id string) { t.set(id, func(f *fate) { f.reached = step }) }

// settled counts a dead letter that is through.
func (t *trial) settled(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.fates[id]
	delete(t.fates, id)
	switch {
	case f == nil:
	case f.reached != "":
		t.calls[f.reached]++
	case f.failed != nil:
		f.failed.Time = f.died
		t.tally.Add(t.name, id, f.failed)
	default:
		t.pass++
	}
}

// letters is the source of a trial. It implements penstock.Source.
type letters struct {
	t    *trial
	in   <-chan *operate.DeadLetter
	vars []string
}

// Open implements penstock.Source.
func (*letters) Open(context.Context) error { return nil }

// Read implements penstock.Source.
func (l *letters) Read(ctx context.Context, into *penstock.Batch) error {
	select {
	case d, more := <-l.in:
		if !more {
			return io.EOF
		}
		return l.add(d, into)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxRead is how many dead letters come at once.
const maxRead = 128

func (l *letters) add(d *operate.DeadLetter, into *penstock.Batch) error {
	for {
		v, err := record.Parse(d.Record)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "dead letter", Path: d.ID, Err: err}
		}
		m, err := v.Message(into, l.vars)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "dead letter", Path: d.ID, Err: err}
		}
		m.Meta.Set("dead", penstock.Absent)
		_, pos, err := operate.ParseID(d.ID)
		if err != nil {
			return err
		}
		m.Pos = penstock.Position{Stream: l.t.name + ".dead", Offset: pos, Next: pos + 1}
		l.t.mu.Lock()
		l.t.fates[d.ID] = &fate{died: d.Reason.Time}
		l.t.mu.Unlock()
		if len(into.Msgs) >= maxRead {
			return nil
		}
		select {
		case next, more := <-l.in:
			if !more {
				return nil // the end is told by the next Read
			}
			d = next
		default:
			return nil
		}
	}
}

// Settle implements penstock.Source.
func (l *letters) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	for _, o := range outcomes {
		l.t.settled(record.ID(o.Pos.Stream, o.Pos.Offset))
	}
	return nil
}

// Close implements penstock.Source.
func (*letters) Close(context.Context) error { return nil }

// nowhere is a sink that writes nothing. It implements penstock.Sink.
type nowhere struct{}

// Open implements penstock.Sink.
func (nowhere) Open(context.Context) error { return nil }

// Write implements penstock.Sink.
func (nowhere) Write(context.Context, *penstock.Batch) error { return nil }

// Close implements penstock.Sink.
func (nowhere) Close(context.Context) error { return nil }

// again is where dead letters go that die in a trial. It implements penstock.Sink.
type again struct {
	nowhere
	t *trial
}

// Write implements penstock.Sink.
func (a *again) Write(_ context.Context, b *penstock.Batch) error {
	for _, m := range b.Msgs {
		r := operate.ReasonOf(m.Meta.Get("dead"))
		a.t.set(m.Lineage.Origin(), func(f *fate) { f.failed = &r })
	}
	return nil
}

// errUnmade is how a call ends that is not made. Nothing is shown of it.
var errUnmade = &penstock.Error{Code: penstock.Cancelled, Op: "dlq try", Err: errors.New("calls are not made in a trial")}

// unmadeCall is a caller that only notes who came. It implements penstock.Caller.
type unmadeCall struct {
	step string
	note func(step, id string)
}

// Open implements penstock.Caller.
func (*unmadeCall) Open(context.Context) error { return nil }

// Call implements penstock.Caller.
func (c *unmadeCall) Call(_ context.Context, f *penstock.Frame, _ *penstock.Message) error {
	c.note(c.step, f.Msg.Lineage.Origin())
	return errUnmade
}

// Close implements penstock.Caller.
func (*unmadeCall) Close(context.Context) error { return nil }

// unmade is a step that needs what the store holds, and only notes who came. It implements penstock.Step.
type unmade struct {
	step string
	note func(step, id string)
}

// Process implements penstock.Step.
func (u *unmade) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		u.note(u.step, m.Lineage.Origin())
		b.Fail(i, errUnmade)
	}
	return nil
}

// admission is a durable step as far as one message can fail at it: what it reads of each. It implements penstock.Step.
type admission struct {
	name  string
	needs *plan.Stage
	group *plan.Group
}

// Process implements penstock.Step.
func (a *admission) Process(_ context.Context, b *penstock.Batch) error {
	programs := map[string]penstock.Program{}
	if a.group != nil {
		programs["by"], programs["when"] = a.group.By, a.group.When
	} else {
		programs["by"], programs["of"], programs["number"], programs["until"] = a.needs.By, a.needs.Of, a.needs.Number, a.needs.Until
	}
	for i, m := range b.Msgs {
		for _, what := range []string{"by", "when", "of", "number", "until"} {
			p := programs[what]
			if p == nil {
				continue
			}
			if v := p.Eval(b.Frame(m)); v.IsError() {
				b.Fail(i, &penstock.Error{Code: penstock.CodeOf(v.Err()), Op: a.name + " " + what, Err: v.Err()})
				break
			}
		}
	}
	return nil
}

// stepOf is the step that an endpoint is used in.
func stepOf(ep *plan.Endpoint) string {
	for i := len(ep.Name) - 1; i >= 0; i-- {
		if ep.Name[i] == '/' {
			return ep.Name[i+1:]
		}
	}
	return ep.Name
}

// local says that a call of the program to an endpoint is answered from memory.
func local(nodes []plan.Node, ep *plan.Endpoint) bool {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Call:
			if op.Endpoint == ep {
				return op.Local
			}
		case *plan.Fork:
			for _, b := range op.Branches {
				if local(b.Nodes, ep) {
					return true
				}
			}
		case *plan.Loop:
			if local(op.Body.Nodes, ep) {
				return true
			}
		}
	}
	return false
}
