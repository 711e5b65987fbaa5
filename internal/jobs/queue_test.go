package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/jsonview"
)

const second = int64(time.Second)

// bench is a queue on a store, and the time.
type bench struct {
	t   testing.TB
	st  store.Store
	q   *jobs.Queue
	now int64
}

func config() jobs.Config {
	return jobs.Config{Lease: 30 * time.Second, Retry: plan.Retry{Attempts: 3, Initial: time.Second, Factor: 1}}
}

func newBench(t testing.TB, open opening, c jobs.Config) *bench {
	c.Name = queueName()
	st := open(t)
	return &bench{t: t, st: st, q: jobs.New(c, st.Parts()), now: 1_000_000 * second}
}

func (b *bench) do(f func(store.Tx) error) {
	b.t.Helper()
	if err := b.st.Submit(store.Small, f).Wait(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

func rec(body string) []byte {
	return record.Draft{Format: jsonview.JSON, Body: []byte(body)}.Append(nil)
}

func (b *bench) enqueue(ds ...jobs.Draft) {
	b.t.Helper()
	for i := range ds {
		if ds[i].Record == nil {
			ds[i].Record = rec(`{"of":"` + ds[i].ID + `"}`)
		}
	}
	b.do(func(tx store.Tx) error { return b.q.Enqueue(tx, b.now, ds) })
}

func (b *bench) work(w *jobs.Work) *jobs.Work {
	b.t.Helper()
	b.do(func(tx store.Tx) error { return b.q.Do(tx, b.now, w) })
	return w
}

func (b *bench) claim(n int) []*jobs.Job {
	b.t.Helper()
	c := &jobs.Claim{Worker: "w", Max: n}
	b.work(&jobs.Work{Claims: []*jobs.Claim{c}})
	return c.Got
}

func (b *bench) finish(f jobs.Finish) error {
	b.t.Helper()
	b.work(&jobs.Work{Finish: []*jobs.Finish{&f}})
	return f.Err
}

func (b *bench) ids(n int) string {
	b.t.Helper()
	var out []string
	for _, j := range b.claim(n) {
		out = append(out, j.ID)
	}
	return strings.Join(out, " ")
}

func (b *bench) counts() jobs.Counts { return b.work(&jobs.Work{}).Counts }

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestPriorityGoesFirst(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		b.enqueue(jobs.Draft{ID: "a"}, jobs.Draft{ID: "low", Priority: -100}, jobs.Draft{ID: "high", Priority: 100}, jobs.Draft{ID: "b"}, jobs.Draft{ID: "mid", Priority: 1})
		b.want("claimed", b.ids(9), "high mid a b low")
	})
}

func TestKeysTakeTurns(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		c := config()
		c.Keyed = true
		b := newBench(t, open, c)
		for i := range 4 {
			b.enqueue(jobs.Draft{ID: fmt.Sprint("a", i), Key: "a"})
		}
		b.want("first", b.ids(1), "a0")
		b.enqueue(jobs.Draft{ID: "b0", Key: "b"}, jobs.Draft{ID: "b1", Key: "b"}, jobs.Draft{ID: "c0", Key: "c"})
		b.want("then", b.ids(9), "b0 c0 a1 b1 a2 a3")
	})
}

func TestDelayedJobsWait(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		b.enqueue(jobs.Draft{ID: "late", At: b.now + 10*second}, jobs.Draft{ID: "now", At: b.now})
		b.want("at once", b.ids(9), "now")
		w := b.work(&jobs.Work{})
		if w.Next != b.now+10*second {
			t.Errorf("worth another look after %d s", (w.Next-b.now)/second)
		}
		b.now += 10*second - 1
		b.want("a moment before", b.ids(9), "")
		b.now++
		b.want("in time", b.ids(9), "late")
	})
}

