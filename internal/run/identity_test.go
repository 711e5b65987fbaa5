package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// knowing is a sink that keeps the identities of what it is given.
type knowing struct {
	env penstock.Env
	mu  sync.Mutex
	ids []string
}

func (*knowing) Open(context.Context) error  { return nil }
func (*knowing) Close(context.Context) error { return nil }
func (k *knowing) Write(_ context.Context, b *penstock.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range b.Msgs {
		k.ids = append(k.ids, string(k.env.AppendIdentity(nil, m)))
	}
	return nil
}

func (k *knowing) sorted() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.Sort(k.ids)
	return strings.Join(k.ids, " ")
}

// TestIdentities gives lists to a flow in all the ways in which several messages come of one, twice: with the same identities.
func TestIdentities(t *testing.T) {
	lists := []string{`{"id":"a","l":[1,2]}`, `{"id":"b","l":[3]}`}
	split := plan.Node{Name: "split", Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}
	each := func(inner ...plan.Node) plan.Node {
		return plan.Node{Name: "each", Op: &plan.Fork{Each: field("l"), As: 0, Index: -1, Branches: []plan.Sub{{Nodes: next(inner...)}}}}
	}
	for _, tt := range []struct {
		name  string
		nodes []plan.Node
		want  string
		ep    plan.Endpoint
	}{
		{name: "straight", nodes: next(send("f/to")), want: "f/to:from@lines:0 f/to:from@lines:1"},
		{name: "split", nodes: next(split, send("f/to")), want: "f/to:from.0@lines:0 f/to:from.0@lines:1 f/to:from.1@lines:0"},
		{name: "forEach", nodes: next(each(send("f/to"))), want: "f/to:from.0@lines:0 f/to:from.0@lines:1 f/to:from.1@lines:0"},
		{name: "tap", nodes: next(split, plan.Node{Name: "tap", Op: &plan.Send{Endpoint: endpoint("f/to"), NoWait: true}}), want: "f/to:from.0@lines:0 f/to:from.0@lines:1 f/to:from.1@lines:0"},
		{name: "id", nodes: next(split, send("f/to")), want: "f/to:from.0#a f/to:from.0#b f/to:from.1#a", ep: plan.Endpoint{ID: field("id"), Remember: 1 << 50}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 {
				ep := tt.ep
				ep.Name, ep.Driver = "f/from", &penstock.Driver{Spec: penstock.Spec{Replay: penstock.ReplayPosition}}
				f := &plan.Flow{Name: "f", Slots: 1, Vars: []string{"v"}, Sources: []*plan.Endpoint{&ep}, Nodes: tt.nodes}
				p := newPlant(t, f)
				out := &knowing{env: penstock.Env{Name: "f/to"}}
				p.sinks["f/to"] = out
				p.source = func() penstock.Source { return &resumable{lines: lines{docs: lists, batch: 2}} }
				p.run(context.Background())
				if got := out.sorted(); got != tt.want {
					t.Fatalf("%s\nwant %s", got, tt.want)
				}
			}
		})
	}
}

// TestIdentitiesOfWhatHasNone lets a source that gives no positions to know messages by run twice: its messages have identities of their own.
func TestIdentitiesOfWhatHasNone(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		out := &knowing{env: penstock.Env{Name: "f/to"}}
		ep := &plan.Endpoint{Name: "f/from", Driver: &penstock.Driver{Spec: penstock.Spec{Replay: penstock.ReplayAgain}}}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{{Name: "f", Sources: []*plan.Endpoint{ep}, Nodes: next(send("f/to"))}}}, Options{DeadLetters: t.TempDir(),
			Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				if role == RoleSource {
					return &same{n: 50}, true
				}
				return out, true
			}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, id := range out.ids {
			if seen[id] {
				t.Fatalf("%s twice", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != 100 {
		t.Fatalf("%d identities", len(seen))
	}
}

// same gives messages that all have one position.
type same struct {
	lines
	n int
}

func (s *same) Read(ctx context.Context, into *penstock.Batch) error {
	s.docs, s.batch, s.next = docs(s.n, `{"n":%d}`), 3, max(s.next, 0)
	err := s.lines.Read(ctx, into)
	for _, m := range into.Msgs {
		m.Pos = penstock.Position{Stream: "queue"}
	}
	return err
}

func TestIdentityAllocatesNothing(t *testing.T) {
	in := &intake{src: &pump{label: "from", stable: true}}
	m := &penstock.Message{Lineage: &track{in: in, pos: penstock.Position{Stream: "orders/0", Offset: 1 << 40}}, Body: &jsonview.Doc{}}
	env := &penstock.Env{Name: "orders/to"}
	buf := make([]byte, 0, penstock.MaxIdentity)
	if n := testing.AllocsPerRun(100, func() { buf = env.AppendIdentity(buf[:0], m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if want := fmt.Sprintf("orders/to:from@orders/0:%d", int64(1<<40)); string(buf) != want {
		t.Errorf("%s, want %s", buf, want)
	}
}

// TestARedrivenMessageIsTheSame has a message die behind what it has sent, and be given in again, several times: where it is written it is
// known by what it was known by before.
func TestARedrivenMessageIsTheSame(t *testing.T) {
	for _, tt := range []struct {
		name string
		ep   plan.Endpoint
		spec penstock.Spec
		want string // of each life
	}{
		{name: "position", spec: penstock.Spec{Rewrite: penstock.RewriteKnown}, want: "f/to:from.0@lines:0 f/to:from.1@lines:0"},
		{name: "id", ep: plan.Endpoint{ID: field("id"), Remember: 1 << 50}, spec: penstock.Spec{Rewrite: penstock.RewriteKnown}, want: "f/to:from.0#a f/to:from.1#a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ep := tt.ep
			ep.Name, ep.Driver = "f/from", &penstock.Driver{Spec: penstock.Spec{Replay: penstock.ReplayPosition}}
			to := send("f/to")
			to.Op.(*plan.Send).Endpoint.Driver = &penstock.Driver{Spec: tt.spec}
			f := &plan.Flow{Name: "f", Slots: 1, Vars: []string{"v"}, Sources: []*plan.Endpoint{&ep}, Nodes: next(
				plan.Node{Name: "split", Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}, to,
				plan.Node{Name: "sick", Op: &plan.Apply{Step: steps(func(_ *penstock.Batch, m *penstock.Message) error {
					if string(m.Body.AppendJSON(nil, 0)) == "2" {
						return penstock.E(penstock.Invalid, "sick", "", "sick")
					}
					return nil
				})}})}
			p := newPlant(t, f)
			p.source = func() penstock.Source {
				return &resumable{lines: lines{docs: []string{`{"id":"a","l":[1,2]}`}, batch: 1}}
			}
			for life := range 3 {
				out := &knowing{env: penstock.Env{Name: "f/to"}}
				p.sinks["f/to"] = out
				p.run(t.Context())
				if got := out.sorted(); got != tt.want {
					t.Fatalf("life %d: %s\nwant %s", life, got, tt.want)
				}
				if n := p.redrive("f"); n != 1 {
					t.Fatalf("%d dead letters", n)
				}
			}
		})
	}
}
