package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// BrokerMedium is a topic or queue of a broker, with one group (subscription, consumer) that keeps what it has done.
type BrokerMedium struct {
	// Put puts messages with these JSON bodies there.
	Put func(t testing.TB, bodies []string)
	// Source makes another source of the same group. It has neither been told positions (Resume), nor is it told any.
	Source func(t testing.TB) penstock.Source
	// Die lets a source end as a process that is killed does: nothing of it is heard any more. It returns when the broker has noticed, or
	// will soon (its time-outs are short). Nil if it can't be done.
	Die func(t testing.TB, s penstock.Source)
	// Cut breaks the connections of all sources, which may come back at once. Where Settle does not wait for the broker, Cut does, until it has heard of what was
	// settled. Nil if it can't be done.
	Cut func(t testing.TB)
}

// BrokerFeatures is what a source of a broker declares, beside its Spec.
type BrokerFeatures struct {
	// Shares says that several sources of the group get different messages at the same time.
	Shares bool
	// Returns says that a message that is settled with an error comes again to the same source. Else it does to the next one.
	Returns bool
	// Repeats says that a member that joins or leaves may make others read again what they have not settled.
	Repeats bool
	// Remembers says that a source that is opened again knows what it has handed out and nobody has settled: it does not hand it out once more. Else it does.
	Remembers bool
}

// BrokerHarness describes a source whose broker keeps what is settled: with Settle each, single messages (AMQP, JetStream); with Settle
// cumulative, how far it is (Kafka).
type BrokerHarness struct {
	// New makes an empty medium.
	New func(t testing.TB) BrokerMedium
	// Spec is what the driver is registered with.
	Spec     penstock.Spec
	Features BrokerFeatures
}

// Broker runs the suite. It stands beside Source, which holds the driver to what every source does.
func Broker(t *testing.T, h BrokerHarness) {
	t.Run("gives what was not settled to the next", h.unsettled)
	t.Run("gives nothing that was settled", h.settled)
	t.Run("gives again what somebody has died with", h.died)
	t.Run("gives again what failed", h.failed)
	t.Run("comes back when its connection was cut", h.cut)
	t.Run("comes back again and again", h.cutAgain)
	t.Run("settles what was read before the cut", h.lateSettle)
	t.Run("is opened again when nothing was lost", h.reopened)
	t.Run("shares messages with others", h.shares)
}

const (
	brokerMessages = 600
	retryEvery     = 20 * time.Millisecond
)

var limits = jsonview.Limits{}

// reader is a source at work: it opens it, and again when it is disconnected.
type reader struct {
	penstock.Source
	ctx  context.Context
	read []penstock.Position // in the order of reading
	body []string
}

func (h BrokerHarness) reader(t testing.TB, m BrokerMedium) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	r := &reader{Source: m.Source(t), ctx: ctx}
	t.Cleanup(cancel)
	if err := r.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// take reads until n different bodies were read in all.
func (r *reader) take(t testing.TB, n int) {
	t.Helper()
	if err := r.until(r.ctx, func() bool { return len(distinct(r.body)) >= n }); err != nil {
		t.Fatalf("after %d of %d messages: %v", len(distinct(r.body)), n, err)
	}
}

// takeAll reads until each of these was read, which were never settled.
func (r *reader) takeAll(t testing.TB, these []string) {
	t.Helper()
	var missing int
	err := r.until(r.ctx, func() bool {
		missing = 0
		for _, body := range these {
			if !slices.Contains(r.body, body) {
				missing++
			}
		}
		return missing == 0
	})
	if err != nil {
		t.Fatalf("%d of %d messages that were never settled are gone: %v", missing, len(these), err)
	}
}

