package run

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// web is a server that a test calls.
type web struct{ handler chan penstock.Handler }

func newWeb() *web { return &web{handler: make(chan penstock.Handler, 1)} }

// Serve implements penstock.Server.
func (w *web) Serve(ctx context.Context, h penstock.Handler) error {
	w.handler <- h
	<-ctx.Done()
	return nil
}

func serverEndpoint(replies bool) *plan.Endpoint {
	return &plan.Endpoint{Name: "flow/from", Label: "web", Driver: &penstock.Driver{Kind: penstock.KindOfServer, Spec: penstock.Spec{Name: "web"}},
		Server: &plan.Server{Replies: replies, Request: -1}}
}

// called runs a flow with a server, and gives what calls it. The run is stopped, and must end well, with the test.
func (b *bench) serve(t testing.TB, o Options) penstock.Handler {
	t.Helper()
	w := newWeb()
	if b.flow.Sources == nil {
		b.flow.Sources = []*plan.Endpoint{serverEndpoint(true)}
	}
	if b.flow.OnError.Retry.Attempts == 0 {
		b.flow.OnError.Retry = plan.Retry{Attempts: 3, Factor: 2}
	}
	b.flow.Order = plan.None
	b.dead = &noted{}
	o.Clock, o.DeadLetters = b.clock, t.TempDir()
	o.Replace = func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch role {
		case RoleServer:
			return w, true
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
	}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, o)
	if err != nil {
		t.Fatal(err)
	}
	b.runner = r
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx)
		over <- err
	}()
	b.stop = func() error {
		stop()
		err := <-over
		over <- err
		return err
	}
	t.Cleanup(func() {
		if err := b.stop(); err != nil && !b.aborts {
			t.Error(err)
		}
	})
	return <-w.handler
}

// ask makes a request and gives the reply, "nothing", or the error.
func ask(h penstock.Handler, body string) (string, error) {
	b := &penstock.Batch{}
	return askIn(context.Background(), h, b, body)
}

func askIn(ctx context.Context, h penstock.Handler, b *penstock.Batch, body string) (string, error) {
	b.Reset()
	m := b.Append()
	m.Body.Reset(jsonview.JSON, b.Arena().Copy([]byte(body)))
	if err := h.Handle(ctx, b); err != nil {
		return "", err
	}
	if err := b.Err(0); err != nil {
		return "", err
	}
	if b.Msgs[0].Body == nil {
		return "nothing", nil
	}
	return string(b.Msgs[0].Body.AppendJSON(nil, 0)), nil
}

// greet is a step that makes a new body.
var greet = steps(func(b *penstock.Batch, m *penstock.Message) error {
	v := field("name")(b.Frame(m))
	switch {
	case v.IsError():
		return v.Err()
	case v.IsAbsent():
		return penstock.E(penstock.Unprocessable, "greet", "body.name", "there is no name")
	case v.Str() == "panic":
		panic("a mistake")
	case v.Str() == "nobody":
		return errDrop
	}
	dst := append(b.Arena().Tail(64), `{"greeting":"Hello, `...)
	dst = b.Arena().Keep(append(append(dst, v.Str()...), `"}`...))
	m.Body = b.NewDoc()
	m.Body.Reset(jsonview.JSON, dst)
	return nil
})

func TestReply(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "hello", Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}}
	h := b.serve(t, Options{})
	for _, tt := range []struct {
		body, want string
		code       penstock.Code
	}{
		{`{"name":"Ada"}`, `{"greeting":"Hello, Ada"}`, ""},
		{`{"name":"nobody"}`, "nothing", ""},
		{`{"nom":"Ada"}`, "", penstock.Unprocessable},
		{`{"name":`, "", penstock.Invalid},
		{`{"name":"panic"}`, "", penstock.Internal},
		{`{"name":"Bob"}`, `{"greeting":"Hello, Bob"}`, ""},
	} {
		got, err := ask(h, tt.body)
		if got != tt.want || penstock.CodeOf(err) != tt.code {
			t.Errorf("%s: %s, %v; want %s, code %q", tt.body, got, err, tt.want, tt.code)
		}
	}
	s := b.runner.Snapshot().Flows[0]
	if s.Read != 6 || s.Done != 2 || s.Filtered != 1 || s.Failed != 3 || s.Dead != 0 || s.Unsettled != 0 {
		t.Errorf("counted %+v", s)
	}
	if len(b.dead.got) > 0 {
		t.Errorf("dead letters: %q", b.dead.got)
	}
}

