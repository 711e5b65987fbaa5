package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/membroker"
	"penstock.dev/penstock/internal/plan"
)

// mill is a flow from topic in to topic out of a broker, and the dead letters to topic dead, in transactions.
type mill struct {
	t      testing.TB
	broker *membroker.Broker
	flow   *plan.Flow
	once   bool
	others map[string]penstock.Sink // endpoints that are not the broker's
	onIdle func()
}

func inTransaction(kind, name string) *plan.Endpoint {
	return &plan.Endpoint{Name: name, Connection: "c", Driver: &penstock.Driver{Kind: kind, Spec: penstock.Spec{Name: "mem", Transacts: true, Settle: penstock.Cumulative, Replay: penstock.ReplayPosition, Keeps: true, Headers: true}}}
}

func toTopic(name string) plan.Node {
	return plan.Node{Name: name, Verb: "to", Op: &plan.Send{Endpoint: inTransaction(penstock.KindOfSink, "f/"+name), Idempotent: true}}
}

func newMill(t testing.TB, partitions int, nodes ...plan.Node) *mill {
	m := &mill{t: t, broker: membroker.New(), once: true, others: map[string]penstock.Sink{}}
	m.broker.Topic("in", partitions)
	m.broker.Topic("out", 3)
	m.flow = &plan.Flow{Name: "f", Order: plan.PerKey, Concurrency: 4, Delivery: plan.EffectivelyOnce, Slots: 1,
		Sources: []*plan.Endpoint{inTransaction(penstock.KindOfSource, "f/from")}, Nodes: next(nodes...),
		Transaction: &plan.Transaction{Driver: "mem", Connection: "c"},
		OnError:     plan.ErrorPolicy{DeadLetter: inTransaction(penstock.KindOfSink, "f/dead"), Retry: plan.Retry{Attempts: 3, Factor: 2}}}
	return m
}

func (m *mill) fill(from, to int) {
	for i := from; i < to; i++ {
		m.broker.Put("in", membroker.Record{Key: fmt.Sprint("k", i%17), Body: fmt.Sprintf(`{"n":%d,"k":"k%d"}`, i, i%17)})
	}
}

func (m *mill) runner() *Runner {
	r, err := New(&plan.Plan{Flows: []*plan.Flow{m.flow}}, Options{Clock: impatient{}, DeadLetters: m.t.TempDir(), Once: m.once, OnIdle: m.onIdle, Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		_, name, _ := strings.Cut(ep.Name, "/")
		switch {
		case role == RoleSource:
			s := m.broker.Source("in", "g")
			s.Once = m.once
			return s, true
		case m.others[name] != nil:
			return m.others[name], true
		}
		return m.broker.Sink(name), true
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *mill) run(ctx context.Context) *Summary {
	m.t.Helper()
	r := m.runner()
	sum, err := r.Run(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	if n := r.busyN.Load(); n != 0 {
		m.t.Errorf("%d goroutines count as busy after the run", n)
	}
	return sum
}

// impatient is a clock for which no pause is long.
type impatient struct{ penstock.SystemClock }

func (impatient) NewTimer(time.Duration) (<-chan time.Time, func()) {
	return penstock.SystemClock{}.NewTimer(0)
}

// holds compares what a topic holds, in any order, and the order of each key.
func (m *mill) holds(topic string, want func(i int) bool, n int) {
	m.t.Helper()
	var got []int
	last := map[string]int{}
	for _, r := range m.broker.Committed(topic) {
		i := number(r.Body)
		got = append(got, i)
		if before, there := last[r.Key]; there && before > i && topic != "dead" && m.flow.Order != plan.None {
			m.t.Errorf("%s: %d of %s comes behind %d", topic, i, r.Key, before)
		}
		last[r.Key] = i
	}
	slices.Sort(got)
	var all []int
	for i := range n {
		if want(i) {
			all = append(all, i)
		}
	}
	if !slices.Equal(got, all) {
		m.t.Errorf("%s holds %d messages, want %d: %v", topic, len(got), len(all), diff(got, all))
	}
}

// diff names a few of what is missing or there twice.
func diff(got, want []int) (out []string) {
	count := map[int]int{}
	for _, i := range got {
		count[i]++
	}
	for _, i := range want {
		if count[i] != 1 {
			out = append(out, fmt.Sprintf("%d is there %d times", i, count[i]))
		}
	}
	return out[:min(len(out), 5)]
}

func every(int) bool { return true }

// refusesEach fails messages whose n is a multiple of k, for good.
func refusesEach(k int) plan.Node {
	return plan.Node{Name: "picky", Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
		if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); int(n)%k == 0 {
			return penstock.E(penstock.Invalid, "picky", "", "not this one")
		}
		return nil
	})}}
}

