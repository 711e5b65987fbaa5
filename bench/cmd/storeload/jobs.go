package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/bench/load"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

const (
	// inEnqueue is how many jobs a transaction enqueues where that is not one: as many as a flow may settle at a time.
	inEnqueue = 64
	// atOnce is how many jobs are taken at a time.
	atOnce = 256
	// takers take jobs at the same time.
	takers = 2
	// quiet is how many jobs a second are enqueued where it is measured how long one takes to whoever does it.
	quiet = 200
)

// office is a queue with those who enqueue jobs and those who do them, in one process.
type office struct {
	db    store.Store
	s     *jobs.Service
	desk  *jobs.Desk
	queue string
	// came says of each job, by its number, how long it took to whoever does it; nanoseconds, 0: it did not come yet.
	came []atomic.Int64
	over sync.WaitGroup
	left atomic.Int64
	err  load.FirstError
}

// work measures jobs from being enqueued to being completed, each of it durable: enqueued many at a time, one at a time, and so few that each is alone. Each must come once, and all must be
// completed in the end.
func work(ctx context.Context, db store.Store, s settings, r *load.Result) error {
	all := func(name string, publishers int, n, size int64, pace float64) (*office, time.Duration, error) {
		o, err := newOffice(db, name, n)
		if err != nil {
			return nil, 0, err
		}
		defer o.s.Close()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		began := time.Now()
		for range takers {
			o.over.Go(func() { o.take(ctx, cancel) })
		}
		_, err = load.Publish(publishers, 0, time.Hour, pace, func(_ int, i int64) error {
			switch {
			case i*size >= n:
				return load.ErrOver
			case ctx.Err() != nil:
				return context.Cause(ctx)
			}
			return o.enqueue(ctx, i*size, min(n, (i+1)*size))
		})
		if err != nil {
			cancel()
		}
		o.over.Wait()
		if err := errors.Join(o.err.Get(), err); err != nil {
			return nil, 0, err
		}
		return o, time.Since(began), o.empty(context.WithoutCancel(ctx), n)
	}
	cpu := load.CPU()
	_, took, err := all("many", 4, s.jobs, inEnqueue, 0)
	if err != nil {
		return err
	}
	r.Add("rate", "jobs/s", float64(s.jobs)/took.Seconds())
	r.Add("CPU", "µs a job", float64((load.CPU()-cpu).Microseconds())/float64(s.jobs))
	if _, took, err = all("single", s.publishers, s.jobs, 1, 0); err != nil {
		return err
	}
	r.Add("enqueued singly", "jobs/s", float64(s.jobs)/took.Seconds())
	n := int64(quiet * s.lasts.Seconds())
	o, _, err := all("quiet", 1, max(n, 1), 1, quiet)
	if err != nil {
		return err
	}
	waits := make([]float64, len(o.came))
	for i := range waits {
		waits[i] = float64(o.came[i].Load()) / 1e6
	}
	slices.Sort(waits)
	r.Add("to whoever does it, p50", "ms", waits[len(waits)/2])
	r.Add("to whoever does it, p99", "ms", waits[len(waits)*99/100])
	return nil
}

// newOffice opens a queue that is to get n jobs.
func newOffice(db store.Store, name string, n int64) (*office, error) {
	q := &plan.JobQueue{Name: name + strconv.FormatInt(time.Now().UnixNano(), 36), Retry: plan.Retry{Attempts: 8}, Lease: 30 * time.Second}
	o := &office{db: db, queue: q.Name, came: make([]atomic.Int64, n)}
	o.left.Store(n)
	o.s = jobs.NewService([]*plan.JobQueue{q}, jobs.Options{Store: func() (store.Store, error) { return db, nil }})
	var err error
	o.desk, err = o.s.Desk(q.Name)
	return o, err
}

// enqueue enqueues the jobs of some numbers in one transaction.
func (o *office) enqueue(ctx context.Context, from, to int64) error {
	records := make([][]byte, 0, to-from)
	for i := from; i < to; i++ {
		id := penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{{Key: penstock.StringValue("id"), Value: penstock.StringValue(strconv.FormatInt(i, 10))}}})
		records = append(records, record.Draft{Format: jsonview.JSON, Body: load.Body(nil, i), Meta: []penstock.MetaEntry{{Name: jobs.MetaJob, Value: id}}}.Append(nil))
	}
	now := time.Now().UnixNano()
	err := o.db.Submit(store.Small, func(tx store.Tx) error { return o.s.Enqueue(tx, o.queue, now, records) }).Wait(ctx)
	o.s.Enqueued(o.queue)
	return err
}

// take takes jobs and completes them, until none is left; it says that by over.
func (o *office) take(ctx context.Context, over func()) {
	var finishing sync.WaitGroup
	defer finishing.Wait()
	for {
		got, err := o.desk.Take(ctx, jobs.Taker{Worker: "bench", Max: atOnce, Keeps: true})
		if err != nil {
			if ctx.Err() == nil {
				o.err.Set(err)
				over()
			}
			return
		}
		now, all := time.Now().UnixNano(), make([]*jobs.Finish, len(got))
		for i, j := range got {
			all[i] = &jobs.Finish{ID: j.ID, Epoch: j.Epoch}
			n, err := strconv.Atoi(j.ID)
			if err == nil && !o.came[n].CompareAndSwap(0, max(now-j.Created, 1)) {
				err = fmt.Errorf("job %s came twice", j.ID)
			}
			o.err.Set(err)
		}
		finishing.Go(func() {
			err := o.desk.Finish(context.WithoutCancel(ctx), all...)
			for _, f := range all {
				err = errors.Join(err, f.Err)
			}
			o.err.Set(err)
			if o.left.Add(-int64(len(all))) <= 0 || err != nil {
				over()
			}
		})
	}
}

// empty fails unless n jobs are completed and none is left.
func (o *office) empty(ctx context.Context, n int64) error {
	l, err := o.s.Look(ctx, o.queue)
	if err != nil {
		return err
	}
	if c := l.Counts; c.Enqueued != n || c.Completed != n || c.Claimed != n || c.Ready+c.Delayed+c.Blocked+c.Leased != 0 {
		return fmt.Errorf("of %d jobs the queue knows %+v", n, c)
	}
	return nil
}
