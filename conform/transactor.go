package conform

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"penstock.dev/penstock"
)

// TransactorMedium is a cluster with one topic that is read by a group, and one that is written to.
type TransactorMedium struct {
	// Put puts messages with these JSON bodies into the topic that is read.
	Put func(t testing.TB, bodies []string)
	// Source makes another member of the group; Sink another writer. They are as for a flow in transactions (Env.Transaction).
	Source func(t testing.TB) penstock.Source
	Sink   func(t testing.TB) penstock.Sink
	// Committed gives the JSON bodies of the topic that is written to, as those see it who read what is committed, in any order.
	Committed func(t testing.TB) []string
	// Expel has the group take a member for dead, which does not notice: its partitions go to another. It returns when they may be read by that. Nil if
	// it can't be done.
	Expel func(t testing.TB, s penstock.Source)
}

// TransactorHarness describes a sink that has transactions with the sources of its technology.
type TransactorHarness struct {
	// New makes an empty medium.
	New func(t testing.TB) TransactorMedium
	// Refused is a JSON body that can never be written; empty if there is none.
	Refused string
}

// Transactor runs the suite of a penstock.Transactor.
func Transactor(t *testing.T, h TransactorHarness) {
	t.Run("commits outputs and positions together", h.commits)
	t.Run("shows nothing before the commit", h.hidden)
	t.Run("shows nothing of what was undone", h.undone)
	t.Run("gives again what was undone", h.again)
	t.Run("commits positions alone", h.positionsOnly)
	t.Run("names what it can never write", h.refuses)
	t.Run("goes on after many", h.many)
	t.Run("refuses a zombie", h.zombie)
}

// mill is a member of the group with its sink, as a flow has them.
type mill struct {
	source penstock.Source
	sink   penstock.Transactor
	h      SourceHarness
	ctx    context.Context
}

