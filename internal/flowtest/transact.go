package flowtest

import (
	"context"
	"fmt"

	"penstock.dev/penstock"
)

// transaction stands for one of a broker: what is written is there, and what was read is done, when it is committed.
type transaction struct {
	w       *world
	life    *life
	records []*record
	moves   []func()
}

var _ penstock.Transactor = (*recorder)(nil)

// Begin implements penstock.Transactor.
func (r *recorder) Begin(context.Context) (penstock.Tx, error) {
	return &transaction{w: r.w, life: r.life}, nil
}

// Write implements penstock.Tx.
func (t *transaction) Write(_ context.Context, to penstock.Sink, b *penstock.Batch) error {
	r := to.(*recorder)
	if t.life.over.Load() {
		return errCrashed
	}
	what := t.w.fault.meet("write to "+r.name(), crashBefore, crashAfter)
	if what != 0 {
		t.w.fall()
		return errCrashed
	}
	errs := map[int]error{}
	for i, m := range b.Msgs {
		rec, err := r.record(b.Frame(m))
		if err != nil {
			errs[i] = err
			continue
		}
		t.records = append(t.records, rec)
	}
	if len(errs) > 0 {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// Positions implements penstock.Tx.
func (t *transaction) Positions(ctx context.Context, from penstock.Source, at []penstock.Position) error {
	var done []penstock.Outcome
	for _, pos := range at {
		done = append(done, penstock.Outcome{Pos: pos})
	}
	t.moves = append(t.moves, func() { _ = from.Settle(ctx, done) }) // a feed's, which has no error
	return nil
}

// Commit implements penstock.Tx.
func (t *transaction) Commit(context.Context) error {
	if t.life.over.Load() {
		return errCrashed
	}
	t.w.transactions++
	what := t.w.fault.meet(fmt.Sprintf("transaction %d", t.w.transactions), crashBefore, crashAfter)
	if what != crashBefore {
		for _, r := range t.records {
			t.w.log.add(r)
		}
		for _, move := range t.moves {
			move()
		}
	}
	if what != 0 {
		t.w.fall()
		return errCrashed
	}
	return nil
}

// Abort implements penstock.Tx.
func (*transaction) Abort(context.Context) error { return nil }
