package control

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/observe/metrics"
	"penstock.dev/penstock/internal/plan"
)

// pulls says whether any queue is served over HTTP.
func pulls(pl *plan.Plan) bool {
	return slices.ContainsFunc(pl.Queues, func(q *plan.JobQueue) bool { return q.Pull })
}

// queues are the queues of jobs of a run, as they are from one reload to the next. It is for one goroutine.
type queues struct {
	*jobs.Service
	web      *web
	stopping <-chan struct{}
	unmount  func() // nil: they are not served over HTTP
}

// openQueues makes the queues of a run, and serves those that workers pull from, until it is closed. Who waits for jobs is sent away when ctx ends.
func (s *Service) openQueues(ctx context.Context, pl *plan.Plan, x *session, web *web) (*queues, error) {
	host, _ := os.Hostname() // "" is none
	q := &queues{web: web, stopping: ctx.Done()}
	q.Service = jobs.NewService(pl.Queues, jobs.Options{Store: x.st.Open, Clock: s.clock(), Logger: x.o.Logger, Random: rand.Float64, Host: host})
	if err := q.serve(pl); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// serve serves queues over HTTP from the first plan on that has any. They stay served: who asks for one that is gone is told so.
func (q *queues) serve(pl *plan.Plan) (err error) {
	if q.unmount != nil || !pulls(pl) {
		return nil
	}
	q.unmount, err = q.Mount(q.web.server, q.stopping)
	return err
}

// prepare makes the queues ready for flows of both plans. Those that are in both have the rules of next from now on.
func (q *queues) prepare(before, next *plan.Plan) error {
	if err := q.serve(next); err != nil {
		return err
	}
	all := slices.Clone(next.Queues)
	for _, b := range before.Queues {
		if !slices.ContainsFunc(next.Queues, func(n *plan.JobQueue) bool { return n.Name == b.Name }) {
			all = append(all, b)
		}
	}
	q.Become(all)
	return nil
}

func (q *queues) close() {
	q.Close()
	if q.unmount != nil {
		q.unmount()
	}
}

// jobs looks at the queues of jobs, where the store is open.
func (w *watched) jobs(ctx context.Context) ([]metrics.JobQueue, error) {
	db := w.st.Opened()
	if db == nil {
		return nil, nil
	}
	all, err := w.queues.Measure(ctx, db)
	if err != nil {
		return nil, err
	}
	out := make([]metrics.JobQueue, 0, len(all))
	for i := range all {
		q := &all[i]
		out = append(out, metrics.JobQueue{
			Name: q.Queue, Paused: q.Paused, Oldest: q.OldestSeconds, Ready: q.Ready, Delayed: q.Delayed, Blocked: q.Blocked, Leased: q.Leased,
			Enqueued: q.Enqueued, Duplicates: q.Twins, Completed: q.Completed, Failed: q.Failed, DeadLettered: q.Dead, Cancelled: q.Cancelled, Expired: q.Expired, Refused: q.Stale,
			Wait: q.Meter.Wait.Snapshot(), Done: q.Meter.Completed.Snapshot(), Undone: q.Meter.Failed.Snapshot(),
		})
	}
	return out, nil
}