func TestTransactionHoldsWhatWasReadAndMade(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			m := newMill(t, 3, refusesEach(7), toTopic("out"))
			m.flow.Order = order
			m.fill(0, 1000)
			sum := m.run(context.Background())
			m.holds("out", func(i int) bool { return i%7 != 0 }, 1000)
			m.holds("dead", func(i int) bool { return i%7 == 0 }, 1000)
			done := 0
			for _, at := range m.broker.Positions("in", "g") {
				done += at
			}
			if done != 1000 || sum.Flows[0].Unsettled != 0 {
				t.Errorf("the group has done %d; %d unsettled", done, sum.Flows[0].Unsettled)
			}
			m.fill(1000, 1100)
			m.run(context.Background())
			m.holds("out", func(i int) bool { return i%7 != 0 }, 1100)
		})
	}
}

// TestTransactionIsUndone plants faults everywhere, with retries in between: nothing is lost, nothing is there twice.
func TestTransactionIsUndone(t *testing.T) {
	for _, op := range []string{"txwrite", "begin", "positions", "commit", "committed", "abort", "read", "open"} {
		t.Run(op, func(t *testing.T) {
			m := newMill(t, 3, refusesEach(7), toTopic("out"))
			m.fill(0, 2000)
			var n atomic.Int64
			m.broker.Fault = func(at string) error {
				if at != op && (op != "abort" || at != "commit") {
					return nil
				}
				switch i := n.Add(1); {
				case i > 12 || i%3 == 0 || op == "open" && i == 1:
					return nil
				case op == "read":
					return penstock.ErrDisconnected
				}
				return penstock.E(penstock.Unavailable, at, "", "planted")
			}
			if op == "open" { // it is opened again only where something was undone
				inner := m.broker.Fault
				var once atomic.Bool
				m.broker.Fault = func(at string) error {
					if at == "commit" && !once.Swap(true) {
						return penstock.E(penstock.Unavailable, at, "", "planted")
					}
					return inner(at)
				}
			}
			sum := m.run(context.Background())
			m.holds("out", func(i int) bool { return i%7 != 0 }, 2000)
			m.holds("dead", func(i int) bool { return i%7 == 0 }, 2000)
			if sum.Flows[0].Unsettled != 0 {
				t.Errorf("%d unsettled", sum.Flows[0].Unsettled)
			}
			if op != "begin" && op != "read" && m.broker.All("out") == len(m.broker.Committed("out")) && op != "committed" && op != "txwrite" {
				t.Error("nothing was undone")
			}
		})
	}
}

// TestTransactionEndsTheRun is about errors that no repetition mends.
func TestTransactionEndsTheRun(t *testing.T) {
	m := newMill(t, 1, toTopic("out"))
	m.fill(0, 100)
	m.broker.Fault = func(op string) error {
		if op == "commit" {
			return penstock.E(penstock.Forbidden, op, "", "no transactions here")
		}
		return nil
	}
	_, err := m.runner().Run(context.Background())
	if penstock.CodeOf(err) != penstock.Forbidden {
		t.Fatalf("%v", err)
	}
	if n := len(m.broker.Committed("out")); n != 0 {
		t.Errorf("%d messages are there", n)
	}
	m.broker.Fault = nil
	m.run(context.Background())
	m.holds("out", every, 100)
}

// TestTransactionRefusesForGood dead-letters what can never be written, in the same transaction.
func TestTransactionRefusesForGood(t *testing.T) {
	m := newMill(t, 1, toTopic("out"))
	m.fill(0, 10)
	m.broker.Put("in", membroker.Record{Body: membroker.TooLarge})
	m.fill(10, 20)
	dead := &noted{}
	m.others["dead"], m.flow.OnError.DeadLetter.Connection = dead, "another"
	m.run(context.Background())
	m.holds("out", every, 20)
	if len(dead.got) != 1 {
		t.Errorf("dead: %q", dead.got)
	}
}

