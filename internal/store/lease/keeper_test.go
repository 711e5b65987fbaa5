package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// replica is a Keeper that a test steps, and what its holder was told.
type replica struct {
	*Keeper
	t     testing.TB
	id    string
	store store.Store

	mu       sync.Mutex
	drives   map[int]Lease
	yielding map[int]func()
	told     []string
	slow     bool // it does not hand over by itself
}

func (r *replica) Gained(l Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.drives[l.Part]; ok {
		r.t.Errorf("%s gained %v and drives %v", r.id, l, old)
	}
	r.drives[l.Part] = l
	r.told = append(r.told, fmt.Sprintf("gained %d.%d", l.Part, l.Epoch))
}

func (r *replica) Lost(l Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.drives[l.Part] == l {
		delete(r.drives, l.Part)
	}
	delete(r.yielding, l.Part)
	r.told = append(r.told, fmt.Sprintf("lost %d.%d", l.Part, l.Epoch))
}

func (r *replica) Yield(l Lease, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("yield %d.%d", l.Part, l.Epoch))
	r.yielding[l.Part] = done
}

// drain hands over what was asked for.
func (r *replica) drain() {
	r.mu.Lock()
	all := r.yielding
	r.yielding = map[int]func(){}
	for p := range all {
		delete(r.drives, p)
	}
	r.mu.Unlock()
	for _, done := range all {
		done()
	}
}

func (r *replica) step() {
	r.tick(r.t.Context())
	if !r.slow {
		r.drain()
	}
	r.tick(r.t.Context())
}

func (r *replica) parts() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []int{}
	for p := range r.drives {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func (r *replica) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.told
	r.told = nil
	return out
}

// cluster is replicas on one store in memory.
type cluster struct {
	t     *testing.T
	clock *handClock
	store *memory.Store
	state *State
	all   []*replica
}

const ttl = 9 * time.Second

func newCluster(t *testing.T, parts int) *cluster {
	c := &cluster{t: t, clock: newClock(), store: memory.New()}
	c.state = InState(c.store, parts, c.clock)
	return c
}

func (c *cluster) join(id string) *replica {
	r := &replica{t: c.t, id: id, store: c.store, drives: map[int]Lease{}, yielding: map[int]func(){}}
	r.Keeper = New(Options{Role: c.state.For(), Replica: Replica{ID: id}, Lease: ttl, Clock: c.clock, Holder: r})
	c.all = append(c.all, r)
	return r
}

// settle steps all replicas for as long as something changes.
func (c *cluster) settle(rs ...*replica) {
	for range 4 {
		for _, r := range rs {
			r.step()
		}
	}
}

