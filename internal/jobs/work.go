package jobs

import "penstock.dev/penstock/internal/store"

// Work is what one transaction does of a queue: what is over first, then what is due, then claims.
type Work struct {
	Finish []*Finish
	Claims []*Claim

	// What has become of it.
	Next   int64  // when the queue is worth another look, Unix nanoseconds; 0: not because of time
	More   bool   // … at once: there was more than one transaction may do
	Counts Counts // afterwards
}

// Do does it. It may run more than once: only its last run counts.
func (q *Queue) Do(tx store.Tx, now int64, w *Work) error {
	w.Next, w.More = 0, false
	for _, cl := range w.Claims {
		cl.Got = nil
	}
	for _, f := range w.Finish {
		f.Err = nil
	}
	c, err := q.begin(tx, now)
	if err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	for _, f := range w.Finish {
		if err := c.finish(f); err != nil {
			return err
		}
	}
	if w.More, err = c.pass(); err != nil {
		return err
	}
	if err := c.claim(w); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	w.Counts = c.h.Counts
	if d := c.h.due; d != 0 && (w.Next == 0 || d < w.Next) {
		w.Next = d
	}
	return nil
}
