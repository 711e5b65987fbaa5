package control

import (
	"context"
	"sync"
	"time"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// serveGrace is how long a run waits at its end for operations that are nearly done: who waits for a drain is told how it ended.
const serveGrace = 2 * time.Second

// listen lets commands ask a run, from when it has started until ended is called with its error. Then operations are over,
// and the store may be closed.
func (s *Service) listen(ctx context.Context, started <-chan struct{}, r *run.Runner, snapshot func() *run.Summary, stop context.CancelFunc, checked *Checked, pl *plan.Plan, st *storage, o *RunOptions) (ended func(error)) {
	l := newLive(s.clock(), r, snapshot, stop)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-l.done:
			return
		case <-started: // a run that keeps state has the store's lock now: what is asked of the store, it answers
		}
		defer s.serve(ctx, o, checked, pl, st, l)()
		wg.Go(func() {
			select {
			case <-ctx.Done(): // an interrupt drains, too
				l.stopped()
			case <-l.done:
			}
		})
		l.watch()
	})
	return func(err error) {
		l.end(err)
		wg.Wait()
	}
}

// serve listens and answers, until what it returns is called. A run must not fail for want of a socket: what is in the
// way is logged.
func (s *Service) serve(ctx context.Context, o *RunOptions, checked *Checked, pl *plan.Plan, st *storage, l *live) (end func()) {
	ln, err := socket.Listen(ctx, st.path, pl.Durable)
	if err != nil {
		if o.Logger != nil {
			o.Logger.Warn("commands can't ask this process", "error", err)
		}
		return func() {}
	}
	c := s.direct(st)
	c.Process = l
	c.Steps, c.Groups = durableSteps(pl), groupsOf(checked.plan)
	c.Readers = map[string][]string{}
	for _, f := range pl.Flows {
		c.Flows = append(c.Flows, f.Name)
		if !pl.Durable {
			c.Jobs = append(c.Jobs, f.Name)
		}
		for _, src := range f.Sources {
			if src.Channel != "" {
				c.Readers[src.Channel] = append(c.Readers[src.Channel], f.Name)
			}
		}
	}
	srv := socket.Serve(ln, operate.Direct(c))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), serveGrace)
		defer cancel()
		srv.Close(ctx)
	}
}
