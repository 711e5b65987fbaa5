package jobs

import (
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Draft is a job that is to be enqueued.
type Draft struct {
	ID       string
	Priority int
	Key      string
	Unique   string // what it is unique by; "": nothing
	At       int64  // when it may run, Unix nanoseconds; what is over is at once
	Record   []byte // the message
}

// Enqueue adds jobs. One that is the same as another by its Unique is left out, and counted.
func (q *Queue) Enqueue(tx store.Tx, now int64, drafts []Draft) error {
	c, err := q.begin(tx, now)
	if err != nil {
		return err
	}
	for i := range drafts {
		if err := c.enqueue(&drafts[i]); err != nil {
			return err
		}
	}
	return c.end()
}

func (c *change) enqueue(d *Draft) error {
	if d.Unique != "" {
		key := []byte(d.Unique)
		e, found, err := c.tx.State().Get(c.q.unique, key)
		if err != nil {
			return err
		}
		if found && (e.Due == 0 || e.Due > c.now) {
			c.h.Twins++
			return nil
		}
		if err := c.tx.Put(c.q.unique, store.Entry{Key: key, Value: []byte(d.ID)}); err != nil {
			return err
		}
	}
	c.h.number++
	c.h.Enqueued++
	j := &Job{ID: d.ID, Number: c.h.number, Priority: min(max(d.Priority, -MaxPriority), MaxPriority), Key: d.Key, Unique: d.Unique, Created: c.now, Record: d.Record}
	if c.q.lanes() {
		l, err := c.lane(j.Key)
		if err != nil {
			return err
		}
		l.unfinished++
	}
	if d.At > c.now && !mutation.On("job-delayed-early") {
		return c.later(j, d.At)
	}
	return c.arrive(j)
}