// TestTransactionOfManyMembers has runs join and leave, and some of them be taken for dead, while they work.
func TestTransactionOfManyMembers(t *testing.T) {
	const messages = 4000
	m := newMill(t, 6, toTopic("out"))
	m.once = false
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := func() (n int) {
		for _, at := range m.broker.Positions("in", "g") {
			n += at
		}
		return n
	}
	type member struct {
		stop context.CancelFunc
		err  chan error
	}
	start := func() member {
		own, stop := context.WithCancel(ctx)
		r, err := m.runner(), make(chan error, 1)
		go func() {
			_, e := r.Run(own)
			err <- e
		}()
		return member{stop, err}
	}
	random := rand.New(rand.NewPCG(1, 2))
	members := []member{start()}
	for i := range 40 {
		m.fill(i*messages/40, (i+1)*messages/40)
		switch random.IntN(4) {
		case 0:
			members = append(members, start())
		case 1:
			if len(members) > 1 {
				members[0].stop()
				if err := <-members[0].err; err != nil {
					t.Error(err)
				}
				members = members[1:]
			}
		case 2:
			if all := m.broker.Members("in", "g"); len(all) > 0 {
				m.broker.Expel(all[random.IntN(len(all))])
			}
		default:
			m.broker.Rebalance("in", "g")
		}
		m.broker.Await(ctx, "in", "g", min(done()+1, (i+1)*messages/40))
	}
	m.broker.Await(ctx, "in", "g", messages)
	for _, one := range members {
		one.stop()
		if err := <-one.err; err != nil {
			t.Error(err)
		}
	}
	m.holds("out", every, messages)
}

// TestTransactionAwaitsRetries keeps a message back that is tried again: what was read behind it is in the same epoch.
func TestTransactionAwaitsRetries(t *testing.T) {
	m := newMill(t, 1, plan.Node{Name: "shaky", Op: &plan.Apply{Step: parsed(shaky())}}, toTopic("out"))
	m.flow.OnError.Retry = plan.Retry{Attempts: 5, Initial: time.Millisecond, Factor: 2}
	m.fill(0, 300)
	m.run(context.Background())
	m.holds("out", every, 300)
}

// shaky fails every message the first time.
func shaky() steps {
	seen := map[int64]bool{}
	mu := make(chan struct{}, 1)
	return func(_ *penstock.Batch, m *penstock.Message) error {
		mu <- struct{}{}
		defer func() { <-mu }()
		n, _ := m.Body.Int(m.Body.Field(0, "n", nil))
		if !seen[n] {
			seen[n] = true
			return penstock.E(penstock.Unavailable, "shaky", "", "not yet")
		}
		return nil
	}
}

// TestTransactionNeedsATransactor refuses a driver that does not keep its word.
func TestTransactionNeedsATransactor(t *testing.T) {
	m := newMill(t, 1, toTopic("out"))
	m.others["out"] = &noted{}
	var e *penstock.Error
	_, err := New(&plan.Plan{Flows: []*plan.Flow{m.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		if role == RoleSource {
			return m.broker.Source("in", "g"), true
		}
		return &noted{}, true
	}})
	if !errors.As(err, &e) || e.Hint == "" {
		t.Fatalf("%v", err)
	}
}

// TestTransactionsAreReloaded changes a flow, its source, and whether it transacts at all, while messages go through it and commits fail.
func TestTransactionsAreReloaded(t *testing.T) {
	for _, always := range []bool{true, false} {
		t.Run(fmt.Sprintf("always %v", always), func(t *testing.T) { reloadTransactions(t, always) })
	}
}

func reloadTransactions(t *testing.T, always bool) {
	const messages, versions = 3000, 30
	m := newMill(t, 3, toTopic("out"))
	m.once = false
	var commits atomic.Int64
	faults := func(op string) error {
		if op == "commit" && commits.Add(1)%3 == 0 {
			return penstock.E(penstock.Unavailable, op, "", "planted")
		}
		return nil
	}
	m.broker.Fault = faults
	build := func(v int) *plan.Plan {
		f := *m.flow
		f.Nodes = next(marking(v), toTopic("out"))
		f.Sources = []*plan.Endpoint{inTransaction(penstock.KindOfSource, "f/from")}
		f.Sources[0].Label = fmt.Sprint(v / 5) // now and then it is another source
		if v%7 == 6 && !always {
			f.Transaction = nil
		}
		return &plan.Plan{Flows: []*plan.Flow{version(&f, v)}}
	}
	m.flow = build(0).Flows[0]
	r := m.runner()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx)
		ended <- err
	}()
	for v := 1; v <= versions; v++ {
		m.fill((v-1)*messages/versions, v*messages/versions)
		if v%4 == 0 {
			if err := r.Pause("f"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Apply(ctx, build(v)); err != nil {
			t.Fatal(v, err)
		}
		if v%4 == 0 {
			if err := r.Resume("f"); err != nil {
				t.Fatal(err)
			}
		}
		if v%3 == 0 {
			m.broker.Await(ctx, "in", "g", v*messages/versions)
		}
	}
	m.broker.Await(ctx, "in", "g", messages)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if always {
		m.holds("out", every, messages)
		return
	}
	there := map[int]bool{} // what is settled one by one may be there twice where members come and go
	for _, r := range m.broker.Committed("out") {
		there[number(r.Body)] = true
	}
	if len(there) != messages {
		t.Errorf("%d messages are there, want %d", len(there), messages)
	}
}
