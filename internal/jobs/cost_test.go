package jobs_test

import (
	"fmt"
	"testing"

	"penstock.dev/penstock/internal/jobs"
)

// TestJobsAllocateLittle holds what each job costs in memory to ceilings: enqueued, claimed and completed in a transaction of its own, and with 63 others. Its queue
// has a key, uniqueness and bounds. The ceilings are a tenth above what was measured, and the store's part is in it.
func TestJobsAllocateLittle(t *testing.T) {
	for _, c := range []struct {
		at                       int
		enqueue, claim, complete float64
	}{
		{1, 84, 77, 88},  // measured: 76, 70 and 80
		{64, 48, 64, 56}, // 43.7, 57.6 and 50.2
	} {
		t.Run(fmt.Sprint(c.at, " at a time"), func(t *testing.T) {
			conf := config()
			conf.Keyed, conf.Concurrency, conf.KeyConcurrency, conf.Rate, conf.Burst = true, 1<<20, 1<<20, 1e9, 1<<20
			b := newBench(t, inMemory, conf)
			const rounds = 50
			r := rec(`{"parcel":"p1","carrier":"dhl"}`)
			var drafts [][]jobs.Draft
			for i := range rounds + 1 {
				var ds []jobs.Draft
				for k := range c.at {
					id := fmt.Sprintf("j%d-%d", i, k)
					ds = append(ds, jobs.Draft{ID: id, Key: "k" + fmt.Sprint(k%8), Unique: id, Record: r})
				}
				drafts = append(drafts, ds)
			}
			step := 0
			per := func(f func()) float64 {
				step = 0
				return testing.AllocsPerRun(rounds, func() { f(); step++ }) / float64(c.at)
			}
			held := make([][]*jobs.Job, rounds+1)
			enqueue := per(func() { b.enqueue(drafts[step]...) })
			claim := per(func() { held[step] = b.claim(c.at) })
			complete := per(func() {
				w := &jobs.Work{}
				for _, j := range held[step] {
					w.Finish = append(w.Finish, &jobs.Finish{ID: j.ID, Epoch: j.Epoch})
				}
				b.work(w)
			})
			t.Logf("%.1f, %.1f and %.1f allocations", enqueue, claim, complete)
			if w := b.work(&jobs.Work{}); int(w.Counts.Completed) != (rounds+1)*c.at {
				t.Errorf("%+v", w.Counts)
			}
			if enqueue > c.enqueue || claim > c.claim || complete > c.complete {
				t.Errorf("%.1f, %.1f and %.1f allocations a job, which is more than %.0f, %.0f and %.0f", enqueue, claim, complete, c.enqueue, c.claim, c.complete)
			}
		})
	}
}
