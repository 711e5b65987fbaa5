package socket

import (
	"context"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity"
)

// Operations on the histories of entities.
const (
	opEvents       = "events/list"
	opEventState   = "events/state"
	opEventsVerify = "events/verify"
	opEventsErase  = "events/erase"
	opEventForms   = "events/forms"
)

// eventOperations are those on the histories of entities.
func eventOperations(ops *operate.Operations) []operationOf {
	return []operationOf{
		asked(opEvents, "Events of entities, one an item.", entity.Listed{}, func(ctx context.Context, q entity.Listing, out *answer) (nothing, error) {
			return nothing{}, ops.Events.List(ctx, q, func(e *entity.Listed) error { return out.item(e) })
		}),
		asked(opEventState, "The state of an entity, as it is or as it was.", nil, func(ctx context.Context, q operate.EventState, _ *answer) (*operate.EntityState, error) {
			return ops.Events.State(ctx, q)
		}),
		asked(opEventsVerify, "Holds events to their chain of hashes. Each item is how far it has come.", operate.EventsProgress{}, func(ctx context.Context, q operate.EventsVerify, out *answer) (*operate.EventsVerified, error) {
			return ops.Events.Verify(ctx, q, func(g operate.EventsProgress) error { return out.item(g) })
		}),
		asked(opEventsErase, "Makes the personal fields of a subject unreadable, and writes down who did so.", nil, func(ctx context.Context, q operate.EventsErase, _ *answer) (*entity.Erased, error) {
			q.Who = who(ctx, q.Who)
			return ops.Events.Erase(ctx, q)
		}),
		asked(opEventForms, "The schemas that events were written with.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.EventForms, error) {
			return ops.Events.Forms(ctx)
		}),
	}
}

// histories asks for operations on the histories of entities.
type histories struct{ c *client }

var _ operate.Events = histories{}

// List implements operate.Events.
func (h histories) List(ctx context.Context, q entity.Listing, visit func(*entity.Listed) error) error {
	return h.c.ask(ctx, opEvents, q, &nothing{}, items(visit))
}

// State implements operate.Events.
func (h histories) State(ctx context.Context, q operate.EventState) (*operate.EntityState, error) {
	v := &operate.EntityState{}
	return answered(v, h.c.ask(ctx, opEventState, q, v, nil))
}

// Verify implements operate.Events.
func (h histories) Verify(ctx context.Context, q operate.EventsVerify, progress func(operate.EventsProgress) error) (*operate.EventsVerified, error) {
	v := &operate.EventsVerified{}
	return answered(v, h.c.ask(ctx, opEventsVerify, q, v, items(progress)))
}

// Erase implements operate.Events.
func (h histories) Erase(ctx context.Context, q operate.EventsErase) (*entity.Erased, error) {
	v := &entity.Erased{}
	return answered(v, h.c.ask(ctx, opEventsErase, q, v, nil))
}

// Forms implements operate.Events.
func (h histories) Forms(ctx context.Context) (*operate.EventForms, error) {
	v := &operate.EventForms{}
	return answered(v, h.c.ask(ctx, opEventForms, nothing{}, v, nil))
}
