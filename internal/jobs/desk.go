package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// most that one transaction finishes, unless it comes in one piece.
const mostFinishes = 2048

// pollEvery is how often a queue in a store that others write to, too, is looked at while somebody waits for jobs.
const pollEvery = 250 * time.Millisecond

// finishing is what somebody wants finished together.
type finishing struct {
	all  []*Finish
	err  error
	told chan struct{}
}

// Desk is what a process has of a queue. It is safe for concurrent use.
type Desk struct {
	q     *Queue
	st    store.Store
	clock penstock.Clock
	log   *slog.Logger
	poll  bool
	meter *Meter

	mu      sync.Mutex
	waiters []*waiter
	asking  []*waiter // by claim of the transaction that is under way
	finish  []*finishing
	kept    map[string]uint64 // jobs of takers in this process: id → epoch
	lease   time.Duration     // of those that are kept
	beat    time.Time         // when they are extended next
	due     int64             // when the queue is worth a look; 0: not because of time
	poked   bool
	closed  error // why; nil: it is not
	counts  Counts
	wake    chan struct{}
	over    chan struct{}
}

// NewDesk opens the desk of a queue. It reads what is due from the store with its first transaction.
func NewDesk(q *Queue, st store.Store, clock penstock.Clock, log *slog.Logger) *Desk {
	return newDesk(q, st, clock, log, newMeter())
}

func newDesk(q *Queue, st store.Store, clock penstock.Clock, log *slog.Logger, meter *Meter) *Desk {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Desk{q: q, st: st, clock: clock, log: log, poll: st.Parts() > 1, meter: meter, kept: map[string]uint64{}, wake: make(chan struct{}, 1), over: make(chan struct{}), poked: true}
	d.wake <- struct{}{}
	go d.run()
	return d
}

// ErrClosed is returned to those who wait when the process stops.
var ErrClosed = &penstock.Error{Code: penstock.Unavailable, Op: "queue", Err: errors.New("the process is stopping")}

// Become goes on under other rules.
func (d *Desk) become(q *Queue) {
	d.mu.Lock()
	d.q, d.poked = q, true
	d.mu.Unlock()
	d.signal()
}

// Close ends the desk; who waits is told ErrClosed. Jobs that are held stay so until their leases run out.
func (d *Desk) Close() { d.close(ErrClosed) }

// close ends the desk; who waits, or comes later, is told why.
func (d *Desk) close(why error) {
	d.mu.Lock()
	if d.closed == nil {
		d.closed = why
	}
	d.mu.Unlock()
	d.signal()
	<-d.over
}

func (d *Desk) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Poke says that jobs were enqueued: who waits gets them.
func (d *Desk) Poke() {
	d.mu.Lock()
	d.poked = true
	for _, w := range d.waiters {
		w.busy()
	}
	d.mu.Unlock()
	if !mutation.On("job-wake-lost") {
		d.signal()
	}
}