// until reads until enough says so. ErrDisconnected asks for a new Open.
func (r *reader) until(ctx context.Context, enough func() bool) error {
	var b penstock.Batch
	for !enough() {
		b.Reset()
		err := r.Read(ctx, &b)
		for _, m := range b.Msgs {
			if perr := m.Body.Parse(limits); perr != nil {
				return perr
			}
			r.read, r.body = append(r.read, m.Pos), append(r.body, string(m.Body.AppendJSON(nil, 0)))
		}
		switch {
		case errors.Is(err, penstock.ErrDisconnected):
			if err := r.reopen(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// reopen opens until that works: a broker that was cut off takes a moment.
func (r *reader) reopen(ctx context.Context) error {
	for {
		err := r.Open(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, penstock.ErrDisconnected) && !penstock.CodeOf(err).Transient() {
			return err
		}
		fired, stop := penstock.SystemClock{}.NewTimer(retryEvery)
		select {
		case <-fired:
		case <-ctx.Done():
		}
		stop()
	}
}

// settle settles the i-th to the j-th message that was read, in their order.
func (r *reader) settle(t testing.TB, i, j int, err error) {
	t.Helper()
	var o []penstock.Outcome
	for _, pos := range r.read[i:j] {
		o = append(o, penstock.Outcome{Pos: pos, Err: err})
	}
	if err := r.Settle(r.ctx, o); err != nil {
		t.Fatal("Settle:", err)
	}
}

func (r *reader) close(t testing.TB) {
	t.Helper()
	if err := r.Close(r.ctx); err != nil {
		t.Error("Close:", err)
	}
}

func distinct(bodies []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(bodies)))
}

// once fails where a body is there twice.
func once(t testing.TB, bodies []string) {
	t.Helper()
	if d := distinct(bodies); len(d) != len(bodies) {
		t.Errorf("%d messages came, %d different ones", len(bodies), len(d))
	}
}

// left gives the messages that were read behind the k-th.
func (r *reader) left(k int) []string { return slices.Clone(r.body[k:]) }

func (h BrokerHarness) unsettled(t *testing.T) {
	m := h.New(t)
	want := numbered(brokerMessages)
	m.Put(t, want)
	a := h.reader(t, m)
	a.take(t, len(want))
	once(t, a.body)
	a.settle(t, 0, 200, nil)
	left := a.left(200)
	a.close(t)
	b := h.reader(t, m)
	b.take(t, len(left))
	same(t, b.body, left, false)
	b.settle(t, 0, len(b.read), nil)
	b.close(t)
}

func (h BrokerHarness) settled(t *testing.T) {
	m := h.New(t)
	m.Put(t, numbered(brokerMessages))
	a := h.reader(t, m)
	a.take(t, brokerMessages)
	if h.Spec.Settle == penstock.Each { // of those behind, each other one goes first
		for i := brokerMessages - 100; i < brokerMessages; i += 2 {
			a.settle(t, i, i+1, nil)
		}
	}
	for i := 0; i < brokerMessages; i += 50 {
		a.settle(t, i, i+50, nil)
	}
	a.close(t)
	m.Put(t, []string{`{"n":"more"}`})
	b := h.reader(t, m)
	b.take(t, 1)
	same(t, b.body, []string{`{"n":"more"}`}, false)
	b.settle(t, 0, 1, nil)
	b.close(t)
}

func (h BrokerHarness) died(t *testing.T) {
	m := h.New(t)
	if m.Die == nil {
		t.Skip("the harness can't let a source die")
	}
	want := numbered(brokerMessages)
	m.Put(t, want)
	a := h.reader(t, m)
	a.take(t, len(want))
	a.settle(t, 0, 100, nil)
	left := a.left(100)
	m.Die(t, a.Source)
	b := h.reader(t, m)
	b.takeAll(t, left) // and what was settled just before, where the broker has not heard of it
	b.settle(t, 0, len(b.read), nil)
	b.close(t)
}

// failed settles with an error, as an engine does whose run stops.
func (h BrokerHarness) failed(t *testing.T) {
	m := h.New(t)
	want := numbered(30)
	m.Put(t, want)
	a := h.reader(t, m)
	a.take(t, len(want))
	a.settle(t, 0, 10, nil)
	left := a.left(10)
	a.settle(t, 10, 30, errors.New("the run stops"))
	if h.Features.Returns {
		a.read, a.body = nil, nil
		a.take(t, len(left))
		same(t, distinct(a.body), left, false)
		a.settle(t, 0, len(a.read), nil)
		a.close(t)
		return
	}
	a.close(t)
	b := h.reader(t, m)
	b.take(t, len(left))
	same(t, b.body, left, false)
	b.settle(t, 0, len(b.read), nil)
	b.close(t)
}

func (h BrokerHarness) cut(t *testing.T) {
	m := h.New(t)
	if m.Cut == nil {
		t.Skip("the harness can't cut connections")
	}
	want := numbered(brokerMessages)
	m.Put(t, want[:300])
	a := h.reader(t, m)
	a.take(t, 300)
	a.settle(t, 0, 100, nil)
	m.Cut(t)
	m.Put(t, want[300:])
	before := len(a.body)
	a.take(t, brokerMessages)
	for _, body := range a.body[:100] {
		if slices.Contains(a.body[before:], body) {
			t.Fatalf("%s was settled, and came again", body)
		}
	}
	if h.Features.Remembers {
		once(t, a.body)
	}
	a.settle(t, 0, len(a.read), nil)
	a.close(t)
}

func (h BrokerHarness) cutAgain(t *testing.T) {
	m := h.New(t)
	if m.Cut == nil {
		t.Skip("the harness can't cut connections")
	}
	a := h.reader(t, m)
	for i := range 5 {
		var part []string
		for j := range 20 {
			part = append(part, fmt.Sprintf(`{"n":%d}`, 20*i+j))
		}
		m.Put(t, part)
		a.take(t, 20*(i+1))
		a.settle(t, 0, len(a.read), nil)
		m.Cut(t)
	}
	m.Put(t, []string{`{"n":"last"}`})
	a.take(t, 101)
	a.settle(t, 0, len(a.read), nil)
	a.close(t)
}

// lateSettle settles, behind a new connection, what was read by the old one, as an engine does that had it in flight. It must be no error; and it
// must not settle anything else.
func (h BrokerHarness) lateSettle(t *testing.T) {
	m := h.New(t)
	if m.Cut == nil {
		t.Skip("the harness can't cut connections")
	}
	want := numbered(40)
	m.Put(t, want[:20])
	a := h.reader(t, m)
	a.take(t, 20)
	m.Cut(t)
	m.Put(t, want[20:])
	a.take(t, 40)
	a.settle(t, 0, 10, nil)
	a.close(t)
	b := h.reader(t, m)
	b.takeAll(t, want[20:])
	b.settle(t, 0, len(b.read), nil)
	b.close(t)
}

// reopened opens a source that is open, as an engine does that undoes a transaction: what was read and not settled comes again. A source that remembers it goes on behind it, and
// hears of it as if nothing had been.
func (h BrokerHarness) reopened(t *testing.T) {
	m := h.New(t)
	want := numbered(100)
	m.Put(t, want)
	a := h.reader(t, m)
	a.take(t, 100)
	a.settle(t, 0, 40, nil)
	left := a.left(40)
	if err := a.Open(a.ctx); err != nil {
		t.Fatal(err)
	}
	if h.Features.Remembers {
		m.Put(t, []string{`{"n":"more"}`})
		a.take(t, 101)
		once(t, a.body)
		a.settle(t, 40, len(a.read), nil)
		a.close(t)
		m.Put(t, []string{`{"n":"last"}`})
		b := h.reader(t, m)
		b.take(t, 1)
		same(t, b.body, []string{`{"n":"last"}`}, false)
		b.settle(t, 0, 1, nil)
		b.close(t)
		return
	}
	a.read, a.body = nil, nil
	a.take(t, len(left))
	same(t, a.body, left, false)
	a.settle(t, 0, len(a.read), nil)
	a.close(t)
}

func (h BrokerHarness) shares(t *testing.T) {
	if !h.Features.Shares {
		t.Skip("the source does not declare Shares")
	}
	m := h.New(t)
	want := numbered(brokerMessages)
	var mu sync.Mutex
	var all []string
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done, enough := context.WithCancel(ctx)
	defer enough()
	readers := []*reader{h.reader(t, m), h.reader(t, m)}
	var wg sync.WaitGroup
	for _, r := range readers {
		wg.Go(func() {
			for done.Err() == nil {
				from := len(r.read)
				if err := r.until(done, func() bool { return len(r.read) > from }); err != nil && done.Err() == nil {
					t.Error(err)
					enough()
					return
				}
				r.settle(t, from, len(r.read), nil)
				mu.Lock()
				all = append(all, r.body[from:]...)
				if len(distinct(all)) == len(want) {
					enough()
				}
				mu.Unlock()
			}
		})
	}
	m.Put(t, want)
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%d of %d messages came", len(distinct(all)), len(want))
	}
	if !h.Features.Repeats {
		once(t, all)
	}
	for _, r := range readers {
		r.close(t)
	}
}