// TestFence: who no longer holds a job is refused, whatever he asks.
func TestFence(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		for _, f := range []jobs.Finish{{}, {Extend: true}, {Release: true}, {Failed: true}} {
			b := newBench(t, open, config())
			b.enqueue(jobs.Draft{ID: "a"})
			first := b.claim(1)[0]
			b.now += 30*second - 1
			if early := b.claim(1); len(early) > 0 {
				t.Errorf("the lease has not run out, and then: %+v", early[0])
			}
			b.now++
			second := b.claim(1)
			if len(second) != 1 || second[0].Epoch <= first.Epoch || second[0].Attempts != 2 {
				t.Fatalf("the lease ran out, and then: %+v", second)
			}
			f.ID, f.Epoch = "a", first.Epoch
			if err := b.finish(f); !errors.Is(err, jobs.ErrStale) {
				t.Errorf("%+v of the first holder: %v", f, err)
			}
			if c := b.counts(); c.Leased != 1 || c.Completed != 0 || c.Stale != 1 {
				t.Errorf("%+v", c)
			}
			if err := b.finish(jobs.Finish{ID: "a", Epoch: second[0].Epoch}); err != nil {
				t.Errorf("the second holder: %v", err)
			}
		}
	})
}

// TestHeartbeat: a lease that is extended does not run out.
func TestHeartbeat(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		b.enqueue(jobs.Draft{ID: "a"})
		j := b.claim(1)[0]
		for range 4 {
			b.now += 20 * second
			if err := b.finish(jobs.Finish{ID: "a", Epoch: j.Epoch, Extend: true}); err != nil {
				t.Fatal(err)
			}
		}
		b.want("claimed by another", b.ids(1), "")
		if err := b.finish(jobs.Finish{ID: "a", Epoch: j.Epoch}); err != nil {
			t.Error(err)
		}
	})
}

// TestUnique: a job is the same as one that waits, runs or is tried again, and as one that was done within the window.
func TestUnique(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		c := config()
		c.Within = time.Minute
		b := newBench(t, open, c)
		again := func(when string, want int64) {
			t.Helper()
			before := b.counts().Twins
			b.enqueue(jobs.Draft{ID: "u", Unique: "u"})
			if got := b.counts().Twins - before; got != want {
				t.Errorf("%s: %d left out, want %d", when, got, want)
			}
		}
		again("the first", 0)
		again("it waits", 1)
		j := b.claim(1)[0]
		again("it runs", 1)
		_ = b.finish(jobs.Finish{ID: "u", Epoch: j.Epoch, Failed: true})
		again("it is tried again", 1)
		b.now += 2 * second
		j = b.claim(1)[0]
		b.now += 20 * second
		_ = b.finish(jobs.Finish{ID: "u", Epoch: j.Epoch})
		again("it is done, within the window", 1)
		b.now += 60 * second
		again("after the window", 0)
		b.now += 120 * second
		again("the window is over, but it is not done", 1)
	})
}

