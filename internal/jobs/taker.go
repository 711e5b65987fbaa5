package jobs

import "time"

// Taker is somebody who takes jobs.
type Taker struct {
	Worker string
	Max    int           // jobs at a time, at least 1
	Lease  time.Duration // 0: the queue's
	// Keeps has the desk extend the leases of the jobs until they are finished: the taker is in this process.
	Keeps bool
	// Idle and Busy are told when the taker begins to wait for nothing but time or others, and when that is over; nil: nobody counts.
	Idle, Busy func()
	// Over says that no more jobs will be enqueued that this taker waits for; nil: more may come. Only what is due by itself is waited for then, and not even
	// that with Once.
	Over func() bool
	Once bool
	// Asks has it wait for no more than an answer: none is one, too.
	Asks bool
}

// waiter is a taker who waits.
type waiter struct {
	Taker
	idle bool // was told so
	done bool // got is there
	got  []*Job
	err  error
	told chan struct{}
}

func (w *waiter) busy() {
	if w.idle {
		w.idle = false
		w.Busy()
	}
}

func (w *waiter) rests() {
	if !w.idle && w.Idle != nil && !w.done {
		w.idle = true
		w.Idle()
	}
}

func (w *waiter) give(js []*Job, err error) {
	w.busy()
	w.got, w.err, w.done = js, err, true
	close(w.told)
}
