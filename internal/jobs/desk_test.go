package jobs_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tb lets the helpers of tests run under rapid.
type tb struct {
	testing.TB
	t *rapid.T
}

func newTB(t *rapid.T) testing.TB         { return tb{t: t} }
func (t tb) Helper()                      {}
func (t tb) Cleanup(func())               {}
func (t tb) Fatal(args ...any)            { t.t.Fatal(args...) }
func (t tb) Errorf(f string, args ...any) { t.t.Errorf(f, args...) }

// still is a clock that stands still.
type still struct{ now time.Time }

func (s still) Now() time.Time                                  { return s.now }
func (still) NewTimer(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

func newDesk(t *testing.T, b *bench) *jobs.Desk {
	d := jobs.NewDesk(b.q, b.st, still{time.Unix(0, b.now)}, nil)
	t.Cleanup(d.Close)
	return d
}

// patient is as long as any test waits for what is bound to come.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestWhoWaitsIsWoken: a job that is enqueued while somebody waits is given to him, with no clock that would help.
func TestWhoWaitsIsWoken(t *testing.T) {
	b := newBench(t, inMemory, config())
	d := newDesk(t, b)
	rests := make(chan bool, 100)
	got := make(chan []*jobs.Job, 1)
	ctx := patient(t)
	go func() {
		js, _ := d.Take(ctx, jobs.Taker{Max: 1, Idle: func() { rests <- true }, Busy: func() {}})
		got <- js
	}()
	<-rests // he has seen that there is nothing
	b.enqueue(jobs.Draft{ID: "a"})
	d.Poke()
	select {
	case js := <-got:
		if len(js) != 1 || js[0].ID != "a" {
			t.Errorf("got %v", js)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody woke him")
	}
}

// TestEndOfJobs: who waits for no more than there is hears of the end.
func TestEndOfJobs(t *testing.T) {
	b := newBench(t, inMemory, config())
	b.enqueue(jobs.Draft{ID: "a"}, jobs.Draft{ID: "late", At: b.now + second})
	d := newDesk(t, b)
	take := jobs.Taker{Max: 5, Over: func() bool { return true }, Once: true}
	js, err := d.Take(patient(t), take)
	if err != nil || len(js) != 1 {
		t.Fatal(js, err)
	}
	if err := d.Finish(patient(t), &jobs.Finish{ID: "a", Epoch: js[0].Epoch}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Take(patient(t), take); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// TestWhoIsGoneTakesNothing: jobs that were claimed for somebody who left are not held for him.
func TestWhoIsGoneTakesNothing(t *testing.T) {
	b := newBench(t, inMemory, config())
	d := newDesk(t, b)
	for range 50 {
		ctx, cancel := context.WithCancel(context.Background())
		b.enqueue(jobs.Draft{ID: "a"})
		d.Poke()
		go cancel()
		js, err := d.Take(ctx, jobs.Taker{Max: 1})
		if err != nil {
			js, err = d.Take(patient(t), jobs.Taker{Max: 1})
		}
		if err != nil || len(js) != 1 {
			t.Fatal(js, err)
		}
		if err := d.Finish(patient(t), &jobs.Finish{ID: "a", Epoch: js[0].Epoch}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClosed: who waits when the process stops is told.
func TestClosed(t *testing.T) {
	b := newBench(t, inMemory, config())
	d := jobs.NewDesk(b.q, b.st, penstock.SystemClock{}, nil)
	told := make(chan error, 1)
	go func() {
		_, err := d.Take(patient(t), jobs.Taker{Max: 1})
		told <- err
	}()
	d.Close()
	if err := <-told; !errors.Is(err, jobs.ErrClosed) {
		t.Error(err)
	}
}

// TestStoreRefuses: a store that fails is told to those who wait.
func TestStoreRefuses(t *testing.T) {
	b := newBench(t, inMemory, config())
	b.st.(*memory.Store).Fail(errors.New("no disk"))
	if _, err := newDesk(t, b).Take(patient(t), jobs.Taker{Max: 1}); penstock.CodeOf(err) != penstock.Unavailable {
		t.Error(err)
	}
}

// TestAStoreThatWasLostIsForgotten: who waits at its desk is sent away, and what is asked for next comes from the store that was opened since.
func TestAStoreThatWasLostIsForgotten(t *testing.T) {
	lost, found := memory.New(), memory.New()
	open := lost
	s := jobs.NewService([]*plan.JobQueue{{Name: "labels"}}, jobs.Options{Clock: still{time.Unix(1000, 0)}, Store: func() (store.Store, error) { return open, nil }})
	t.Cleanup(s.Close)
	desk, err := s.Desk("labels")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() {
		_, err := desk.Take(patient(t), jobs.Taker{Max: 1})
		told <- err
	}()
	open = found
	s.Forget()
	if err := <-told; !errors.Is(err, jobs.ErrClosed) {
		t.Error(err)
	}
	if _, st, err := s.Queue("labels"); err != nil || st != store.Store(found) {
		t.Errorf("queues keep to the store that was lost: %v", err)
	}
	if desk, err = s.Desk("labels"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := desk.Take(ctx, jobs.Taker{Max: 1}); errors.Is(err, jobs.ErrClosed) {
		t.Error("nobody gets jobs any more")
	}
}
