package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// asked is what somebody asks about a job.
type asked struct {
	what   string // claim, complete, fail, extend, release
	id     string
	epoch  uint64 // of the claim that was got, or that is shown
	until  int64  // of the lease that is got
	latest int64  // the time when the answer was there: no transaction before that knew a later one
}

// holding is what is known of a job.
type holding struct {
	held, over bool
	epoch      uint64
	until      int64
}

// held is the model of a job: it is claimed where nobody holds it, or nobody any longer, under an epoch that is higher than any before; whoever was refused held it
// no longer; and it is completed once.
var held = porcupine.Model{
	Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[string][]porcupine.Operation{}
		for _, o := range all {
			id := o.Input.(asked).id
			by[id] = append(by[id], o)
		}
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return holding{} },
	Step: func(state, input, output any) (bool, any) {
		s, a, refused := state.(holding), input.(asked), output.(bool)
		switch {
		case a.what == "claim":
			ok := !s.over && a.epoch > s.epoch && (!s.held || s.until <= a.latest)
			return ok, holding{held: true, epoch: a.epoch, until: a.until}
		case refused:
			ok := !s.held || s.epoch != a.epoch || s.until <= a.latest
			if s.held && s.epoch == a.epoch {
				s.held = false
			}
			return ok, s
		case !s.held || s.epoch != a.epoch:
			return false, s
		case a.what == "extend":
			s.until = max(s.until, a.until)
			return true, s
		default:
			s.held, s.over = false, a.what == "complete"
			return true, s
		}
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v, refused: %v", input, output)
	},
}

// TestAtMostOneHolder has those who take jobs, in one process and in two, do what chance says while time passes by jumps, and holds what each was answered to the model.
func TestAtMostOneHolder(t *testing.T) {
	t.Run("memory", func(t *testing.T) { atMostOneHolder(t, []store.Store{inMemory(t)}) })
	t.Run("sqlite", func(t *testing.T) { atMostOneHolder(t, []store.Store{inFile(t)}) })
	t.Run("postgres", func(t *testing.T) { atMostOneHolder(t, processes(t, 2)) })
}

func atMostOneHolder(t *testing.T, all []store.Store) {
	const n, clients, steps, lease = 12, 6, 120, 10 * time.Second
	c := config()
	c.Name, c.Lease, c.Retry = queueName(), lease, plan.Retry{Attempts: 1 << 20}
	var clock, tick atomic.Int64 // the time, and the order of what is asked and answered
	clock.Store(1_000_000 * second)
	do := func(st store.Store, w *jobs.Work) (now int64) {
		q := jobs.New(c, st.Parts())
		if err := st.Submit(store.Small, func(tx store.Tx) error {
			now = clock.Load()
			return q.Do(tx, now, w)
		}).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		return now
	}
	var ds []jobs.Draft
	for i := range n {
		ds = append(ds, jobs.Draft{ID: fmt.Sprint("j", i), Record: rec(`{}`)})
	}
	if err := all[0].Submit(store.Small, func(tx store.Tx) error { return jobs.New(c, all[0].Parts()).Enqueue(tx, clock.Load(), ds) }).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	var over sync.WaitGroup
	for client := range clients {
		st, random := all[client%len(all)], rand.New(rand.NewPCG(7, uint64(client)))
		over.Go(func() {
			var mine []*jobs.Job // whatever was ever got: much of it is no longer held
			for range steps {
				if random.IntN(6) == 0 {
					clock.Add(int64(random.IntN(8)) * second)
				}
				w := &jobs.Work{}
				a := asked{what: "claim"}
				switch k := random.IntN(10); {
				case k < 4 || len(mine) == 0:
					w.Claims = []*jobs.Claim{{Max: 1 + random.IntN(3), Worker: fmt.Sprint(client)}}
				default:
					at := random.IntN(len(mine))
					f := &jobs.Finish{ID: mine[at].ID, Epoch: mine[at].Epoch}
					switch a.what = "fail"; k {
					case 4:
						a.what = "complete"
					case 5, 6:
						f.Failed, f.AfterOK = true, true
					case 7:
						a.what, f.Release = "release", true
					default:
						a.what, f.Extend = "extend", true
					}
					w.Finish = []*jobs.Finish{f}
					if !f.Extend && random.IntN(2) == 0 { // else he says it again
						mine = append(mine[:at], mine[at+1:]...)
					}
				}
				call := tick.Add(1)
				now := do(st, w)
				a.latest = clock.Load()
				back := tick.Add(1)
				mu.Lock()
				for _, f := range w.Finish {
					a.id, a.epoch, a.until = f.ID, f.Epoch, now+int64(lease)
					history = append(history, porcupine.Operation{ClientId: client, Input: a, Output: errors.Is(f.Err, jobs.ErrStale), Call: call, Return: back})
				}
				for _, cl := range w.Claims {
					for _, j := range cl.Got {
						a.id, a.epoch, a.until = j.ID, j.Epoch, j.Lease
						history = append(history, porcupine.Operation{ClientId: client, Input: a, Output: false, Call: call, Return: back})
						mine = append(mine, j)
					}
				}
				mu.Unlock()
			}
		})
	}
	over.Wait()
	if t.Failed() {
		return
	}
	if res := porcupine.CheckOperationsTimeout(held, history, time.Minute); res != porcupine.Ok {
		t.Errorf("what was answered can't have been: %v of %d", res, len(history))
	}
	for { // what is left is there
		clock.Add(int64(lease))
		cl := &jobs.Claim{Max: n}
		w := &jobs.Work{Claims: []*jobs.Claim{cl}}
		do(all[0], w)
		if len(cl.Got) == 0 {
			if int(w.Counts.Completed) != n || w.Counts.Leased+w.Counts.Ready+w.Counts.Delayed != 0 {
				t.Errorf("%+v", w.Counts)
			}
			return
		}
		var fs []*jobs.Finish
		for _, j := range cl.Got {
			fs = append(fs, &jobs.Finish{ID: j.ID, Epoch: j.Epoch})
		}
		do(all[len(all)-1], &jobs.Work{Finish: fs})
	}
}

