package flowtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// mocks answer the calls of a flow.
type mocks struct {
	w     *world
	all   []*mock
	mu    sync.Mutex
	wants map[*plan.Endpoint]Failure // calls that no mock answered, with the first reason
}

type mock struct {
	spec  *resource.Mock
	when  penstock.Program // nil: always
	reply []byte           // JSON
	mu    sync.Mutex
	left  int // failures to come; -1: without end
}

func newMocks(w *world) *mocks {
	ms := &mocks{w: w, wants: map[*plan.Endpoint]Failure{}}
	for i := range w.test.spec.Mocks {
		spec := &w.test.spec.Mocks[i]
		m := &mock{spec: spec, left: -1}
		if spec.Fail == nil {
			m.reply = resource.AppendTree(nil, &spec.Reply)
		} else if spec.Fail.Times > 0 {
			m.left = spec.Fail.Times
		}
		m.when = w.test.condition(spec.When, types.DynType)
		ms.all = append(ms.all, m)
	}
	return ms
}

// condition compiles a `when` of the test; nil where there is none.
func (t *test) condition(e penstock.Expr, body *types.Type) penstock.Program {
	if e.IsZero() {
		return nil
	}
	l := &diag.List{}
	p := compile.Condition(t.suite.set, e, body, l)
	for _, d := range l.Sorted() {
		if d.Severity == diag.Error {
			t.fail(d.Pos, "%s", d.Message)
		}
	}
	return p
}

func (m *mock) answers(ep *plan.Endpoint, step string) bool {
	if m.spec.Step != "" {
		return m.spec.Step == step
	}
	return ep.Connection != "" && m.spec.Connection.Name == ep.Connection
}

// of says whether any mock stands for an endpoint.
func (ms *mocks) of(ep *plan.Endpoint) bool {
	at := ms.w.places[ep]
	for _, m := range ms.all {
		if at != nil && m.answers(ep, at.node.Name) {
			return true
		}
	}
	return false
}

// pick finds the mock that answers; fails says that it does so with a failure.
func (ms *mocks) pick(ep *plan.Endpoint, step string, f *penstock.Frame) (found *mock, fails bool, err error) {
	stood := false
	for _, m := range ms.all {
		if !m.answers(ep, step) {
			continue
		}
		stood = true
		if m.when != nil {
			v := m.when.Eval(f)
			if v.IsError() {
				return nil, false, ms.missing(ep, m.spec.When.Pos, "the condition of a mock for %s failed: %v", ms.w.called(ep), v.Err())
			}
			if !isTrue(v) {
				continue
			}
		}
		if m.spec.Fail == nil || m.fails() {
			return m, m.spec.Fail != nil, nil
		}
	}
	if stood {
		return nil, false, ms.missing(ep, ms.w.places[ep].node.Pos, "none of the mocks for %s answers the message %s", ms.w.called(ep), clip(bodyText(f.Msg)))
	}
	return nil, false, ms.missing(ep, ms.w.places[ep].node.Pos, "there is no mock for %s; add `{ step: %s, reply: … }` to the test's `mocks`", ms.w.called(ep), step)
}

// fails uses up one failure.
func (m *mock) fails() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left > 0 {
		m.left--
		return true
	}
	return m.left < 0
}

func isTrue(v penstock.Value) bool {
	v = v.Load(nil)
	return v.Kind() == penstock.KindBool && v.Bool()
}

// missing notes that a call had no answer: the test fails, whatever the flow makes of it.
func (ms *mocks) missing(ep *plan.Endpoint, pos penstock.Pos, format string, args ...any) error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	message := fmt.Sprintf(format, args...)
	if _, twice := ms.wants[ep]; !twice {
		ms.wants[ep] = Failure{Pos: pos, Message: message}
	}
	return &penstock.Error{Code: penstock.Config, Op: "mock", Err: errors.New(message)}
}