func (h TransactorHarness) mill(t testing.TB, m TransactorMedium) *mill {
	t.Helper()
	sink, ok := m.Sink(t).(penstock.Transactor)
	if !ok {
		t.Fatal("the sink is no penstock.Transactor")
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	x := &mill{source: m.Source(t), sink: sink, ctx: ctx}
	for _, open := range []func(context.Context) error{sink.Open, x.source.Open} {
		if err := open(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_, _ = x.sink.Close(ctx), x.source.Close(ctx) // one that is fenced may complain
		cancel()
	})
	return x
}

// epoch reads n messages, writes them, and gives the transaction with their positions in it.
func (x *mill) epoch(t testing.TB, n int) (penstock.Tx, []string) {
	t.Helper()
	tx, err := x.sink.Begin(x.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return tx, x.fill(t, tx, n)
}

func (x *mill) fill(t testing.TB, tx penstock.Tx, n int) (bodies []string) {
	t.Helper()
	read := x.h.read(t, x.ctx, x.source, n)
	last := map[string]penstock.Position{}
	for _, m := range read {
		bodies = append(bodies, m.body)
		last[m.pos.Stream] = m.pos
	}
	for rest := bodies; len(rest) > 0; {
		k := min(len(rest), 100)
		b := Batch(rest[:k]...)
		if err := tx.Write(x.ctx, x.sink, b); err != nil {
			t.Fatal(err)
		}
		scribble(b) // it is not retained
		rest = rest[k:]
	}
	if err := tx.Positions(x.ctx, x.source, from(last)); err != nil {
		t.Fatal(err)
	}
	return bodies
}

func (x *mill) commit(t testing.TB, tx penstock.Tx) {
	t.Helper()
	if err := tx.Commit(x.ctx); err != nil {
		t.Fatal(err)
	}
}

func (x *mill) abort(t testing.TB, tx penstock.Tx) {
	t.Helper()
	if err := tx.Abort(x.ctx); err != nil {
		t.Fatal(err)
	}
}

// leave closes the member in order.
func (x *mill) leave(t testing.TB) {
	t.Helper()
	for _, closing := range []func(context.Context) error{x.sink.Close, x.source.Close} {
		if err := closing(x.ctx); err != nil {
			t.Error("Close:", err)
		}
	}
}

func (h TransactorHarness) commits(t *testing.T) {
	m := h.New(t)
	want := numbered(500)
	m.Put(t, want)
	x := h.mill(t, m)
	tx, bodies := x.epoch(t, len(want))
	x.commit(t, tx)
	same(t, m.Committed(t), bodies, false)
	x.leave(t)
	// Another member begins behind it.
	more := []string{`{"n":"more"}`}
	m.Put(t, more)
	y := h.mill(t, m)
	tx, bodies = y.epoch(t, 1)
	same(t, bodies, more, false)
	y.commit(t, tx)
	same(t, m.Committed(t), append(more, want...), false)
}

func (h TransactorHarness) hidden(t *testing.T) {
	m := h.New(t)
	m.Put(t, numbered(100))
	x := h.mill(t, m)
	tx, _ := x.epoch(t, 100)
	if n := len(m.Committed(t)); n > 0 {
		t.Errorf("%d messages are seen before they are committed", n)
	}
	x.commit(t, tx)
	same(t, m.Committed(t), numbered(100), false)
}

func (h TransactorHarness) undone(t *testing.T) {
	m := h.New(t)
	m.Put(t, numbered(100))
	x := h.mill(t, m)
	tx, _ := x.epoch(t, 100)
	x.abort(t, tx)
	if n := len(m.Committed(t)); n > 0 {
		t.Errorf("%d messages are seen of what was undone", n)
	}
	tx, err := x.sink.Begin(x.ctx) // what is written behind it is seen
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Write(x.ctx, x.sink, Batch(`{"n":"behind"}`)); err != nil {
		t.Fatal(err)
	}
	x.commit(t, tx)
	same(t, m.Committed(t), []string{`{"n":"behind"}`}, false)
}

// again opens the source once more after an Abort, as the engine does: it reads on where the last transaction was committed.
func (h TransactorHarness) again(t *testing.T) {
	m := h.New(t)
	want := numbered(400)
	m.Put(t, want[:200])
	x := h.mill(t, m)
	tx, _ := x.epoch(t, 200)
	x.commit(t, tx)
	m.Put(t, want[200:])
	for range 3 {
		tx, bodies := x.epoch(t, 200)
		same(t, bodies, want[200:], false)
		x.abort(t, tx)
		if err := x.source.Open(x.ctx); err != nil {
			t.Fatal("Open after Abort:", err)
		}
	}
	tx, _ = x.epoch(t, 200)
	x.commit(t, tx)
	same(t, m.Committed(t), want, false)
}

func (h TransactorHarness) positionsOnly(t *testing.T) {
	m := h.New(t)
	m.Put(t, numbered(10))
	x := h.mill(t, m)
	tx, err := x.sink.Begin(x.ctx)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]penstock.Position{}
	for _, msg := range x.h.read(t, x.ctx, x.source, 10) { // all of which are filtered
		last[msg.pos.Stream] = msg.pos
	}
	if err := tx.Positions(x.ctx, x.source, from(last)); err != nil {
		t.Fatal(err)
	}
	x.commit(t, tx)
	x.leave(t)
	m.Put(t, []string{`{"n":"next"}`})
	y := h.mill(t, m)
	tx, bodies := y.epoch(t, 1)
	same(t, bodies, []string{`{"n":"next"}`}, false)
	y.commit(t, tx)
}

func (h TransactorHarness) refuses(t *testing.T) {
	if h.Refused == "" {
		t.Skip("the harness knows no body that can never be written")
	}
	m := h.New(t)
	x := h.mill(t, m)
	tx, err := x.sink.Begin(x.ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = tx.Write(x.ctx, x.sink, Batch(`{"n":1}`, h.Refused, `{"n":2}`))
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 1 || each.Errs[1] == nil || penstock.CodeOf(each.Errs[1]).Transient() {
		t.Fatalf("Write: %v, want a *BatchError that names message 1, for good", err)
	}
	x.commit(t, tx)
	same(t, m.Committed(t), []string{`{"n":1}`, `{"n":2}`}, false)
}

func (h TransactorHarness) many(t *testing.T) {
	m := h.New(t)
	x := h.mill(t, m)
	var want []string
	for i := range 30 {
		part := make([]string, 10)
		for j := range part {
			part[j] = fmt.Sprintf(`{"n":%d}`, 10*i+j)
		}
		m.Put(t, part)
		tx, _ := x.epoch(t, len(part))
		if i%3 == 1 {
			x.abort(t, tx)
			if err := x.source.Open(x.ctx); err != nil {
				t.Fatal(err)
			}
			tx, _ = x.epoch(t, len(part))
		}
		x.commit(t, tx)
		want = append(want, part...)
	}
	same(t, m.Committed(t), want, false)
}

// zombie goes on with a member that was taken for dead: another has its messages, and what the zombie made of them must not be seen.
func (h TransactorHarness) zombie(t *testing.T) {
	m := h.New(t)
	if m.Expel == nil {
		t.Skip("the harness can't have a member taken for dead")
	}
	want := numbered(100)
	m.Put(t, want)
	dead := h.mill(t, m)
	tx, _ := dead.epoch(t, len(want))
	alive := h.mill(t, m)
	m.Expel(t, dead.source)
	if err := alive.source.Open(alive.ctx); err != nil { // as after ErrDisconnected, which the change of the group may have been
		t.Fatal(err)
	}
	other, _ := alive.epoch(t, len(want))
	if err := tx.Commit(dead.ctx); err == nil {
		t.Error("the zombie's Commit says that all is well")
	}
	_ = tx.Abort(dead.ctx)
	alive.commit(t, other)
	same(t, m.Committed(t), want, false)
}
