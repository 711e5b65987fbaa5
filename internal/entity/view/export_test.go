package view

import (
	"context"

	"penstock.dev/penstock/internal/store"
)

// BoundPast sets what one query as of then takes at most.
func (e *Engine) BoundPast(bytes, events int64) { e.past = pastBounds{bytes, events} }

// Noted is what the store says: the generation that is read, and the one that is built, 0 if none.
func (e *Engine) Noted(ctx context.Context, view string) (generation, building int64, err error) {
	err = look(ctx, e.opts.Store, func(v store.View) error {
		r, _, err := readRegistered(v, view)
		generation, building = r.Generation, r.Building
		return err
	})
	return generation, building, err
}