func TestReplyOfABatch(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "hello", Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}}
	h := b.serve(t, Options{})
	batch := &penstock.Batch{}
	for _, name := range []string{"Ada", "nobody", "", "Bob"} {
		m := batch.Append()
		body := fmt.Sprintf(`{"name":%q}`, name)
		if name == "" {
			body = `{}`
		}
		m.Body.Reset(jsonview.JSON, []byte(body))
	}
	if err := h.Handle(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, m := range batch.Msgs {
		switch {
		case batch.Err(i) != nil:
			got = append(got, string(penstock.CodeOf(batch.Err(i))))
		case m.Body == nil:
			got = append(got, "nothing")
		default:
			got = append(got, string(m.Body.AppendJSON(nil, 0)))
		}
	}
	if want := `["{\"greeting\":\"Hello, Ada\"}" "nothing" "unprocessable" "{\"greeting\":\"Hello, Bob\"}"]`; fmt.Sprintf("%q", got) != want {
		t.Errorf("%q, want %s", got, want)
	}
}

func TestAskedAndRepeated(t *testing.T) {
	tries := 0
	asking := plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: endpoint("other"), Idempotent: true}}
	b := &bench{
		flow: &plan.Flow{Name: "f", Nodes: next(asking)},
		callers: map[string]penstock.Caller{"other": answer(func(body string) (string, error) {
			tries++
			switch {
			case body == `"down"`, body == `"once"` && tries == 1:
				return "", penstock.E(penstock.Unavailable, "other", "", "it is down")
			case body == `"panic"`:
				panic("a driver's mistake")
			}
			return `{"asked":` + body + `}`, nil
		})},
	}
	h := b.serve(t, Options{})
	for _, tt := range []struct {
		body, want string
		code       penstock.Code
		tries      int
	}{
		{`"a"`, `{"asked":"a"}`, "", 1},
		{`"once"`, `{"asked":"once"}`, "", 2},
		{`"down"`, "", penstock.Unavailable, 3},
		{`"panic"`, "", penstock.Internal, 1},
	} {
		tries = 0
		got, err := ask(h, tt.body)
		if got != tt.want || penstock.CodeOf(err) != tt.code || tries != tt.tries {
			t.Errorf("%s: %s, %v after %d tries; want %s, code %q after %d", tt.body, got, err, tries, tt.want, tt.code, tt.tries)
		}
	}
}

func TestSentBeforeTheAnswer(t *testing.T) {
	out := &noted{fail: func(body string, _ int) error {
		if body == `{"name":"no"}` {
			return errors.New("refused")
		}
		return nil
	}}
	b := &bench{flow: &plan.Flow{Name: "f", Nodes: next(send("out")), Sources: []*plan.Endpoint{serverEndpoint(false)}}, sinks: map[string]*noted{"out": out}}
	h := b.serve(t, Options{})
	if got, err := ask(h, `{"name":"yes"}`); got != "nothing" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := ask(h, `{"name":"no"}`); penstock.CodeOf(err) != penstock.Internal {
		t.Errorf("refused by the sink, and told %v", err)
	}
	if fmt.Sprint(out.got) != `[{"name":"yes"}]` {
		t.Errorf("sent %s", out.got)
	}
}

func TestRefusedWhileStopping(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "hello", Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}}
	h := b.serve(t, Options{})
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(h, `{"name":"Ada"}`); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("a stopped flow answers %v", err)
	}
}

// waiting is a flow whose call answers when it is let go.
func waiting(b plan.Budget) (w *bench, entered chan string, release chan struct{}) {
	entered, release = make(chan string, 10), make(chan struct{})
	return &bench{
		flow: &plan.Flow{Name: "f", Budget: b, Nodes: next(plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: endpoint("other")}})},
		callers: map[string]penstock.Caller{"other": patient(func(ctx context.Context, body string) (string, error) {
			entered <- body
			select {
			case <-release:
				return body, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		})},
	}, entered, release
}

// patient is a caller made of a function that waits.
type patient func(ctx context.Context, body string) (string, error)

func (patient) Open(context.Context) error  { return nil }
func (patient) Close(context.Context) error { return nil }
func (a patient) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	out, err := a(ctx, string(f.Msg.Body.AppendJSON(nil, 0)))
	if err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, []byte(out))
	return nil
}

type answered struct {
	body string
	err  error
}

func begin(ctx context.Context, h penstock.Handler, body string) chan answered {
	c := make(chan answered, 1)
	go func() {
		got, err := askIn(ctx, h, &penstock.Batch{}, body)
		c <- answered{got, err}
	}()
	return c
}

