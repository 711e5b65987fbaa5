package operate

import (
	"context"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/store"
)

// QueueStatus is how a queue of jobs stands.
type QueueStatus struct {
	jobs.QueueLook
	OpenDead int64 `json:"openDead"` // dead letters that are neither redriven nor dropped
	// How long jobs waited for a worker, and took until they were completed or had failed: seconds that half of them and 99 of 100 took at most, of those
	// that the process that was asked gave away; 0 where there were none.
	WaitP50 float64 `json:"waitP50"`
	WaitP99 float64 `json:"waitP99"`
	RunP50  float64 `json:"runP50"`
	RunP99  float64 `json:"runP99"`
}

// queueStatus looks at the queues in an open store.
func (d *direct) queueStatus(ctx context.Context, s store.Store, dead map[string]int64) ([]QueueStatus, error) {
	if d.c.Queues == nil {
		return nil, nil
	}
	all, err := d.c.Queues.Measure(ctx, s)
	if err != nil {
		return nil, err
	}
	out := make([]QueueStatus, 0, len(all))
	for i := range all {
		q := &all[i]
		ran := observe.Quantiles([]float64{.5, .99}, q.Meter.Completed, q.Meter.Failed)
		out = append(out, QueueStatus{QueueLook: q.QueueLook, OpenDead: dead[q.Queue], WaitP50: q.Meter.Wait.Quantile(.5), WaitP99: q.Meter.Wait.Quantile(.99), RunP50: ran[0], RunP99: ran[1]})
	}
	return out, nil
}