// TestProcessesShareAQueue: jobs that one process enqueues are taken by those who wait in another, each once; what a process has in hand when it stops is done by the other.
func TestProcessesShareAQueue(t *testing.T) {
	q := labels()
	q.Name, q.Lease = queueName(), time.Hour // nothing comes again by itself
	type process struct {
		*jobs.Service
		st store.Store
	}
	var all []process
	for _, st := range processes(t, 2) {
		s := jobs.NewService([]*plan.JobQueue{q}, jobs.Options{Store: func() (store.Store, error) { return st, nil }})
		t.Cleanup(s.Close)
		all = append(all, process{s, st})
	}
	const n = 300
	ctx, stop := context.WithCancel(patient(t))
	defer stop()
	got := make(chan string, n)
	var over sync.WaitGroup
	for _, p := range all {
		d, err := p.Desk(q.Name)
		if err != nil {
			t.Fatal(err)
		}
		over.Go(func() {
			for {
				js, err := d.Take(ctx, jobs.Taker{Max: 7})
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				var fs []*jobs.Finish
				for _, j := range js {
					fs = append(fs, &jobs.Finish{ID: j.ID, Epoch: j.Epoch})
				}
				if err := d.Finish(context.WithoutCancel(ctx), fs...); err != nil {
					t.Error(err)
				}
				for _, f := range fs {
					if f.Err != nil {
						t.Errorf("%s: %v", f.ID, f.Err)
					}
					got <- f.ID
				}
			}
		})
	}
	enqueue := func(p process, from, n int) {
		t.Helper()
		var records [][]byte
		for i := from; i < from+n; i++ {
			records = append(records, jobRecord(fmt.Sprint("j", i), fmt.Sprintf(`{"n":%d}`, i)))
		}
		if err := p.st.Submit(store.Small, func(tx store.Tx) error { return p.Enqueue(tx, q.Name, time.Now().UnixNano(), records) }).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		p.Enqueued(q.Name)
	}
	for i := 0; i < n; i += 10 {
		enqueue(all[i/10%2], i, 10)
	}
	seen := map[string]bool{}
	for range n {
		select {
		case id := <-got:
			if seen[id] {
				t.Errorf("%s is done twice", id)
			}
			seen[id] = true
		case <-ctx.Done():
			t.Fatalf("%d of %d are done", len(seen), n)
		}
	}
	stop()
	over.Wait()

	ctx = patient(t)
	enqueue(all[1], n, 5)
	src := all[0].Source(q.Name, 16, penstock.Env{})
	var b penstock.Batch
	if err := errors.Join(src.Open(ctx), src.Read(ctx, &b)); err != nil || len(b.Msgs) != 5 {
		t.Fatal(len(b.Msgs), err)
	}
	if err := src.Settle(ctx, []penstock.Outcome{{Pos: b.Msgs[0].Pos}}); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(ctx); err != nil {
		t.Fatal(err)
	}
	d, err := all[1].Desk(q.Name)
	if err != nil {
		t.Fatal(err)
	}
	if js, err := d.Take(ctx, jobs.Taker{Max: 16}); err != nil || len(js) != 4 {
		t.Errorf("%d jobs come from one that stopped with 4 in hand: %v", len(js), err)
	}
}
