package jobs_test

import (
	"fmt"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
)

// TestPauses: a job that failed runs again neither before the queue's retry lets it, nor before the other side that asked for time, within bounds; a worker's word counts as it is.
func TestPauses(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		asked := func(d time.Duration) jobs.Finish {
			var f jobs.Finish
			f.Fail(fmt.Errorf("pushed: %w", &penstock.Error{Code: penstock.Limited, RetryAfter: d}))
			return f
		}
		for _, c := range []struct {
			name string
			says jobs.Finish
			want time.Duration
		}{
			{"nobody says anything", asked(0), 9 * time.Second},
			{"less than the queue", asked(3 * time.Second), 9 * time.Second},
			{"more than the queue, and a share of it beside", asked(60 * time.Second), 66 * time.Second},
			{"more than anybody waits", asked(24 * time.Hour), 330 * time.Second},
			{"a worker says less", jobs.Finish{Failed: true, After: 3 * time.Second, AfterOK: true}, 3 * time.Second},
			{"a worker says more", jobs.Finish{Failed: true, After: 24 * time.Hour, AfterOK: true}, 24 * time.Hour},
		} {
			cfg := config()
			cfg.Retry = plan.Retry{Attempts: 3, Initial: 10 * time.Second, Factor: 2, Jitter: 0.2}
			cfg.Random = func() float64 { return 0.5 } // half of the jitter: the queue's pause is shorter by it, and what was asked for longer
			b := newBench(t, open, cfg)
			b.enqueue(jobs.Draft{ID: "a"})
			f := c.says
			f.ID, f.Epoch = "a", b.claim(1)[0].Epoch
			if err := b.finish(f); err != nil {
				t.Fatal(c.name, err)
			}
			b.now += int64(c.want) - 1
			b.want(c.name+": too early", b.ids(1), "")
			b.now++
			b.want(c.name+": in time", b.ids(1), "a")
		}
	})
}
