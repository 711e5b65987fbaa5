package jobs

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/policy"
	"penstock.dev/penstock/internal/store"
)

// Finish is what becomes of a job that somebody holds.
type Finish struct {
	ID    string
	Epoch uint64
	// What it is: exactly one of them, or none, which completes it.
	Extend  bool // the lease goes on from now, for so long as Lease says
	Release bool // the job goes back as if it had not been claimed
	Failed  bool
	// Of a job that failed.
	Code    penstock.Code
	Error   string
	Final   bool          // it is not tried again
	After   time.Duration // not before that, nor before the queue's retry says; as policy.PauseAfter bounds it
	AfterOK bool          // … but after exactly After, whatever the retry says
	// Of one that is extended: 0 is the queue's.
	Lease time.Duration
	// Of one that is completed: JSON; nil: none.
	Result []byte

	Err error // why it was refused: ErrStale; set by the transaction

	took int64 // nanoseconds since it was claimed; set by the transaction
}

// finish does one thing about a job that somebody holds, or refuses it.
func (c *change) finish(f *Finish) error {
	q := c.q
	e, found, err := c.tx.State().Get(q.held, []byte(f.ID))
	if err != nil {
		return err
	}
	if !found {
		f.Err = ErrStale
		c.h.Stale++
		return nil
	}
	j, err := parseJob(e.Value)
	if err != nil {
		return q.damaged(q.held, e.Key, err)
	}
	if j.Epoch != f.Epoch && !mutation.On("job-no-fence") {
		f.Err = ErrStale
		c.h.Stale++
		return nil
	}
	if f.Extend {
		if mutation.On("job-heartbeat-idle") {
			return nil
		}
		j.Lease = c.now + int64(q.leaseOf(f.Lease))
		c.expect(j.Lease)
		return c.tx.Put(q.held, store.Entry{Key: e.Key, Value: j.bytes(), Due: j.Lease})
	}
	if err := c.tx.Delete(q.held, e.Key); err != nil {
		return err
	}
	c.h.Leased--
	f.took = max(c.now-j.At, 0)
	switch {
	case f.Release:
		j.Attempts--
		c.h.Claimed--
		err = c.back(j, 0)
	case f.Failed:
		err = c.failed(j, f)
	default:
		c.h.Completed++
		j.Result = f.Result
		if err = c.over(j, Done); err == nil {
			err = c.left(j)
		}
	}
	return err
}

// back lets a job that was held wait, or run again at once.
func (c *change) back(j *Job, at int64) error {
	if err := c.left(j); err != nil {
		return err
	}
	j.Lease = 0
	if at > c.now {
		return c.later(j, at)
	}
	return c.arrive(j)
}

// failed tries a job again, or buries it.
func (c *change) failed(j *Job, f *Finish) error {
	c.h.Failed++
	j.Error, j.Code = f.Error, string(f.Code)
	if f.Final || j.Attempts >= c.q.Retry.Attempts {
		return c.bury(j)
	}
	pause := f.After
	if !f.AfterOK {
		if mutation.On("job-retry-after-ignored") {
			pause = 0
		}
		pause = policy.PauseAfter(c.q.Retry, j.Attempts, pause, c.q.Random)
	}
	return c.back(j, c.now+int64(pause))
}