// Take waits for jobs: at least one, unless ctx ends, or, with Over, nothing is left (io.EOF).
func (d *Desk) Take(ctx context.Context, t Taker) ([]*Job, error) {
	w := &waiter{Taker: t, told: make(chan struct{})}
	if w.Busy == nil {
		w.Busy = func() {}
	}
	d.mu.Lock()
	if err := d.closed; err != nil {
		d.mu.Unlock()
		return nil, err
	}
	d.waiters = append(d.waiters, w)
	d.poked = true
	d.mu.Unlock()
	d.signal()
	select {
	case <-w.told:
		return w.got, w.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	if !w.done {
		w.busy()
		w.done = true
		d.waiters = slices.DeleteFunc(d.waiters, func(o *waiter) bool { return o == w })
		d.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	d.mu.Unlock()
	return w.got, w.err // they are his: he gives them back, or does them
}

// Finish does what it is asked about jobs that are held, and waits until that is durable. Each that is refused has its Err set.
func (d *Desk) Finish(ctx context.Context, all ...*Finish) error {
	if len(all) == 0 {
		return nil
	}
	f := &finishing{all: all, told: make(chan struct{})}
	d.mu.Lock()
	if err := d.closed; err != nil {
		d.mu.Unlock()
		return err
	}
	d.finish = append(d.finish, f)
	d.mu.Unlock()
	d.signal()
	select {
	case <-f.told:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Counts are those of the last transaction.
func (d *Desk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// run makes transactions of what there is to do, one at a time: what comes meanwhile is the next one.
func (d *Desk) run() {
	defer close(d.over)
	for {
		timer, stop := d.timer()
		select {
		case <-d.wake:
		case <-timer:
			d.mu.Lock()
			for _, w := range d.waiters {
				w.busy()
			}
			d.mu.Unlock()
		}
		stop()
		for d.round() {
		}
		d.mu.Lock()
		if d.closed != nil {
			for _, w := range d.waiters {
				w.give(nil, d.closed)
			}
			for _, f := range d.finish {
				f.err = d.closed
				close(f.told)
			}
			d.waiters, d.finish = nil, nil
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
	}
}

// timer waits for what is due next; who waits for jobs rests until then.
func (d *Desk) timer() (<-chan time.Time, func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	wait := time.Duration(-1)
	sooner := func(t time.Duration) {
		if wait < 0 || t < wait {
			wait = max(t, 0)
		}
	}
	if d.due != 0 {
		sooner(time.Duration(d.due - now.UnixNano()))
	}
	if len(d.kept) > 0 {
		sooner(d.beat.Sub(now))
	}
	if d.poll && len(d.waiters) > 0 {
		sooner(pollEvery)
	}
	var timer <-chan time.Time
	stop := func() {}
	if wait >= 0 {
		timer, stop = d.clock.NewTimer(wait)
	}
	if !d.poked && len(d.finish) == 0 {
		for _, w := range d.waiters {
			w.rests()
		}
	}
	return timer, stop
}

// round makes one transaction, where there is anything to do. It says whether there is more.
func (d *Desk) round() (more bool) {
	w, fs := d.gather()
	if w == nil {
		return false
	}
	d.mu.Lock()
	q := d.q
	d.mu.Unlock()
	err := d.st.Submit(store.Small, func(tx store.Tx) error { return q.Do(tx, d.clock.Now().UnixNano(), w) }).Wait(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed(fs, err)
		return false
	}
	d.due, d.counts = w.Next, w.Counts
	d.meter.count(w)
	for _, f := range fs {
		for _, one := range f.all {
			if !one.Extend || one.Err != nil {
				if epoch, ok := d.kept[one.ID]; ok && epoch == one.Epoch {
					delete(d.kept, one.ID)
				}
			}
		}
		close(f.told)
	}
	d.share(w)
	d.endings()
	return w.More || len(d.finish) > 0 || d.poked && d.closed == nil
}

// gather takes what there is to do; nil: nothing.
func (d *Desk) gather() (*Work, []*finishing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	w := &Work{}
	var fs []*finishing
	for len(d.finish) > 0 && len(w.Finish) < mostFinishes {
		f := d.finish[0]
		d.finish = d.finish[1:]
		fs = append(fs, f)
		w.Finish = append(w.Finish, f.all...)
	}
	if len(d.kept) > 0 && !now.Before(d.beat) {
		d.beat = now.Add(d.lease / 3)
		for id, epoch := range d.kept {
			w.Finish = append(w.Finish, &Finish{ID: id, Epoch: epoch, Extend: true})
		}
	}
	for _, t := range d.waiters {
		w.Claims = append(w.Claims, &Claim{Worker: t.Worker, Max: t.Max, Lease: t.Lease})
	}
	d.asking = append(d.asking[:0], d.waiters...)
	polled := d.poll && len(d.waiters) > 0 && !d.poked && len(w.Finish) == 0 && (d.due == 0 || d.due > now.UnixNano())
	if polled && !d.looks(now) {
		return nil, nil
	}
	idle := !d.poked && len(w.Finish) == 0 && (d.due == 0 || d.due > now.UnixNano()) && !polled
	d.poked = false
	if idle {
		return nil, nil
	}
	return w, fs
}

// looks says that there is something for those who wait, in a store that others write to.
func (d *Desk) looks(now time.Time) bool {
	found := false
	err := d.st.View(context.Background(), func(v store.View) error {
		l, err := d.q.Look(v.State())
		found = l.Ready > 0
		if err != nil || found {
			return err
		}
		for _, space := range []string{d.q.wait, d.q.held, d.q.gate} {
			due, err := v.State().Due(space, now.UnixNano(), 1)
			if err != nil || len(due) > 0 {
				found = true
				return err
			}
		}
		return nil
	})
	return err == nil && found
}

// share gives what was claimed to those who wait. What is of those who have gone goes back.
func (d *Desk) share(w *Work) {
	back := &finishing{told: make(chan struct{})}
	for i, c := range w.Claims {
		t := d.asking[i]
		switch {
		case t.done && len(c.Got) == 0:
		case len(c.Got) == 0 && !t.Asks:
		case t.done:
			for _, j := range c.Got {
				back.all = append(back.all, &Finish{ID: j.ID, Epoch: j.Epoch, Release: true})
			}
		default:
			if t.Keeps {
				lease := d.q.leaseOf(t.Lease)
				if len(d.kept) == 0 {
					d.beat = d.clock.Now().Add(lease / 3)
				}
				d.lease = lease
				for _, j := range c.Got {
					d.kept[j.ID] = j.Epoch
				}
			}
			d.waiters = slices.DeleteFunc(d.waiters, func(o *waiter) bool { return o == t })
			t.give(c.Got, nil)
		}
	}
	clear(d.asking)
	if len(back.all) > 0 {
		d.finish = append(d.finish, back)
	}
}

// endings tells takers who wait for the end that it has come.
func (d *Desk) endings() {
	d.waiters = slices.DeleteFunc(d.waiters, func(w *waiter) bool {
		if w.Over == nil || !w.Over() || d.counts.Ready > 0 || len(d.kept) > 0 {
			return false
		}
		if !w.Once && d.counts.Delayed+d.counts.Blocked+d.counts.Leased > 0 {
			return false
		}
		w.give(nil, io.EOF)
		return true
	})
}

// failed tells everybody that the store did not take it. Claims are tried again, when the store may have room.
func (d *Desk) failed(fs []*finishing, err error) {
	for _, f := range fs {
		f.err = err
		close(f.told)
	}
	d.due = d.clock.Now().Add(time.Second).UnixNano()
	if penstock.CodeOf(err) == penstock.Limited {
		d.poked = true
		return
	}
	d.log.Error("a queue can't go on", "queue", d.q.Name, "error", err)
	for _, w := range d.waiters {
		w.give(nil, err)
	}
	d.waiters = nil
}
