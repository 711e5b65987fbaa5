package metrics

import (
	"context"

	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/store"
)

// JobQueue is what a queue of jobs shows: where its jobs stand, what became of those before, and how long they took in this process.
type JobQueue struct {
	Name   string
	Paused bool
	Oldest float64 // seconds for which the job has been ready that is claimed next
	// Jobs that are not over, by state.
	Ready, Delayed, Blocked, Leased int64
	// Ever, by all processes.
	Enqueued, Duplicates, Completed, Failed, DeadLettered, Cancelled, Expired, Refused int64
	// How long they waited for a worker, and took until they were completed, or had failed.
	Wait, Done, Undone observe.Snapshot
}

// queues puts what the queues say. open are open dead letters, by queue.
func (p page) queues(read func(context.Context) ([]JobQueue, error), open map[string]int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), store.MaxView)
	defer cancel()
	all, err := read(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		p.queue(&all[i], open[all[i].Name])
	}
	return nil
}

func (p page) queue(q *JobQueue, dead int64) {
	for state, n := range map[string]int64{"ready": q.Ready, "delayed": q.Delayed, "blocked": q.Blocked, "leased": q.Leased, "dead": dead} {
		p.put("penstock_job_queue_jobs", float64(n), q.Name, state)
	}
	p.put("penstock_job_queue_oldest_ready_age_seconds", q.Oldest, q.Name)
	p.put("penstock_job_queue_paused", is(q.Paused), q.Name)
	p.put("penstock_job_enqueued_total", float64(q.Enqueued), q.Name)
	p.put("penstock_job_duplicates_total", float64(q.Duplicates), q.Name)
	p.put("penstock_job_completed_total", float64(q.Completed), q.Name)
	p.put("penstock_job_failed_total", float64(q.Failed), q.Name)
	p.put("penstock_job_retried_total", float64(q.Failed-q.DeadLettered), q.Name)
	p.put("penstock_job_dead_lettered_total", float64(q.DeadLettered), q.Name)
	p.put("penstock_job_cancelled_total", float64(q.Cancelled), q.Name)
	p.put("penstock_job_leases_expired_total", float64(q.Expired), q.Name)
	p.put("penstock_job_refused_total", float64(q.Refused), q.Name)
	p.histogram("penstock_job_wait_duration_seconds", q.Wait, q.Name)
	p.histogram("penstock_job_run_duration_seconds", q.Done, q.Name, "completed")
	p.histogram("penstock_job_run_duration_seconds", q.Undone, q.Name, "failed")
}
