package control

import (
	"cmp"
	"context"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// SharesStore reports whether the flows of a checked configuration keep their state in a store that replicas may share.
func (c *Checked) SharesStore() bool {
	return c.plan != nil && c.plan.Durable && c.plan.Store.Driver == "postgres"
}

// Addresses are where a run of the configuration listens for its flows, and for those who look after it; "" where it does not. What is given goes first.
func (c *Checked) Addresses(listen, control string) (http, port string) {
	if c.plan == nil {
		return listen, control
	}
	if len(c.plan.Routed()) > 0 {
		http = cmp.Or(listen, c.plan.HTTP.Address)
	}
	return http, cmp.Or(control, c.plan.Control.Address)
}

// replicasIn lists the processes that share a store which this process has opened to look into; nil where nobody shares it.
func (s *Service) replicasIn(ctx context.Context, db store.Store) []operate.ReplicaStatus {
	shared, ok := db.(lease.Shared)
	if !ok {
		return nil
	}
	t, err := shared.Leases().Beat(ctx, lease.Replica{}, lease.Default)
	if err != nil {
		return nil // what is asked for is in the store, too, which says what is wrong
	}
	return replicasOf(t, "", s.clock().Now())
}
