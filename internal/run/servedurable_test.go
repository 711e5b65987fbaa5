package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// serve starts the plant, whose only source is a server, and gives what calls it. stop ends the run and gives its error.
func (p *plant) serve() (h penstock.Handler, r *Runner, stop func() error) {
	p.t.Helper()
	w := newWeb()
	o := p.options()
	replace := o.Replace
	o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		if role == RoleServer {
			return w, true
		}
		return replace(f, role, ep)
	}
	r, err := New(p.plan, o)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx)
		over <- err
	}()
	end := sync.OnceValue(func() error {
		cancel()
		err := <-over
		if n := r.busyN.Load(); n != 0 && err == nil {
			p.t.Errorf("%d goroutines count as busy after the run", n)
		}
		return err
	})
	p.t.Cleanup(func() { _ = end() })
	return <-w.handler, r, end
}

// refusesBad is a step that fails for bodies with "bad".
var refusesBad = plan.Node{Name: "check", Verb: "fail", Op: &plan.Apply{Step: steps(func(b *penstock.Batch, m *penstock.Message) error {
	if v := field("bad")(b.Frame(m)); !v.IsAbsent() {
		return penstock.E(penstock.Unprocessable, "check", "body.bad", "it is bad")
	}
	return nil
})}}

func served(replies bool, nodes ...plan.Node) *plan.Flow {
	return &plan.Flow{Name: "f", Order: plan.None, Sources: []*plan.Endpoint{serverEndpoint(replies)}, Nodes: next(nodes...)}
}

