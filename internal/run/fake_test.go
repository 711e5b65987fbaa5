package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// prog is a program made of a function.
type prog func(f *penstock.Frame) penstock.Value

func (p prog) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// field reads body.<name> as text or int.
func field(name string) prog {
	return func(f *penstock.Frame) penstock.Value {
		d := f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(penstock.E(penstock.Invalid, "read", "body", err.Error()))
		}
		n := d.Field(0, name, nil)
		switch d.Kind(n) {
		case jsonview.String:
			return penstock.StringValue(d.Str(n, f.Arena.Alloc))
		case jsonview.Number:
			i, _ := d.Int(n)
			return penstock.IntValue(i)
		case jsonview.Array, jsonview.Object, jsonview.True, jsonview.False:
			return penstock.NodeValue(d, n)
		}
		return penstock.Absent
	}
}

// steps is a leaf step made of a function over one message: nil keeps it, errDrop drops it.
type steps func(b *penstock.Batch, m *penstock.Message) error

var errDrop = errors.New("drop")

func (s steps) Process(_ context.Context, b *penstock.Batch) error {
	out := b.Msgs[:0]
	type bad struct {
		i   int
		err error
	}
	var fails []bad
	for _, m := range b.Msgs {
		err := s(b, m)
		if err == errDrop {
			continue
		}
		if err != nil {
			fails = append(fails, bad{len(out), err})
		}
		out = append(out, m)
	}
	b.Msgs = out
	for _, f := range fails {
		b.Fail(f.i, f.err)
	}
	return nil
}

// lines is a source of JSON documents, in batches.
type lines struct {
	docs    []string
	batch   int
	next    int
	mu      sync.Mutex
	settled []penstock.Outcome
}

func (*lines) Open(context.Context) error  { return nil }
func (*lines) Close(context.Context) error { return nil }
func (s *lines) Read(_ context.Context, into *penstock.Batch) error {
	if s.next == len(s.docs) {
		return io.EOF
	}
	for i := 0; i < max(s.batch, 1) && s.next < len(s.docs); i++ {
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(s.docs[s.next])))
		m.Pos = penstock.Position{Stream: "lines", Offset: int64(s.next)}
		s.next++
	}
	return nil
}
func (s *lines) Settle(_ context.Context, o []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, o...)
	return nil
}

// noted is a sink that keeps what it got as text.
type noted struct {
	mu    sync.Mutex
	got   []string
	metas []string
	fail  func(body string, try int) error
	tries map[string]int
}

func (*noted) Open(context.Context) error  { return nil }
func (*noted) Close(context.Context) error { return nil }
func (r *noted) Write(_ context.Context, b *penstock.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := map[int]error{}
	behind := map[string]error{}
	for i, m := range b.Msgs {
		body := string(m.Body.AppendJSON(nil, 0))
		if err := behind[m.Key]; err != nil { // as the seam demands of a sink that keeps order
			errs[i] = err
			continue
		}
		if r.fail != nil {
			if r.tries == nil {
				r.tries = map[string]int{}
			}
			r.tries[body]++
			if err := r.fail(body, r.tries[body]); err != nil {
				errs[i] = err
				if penstock.CodeOf(err).Transient() {
					behind[m.Key] = err
				}
				continue
			}
		}
		r.got = append(r.got, body)
		meta := ""
		for _, e := range m.Meta.Entries() {
			v, _ := e.Value.AppendJSON(nil)
			meta += e.Name + "=" + string(v) + " "
		}
		r.metas = append(r.metas, m.Key+" "+strings.TrimSpace(meta))
	}
	if len(errs) > 0 {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// answer is a caller made of a function of the body.
type answer func(body string) (string, error)

func (answer) Open(context.Context) error  { return nil }
func (answer) Close(context.Context) error { return nil }
func (a answer) Call(_ context.Context, f *penstock.Frame, into *penstock.Message) error {
	out, err := a(string(f.Msg.Body.AppendJSON(nil, 0)))
	if err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, []byte(out))
	return nil
}

// sourceEndpoint is told the fate of every message.
func sourceEndpoint() *plan.Endpoint {
	return &plan.Endpoint{Name: "in", Driver: &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Each}}}
}

func endpoint(name string) *plan.Endpoint { return &plan.Endpoint{Name: name} }

func next(nodes ...plan.Node) []plan.Node {
	for i := range nodes {
		if nodes[i].Next == 0 {
			nodes[i].Next = i + 1
			if i == len(nodes)-1 {
				nodes[i].Next = plan.End
			}
		}
		if nodes[i].Catch == 0 {
			nodes[i].Catch = plan.End
		}
		if nodes[i].Name == "" {
			nodes[i].Name = fmt.Sprintf("step%d", i+1)
		}
		nodes[i].ErrorSlot = -1
	}
	return nodes
}

// bench holds the parts of a test flow.
type bench struct {
	flow    *plan.Flow
	source  *lines
	sinks   map[string]*noted
	callers map[string]penstock.Caller
	dead    *noted
	clock   penstock.Clock

	runner *Runner // of a flow that is served
	stop   func() error
	aborts bool
	hides  Redactor
	made   func(*Runner) // is given the runner before it runs; nil is none
}

func (b *bench) run(t testing.TB) *Summary {
	t.Helper()
	sum, err := b.try(t, context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func (b *bench) try(t testing.TB, ctx context.Context) (*Summary, error) {
	t.Helper()
	b.dead = &noted{}
	if b.flow.OnError.Retry.Attempts == 0 {
		b.flow.OnError.Retry = plan.Retry{Attempts: 5, Factor: 2}
	}
	if b.flow.Sources == nil {
		b.flow.Sources = []*plan.Endpoint{sourceEndpoint()}
	}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{
		Clock: b.clock, DeadLetters: t.TempDir(), Secrets: b.hides,
		Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
			switch role {
			case RoleSource:
				return b.source, true
			case RoleSink:
				s := b.sinks[ep.Name]
				return s, s != nil
			case RoleCaller:
				c := b.callers[ep.Name]
				return c, c != nil
			case RoleDeadLetter:
				return b.dead, true
			}
			return nil, false
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.made != nil {
		b.made(r)
	}
	return r.Run(ctx)
}

func docs(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

func send(name string) plan.Node {
	return plan.Node{Name: name, Verb: "to", Op: &plan.Send{Endpoint: endpoint(name), Idempotent: true}}
}

var limits = jsonview.Limits{}
