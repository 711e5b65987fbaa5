package control

import (
	"context"

	readmodel "penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// viewHome is the part of a store that its views are at home in: who holds it keeps them, and runs the flows that ask them or that write what they hold in the
// same transaction.
func viewHome(parts int) int { return store.PartOf("views", parts) }

// atViews says that a flow has to run where the views are kept.
func atViews(pl *plan.Plan, f *plan.Flow) (at bool) {
	if len(pl.Views) == 0 {
		return false
	}
	plan.Walk(f.Nodes, func(n *plan.Node) {
		if call, ok := n.Op.(*plan.Call); ok && (call.Endpoint.Ask != nil || call.Endpoint.Command != nil) {
			at = true
		}
	})
	return at
}

// drivenViews are the views of a run on a store that replicas share.
type drivenViews struct{ v *views }

var _ lease.Driven = drivenViews{}

// Start implements lease.Driven.
func (d drivenViews) Start(ctx context.Context, l lease.Lease, st store.Store) (func(context.Context), error) {
	pl := d.v.x.current().plan
	if l.Part != viewHome(st.Parts()) || len(pl.Views) == 0 {
		return func(context.Context) {}, nil
	}
	e, err := readmodel.Open(ctx, pl.Views, d.v.options(st, pl))
	if err != nil {
		return nil, err
	}
	d.v.mu.Lock()
	d.v.e = e
	d.v.mu.Unlock()
	lost := context.AfterFunc(ctx, e.Close)
	return func(context.Context) {
		lost()
		d.v.mu.Lock()
		if d.v.e == e {
			d.v.e = nil
		}
		d.v.mu.Unlock()
		e.Close()
	}, nil
}
