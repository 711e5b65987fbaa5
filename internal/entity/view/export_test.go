package view

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// BoundPast sets what one query as of then takes at most.
func (e *Engine) BoundPast(bytes, events int64) { e.past = pastBounds{bytes, events} }

// HeldDiff is a Diff that stands right before it compares: what it returns goes on.
func (e *Engine) HeldDiff(ctx context.Context, view string) (func() (*Compared, error), error) {
	if _, err := e.Diff(ctx, view, 0); err != nil {
		return nil, err
	}
	m, err := e.model(view)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	b := m.building
	m.mu.RUnlock()
	return func() (*Compared, error) { return e.compareAgain(ctx, m, b, 0) }, nil
}

// Folding folds one record into one row, again and again.
func Folding(v *plan.View, rec []byte) func() error {
	f := newFolder(v, &penstock.Runtime{Clock: penstock.SystemClock{}})
	row := &rowOf{key: "a"}
	dirty := make([]*rowOf, 0, 1)
	return func() error {
		f.reset()
		f.take(0, 1, rec)
		f.read[0].row = row
		next, _, err := f.fold(0, dirty, 2)
		if err == nil && (next != 1 || !row.dirty) {
			err = errors.New("it was not folded into its row")
		}
		row.dirty = false
		return err
	}
}

// Noted is what the store says: the generation that is read, and the one that is built, 0 if none.
func (e *Engine) Noted(ctx context.Context, view string) (generation, building int64, err error) {
	err = look(ctx, e.opts.Store, func(v store.View) error {
		r, _, err := readRegistered(v, view)
		generation, building = r.Generation, r.Building
		return err
	})
	return generation, building, err
}
