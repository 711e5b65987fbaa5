package jobs_test

import (
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// hands is a clock that a test sets. Nothing is ever due on it.
type hands struct{ now atomic.Int64 }

func (h *hands) Now() time.Time                                  { return time.Unix(0, h.now.Load()) }
func (*hands) NewTimer(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

// TestMeasure: how long jobs waited for a worker and took is counted as it was, try by try, and outlives a store that is lost.
func TestMeasure(t *testing.T) {
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	clock := &hands{}
	clock.now.Store(1000 * second)
	at := func(s int64) { clock.now.Store((1000 + s) * second) }
	q := &plan.JobQueue{Name: "labels", Lease: time.Hour, Retry: plan.Retry{Attempts: 2}}
	s := jobs.NewService([]*plan.JobQueue{q, {Name: "other"}}, jobs.Options{Clock: clock, Store: func() (store.Store, error) { return st, nil }})
	t.Cleanup(s.Close)
	ctx := patient(t)
	enqueue := func(id string) {
		t.Helper()
		if err := st.Submit(store.Small, func(tx store.Tx) error {
			return s.Enqueue(tx, "labels", clock.now.Load(), [][]byte{jobRecord(id, `{}`)})
		}).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		s.Enqueued("labels")
	}
	take := func() *jobs.Job {
		t.Helper()
		d, err := s.Desk("labels")
		if err != nil {
			t.Fatal(err)
		}
		js, err := d.Take(ctx, jobs.Taker{Max: 1, Worker: "w"})
		if err != nil || len(js) != 1 {
			t.Fatal(js, err)
		}
		return js[0]
	}
	finish := func(f jobs.Finish) {
		t.Helper()
		d, err := s.Desk("labels")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Finish(ctx, &f); err != nil {
			t.Fatal(err)
		}
	}
	enqueue("a")
	enqueue("b")
	at(4) // both waited 4 s
	a, b := take(), take()
	at(6) // a took 2 s
	finish(jobs.Finish{ID: a.ID, Epoch: a.Epoch})
	finish(jobs.Finish{ID: a.ID, Epoch: a.Epoch}) // … and is no longer his: it counts once
	finish(jobs.Finish{ID: b.ID, Epoch: b.Epoch, Extend: true})
	at(20) // b 16 s, and failed
	finish(jobs.Finish{ID: b.ID, Epoch: b.Epoch, Failed: true, AfterOK: true})
	s.Forget()
	at(52) // its next try waited 32 s
	b = take()
	at(53)
	finish(jobs.Finish{ID: b.ID, Epoch: b.Epoch, Release: true}) // nobody says how it went
	b = take()
	finish(jobs.Finish{ID: b.ID, Epoch: b.Epoch, Failed: true})
	enqueue("c")
	at(60)

	all, err := s.Measure(ctx, st)
	if err != nil || len(all) != 2 || all[0].Queue != "labels" || all[1].Queue != "other" {
		t.Fatal(all, err)
	}
	m := all[0]
	if n := m.Counts; n.Enqueued != 3 || n.Completed != 1 || n.Failed != 2 || n.Dead != 1 || n.Stale != 1 || n.Ready != 1 || m.OldestSeconds != 7 {
		t.Errorf("%+v, the oldest for %v s", n, m.OldestSeconds)
	}
	for name, got := range map[string]struct {
		count uint64
		sum   float64
		want  uint64
		secs  float64
	}{
		"wait":      {m.Meter.Wait.Snapshot().Count, m.Meter.Wait.Snapshot().Sum, 4, 4 + 4 + 32 + 0},
		"completed": {m.Meter.Completed.Snapshot().Count, m.Meter.Completed.Snapshot().Sum, 1, 2},
		"failed":    {m.Meter.Failed.Snapshot().Count, m.Meter.Failed.Snapshot().Sum, 2, 16},
	} {
		if got.count != got.want || got.sum != got.secs {
			t.Errorf("%s: %d in %v s, want %d in %v s", name, got.count, got.sum, got.want, got.secs)
		}
	}
	if n := all[1].Meter.Wait.Snapshot().Count; n != 0 {
		t.Errorf("the other queue counts %d", n)
	}
}

// TestAJobIsAsOldAsItsTime: a delayed job that nobody looked at when its time came has been ready since then.
func TestAJobIsAsOldAsItsTime(t *testing.T) {
	b := newBench(t, inMemory, config())
	b.enqueue(jobs.Draft{ID: "a", At: b.now + 5*second})
	due := b.now + 5*second
	b.now += 100 * second
	b.counts()
	var l jobs.Look
	if err := b.st.View(t.Context(), func(v store.View) (err error) {
		l, err = b.q.Look(v.State())
		return err
	}); err != nil || l.Oldest != due {
		t.Errorf("ready since %d, want %d: %v", l.Oldest, due, err)
	}
}
