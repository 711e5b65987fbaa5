package sqlite

import (
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// How much a commit takes. At least one bulk transaction goes with every commit, so that small ones can't starve them; one that is
// larger than the limits goes as it is.
//
// Larger groups are not better. Measured in turns, with 4000 messages and 4 MB a commit: bundles of 1000 came to 80 to 93 % of what
// they come to with these limits (four callers then all wait for the same commit), and small transactions beside them to a
// third, with twice the p99.
const (
	bulkMessages  = 1000
	bulkBytes     = 1 << 20
	smallMessages = 4096
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
	calls  []func() // what else runs on the writer's goroutine, between commits
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

// close tells the writer to end when the queue is empty; false: it was told before.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	q.nudge()
	return true
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// Submit implements store.Store.
func (d *DB) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	commit := store.NewCommit()
	q := &d.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		commit.Finish(closedError(d.o.Path))
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

// exclusive runs f on the writer's goroutine with its connection, outside of any transaction.
func (d *DB) exclusive(f func(w *conn) error) error {
	done := make(chan error, 1)
	q := &d.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return closedError(d.o.Path)
	}
	q.calls = append(q.calls, func() {
		if e := d.failure.Load(); e != nil {
			done <- e
			return
		}
		done <- f(d.w)
	})
	q.mu.Unlock()
	q.nudge()
	return <-done
}

// run is the writer.
func (d *DB) run() {
	defer close(d.stopped)
	var (
		work []task
		t    tx
		turn int64
	)
	for {
		q := &d.queue
		q.mu.Lock()
		calls := q.calls
		q.calls = nil
		n := min(len(q.small), smallMessages)
		work = append(work[:0], q.small[:n]...)
		q.small = slices.Delete(q.small, 0, n)
		bulk, closed := len(q.bulk) > 0, q.closed
		q.mu.Unlock()

		for _, f := range calls {
			f()
		}
		if n == 0 && !bulk {
			if len(calls) > 0 {
				continue
			}
			if closed {
				return
			}
			if d.failure.Load() == nil && d.group.unswept() {
				d.commit(nil, &t, &turn)
				continue
			}
			<-q.wake
			continue
		}
		work = d.commit(work, &t, &turn)
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
	q.bulk = q.bulk[1:]
	return next, true
}

// begins is how often the writer tries to begin a transaction. Each try waits as long as busy_timeout says, 5 ms: 10 s in all.
const begins = 2000

// begin begins a transaction. There is one writer, but a reader that finds the index of the log half written takes the writer's lock to look again, and may be
// put off the processor while it has it.
func begin(c *conn) (err error) {
	for range begins {
		if _, err = c.exec(sqlBegin); primaryCode(err) != codeBusy {
			return err
		}
	}
	return err
}

// commit runs transactions, the small ones and as many bulk ones as fit in, and makes them durable together.
func (d *DB) commit(work []task, t *tx, turn *int64) []task {
	began := d.o.Now()
	g := d.group
	if d.mem {
		d.connMu.Lock()
	}
	failed := d.failure.Load()
	if failed == nil {
		if err := begin(g.w); err != nil {
			failed = d.fail("begin a transaction", err)
		}
	}
	room := d.room()
	run := func(k *task, least int64) {
		*turn++
		switch {
		case failed != nil:
			k.err = failed
		case room < least:
			k.err = d.full(room)
		default:
			k.err = g.do(*turn, t, k.f)
			if g.broken != nil {
				failed = d.fail("write", g.broken)
				k.err = failed
			}
		}
	}
	for i := range work {
		run(&work[i], d.o.Reserve/2)
	}
	for {
		k, ok := d.nextBulk()
		if !ok {
			break
		}
		run(&k, d.o.Reserve)
		work = append(work, k)
		if g.gathered() >= bulkMessages || g.bytes >= bulkBytes {
			break
		}
	}
	if mutation.On("finished-before-commit") && failed == nil {
		for i := range work {
			work[i].commit.Finish(work[i].err)
			work[i].commit = store.NewCommit()
		}
	}
	if failed == nil {
		failed = d.write()
	}
	if failed != nil {
		_, _ = g.w.exec(sqlRollback) // it may be rolled back already
	}
	if d.mem {
		d.connMu.Unlock()
	}
	if failed == nil && len(work) > 0 {
		d.counts.commits.Add(1)
		for _, k := range work {
			if k.err == nil {
				d.counts.transactions.Add(1)
			}
		}
		d.counts.messages.Add(g.messages)
		took := d.o.Now().Sub(began)
		d.counts.commitTime.Add(int64(took))
		d.durations.Observe(took, 1)
		for _, s := range g.written {
			d.counts.bytes.Add(int64(len(s.s.Data)))
		}
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
	if failed == nil {
		d.wal.wrote(d)
	}
	return work[:0]
}

// write flushes the group and commits.
func (d *DB) write() *penstock.Error {
	g := d.group
	err := g.flush()
	if err == nil {
		err = g.sweep()
	}
	if err == nil && mutation.On("notified-before-commit") {
		d.tell(g.written)
	}
	if err == nil {
		_, err = g.w.exec(sqlCommit)
	}
	if err != nil && !mutation.On("failed-commit-ignored") {
		return d.fail("commit", err)
	}
	return nil
}

// gathered counts the messages of the commit.
func (g *group) gathered() int64 {
	n := g.messages
	for _, ch := range g.appended {
		n += ch.n
	}
	return n
}

// room says how much is free on the disk and in the file; very much where nobody wants to know.
func (d *DB) room() int64 {
	const enough = 1 << 62
	if d.mem || d.o.Reserve < 0 {
		return enough
	}
	free, err := d.o.Free(filepath.Dir(d.o.Path))
	if err != nil { // it says nothing about the disk; the writing will
		return enough
	}
	// What is free in the file is as good, but for what the log may take before it gets there.
	return free + max(0, d.counts.freePages.Load()*pageSize-d.o.walHard)
}

func (d *DB) full(room int64) *penstock.Error {
	e := penstock.E(penstock.Limited, "write", d.o.Path,
		fmt.Sprintf("the disk has %d MiB left, and the store keeps a reserve of %d MiB", room>>20, d.o.Reserve>>20))
	e.Hint = "free some space: it goes on by itself; or change store.reserve"
	return e
}

// Sweeping removes what Drop and Clear have put out of sight: at most this much with each commit.
const (
	sweepBytes   = 2 << 20
	sweepRows    = 256
	sweepEntries = 500
)

func (g *group) unswept() bool { return len(g.sweeping) > 0 || len(g.clearing) > 0 }

// sweep removes a bit of what was dropped and cleared.
func (g *group) sweep() error {
	for id, ch := range g.sweeping {
		low, last, size := id<<positionBits, int64(-1), int64(0)
		err := g.w.query(sqlSweepSegments, func(v []driver.Value) (bool, error) {
			last = number(v[0])
			size += number(v[1])
			return size < sweepBytes, nil
		}, low, low|ch.first, int64(sweepRows))
		if err != nil {
			return err
		}
		if last < 0 {
			delete(g.sweeping, id)
			continue
		}
		if _, err := g.w.exec(sqlDeleteSegments, low, last); err != nil {
			return fmt.Errorf("remove what was dropped of channel %s: %w", ch.name, err)
		}
		return nil // one channel a commit
	}
	if len(g.clearing) == 0 {
		return nil
	}
	id := g.clearing[0]
	n, err := g.w.exec(sqlSweepState, id, int64(sweepEntries))
	if err == nil && n < sweepEntries {
		_, err = g.w.exec(sqlDeleteSpace, id)
		g.clearing = g.clearing[1:]
	}
	if err != nil {
		return fmt.Errorf("remove what was cleared: %w", err)
	}
	return nil
}

// notifier tells of what was appended.
type notifier struct {
	mu        sync.Mutex
	listeners map[string][]*listener
}

type listener struct{ f func(store.Segment) }

// Notify implements store.Store.
func (d *DB) Notify(channel string, f func(store.Segment)) (cancel func()) {
	l := &listener{f}
	n := &d.notify
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string][]*listener{}
	}
	// Copied for each change: who tells goes through a list that stays.
	n.listeners[channel] = append(slices.Clone(n.listeners[channel]), l)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(n.listeners[channel]), func(o *listener) bool { return o == l })
		if len(rest) == 0 {
			delete(n.listeners, channel)
		} else {
			n.listeners[channel] = rest
		}
	}
}

// tell calls the listeners.
func (d *DB) tell(written []segment) {
	for _, s := range written {
		d.notify.mu.Lock()
		to := d.notify.listeners[s.ch.name]
		d.notify.mu.Unlock()
		for _, l := range to {
			l.f(s.s)
		}
		if len(to) == 0 {
			d.spare(s.s.Data)
		}
	}
}

// buffer gives memory for frames.
func (d *DB) buffer(size int) []byte {
	b := d.group.buffer
	d.group.buffer = nil
	if cap(b) < size {
		b = make([]byte, 0, max(size, 16<<10))
	}
	return b[:0]
}

// spare takes back memory that nobody else has.
func (d *DB) spare(b []byte) {
	if cap(b) > cap(d.group.buffer) && cap(b) <= 2*bulkBytes {
		d.group.buffer = b
	}
}