func TestOverTheBudget(t *testing.T) {
	for name, budget := range map[string]plan.Budget{"messages": {Messages: 1}, "bytes": {Bytes: 1200}} {
		t.Run(name, func(t *testing.T) {
			b, entered, release := waiting(budget)
			h := b.serve(t, Options{})
			first := begin(t.Context(), h, `"a"`)
			<-entered
			impatient, cancel := context.WithCancel(t.Context())
			second := begin(impatient, h, `"`+strings.Repeat("b", 300)+`"`)
			third := begin(t.Context(), h, `"c"`)
			cancel()
			if a := <-second; penstock.CodeOf(a.err) != penstock.Unavailable {
				t.Errorf("over the budget, and told %v", a.err)
			}
			close(release)
			if a := <-first; a.err != nil {
				t.Error(a.err)
			}
			if a := <-third; a.err != nil || a.body != `"c"` {
				t.Errorf("who waited was told %v", a)
			}
			if f := b.runner.list()[0]; f.budget.messages != 0 || f.budget.bytes != 0 {
				t.Errorf("%d messages and %d bytes are left in the budget", f.budget.messages, f.budget.bytes)
			}
		})
	}
}

func TestOnlySoManyAtOnce(t *testing.T) {
	b, entered, release := waiting(plan.Budget{})
	b.flow.Sources = []*plan.Endpoint{serverEndpoint(true)}
	b.flow.Sources[0].Server.Concurrency = 1
	h := b.serve(t, Options{})
	first := begin(t.Context(), h, `"a"`)
	<-entered
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, context.DeadlineExceeded)
	defer cancel()
	if a := <-begin(ctx, h, `"b"`); penstock.CodeOf(a.err) != penstock.Timeout {
		t.Errorf("%v", a.err)
	}
	close(release)
	if a := <-first; a.err != nil {
		t.Error(a.err)
	}
}

func TestTheCallerGoesAway(t *testing.T) {
	b, entered, _ := waiting(plan.Budget{})
	var after int
	b.flow.Nodes = append(b.flow.Nodes, next(plan.Node{Name: "after", Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error {
		after++
		return nil
	})}})...)
	b.flow.Nodes[0].Next = 1
	b.flow.Nodes[0].Catch, b.flow.Nodes[0].ErrorSlot = 1, -1
	h := b.serve(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	a := begin(ctx, h, `"a"`)
	<-entered
	cancel()
	if a := <-a; penstock.CodeOf(a.err) != penstock.Cancelled {
		t.Errorf("%v", a.err)
	}
	if after > 0 {
		t.Error("the flow went on for nobody")
	}
	if s := b.runner.Snapshot().Flows[0]; s.Failed != 1 || s.Unsettled != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestStoppingFinishesWhatIsInFlight(t *testing.T) {
	b, entered, release := waiting(plan.Budget{})
	h := b.serve(t, Options{})
	a := begin(t.Context(), h, `"a"`)
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- b.stop() }()
	for !b.runner.list()[0].pumps[0].server.closing.Load() { // until the driver serves no more
		runtime.Gosched()
	}
	if _, err := ask(h, `"b"`); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("while it stops: %v", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("the run ended before its last request: %v", err)
	default:
	}
	close(release)
	if a := <-a; a.err != nil || a.body != `"a"` {
		t.Errorf("%v", a)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStoppingHasAnEnd(t *testing.T) {
	b, entered, _ := waiting(plan.Budget{})
	b.aborts = true
	h := b.serve(t, Options{Drain: 1})
	a := begin(t.Context(), h, `"a"`)
	<-entered
	if err := b.stop(); penstock.CodeOf(err) != penstock.Timeout {
		t.Errorf("the run ended with %v", err)
	}
	if a := <-a; penstock.CodeOf(a.err) != penstock.Unavailable {
		t.Errorf("who was still waiting was told %v", a.err)
	}
}

func TestAServerThatFailsEndsTheRun(t *testing.T) {
	f := &plan.Flow{Name: "f", Order: plan.None, Sources: []*plan.Endpoint{serverEndpoint(true)}, Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		if role == RoleServer {
			return unserved{}, true
		}
		return &noted{}, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context()); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("%v", err)
	}
}

type unserved struct{}

func (unserved) Serve(context.Context, penstock.Handler) error {
	return penstock.E(penstock.Config, "listen", "127.0.0.1:80", "somebody else is there")
}

func TestAtRest(t *testing.T) {
	rest := make(chan struct{}, 100)
	b, entered, release := waiting(plan.Budget{})
	h := b.serve(t, Options{OnIdle: func() { rest <- struct{}{} }})
	for !b.runner.Idle() { // until the server waits
		<-rest
	}
	a := begin(t.Context(), h, `"a"`)
	<-entered
	if b.runner.Idle() {
		t.Error("at rest while a request is asked for somewhere else")
	}
	close(release)
	<-a
	for !b.runner.Idle() {
		<-rest
	}
}

func TestOnceServesNobody(t *testing.T) {
	f := &plan.Flow{Name: "f", Order: plan.None, Sources: []*plan.Endpoint{serverEndpoint(true)}, Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Once: true, Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		if role == RoleServer {
			return unserved{}, true
		}
		return &noted{}, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := r.Run(t.Context()); err != nil || sum.Flows[0].Read != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}
