package jobs

import (
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// errNoJob refuses what is asked of a job that is not there.
var errNoJob = errors.New("there is no such job")

// Cancel takes a job out, wherever it stands; who holds it is refused when it comes back.
func (q *Queue) Cancel(tx store.Tx, now int64, id string) error {
	return q.take(tx, now, id, func(c *change, j *Job, active bool) error {
		c.h.Cancelled++
		j.Error, j.Code = "cancelled", string(penstock.Cancelled)
		if err := c.over(j, Dead); err != nil || !active {
			return err
		}
		return c.left(j)
	})
}

// Again lets a job run at once that waits for its time.
func (q *Queue) Again(tx store.Tx, now int64, id string) error {
	return q.take(tx, now, id, func(c *change, j *Job, active bool) error {
		if j.state != Delayed {
			return &penstock.Error{Code: penstock.Conflict, Op: "retry", Path: q.Name + "/" + id, Err: errors.New("the job is " + string(j.state)), Hint: "only a job that waits for its time can be hurried; dead ones are redriven with `penstock dlq redrive " + q.Name + "`"}
		}
		return c.arrive(j)
	})
}

// take takes a job from where it stands and hands it on. active: it counted as active of its key.
func (q *Queue) take(tx store.Tx, now int64, id string, then func(c *change, j *Job, active bool) error) error {
	c, err := q.begin(tx, now)
	if err != nil {
		return err
	}
	j, space, key, err := q.find(tx.State(), id)
	if err != nil {
		return err
	}
	if j == nil || space == q.done {
		return &penstock.Error{Code: penstock.NotFound, Op: "queue " + q.Name, Path: id, Err: errNoJob, Hint: "`penstock jobs ls " + q.Name + "` shows those that are not over"}
	}
	if err := tx.Delete(space, key); err != nil {
		return err
	}
	active := false
	switch space {
	case q.ready:
		c.h.Ready--
		active = true
	case q.held:
		c.h.Leased--
		active = true
	case q.wait:
		c.h.Delayed--
	case q.block:
		c.h.Blocked--
		l, err := c.lane(j.Key)
		if err != nil {
			return err
		}
		l.blocked--
	}
	if err := then(c, j, active); err != nil {
		return err
	}
	return c.end()
}

// Pause stops claims, or lets them go on. Who holds jobs keeps them.
func (q *Queue) Pause(tx store.Tx, now int64, paused bool) error {
	c, err := q.begin(tx, now)
	if err != nil {
		return err
	}
	c.h.paused = paused
	return c.end()
}