func TestKeptBeforeTheAnswer(t *testing.T) {
	p := newPlant(t, served(false, toChannel("c"), refusesBad))
	h, r, stop := p.serve()
	for i := range 3 {
		if got, err := ask(h, fmt.Sprintf(`{"n":%d}`, i)); got != "nothing" || err != nil {
			t.Fatalf("%s, %v", got, err)
		}
		if got := p.holds("c"); len(got) != i+1 {
			t.Fatalf("answered, and the channel holds %s", got)
		}
	}
	if _, err := ask(h, `{"bad":1}`); penstock.CodeOf(err) != penstock.Unprocessable {
		t.Errorf("%v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := p.holds("c"); len(got) != 3 {
		t.Errorf("what failed was kept: %s", got)
	}
	if s := r.Snapshot().Flows[0]; s.Read != 4 || s.Done != 3 || s.Failed != 1 || s.Unsettled != 0 || s.Dead != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestManyCallersShareTransactions(t *testing.T) {
	p := newPlant(t, served(true, toChannel("c")))
	h, _, stop := p.serve()
	const callers, each = 16, 50
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			b := &penstock.Batch{}
			for i := range each {
				body := fmt.Sprintf(`{"c":%d,"i":%d}`, c, i)
				if got, err := askIn(t.Context(), h, b, body); got != body || err != nil {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	got := p.holds("c")
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != callers*each {
		t.Errorf("%d of %d are there", len(got), callers*each)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAllOfARequestOrNothing(t *testing.T) {
	split := plan.Node{Name: "parts", Verb: "split", Op: &plan.Split{Each: field("parts"), As: -1, Index: -1}}
	seen := plan.Node{Name: "tap", Verb: "to", Op: &plan.Send{Endpoint: &plan.Endpoint{Name: "f/tap", Channel: "seen"}, NoWait: true}}
	keep := plan.Node{Name: "once", Verb: "dedupe", Op: &plan.Stage{By: field("n"), Spec: &plan.Dedupe{}}}
	p := newPlant(t, served(false, split, seen, toChannel("c"), refusesBad, keep, toChannel("d")))
	h, r, stop := p.serve()
	if got, err := ask(h, `{"parts":[{"n":1},{"n":2},{"n":1}]}`); got != "nothing" || err != nil {
		t.Fatalf("%s, %v", got, err)
	}
	if _, err := ask(h, `{"parts":[{"n":3},{"n":4,"bad":1},{"n":5}]}`); penstock.CodeOf(err) != penstock.Unprocessable {
		t.Fatalf("%v", err)
	}
	if got, err := ask(h, `{"parts":[]}`); got != "nothing" || err != nil {
		t.Fatalf("%s, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := p.holds("c"); len(got) != 3 {
		t.Errorf("channel c holds %s", got)
	}
	if got := p.holds("seen"); len(got) != 6 {
		t.Errorf("a wire tap sees what passes, also of a request that fails: %s", got)
	}
	s := r.Snapshot().Flows[0]
	if s.Read != 3 || s.Failed != 1 || s.Unsettled != 0 || s.Dead != 0 {
		t.Errorf("counted %+v", s)
	}
	h, _, stop = p.serve() // what stood behind the step goes on
	for len(p.holds("d")) < 2 {
		if _, err := ask(h, `{"parts":[{"n":1}]}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := p.holds("d"); len(got) != 2 {
		t.Errorf("channel d holds %s", got)
	}
}

// known is a server whose requests have identities.
func known(f *plan.Flow) *plan.Flow {
	f.Sources[0].ID = field("id")
	return f
}

func TestARequestThatComesAgain(t *testing.T) {
	p := newPlant(t, known(served(false, toChannel("c"), refusesBad)))
	for range 2 { // also in the next run
		h, _, stop := p.serve()
		for range 2 {
			for _, body := range []string{`{"id":"a"}`, `{"id":"b"}`} {
				if got, err := ask(h, body); got != "nothing" || err != nil {
					t.Fatalf("%s, %v", got, err)
				}
			}
		}
		if _, err := ask(h, `{"id":""}`); penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("without an identity: %v", err)
		}
		if _, err := ask(h, `{"id":"x","bad":1}`); penstock.CodeOf(err) != penstock.Unprocessable {
			t.Errorf("%v", err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	h, _, _ := p.serve()
	if _, err := ask(h, `{"id":"x"}`); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(p.holds("c")); got != `[{"id":"a"} {"id":"b"} {"id":"x"}]` {
		t.Errorf("the channel holds %s: a request that failed may come again, others have no effect a second time", got)
	}
}

func TestTwinsAtTheSameTime(t *testing.T) {
	entered, release := make(chan string, 10), make(chan error)
	p := newPlant(t, known(served(false, plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: endpoint("other")}}, toChannel("c"))))
	p.callers["other"] = answer(func(body string) (string, error) {
		entered <- body
		return body, <-release
	})
	h, r, stop := p.serve()
	results := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := ask(h, `{"id":"a"}`)
			results <- err
		}()
	}
	<-entered
	for r.Snapshot().Flows[0].Read < 3 { // all of them are there
		runtime.Gosched()
	}
	release <- errors.New("no")
	if err := <-results; penstock.CodeOf(err) != penstock.Internal {
		t.Errorf("the first: %v", err)
	}
	<-entered // one of the others tries in its place
	release <- nil
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := p.holds("c"); len(got) != 1 {
		t.Errorf("the channel holds %s", got)
	}
	if s := r.Snapshot().Flows[0]; s.Again != 1 || s.Done != 1 || s.Failed != 1 || s.Read != 3 {
		t.Errorf("counted %+v", s)
	}
	if n := len(r.list()[0].pumps[0].server.twins.keys); n != 0 {
		t.Errorf("%d identities are still taken", n)
	}
}

// moody is a store that writes as its mood says, once it has one.
type moody struct {
	store.Store
	mood atomic.Pointer[func() error]
}

func (s *moody) Submit(class store.Class, f func(store.Tx) error) *store.Commit {
	return s.Store.Submit(class, func(tx store.Tx) error {
		if mood := s.mood.Load(); mood != nil {
			if err := (*mood)(); err != nil {
				return err
			}
		}
		return f(tx)
	})
}

func TestACallerThatIsGoneWhileItIsCommitted(t *testing.T) {
	p := newPlant(t, known(served(false, toChannel("c"))))
	gate := make(chan struct{})
	st := &moody{Store: p.store}
	p.store = st
	h, r, stop := p.serve()
	wait := func() error { <-gate; return nil }
	st.mood.Store(&wait)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 1)
	go func() {
		_, err := askIn(ctx, h, &penstock.Batch{}, `{"id":"a"}`)
		results <- err
	}()
	pump := r.list()[0].pumps[0]
	for open := 0; open == 0; {
		r.list()[0].commit.mu.Lock()
		open = pump.open
		r.list()[0].commit.mu.Unlock()
	}
	cancel()
	if err := <-results; penstock.CodeOf(err) != penstock.Cancelled {
		t.Errorf("%v", err)
	}
	close(gate)
	if got, err := ask(h, `{"id":"a"}`); got != "nothing" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := p.holds("c"); len(got) != 1 {
		t.Errorf("what was recorded is kept, once: %s", got)
	}
}

func TestAStoreThatFailsUnderARequest(t *testing.T) {
	p := newPlant(t, served(false, toChannel("c")))
	st := &moody{Store: p.store}
	p.store = st
	h, _, stop := p.serve()
	fail := func() error { return errors.New("an i/o error") }
	st.mood.Store(&fail)
	if _, err := ask(h, `{}`); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("nobody can say whether it was done, and the caller is told %v", err)
	}
	if _, err := ask(h, `{}`); penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("afterwards: %v", err)
	}
	if err := stop(); err == nil {
		t.Error("the run ended well")
	}
}

func TestRequestsOfAKeyTakeTurns(t *testing.T) {
	f := served(false, plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: endpoint("other")}}, toChannel("c"))
	f.Order, f.Key = plan.PerKey, field("k")
	p := newPlant(t, f)
	var mu sync.Mutex
	in := map[string]int{}
	p.callers["other"] = answer(func(body string) (string, error) {
		mu.Lock()
		if in[body]++; in[body] > 1 {
			t.Errorf("two of %s at a time", body)
		}
		mu.Unlock()
		mu.Lock()
		in[body]--
		mu.Unlock()
		return body, nil
	})
	h, _, stop := p.serve()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				b := &penstock.Batch{}
				for j := range 2 {
					b.Append().Body.Reset(jsonview.JSON, fmt.Appendf(nil, `{"k":"%d"}`, (i+j)%3))
				}
				if err := h.Handle(t.Context(), b); err != nil || b.Failed() > 0 {
					t.Error(err, b.Err(0), b.Err(1))
				}
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := p.holds("c"); len(got) != 8*20*2 {
		t.Errorf("%d are there", len(got))
	}
}

func TestRequestsLeaveRoomForWhatStandsBehindADurableStep(t *testing.T) {
	all := plan.Node{Name: "all", Verb: "sample", Op: &plan.Stage{Spec: &plan.Window{Every: 1}}}
	f := served(false, all, toChannel("c"))
	f.Budget = plan.Budget{Messages: 1}
	p := newPlant(t, f)
	p.plan.Flows[0].Concurrency = 1
	h, r, stop := p.serve()
	r.list()[0].commit.mu.Lock()
	r.list()[0].commit.backlog = 0
	r.list()[0].commit.mu.Unlock()
	const callers, each = 4, 25
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if _, err := ask(h, `{}`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := len(p.holds("c")) + len(p.holds("f/all")); got < callers*each {
		t.Errorf("%d are there", got)
	}
}

func TestWhereRequestsWent(t *testing.T) {
	f := served(true, refusesBad, send("out"))
	f.Key = field("k")
	p := newPlant(t, f)
	out := &noted{}
	p.sinks["out"] = out
	h, _, stop := p.serve()
	for _, body := range []string{`{"k":"a"}`, `{"k":"b","bad":1}`, `{"k":"c"}`} {
		_, _ = ask(h, body)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rec := range p.frames(journal.Channel) {
		err := journal.Read(rec, func(e *journal.Entry) bool {
			got = append(got, fmt.Sprint(e.Key, " ", e.Fate, " ", e.Hops))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := "[a done [{out -1 }] c done [{out -1 }]]"; fmt.Sprint(got) != want {
		t.Errorf("the journal has %s, want %s", got, want)
	}
}

// frames lists what is in a channel, as it is written.
func (p *plant) frames(channel string) (out [][]byte) {
	p.t.Helper()
	err := p.store.View(context.Background(), func(v store.View) error {
		segments, err := v.Log().Segments(channel, 0, 1<<30)
		for _, s := range segments {
			for rest := s.Data; len(rest) > 0 && err == nil; {
				var rec []byte
				rec, rest, err = store.NextFrame(rest)
				out = append(out, bytes.Clone(rec))
			}
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}