// TestDead: what fails to the end becomes a dead letter, with its reason.
func TestDead(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		b.enqueue(jobs.Draft{ID: "a"}, jobs.Draft{ID: "b"})
		for try := 1; try <= 3; try++ {
			for _, j := range b.claim(2) {
				_ = b.finish(jobs.Finish{ID: j.ID, Epoch: j.Epoch, Failed: true, Code: penstock.Unavailable, Error: "no printer", Final: j.ID == "b"})
			}
			b.want("before the pause is over", b.ids(2), "")
			b.now += second
		}
		var dead []string
		err := b.st.View(context.Background(), func(v store.View) error {
			segs, err := v.Log().Segments(b.q.Name+".dead", 0, 1<<20)
			for _, s := range segs {
				for data := s.Data; len(data) > 0; {
					m, rest, _ := store.NextFrame(data)
					data = rest
					view, err := record.Parse(m)
					if err != nil {
						return err
					}
					dead = append(dead, string(view.Body()))
				}
			}
			return err
		})
		if err != nil || !slices.Equal(dead, []string{`{"of":"b"}`, `{"of":"a"}`}) {
			t.Errorf("dead: %q, %v", dead, err)
		}
		if c := b.counts(); c.Dead != 2 || c.Failed != 4 || c.Delayed+c.Ready+c.Leased != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// TestBounds: no more jobs run, and begin, than the queue and each key allow.
func TestBounds(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		c := config()
		c.Keyed, c.Concurrency, c.KeyConcurrency = true, 3, 1
		b := newBench(t, open, c)
		for _, k := range []string{"a", "a", "b", "b", "c", "d"} {
			b.enqueue(jobs.Draft{ID: fmt.Sprint(k, b.counts().Enqueued), Key: k})
		}
		js := b.claim(9)
		if len(js) != 3 || js[0].ID != "a0" || js[1].ID != "b2" || js[2].ID != "c4" {
			t.Fatalf("claimed %d", len(js))
		}
		_ = b.finish(jobs.Finish{ID: "a0", Epoch: js[0].Epoch})
		_ = b.finish(jobs.Finish{ID: "b2", Epoch: js[1].Epoch, Failed: true, Final: true})
		b.want("then", b.ids(9), "d5 a1")

		c = config()
		c.Rate, c.Burst = 2, 2
		b = newBench(t, open, c)
		for i := range 5 {
			b.enqueue(jobs.Draft{ID: fmt.Sprint(i)})
		}
		b.want("a burst", b.ids(9), "0 1")
		w := b.work(&jobs.Work{Claims: []*jobs.Claim{{Max: 9}}})
		b.want("the next in", fmt.Sprint((w.Next-b.now)*2/second), "1")
		b.now += second / 2
		b.want("after half a second", b.ids(9), "2")
		b.now += 10 * second
		b.want("a burst again", b.ids(9), "3 4")

		c = config()
		c.Keyed, c.KeyRate = true, 1
		b = newBench(t, open, c)
		for _, id := range []string{"a0", "a1", "a2", "b0"} {
			b.enqueue(jobs.Draft{ID: id, Key: id[:1]})
		}
		b.want("of each key", b.ids(9), "a0 b0")
		b.now += second
		b.want("a second later", b.ids(9), "a1")
		b.now += second
		b.want("two seconds later", b.ids(9), "a2")
	})
}

// TestClockSetBack: what was leased under a clock that was far ahead is not held until that time.
func TestClockSetBack(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		b.enqueue(jobs.Draft{ID: "a"})
		b.now += 24 * 3600 * second
		b.claim(1)
		b.now -= 24 * 3600 * second
		b.work(&jobs.Work{})
		b.now += 301 * second
		b.want("after its lease", b.ids(1), "a")
	})
}

// TestClaimsAreShared: those who wait each get their part.
func TestClaimsAreShared(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		b := newBench(t, open, config())
		for i := range 6 {
			b.enqueue(jobs.Draft{ID: fmt.Sprint(i)})
		}
		w := b.work(&jobs.Work{Claims: []*jobs.Claim{{Max: 10, Worker: "x"}, {Max: 1, Worker: "y"}, {Max: 10, Worker: "z"}}})
		var got []int
		for _, c := range w.Claims {
			got = append(got, len(c.Got))
			for _, j := range c.Got {
				if j.Worker != c.Worker {
					t.Errorf("job %s is held by %s, and was given to %s", j.ID, j.Worker, c.Worker)
				}
			}
		}
		if !slices.Equal(got, []int{2, 1, 3}) {
			t.Errorf("shared as %v", got)
		}
	})
}