// disjoint fails where two replicas drive a part.
func disjoint(t testing.TB, rs ...*replica) (all []int) {
	t.Helper()
	for _, r := range rs {
		for _, p := range r.parts() {
			if slices.Contains(all, p) {
				t.Fatalf("part %d is driven twice", p)
			}
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

func TestReplicasShareTheParts(t *testing.T) {
	c := newCluster(t, 64)
	a := c.join("a")
	a.step()
	if n := len(a.parts()); n != 64 {
		t.Fatalf("a replica alone has %d of 64 parts", n)
	}
	b, d := c.join("b"), c.join("d")
	c.settle(a, b, d)
	if n := len(disjoint(t, a, b, d)); n != 64 {
		t.Fatalf("%d parts are driven", n)
	}
	if x, y, z := len(a.parts()), len(b.parts()), len(d.parts()); x != 22 || y != 21 || z != 21 {
		t.Fatalf("shares are %d, %d and %d", x, y, z)
	}
	for _, r := range c.all {
		r.heard()
	}
	for range 10 { // nothing moves by itself
		c.clock.move(ttl / 3)
		c.settle(a, b, d)
	}
	for _, r := range c.all {
		if told := r.heard(); len(told) > 0 {
			t.Errorf("%s: %v, though nobody came or went", r.id, told)
		}
	}
}

func TestAReplicaThatJoinsMovesNoMoreThanItsShare(t *testing.T) {
	c := newCluster(t, 8)
	a, b := c.join("a"), c.join("b")
	c.settle(a, b)
	before := len(a.parts())
	a.heard()
	b.heard()
	d := c.join("d")
	c.settle(d, a, b)
	moved := 0
	for _, told := range [][]string{a.heard(), b.heard()} {
		for _, s := range told {
			if s[:5] != "yield" {
				t.Errorf("one that was there was told: %s", s)
			}
			moved++
		}
	}
	if len(d.parts()) != 2 || moved != 2 || before != 4 {
		t.Errorf("%d parts moved, and who joined has %v", moved, d.parts())
	}
	disjoint(t, a, b, d)
}

func TestADeadReplicasPartsAreTakenWhenItsLeaseEnds(t *testing.T) {
	c := newCluster(t, 6)
	a, b := c.join("a"), c.join("b")
	c.settle(a, b)
	dead := a.parts()
	c.clock.move(ttl - 2*time.Second) // a is dead; b goes on
	b.step()
	if len(b.parts()) != 3 {
		t.Fatalf("b has %v before the lease of a has ended", b.parts())
	}
	wait := b.tick(t.Context())
	if wait > 2*time.Second+time.Millisecond {
		t.Fatalf("b looks again after %s, and the leases of a end in 2 s", wait)
	}
	c.clock.move(wait)
	b.step() // at once: neither a second look, nor the third of a lease
	if len(b.parts()) != 6 {
		t.Fatalf("b has %v; a had %v, and its lease has ended", b.parts(), dead)
	}
	for _, l := range b.Held() {
		if want := int64(1); slices.Contains(dead, l.Part) && l.Epoch <= want {
			t.Errorf("%v was taken over with the epoch of its old holder", l)
		}
	}
}

// write appends a message with a lease.
func write(s store.Store, l Lease) error {
	return Fenced(s, l).Submit(store.Small, func(tx store.Tx) error {
		_, err := tx.Append("log", store.Bundle{N: 1, Data: store.AppendFrame(nil, []byte("x")), MinTime: 1, MaxTime: 1})
		return err
	}).Wait(context.Background())
}

func TestAZombiesWritesAreRefused(t *testing.T) {
	c := newCluster(t, 2)
	a := c.join("a")
	a.step()
	old := a.Held()[0]
	if err := write(c.store, old); err != nil {
		t.Fatal(err)
	}
	b := c.join("b")
	c.clock.move(2 * ttl) // a is stopped
	b.step()
	if err := write(c.store, old); !errors.Is(err, ErrLost) {
		t.Fatalf("the zombie wrote: %v", err)
	}
	if err := write(c.store, b.Held()[0]); err != nil {
		t.Fatal(err)
	}
	a.expire() // it goes on
	if len(a.parts()) != 0 {
		t.Fatalf("a drives %v", a.parts())
	}
	a.step()
	c.settle(a, b)
	disjoint(t, a, b)
	if len(a.parts()) != 1 {
		t.Errorf("a takes part again, and has %v", a.parts())
	}
}

// TestEpochsGrow: also where the same replica takes a part again, what it began before is refused.
func TestEpochsGrow(t *testing.T) {
	c := newCluster(t, 1)
	a := c.join("a")
	a.step()
	old := a.Held()[0]
	c.clock.move(2 * ttl)
	a.expire()
	a.step()
	now := a.Held()
	if len(now) != 1 || now[0].Epoch <= old.Epoch {
		t.Fatalf("%v after %v", now, old)
	}
	if err := write(c.store, old); !errors.Is(err, ErrLost) {
		t.Fatalf("a write with the lease of before: %v", err)
	}
}

func TestDrivingStopsBeforeTheLeaseEnds(t *testing.T) {
	c := newCluster(t, 1)
	a := c.join("a")
	a.step()
	c.clock.move(ttl - ttl/10 - 1)
	if a.expire(); len(a.parts()) != 1 {
		t.Fatal("it stopped early")
	}
	c.clock.move(1)
	if a.expire(); len(a.parts()) != 0 {
		t.Fatal("it drives at a tenth before the end of the lease")
	}
	if told := a.heard(); !slices.Equal(told, []string{"gained 0.1", "lost 0.1"}) {
		t.Errorf("told: %v", told)
	}
}

// hanging is a role that does not answer until it is let.
type hanging struct {
	Role
	mu   sync.Mutex
	gate chan struct{}
}

func (h *hanging) Renew(ctx context.Context, ls []Lease, d time.Duration) ([]Lease, error) {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	out, err := h.Role.Renew(ctx, ls, d)
	if gate != nil {
		<-gate
	}
	return out, err
}

// TestAnAnswerThatComesLateRenewsNothing: the store prolonged the lease, but by the time that the replica hears of it its time was up.
func TestAnAnswerThatComesLateRenewsNothing(t *testing.T) {
	c := newCluster(t, 1)
	a := c.join("a")
	h := &hanging{Role: a.o.Role}
	a.o.Role = h
	a.step()
	h.mu.Lock()
	h.gate = make(chan struct{})
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.renew(context.Background())
	}()
	c.clock.move(2 * ttl)
	close(h.gate)
	<-done
	if len(a.parts()) != 0 {
		t.Fatal("it drives on with a lease whose time was up")
	}
}

// TestALeaseThatRanOutIsNotRenewed: nobody has taken the part; but somebody might have, and the holder has stopped.
func TestALeaseThatRanOutIsNotRenewed(t *testing.T) {
	c := newCluster(t, 1)
	a := c.join("a")
	a.step()
	l := a.Held()
	c.clock.move(ttl)
	got, err := a.o.Role.Renew(t.Context(), l, ttl)
	if err != nil || len(got) != 0 {
		t.Fatalf("renewed %v, %v", got, err)
	}
	a.tick(t.Context())
	if told := a.heard(); !slices.Equal(told, []string{"gained 0.1", "lost 0.1", "gained 0.2"}) {
		t.Errorf("told: %v", told)
	}
}

func TestAGracefulStopHandsOverAfterTheDrain(t *testing.T) {
	c := newCluster(t, 4)
	a, b := c.join("a"), c.join("b")
	c.settle(a, b)
	a.slow = true
	had := a.parts()
	a.Stop(t.Context())
	a.step()
	b.step()
	if len(b.parts()) != 2 {
		t.Fatalf("b has %v, and a has not drained", b.parts())
	}
	c.clock.move(ttl / 2) // draining takes its time: the lease is kept meanwhile
	a.step()
	c.clock.move(ttl / 2)
	a.step()
	b.step()
	if len(b.parts()) != 2 || len(a.Held()) != 2 {
		t.Fatalf("b has %v while a drains", b.parts())
	}
	a.drain()
	a.tick(t.Context())
	if !a.left() {
		t.Fatal("a has drained, and has not ended")
	}
	b.step() // no lease has run out: the clock has not moved
	if len(b.parts()) != 4 {
		t.Fatalf("b has %v, and a had %v", b.parts(), had)
	}
	for _, l := range b.Held() {
		if slices.Contains(had, l.Part) && l.Epoch < 2 {
			t.Errorf("%v was handed over without another epoch", l)
		}
	}
}

func TestADrainThatTakesTooLongIsLost(t *testing.T) {
	c := newCluster(t, 2)
	a := c.join("a")
	a.step()
	a.slow = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(t.Context())
	}()
	a.Stop(ctx)
	cancel()
	<-done
	if len(a.parts()) != 0 || len(a.Held()) != 0 {
		t.Fatalf("a drives %v", a.parts())
	}
	b := c.join("b")
	b.step()
	if len(b.parts()) != 2 {
		t.Fatalf("b has %v", b.parts())
	}
}

// TestWhatOneCantDriveAnotherGets: a replica of an older version gives a part back; nobody's share has room for it.
func TestWhatOneCantDriveAnotherGets(t *testing.T) {
	c := newCluster(t, 4)
	a, b := c.join("a"), c.join("b")
	c.settle(a, b)
	bad := a.Held()[0]
	fails := func() {
		for _, l := range a.Held() {
			if l.Part == bad.Part {
				a.mu.Lock()
				delete(a.drives, l.Part)
				a.mu.Unlock()
				a.Return(l)
			}
		}
	}
	for range 9 {
		fails()
		c.settle(a, b)
		c.clock.move(ttl / 3)
	}
	if !slices.Contains(b.parts(), bad.Part) {
		t.Fatalf("part %d: a can't drive it, and b has %v", bad.Part, b.parts())
	}
	b.heard()
	for range 9 {
		c.settle(a, b)
		c.clock.move(ttl / 3)
	}
	if told := b.heard(); len(told) > 0 {
		t.Errorf("b gives away what nobody else can drive: %v", told)
	}
	if got := disjoint(t, a, b); len(got) != 4 {
		t.Errorf("driven: %v", got)
	}
}

func TestAReplicaWithoutItsStoreStopsDriving(t *testing.T) {
	c := newCluster(t, 2)
	a := c.join("a")
	a.step()
	c.store.Fail(errors.New("gone"))
	for range 10 {
		c.clock.move(ttl / 5)
		a.tick(t.Context())
		a.expire()
	}
	if len(a.parts()) != 0 || a.Reaches() {
		t.Fatalf("a drives %v, reaches its store: %v", a.parts(), a.Reaches())
	}
}

func TestRunLosesAllWhenItsContextEnds(t *testing.T) {
	c := newCluster(t, 3)
	a := c.join("a")
	a.step()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx)
	if len(a.parts()) != 0 {
		t.Fatalf("a drives %v", a.parts())
	}
}
