package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// crew is what runs the flows of a process: one run, where nobody else has its store; where replicas share it, one for each unit of
// which this process holds the part ([shared]). It is safe for concurrent use.
type crew struct {
	alone  *run.Runner
	shared *shared
	st     *storage
	driven []lease.Driven
}

// shared says that replicas may share the store.
func (s *storage) shared() bool { return s.other != nil || s.server != nil }

// lease is how long leases hold.
func (x *session) lease() time.Duration {
	if x.o.Lease > 0 {
		return x.o.Lease
	}
	if x.st.server != nil {
		return x.st.server.Lease
	}
	return lease.Default
}

// newCrew makes the crew of a plan.
func (x *session) newCrew(pl *plan.Plan, o run.Options, web *web) (*crew, error) {
	c := &crew{st: x.st, driven: x.driven(pl)}
	if pl.Durable && x.st.shared() {
		c.driven = append(c.driven, drivenViews{&x.views})
		c.shared = newShared(x, pl, o, web, c.driven)
		return c, nil
	}
	r, err := run.New(pl, o)
	c.alone = r
	return c, err
}

// Run is as that of [run.Runner].
func (c *crew) Run(ctx context.Context) (*run.Summary, error) {
	if c.shared != nil {
		return c.shared.run(ctx)
	}
	if len(c.driven) == 0 {
		return c.alone.Run(ctx)
	}
	db, err := c.st.Open()
	if err != nil {
		return c.alone.Snapshot(), err
	}
	stop, err := forever(context.WithoutCancel(ctx), c.driven, db)
	if err != nil {
		return c.alone.Snapshot(), err
	}
	defer stop(context.WithoutCancel(ctx))
	return c.alone.Run(ctx)
}

// forever starts what is driven for all parts of a store that nobody shares.
func forever(ctx context.Context, all []lease.Driven, db store.Store) (stop func(context.Context), err error) {
	var stops []func(context.Context)
	stop = func(ctx context.Context) {
		for _, s := range stops {
			s(ctx)
		}
	}
	for _, l := range lease.Forever(db.Parts()) {
		end, err := drive(ctx, all, l, db)
		if err != nil {
			stop(ctx)
			return nil, err
		}
		stops = append(stops, end)
	}
	return stop, nil
}

// Snapshot is as that of [run.Runner].
func (c *crew) Snapshot() *run.Summary {
	if c.shared != nil {
		return c.shared.snapshot()
	}
	return c.alone.Snapshot()
}

// Apply is as that of [run.Runner].
func (c *crew) Apply(ctx context.Context, pl *plan.Plan) (*run.Applied, error) {
	if c.shared != nil {
		return c.shared.apply(ctx, pl)
	}
	return c.alone.Apply(ctx, pl)
}

// of is who runs a flow here.
func (c *crew) of(op, flow string) ([]*run.Runner, error) {
	if c.shared == nil {
		return []*run.Runner{c.alone}, nil
	}
	return c.shared.of(op, flow)
}

// each does something with everybody who runs a flow here.
func (c *crew) each(op, flow string, f func(*run.Runner) error) error {
	all, err := c.of(op, flow)
	for _, r := range all {
		err = errors.Join(err, f(r))
	}
	return err
}

// Pause is as that of [run.Runner].
func (c *crew) Pause(flow string) error {
	return c.each("pause", flow, func(r *run.Runner) error { return r.Pause(flow) })
}

// Resume is as that of [run.Runner].
func (c *crew) Resume(flow string) error {
	return c.each("resume", flow, func(r *run.Runner) error { return r.Resume(flow) })
}

// Let is as that of [run.Runner].
func (c *crew) Let(flow string, dropped []run.Held) {
	_ = c.each("let", flow, func(r *run.Runner) error { // what another replica holds back it looks up when it begins anew
		r.Let(flow, dropped)
		return nil
	})
}

// Look is as that of [run.Runner].
func (c *crew) Look(flow, step string, perSecond int, see func(run.Glimpse)) (stop func(), err error) {
	all, err := c.of("tap", flow)
	if err != nil {
		return nil, err
	}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, r := range all {
		s, err := r.Look(flow, step, perSecond, see)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// Give is as that of [run.Runner].
func (c *crew) Give(ctx context.Context, g run.Given) (*run.Reply, error) {
	if c.shared == nil {
		return c.alone.Give(ctx, g)
	}
	if g.Flow != "" {
		all, err := c.shared.of("send", g.Flow)
		if err != nil {
			return nil, err
		}
		return all[0].Give(ctx, g)
	}
	err := error(&penstock.Error{Code: penstock.Unavailable, Op: "send", Path: g.Channel, Err: errors.New("no flow of this replica has to do with the channel"), Hint: "ask another replica: penstock ps lists them"})
	for _, s := range c.shared.stints() {
		if slices.ContainsFunc(s.u.plan.Channels, func(ch *plan.Channel) bool { return ch.Name == g.Channel }) {
			return s.r.Give(ctx, g)
		}
	}
	return nil, err
}

// Sample is as that of [run.Runner].
func (c *crew) Sample(o run.SampleOptions) {
	if c.shared != nil {
		c.shared.sample(o)
		return
	}
	c.alone.Sample(o)
}
