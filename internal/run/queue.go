package run

import (
	"slices"
	"sync"
)

// queue brings works to lanes: to all of a flow's, or with order: per-key to one. With it comes
// back to a lane what has left it. A work that no lane can take does not count as busy; a lane
// that is woken to take it does.
type queue struct {
	r       *Runner
	limit   int
	mu      sync.Mutex
	works   []*work
	room    chan struct{} // who puts and waits for room; nil: nobody does
	waiting []*lane
	closed  bool // no more works will come
	aborted bool
}

func newQueue(r *Runner, limit int) *queue { return &queue{r: r, limit: limit} }

// put appends a work, and waits for room to do so; false when the run was aborted. Only one may
// put at a time.
func (q *queue) put(w *work) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.works) >= q.limit && !q.aborted {
		c := make(chan struct{})
		q.room = c
		q.mu.Unlock()
		q.r.idle()
		<-c
		q.mu.Lock()
	}
	if q.aborted {
		return false
	}
	q.works = append(q.works, w)
	q.wakeOne()
	return true
}

// next gives l a work, or nil to look into its mailbox; false when there will be nothing more.
func (q *queue) next(l *lane) (*work, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.aborted:
			return nil, false
		case l.box.holds():
			if len(q.works) > 0 {
				q.wakeOne() // l was perhaps woken to take it
			}
			return nil, true
		case len(q.works) > 0:
			w := q.works[0]
			q.works = slices.Delete(q.works, 0, 1)
			q.wakePutter()
			return w, true
		case q.closed && l.away == 0:
			return nil, false
		}
		q.waiting = append(q.waiting, l)
		q.mu.Unlock()
		q.r.idle()
		<-l.wake
		q.mu.Lock()
	}
}

func (q *queue) wakeOne() {
	if n := len(q.waiting); n > 0 { // the last that worked: its memory is warm
		q.wake(n - 1)
	}
}

func (q *queue) wake(i int) {
	l := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.r.busy()
	l.wake <- struct{}{}
}

func (q *queue) wakePutter() {
	if q.room != nil {
		q.r.busy()
		close(q.room)
		q.room = nil
	}
}

// post puts something into a lane's mailbox. It never waits.
func (q *queue) post(l *lane, p *parcel, w *work) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p != nil {
		l.box.items = append(l.box.items, p)
	} else {
		l.box.works = append(l.box.works, w)
	}
	if i := slices.Index(q.waiting, l); i >= 0 {
		q.wake(i)
	}
}

// empty takes what is in a lane's mailbox.
func (q *queue) empty(l *lane) ([]*parcel, []*work) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, works := l.box.items, l.box.works
	l.box = mailbox{}
	return items, works
}

// close says that no more works will come: lanes end once everything that left them is back.
func (q *queue) close() { q.over(func() { q.closed = true }) }

// abort ends the lanes at once.
func (q *queue) abort() { q.over(func() { q.aborted = true }) }

func (q *queue) over(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
	for len(q.waiting) > 0 {
		q.wakeOne()
	}
	q.wakePutter()
}