// missed says of the calls that no mock answered why, in the order of the flow.
func (ms *mocks) missed() []Failure {
	var out []Failure
	for _, ep := range ms.unanswered() {
		out = append(out, ms.wants[ep])
	}
	return out
}

// unanswered lists the calls that no mock answered, in the order of the flow.
func (ms *mocks) unanswered() []*plan.Endpoint {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return slices.SortedFunc(maps.Keys(ms.wants), func(a, b *plan.Endpoint) int {
		return cmp.Compare(ms.w.places[a].index, ms.w.places[b].index)
	})
}

// called names a call in messages.
func (w *world) called(ep *plan.Endpoint) string {
	s := ep.Name
	if at := w.places[ep]; at != nil {
		s = "step " + at.node.Name
	}
	if ep.Connection != "" {
		s += " (connection " + ep.Connection + ")"
	}
	return s
}

// mockCaller stands for the caller of one step.
type mockCaller struct {
	w    *world
	life *life
	ep   *plan.Endpoint
	at   *place
}

// Open implements penstock.Caller.
func (*mockCaller) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*mockCaller) Close(context.Context) error { return nil }

// Call implements penstock.Caller. Calls that come at once are answered one after the other, in an order
// that doesn't depend on which came first, since a mock may fail a number of times.
func (c *mockCaller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if err := c.wait(ctx, 0, fmt.Sprintf("%06d%v%s", c.at.index, c.at.path(f.Msg), bodyText(f.Msg))); err != nil {
		return err
	}
	if c.life.over.Load() {
		return errCrashed
	}
	m, fails, err := c.w.mocks.pick(c.ep, c.at.node.Name, f)
	switch {
	case err != nil:
		return err
	case fails:
		return c.fail(ctx, m.spec.Fail)
	}
	what := c.w.fault.meet("call "+c.at.node.Name, crashBefore, crashAfter, lateSuccess)
	if what == crashBefore {
		c.w.fall()
		return errCrashed
	}
	call, _ := c.at.node.Op.(*plan.Call)
	c.w.asked.add(asking{step: c.at.node.Name, body: bodyText(f.Msg), idempotent: call == nil || call.Idempotent})
	switch what {
	case crashAfter:
		c.w.fall()
		return errCrashed
	case lateSuccess:
		return errLate
	}
	into.Body.Reset(jsonview.JSON, m.reply)
	if call != nil && call.Maybe && m.spec.Reply.Kind == penstock.TreeNull {
		into.Meta.Set("absent", penstock.True) // a keyed look-up that misses
	}
	return nil
}

// asked are the calls that were answered.
type asked struct {
	mu    sync.Mutex
	calls []asking
}

type asking struct {
	step, body string
	idempotent bool
}

func (a *asked) add(c asking) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, c)
}

// fail makes the error of a mock. One that times out keeps silent for as long as the step waits.
func (c *mockCaller) fail(ctx context.Context, f *resource.MockFailure) error {
	limit := c.at.node.Timeout
	if limit == 0 {
		limit = c.ep.Timeout
	}
	if f.Code == penstock.Timeout && limit > 0 {
		if err := c.wait(ctx, limit, ""); err != nil {
			return err
		}
	}
	message := f.Message
	if message == "" {
		message = "mock"
	}
	return &penstock.Error{Code: f.Code, Op: c.at.node.Name, Err: errors.New(message)}
}

// errCrashed is what a process that was killed still sees of the world.
var errCrashed = penstock.E(penstock.Cancelled, "crash", "", "the flow has crashed")

// wait lets time go by, until the call or the life that it is of ends.
func (c *mockCaller) wait(ctx context.Context, d time.Duration, order string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life.ctx, func() { cancel(context.Cause(c.life.ctx)) })()
	timer, stop := c.w.pace.clock.timer(d, order)
	defer stop()
	if !c.w.pace.runner.Await(ctx, timer) {
		return context.Cause(ctx)
	}
	return nil
}

func bodyText(m *penstock.Message) string {
	_, t := keep(m)
	return text(t)
}
