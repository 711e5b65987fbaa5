// Package engine lets a run ask entities: what steps of flows command and query, and what sources read.
package engine

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/run"
)

// entities are those of a runtime.
type entities struct{ all *entity.Runtime }

// New lets a run ask the entities of a runtime.
func New(all *entity.Runtime) run.Entities { return entities{all} }

var _ run.Entities = entities{}

func (e entities) find(name string) (*entity.Entity, error) {
	if x := e.all.Entity(name); x != nil {
		return x, nil
	}
	return nil, penstock.E(penstock.Config, "command", name, "there is no such entity")
}

// Command implements run.Entities.
func (e entities) Command(ctx context.Context, dst []byte, q run.EntityCommand) ([]byte, error) {
	x, err := e.find(q.Entity)
	if err != nil {
		return dst, err
	}
	return x.Command(ctx, dst, entity.Request{Command: q.Command, Key: q.Key, Data: q.Data, Meta: q.Meta, Cause: q.Cause, Expect: q.Expect})
}

// Query implements run.Entities.
func (e entities) Query(ctx context.Context, dst []byte, q run.EntityQuery) ([]byte, error) {
	x, err := e.find(q.Entity)
	if err != nil {
		return dst, err
	}
	as := entity.AsOf{Time: q.Time, Start: q.Version == 0}
	if q.Version > 0 {
		as.Version = q.Version
	}
	return x.Query(ctx, dst, q.Key, as)
}

// Channels implements run.Entities.
func (e entities) Channels(name string) ([]string, error) {
	x, err := e.find(name)
	if err != nil {
		return nil, err
	}
	return x.Channels()
}

// Event implements run.Entities.
func (e entities) Event(ctx context.Context, name string, part int, pos int64, rec []byte, b *penstock.Batch) (*penstock.Message, bool, error) {
	x, err := e.find(name)
	if err != nil {
		return nil, false, err
	}
	m, ok, err := x.Message(ctx, part, pos, rec, b)
	var u *entity.UnreadableError
	if errors.As(err, &u) {
		err = &run.UnreadableEvent{Event: u.Event, Type: u.Type, Key: u.Key, Err: err}
	}
	return m, ok, err
}
