package postgres

import (
	"sync"
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// How much a commit takes, as in the embedded store: at least one bulk transaction goes with every commit, so that small ones can't
// starve them; one that is larger than the limits goes as it is.
const (
	bulkMessages  = 1000
	bulkBytes     = 1 << 20
	smallMessages = 1000
)

// task is a transaction in the queue.
type task struct {
	f      func(store.Tx) error
	commit *store.Commit
	err    error
}

// queue is what waits for the writer.
type queue struct {
	mu     sync.Mutex
	small  []task
	bulk   []task
	wake   chan struct{}
	closed bool
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close tells the writer to end when the queue is empty.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.nudge()
}

// Submit implements store.Store.
func (d *DB) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	commit := store.NewCommit()
	q := &d.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		commit.Finish(d.closedError())
		return commit
	}
	if c == store.Bulk {
		q.bulk = append(q.bulk, task{f: f, commit: commit})
	} else {
		q.small = append(q.small, task{f: f, commit: commit})
	}
	q.mu.Unlock()
	q.nudge()
	return commit
}

// run is the writer.
func (d *DB) run() {
	defer close(d.stopped)
	var work []task
	for {
		q := &d.queue
		q.mu.Lock()
		n := min(len(q.small), smallMessages)
		work = append(work[:0], q.small[:n]...)
		clear(q.small[:n])
		if q.small = q.small[n:]; len(q.small) == 0 {
			q.small = nil
		}
		bulk, closed := len(q.bulk) > 0, q.closed
		q.mu.Unlock()
		if n == 0 && !bulk {
			if closed {
				return
			}
			<-q.wake
			if d.moved.Swap(false) {
				d.verify()
			}
			continue
		}
		work = d.commit(work)
	}
}

// nextBulk takes a bulk transaction off the queue.
func (d *DB) nextBulk() (task, bool) {
	q := &d.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.bulk) == 0 {
		return task{}, false
	}
	next := q.bulk[0]
	q.bulk[0] = task{}
	if q.bulk = q.bulk[1:]; len(q.bulk) == 0 {
		q.bulk = nil
	}
	return next, true
}

// commit runs transactions, the small ones and as many bulk ones as fit in, and makes them durable together.
func (d *DB) commit(work []task) []task {
	began := d.o.Now()
	g := d.group
	work = g.first(work)
	if mutation.On("pg-acknowledged-before-commit") {
		for i := range work {
			work[i].commit.Finish(work[i].err)
			work[i].commit = store.NewCommit()
		}
	}
	failed := d.failure.Load()
	if failed == nil {
		failed = d.transact(work)
	}
	if failed == nil {
		d.count(work, began)
		d.tell(g.written)
	}
	for i, k := range work {
		if failed != nil {
			k.err = failed
		}
		k.commit.Finish(k.err)
		work[i] = task{}
	}
	g.reset()
	return work[:0]
}

// count counts what is durable.
func (d *DB) count(work []task, began time.Time) {
	d.counts.commits.Add(1)
	for _, k := range work {
		if k.err == nil {
			d.counts.transactions.Add(1)
		}
	}
	for _, s := range d.group.written {
		d.counts.messages.Add(int64(s.N))
		d.counts.bytes.Add(int64(len(s.Data)))
	}
	took := d.o.Now().Sub(began)
	d.counts.commitTime.Add(int64(took))
	d.durations.Observe(took, 1)
}
