package jobs

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// most that one transaction does of what time has made due: it must not take long.
const mostDue = 256

// settle notices a clock that was set back: leases are from now on no longer than they were meant to be, so that nothing is held for as long as
// the clock was wrong.
func (c *change) settle() error {
	const slack = int64(5 * time.Second)
	before := c.h.clock
	if c.now < before || c.now-before >= int64(time.Second) {
		c.h.clock = c.now
	}
	if before == 0 || c.now+slack >= before || mutation.On("job-clock-back") {
		return nil
	}
	var after []byte
	most := c.now + 10*int64(c.q.Lease)
	for {
		page, err := c.tx.State().Scan(c.q.held, after, 1000)
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.Due <= most {
				continue
			}
			j, err := parseJob(e.Value)
			if err != nil {
				return c.q.damaged(c.q.held, e.Key, err)
			}
			j.Lease = most
			if err := c.tx.Put(c.q.held, store.Entry{Key: e.Key, Value: j.bytes(), Due: most}); err != nil {
				return err
			}
		}
		if len(page) < 1000 {
			return c.dueAt()
		}
		after = page[len(page)-1].Key
	}
}

// pass does what time has made due. It says whether there is more.
func (c *change) pass() (more bool, err error) {
	if c.h.due == 0 || c.h.due > c.now {
		return false, nil
	}
	q, st := c.q, c.tx.State()
	due, err := st.Due(q.wait, c.now, mostDue)
	if err != nil {
		return false, err
	}
	more = len(due) == mostDue
	for _, e := range due {
		j, err := parseJob(e.Value)
		if err != nil {
			return false, q.damaged(q.wait, e.Key, err)
		}
		if err := c.tx.Delete(q.wait, e.Key); err != nil {
			return false, err
		}
		c.h.Delayed--
		if err := c.arrive(j); err != nil {
			return false, err
		}
	}
	if due, err = st.Due(q.held, c.now, mostDue); err != nil {
		return false, err
	}
	more = more || len(due) == mostDue
	for _, e := range due {
		j, err := parseJob(e.Value)
		if err != nil {
			return false, q.damaged(q.held, e.Key, err)
		}
		if err := c.expire(e.Key, j); err != nil {
			return false, err
		}
	}
	if due, err = st.Due(q.gate, c.now, mostDue); err != nil {
		return false, err
	}
	more = more || len(due) == mostDue
	for _, e := range due {
		if err := c.tx.Delete(q.gate, e.Key); err != nil {
			return false, err
		}
		l, err := c.lane(string(e.Key[1:]))
		if err != nil {
			return false, err
		}
		l.gated = false
		if err := c.admit(string(e.Key[1:]), l); err != nil {
			return false, err
		}
	}
	for _, space := range []string{q.unique, q.done, q.key} {
		due, err := st.Due(space, c.now, mostDue)
		if err != nil {
			return false, err
		}
		more = more || len(due) == mostDue
		for _, e := range due {
			if err := c.tx.Delete(space, e.Key); err != nil {
				return false, err
			}
		}
	}
	return more, c.dueAt()
}

// expire takes a job back whose lease has run out.
func (c *change) expire(key []byte, j *Job) error {
	if err := c.tx.Delete(c.q.held, key); err != nil {
		return err
	}
	c.h.Leased--
	c.h.Expired++
	f := &Finish{Code: penstock.Timeout, Error: "the lease of worker " + j.Worker + " ran out", AfterOK: true}
	return c.failed(j, f)
}
