package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/jsonview"
)

// lent is a store in memory as one replica has it.
type lent struct {
	*memory.Store
	role lease.Role
}

func (l lent) Leases() lease.Role { return l.role }
func (lent) Close() error         { return nil }

// hung is a role that stops answering.
type hung struct {
	lease.Role
	mu   sync.Mutex
	hang bool
}

func (h *hung) stuck(ctx context.Context) error {
	h.mu.Lock()
	hang := h.hang
	h.mu.Unlock()
	if hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (h *hung) Renew(ctx context.Context, l []lease.Lease, d time.Duration) ([]lease.Lease, error) {
	if err := h.stuck(ctx); err != nil {
		return nil, err
	}
	return h.Role.Renew(ctx, l, d)
}

func (h *hung) Beat(ctx context.Context, r lease.Replica, d time.Duration) (lease.Table, error) {
	if err := h.stuck(ctx); err != nil {
		return lease.Table{}, err
	}
	return h.Role.Beat(ctx, r, d)
}

// cluster is replicas in one process on one store, in memory if nothing else is said.
type cluster struct {
	t     *testing.T
	text  string
	db    *memory.Store
	state *lease.State
	ttl   time.Duration

	server string         // of PostgreSQL, in the place of memory
	at     store.Store    // as somebody outside has it
	clock  penstock.Clock // that of the replica that joins next; nil: the machine's
}

type member struct {
	c    *cluster
	role *hung
	x    *session
	stop context.CancelFunc
	done chan error
	at   string
}

func newCluster(t *testing.T, text string) *cluster {
	db := memory.NewParts(16)
	return &cluster{t: t, text: text, db: db, at: db, state: lease.InState(db, 16, penstock.SystemClock{}), ttl: time.Second}
}

// join starts a replica, and returns when it has begun.
func (c *cluster) join() *member { return c.member(false) }

func (c *cluster) member(once bool) *member {
	c.t.Helper()
	dir := c.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flows.yaml"), []byte(c.text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	s := &Service{Registry: edition.Standard(), Clock: c.clock}
	checked := s.Check(Project{Paths: []string{dir}}, false)
	if !checked.OK {
		c.t.Fatal(checked.Findings)
	}
	ln, err := (&net.ListenConfig{}).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	m := &member{c: c, role: &hung{Role: c.state.For()}, done: make(chan error, 1), at: ln.Addr().String()}
	if err := ln.Close(); err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	begun := make(chan *session, 1)
	o := RunOptions{Once: once, Lease: c.ttl, Address: m.at, Project: Project{Paths: []string{dir}}, Store: filepath.Join(dir, "store"),
		store: func() (store.Store, error) {
			if c.server != "" {
				return postgres.Open(context.Background(), postgres.Options{Connection: c.server, Lease: c.ttl, Volatile: true})
			}
			return lent{c.db, m.role}, nil
		}, begun: func(x *session) { begun <- x }}
	go func() {
		_, err := s.Run(ctx, checked, o)
		m.done <- err
	}()
	select {
	case m.x = <-begun:
	case err := <-m.done:
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { m.end() })
	return m
}

// end stops a replica, and waits for it.
func (m *member) end() {
	m.stop()
	if err := <-m.done; err != nil {
		m.c.t.Error(err)
	}
	m.done <- nil
}

// drives lists the flows that a replica runs.
func (m *member) drives() []string {
	var out []string
	for _, t := range m.x.r.shared.stints() {
		if t.side == 0 {
			out = append(out, t.u.flows...)
		}
	}
	slices.Sort(out)
	return out
}

// until waits for something, however long it takes.
func (c *cluster) until(what string, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) { //nolint:forbidigo // between two looks; nothing depends on how long it is
		if time.Now().After(end) {
			c.t.Fatalf("never: %s", what)
		}
	}
}

