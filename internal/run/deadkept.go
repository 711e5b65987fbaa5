package run

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// deadKept is dead for a flow whose dead letters are a channel of the store: the dead letter is recorded, and written in the transaction
// that settles the message. What the message itself recorded is taken back: it is dead as a whole.
func (x *exec) deadKept(w *work, m *penstock.Message, cause error, stepName string, attempts int) {
	f := x.f
	t := m.Lineage.(*track)
	if !mutation.On("dead-keeps-writes") {
		t.recorded.takeBack(m)
	}
	b := f.batches.get()
	b.Runtime = f.runtime
	c := b.Append()
	c.Key, c.Time, c.Lineage, c.Descent = m.Key, m.Time, m.Lineage, m.Descent
	c.Meta.CopyFrom(&m.Meta)
	c.Body = readable(b, t.orig)
	c.Vars = append(c.Vars[:0], t.vars...)
	if f.parked != nil && t.parkKey != "" {
		f.parked.die(t, m.Seq)
	}
	t.died = true
	c.Meta.Set("dead", f.deadMeta(cause, stepName, attempts, m, t.in.entry.name))
	t.append(author{}, f.dead.outlet, c, f.header(m, f.now()), f.plan.Vars)
	f.recycle(b)
	f.dead.sent.Add(1)
	if !errors.Is(cause, errParked) {
		f.stats.reject(cause, stepName)
		x.logDead(m, cause, stepName)
	}
	x.end(w, []*penstock.Message{m}, fateDead)
}

// deadStore is the place of dead letters in a run that keeps no state: the store is opened with the first of them.
type deadStore struct {
	r    *Runner
	name string
}

// Open implements penstock.Sink. The store is opened with the first dead letter.
func (*deadStore) Open(context.Context) error { return nil }

// Write implements penstock.Sink: what it has taken is durable.
func (d *deadStore) Write(ctx context.Context, b *penstock.Batch) error {
	st, err := d.r.theStore()
	if err != nil {
		return err
	}
	now := d.r.clock.Now().UnixNano()
	bundle := store.Bundle{N: len(b.Msgs), MinTime: now, MaxTime: now}
	for _, m := range b.Msgs {
		bundle.Data = store.AppendFrame(bundle.Data, record.Append(nil, record.Header{Time: now, Origin: m.Lineage.Origin()}, m, nil))
	}
	return st.Submit(store.Bulk, func(tx store.Tx) error {
		_, err := tx.Append(d.name, bundle)
		return err
	}).Wait(ctx)
}

// Close implements penstock.Sink.
func (*deadStore) Close(context.Context) error { return nil }
