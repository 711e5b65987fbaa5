package control

import (
	"context"
	"math/rand/v2"
	"os"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/observe/metrics"
	"penstock.dev/penstock/internal/plan"
)

// pulled is how many queues are served over HTTP.
func pulled(pl *plan.Plan) (n int) {
	for _, q := range pl.Queues {
		if q.Pull {
			n++
		}
	}
	return n
}

// openQueues makes the queues of a run, and serves those that workers pull from, until what it returns is called. Who waits for jobs is sent away when ctx ends.
func (s *Service) openQueues(ctx context.Context, pl *plan.Plan, x *session, web *web) (*jobs.Service, func(), error) {
	host, _ := os.Hostname() // "" is none
	q := jobs.NewService(pl.Queues, jobs.Options{Store: x.st.Open, Clock: s.clock(), Logger: x.o.Logger, Random: rand.Float64, Host: host})
	unmount, err := q.Mount(web.server, pl.Queues, ctx.Done())
	if err != nil {
		q.Close()
		return nil, nil, err
	}
	return q, func() {
		q.Close()
		unmount()
	}, nil
}

// pulls names the queues that workers pull from.
func pulls(pl *plan.Plan) (out []string) {
	for _, q := range pl.Queues {
		if q.Pull {
			out = append(out, q.Name)
		}
	}
	return out
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