// TestOperators: what people do to jobs.
func TestOperators(t *testing.T) {
	everywhere(t, func(t *testing.T, open opening) {
		c := config()
		c.Keyed, c.KeyConcurrency, c.Keep = true, 1, time.Hour
		b := newBench(t, open, c)
		b.enqueue(jobs.Draft{ID: "a", Key: "k"}, jobs.Draft{ID: "b", Key: "k"}, jobs.Draft{ID: "c", Key: "k"}, jobs.Draft{ID: "later", Key: "l", At: b.now + 3600*second})
		b.do(func(tx store.Tx) error { return b.q.Pause(tx, b.now, true) })
		b.want("paused", b.ids(9), "")
		b.do(func(tx store.Tx) error { return b.q.Pause(tx, b.now, false) })
		b.do(func(tx store.Tx) error { return b.q.Cancel(tx, b.now, "b") })
		j := b.claim(1)[0]
		b.do(func(tx store.Tx) error { return b.q.Cancel(tx, b.now, "a") })
		if err := b.finish(jobs.Finish{ID: "a", Epoch: j.Epoch}); !errors.Is(err, jobs.ErrStale) {
			t.Errorf("a job that was cancelled is completed: %v", err)
		}
		b.want("the next of the key", b.ids(9), "c")
		b.do(func(tx store.Tx) error { return b.q.Again(tx, b.now, "later") })
		b.want("hurried", b.ids(9), "later")
		err := b.st.Submit(store.Small, func(tx store.Tx) error { return b.q.Cancel(tx, b.now, "b") }).Wait(context.Background())
		if penstock.CodeOf(err) != penstock.NotFound {
			t.Errorf("cancelled twice: %v", err)
		}
		if c := b.counts(); c.Cancelled != 2 || c.Leased != 2 {
			t.Errorf("%+v", c)
		}
	})
}

// TestRestart: after a restart the queue is as it was: who held a job holds it for as long as his lease says, and not longer; the highest priority is
// next; what was delayed is; and epochs go on.
func TestRestart(t *testing.T) {
	path := t.TempDir() + "/store.db"
	open := func() *sqlite.DB {
		st, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	now := 1_000_000 * second
	do := func(st store.Store, w *jobs.Work, ds ...jobs.Draft) *jobs.Work {
		t.Helper()
		q := jobs.New(config(), st.Parts())
		for i := range ds {
			ds[i].Record = rec(`{}`)
		}
		if err := st.Submit(store.Small, func(tx store.Tx) error {
			if err := q.Enqueue(tx, now, ds); err != nil {
				return err
			}
			return q.Do(tx, now, w)
		}).Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		return w
	}
	claim := func(n int) *jobs.Work { return &jobs.Work{Claims: []*jobs.Claim{{Max: n}}} }
	st := open()
	do(st, claim(0), jobs.Draft{ID: "low"}, jobs.Draft{ID: "high", Priority: 5}, jobs.Draft{ID: "first", Priority: 9}, jobs.Draft{ID: "later", At: now + 60*second})
	first := do(st, claim(1)).Claims[0].Got[0]
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = open()
	defer st.Close()
	now += 10 * second
	var got []string
	for _, j := range do(st, claim(9)).Claims[0].Got {
		got = append(got, j.ID)
		if j.Epoch <= first.Epoch {
			t.Errorf("epoch %d after %d", j.Epoch, first.Epoch)
		}
	}
	if !slices.Equal(got, []string{"high", "low"}) {
		t.Errorf("claimed %q", got)
	}
	now += 20 * second
	again := do(st, claim(9)).Claims[0].Got
	if len(again) != 1 || again[0].ID != "first" || again[0].Epoch <= first.Epoch {
		t.Fatalf("when its lease is over: %+v", again)
	}
	old, fresh := &jobs.Finish{ID: "first", Epoch: first.Epoch}, &jobs.Finish{ID: "first", Epoch: again[0].Epoch}
	if do(st, &jobs.Work{Finish: []*jobs.Finish{old, fresh}}); !errors.Is(old.Err, jobs.ErrStale) || fresh.Err != nil {
		t.Errorf("%v, %v", old.Err, fresh.Err)
	}
}