// send appends numbered messages to a channel.
func (c *cluster) send(channel string, from, to int) {
	c.t.Helper()
	b := &penstock.Batch{}
	bundle := store.Bundle{MinTime: 1, MaxTime: 1}
	for i := from; i < to; i++ {
		m := b.Append()
		m.Body.Reset(jsonview.JSON, fmt.Appendf(nil, `{"seq":%d}`, i))
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			c.t.Fatal(err)
		}
		bundle.N++
		bundle.Data = store.AppendFrame(bundle.Data, record.Append(nil, record.Header{Time: 1, Origin: "test"}, m, nil))
	}
	if err := c.at.Submit(store.Bulk, func(tx store.Tx) error {
		_, err := tx.Append(channel, bundle)
		return err
	}).Wait(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) next(channel string) (n int64) {
	c.t.Helper()
	if err := c.at.View(c.t.Context(), func(v store.View) error {
		b, err := v.Log().Bounds(channel)
		n = b.Next
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return n
}

const chain = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: chain }
spec: { store: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: number }
spec: { jsonSchema: { type: object, properties: { seq: { type: integer } }, required: [seq] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: a }
spec: { schema: number }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: b }
spec: { schema: number }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: c }
spec: { schema: number }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: first }
spec: { from: { channel: a }, steps: [ { map: { seq: "${body.seq + 1}" } } ], to: { channel: b } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: second }
spec: { from: { channel: b }, to: { channel: c } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: intake }
spec: { from: { http: { post: /in }, schema: number }, to: { channel: a } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: once }
spec: { from: { http: { post: /once }, schema: number, id: string(body.seq) }, to: { channel: a } }
`

// post sends a request, and says how it was answered.
func (m *member) post(path, body string) (status int, retry string) {
	m.c.t.Helper()
	req, err := http.NewRequestWithContext(m.c.t.Context(), http.MethodPost, "http://"+m.at+path, strings.NewReader(body))
	if err != nil {
		m.c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header.Get("Retry-After")
}

// together says that the replicas run all flows that one has to run, each at one of them.
func together(ms ...*member) bool {
	var all []string
	for _, m := range ms {
		all = append(all, m.drives()...)
	}
	slices.Sort(all)
	return slices.Equal(all, []string{"first", "once", "second"})
}

func TestReplicasShareTheFlows(t *testing.T) {
	c := newCluster(t, chain)
	a, b, d := c.join(), c.join(), c.join()
	c.until("each flow runs at one replica", func() bool { return together(a, b, d) })
	c.send("a", 0, 500)
	c.until("all are through", func() bool { return c.next("c") >= 500 })
	for _, m := range []*member{a, b, d} { // a flow that keeps nothing is answered everywhere
		c.until("the replica answers", func() bool { status, _ := m.post("/in", `{"seq": 1}`); return status == 202 || status == 200 })
	}
	c.until("those, too", func() bool { return c.next("c") >= 503 })
	answered, refused := 0, 0
	c.until("one answers, and the others say who does", func() bool {
		answered, refused = 0, 0
		for i, m := range []*member{a, b, d} {
			switch status, retry := m.post("/once", fmt.Sprintf(`{"seq": %d}`, i)); {
			case status == 503 && retry != "":
				refused++
			case status < 300 && status > 0:
				answered++
			}
		}
		return answered == 1 && refused == 2
	})
	var st *operate.Status
	c.until("a replica knows them all", func() bool {
		var err error
		if st, err = a.x.ops.Flows.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(st.Replicas) == 3
	})
	parts := map[int]bool{}
	for _, r := range st.Replicas {
		for _, p := range r.Parts {
			if parts[p] {
				t.Errorf("part %d is listed twice", p)
			}
			parts[p] = true
		}
	}
}

// TestAGracefulStopHandsTheFlowsOver: without waiting for a lease, which is an hour long, and nothing is done twice.
func TestAGracefulStopHandsTheFlowsOver(t *testing.T) {
	c := newCluster(t, chain)
	c.ttl = time.Hour
	a := c.join()
	c.until("it runs alone", func() bool { return together(a) })
	b := c.join()
	c.send("a", 0, 300)
	a.end()
	c.until("the other has all", func() bool { return together(b) })
	c.send("a", 300, 600)
	c.until("all are through", func() bool { return c.next("c") >= 600 })
	if n := c.next("c"); n != 600 {
		t.Errorf("%d messages of 600: some were done twice", n)
	}
}

// TestAReplicaThatCantRenewIsFenced: its store can be written, but nobody renews its leases. Another takes over, and what is
// in the channels is what one of them did, once.
func TestAReplicaThatCantRenewIsFenced(t *testing.T) {
	c := newCluster(t, chain)
	a := c.join()
	c.until("it runs alone", func() bool { return together(a) })
	c.send("a", 0, 100)
	a.role.mu.Lock()
	a.role.hang = true
	a.role.mu.Unlock()
	b := c.join()
	c.until("the other has all", func() bool { return together(b) })
	c.until("it drives nothing", func() bool { return len(a.drives()) == 0 })
	c.send("a", 100, 200)
	c.until("all are through", func() bool { return c.next("c") >= 200 })
	if n := c.next("c"); n != 200 {
		t.Errorf("%d messages of 200", n)
	}
	a.role.mu.Lock()
	a.role.hang = false
	a.role.mu.Unlock()
	c.until("both have their share", func() bool { return together(a, b) && len(a.x.r.shared.keeper.Held()) == 8 })
}

// TestARunThatEndsByItselfHasAllOfTheStore: flows wait for one another as on a store of its own.
func TestARunThatEndsByItselfHasAllOfTheStore(t *testing.T) {
	c := newCluster(t, chain)
	a := c.join()
	c.until("it runs", func() bool { return together(a) })
	once := c.member(true)
	c.send("a", 0, 300)
	a.end()
	if err := <-once.done; err != nil {
		t.Fatal(err)
	}
	once.done <- nil
	if n := c.next("c"); n != 300 {
		t.Errorf("%d messages of 300", n)
	}
}

func TestAStoreThatIsLostIsOpenedAgain(t *testing.T) {
	c := newCluster(t, chain)
	a := c.join()
	c.until("it runs", func() bool { return together(a) })
	c.send("a", 0, 100)
	c.db.Fail(errors.New("the server has gone"))
	c.until("it is noticed", func() bool { return a.x.r.shared.ready() != nil })
	again := c.db.Reopen()
	c.state = lease.InState(again, 16, penstock.SystemClock{})
	role := &hung{Role: c.state.For()}
	c.db, c.at = again, again
	a.x.st.mu.Lock()
	a.x.st.other = func() (store.Store, error) { return lent{again, role}, nil }
	a.x.st.mu.Unlock()
	c.until("it runs again, in the same process", func() bool { return together(a) })
	c.until("what was not through is", func() bool { return c.next("c") >= 100 })
	c.send("a", 100, 200)
	c.until("all are through", func() bool { return c.next("c") >= 200 })
	if n := c.next("c"); n != 200 {
		t.Errorf("%d messages of 200", n)
	}
}
