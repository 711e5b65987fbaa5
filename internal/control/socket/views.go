package socket

import (
	"context"

	"penstock.dev/penstock/internal/control/operate"
)

const (
	opViews   = "views"
	opViewAct = "views/act"
)

// viewOperations are those on read models.
func viewOperations(ops *operate.Operations) []operationOf {
	return []operationOf{
		asked(opViews, "How read models stand.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.ViewList, error) {
			return ops.Views.States(ctx)
		}),
		asked(opViewAct, "Builds the rows of a view anew (rebuild), compares them (diff), or has one go on that has stopped (retry, skip). Each item is how it stands.", operate.ViewState{}, func(ctx context.Context, q operate.ViewAction, out *answer) (*operate.ViewActed, error) {
			q.Who = who(ctx, q.Who)
			return ops.Views.Act(ctx, q, func(s operate.ViewState) error { return out.item(s) })
		}),
	}
}

// readModels is the client as operate.Views.
type readModels struct{ *client }

// States implements operate.Views.
func (c readModels) States(ctx context.Context) (*operate.ViewList, error) {
	v := &operate.ViewList{}
	return answered(v, c.ask(ctx, opViews, nothing{}, v, nil))
}

// Act implements operate.Views.
func (c readModels) Act(ctx context.Context, a operate.ViewAction, progress func(operate.ViewState) error) (*operate.ViewActed, error) {
	v := &operate.ViewActed{}
	return answered(v, c.ask(ctx, opViewAct, a, v, items(progress)))
}
