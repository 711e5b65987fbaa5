package control

import (
	"context"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// driven lists what else than flows is driven part by part, of a plan: whoever has something adds it here. It is asked once for each run.
func (x *session) driven(*plan.Plan) []lease.Driven {
	return nil
}

// drive starts what is driven for a part. What it returns stops all of it; where one can't begin nothing goes on.
func drive(ctx context.Context, all []lease.Driven, l lease.Lease, s store.Store) (stop func(context.Context), err error) {
	var stops []func(context.Context)
	stop = func(ctx context.Context) {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i](ctx)
		}
	}
	for _, d := range all {
		end, err := d.Start(ctx, l, lease.Fenced(s, l))
		if err != nil {
			stop(ctx)
			return nil, err
		}
		stops = append(stops, end)
	}
	return stop, nil
}
