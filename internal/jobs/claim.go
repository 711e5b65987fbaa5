package jobs

import (
	"time"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Claim is what one worker wants.
type Claim struct {
	Worker string
	Max    int           // jobs
	Lease  time.Duration // 0: the queue's

	Got []*Job // what it has got
}

// most that one transaction claims.
const mostClaims = 512

// claim gives jobs away.
func (c *change) claim(w *Work) error {
	q, n := c.q, 0
	for _, cl := range w.Claims {
		n += cl.Max
	}
	if n = min(n, mostClaims); n <= 0 || c.h.paused {
		return nil
	}
	if q.Concurrency > 0 {
		n = min(n, q.Concurrency-int(c.h.Leased))
	}
	if n <= 0 {
		return nil
	}
	found, err := c.tx.State().Scan(q.ready, nil, n)
	if err != nil {
		return err
	}
	claims, left := w.Claims, len(found)
	for _, e := range found {
		for len(claims) > 1 && len(claims[0].Got) >= min(claims[0].Max, (left+len(claims[0].Got)+len(claims)-1)/len(claims)) {
			claims = claims[1:]
		}
		to := claims[0]
		left--
		if q.Rate > 0 {
			if at := c.free(c.h.rate, q.Rate, q.Burst); at > c.now {
				w.Next = at
				break
			}
			c.spend(&c.h.rate, q.Rate, q.Burst)
		}
		j, err := parseJob(e.Value)
		if err != nil {
			return q.damaged(q.ready, e.Key, err)
		}
		if err := c.tx.Delete(q.ready, e.Key); err != nil {
			return err
		}
		c.h.Ready--
		c.h.Leased++
		c.h.Claimed++
		c.h.epoch++
		j.waited, j.At = max(c.now-j.At, 0), c.now
		j.state, j.Epoch, j.Worker, j.Lease = Leased, c.h.epoch, to.Worker, c.now+int64(q.leaseOf(to.Lease))
		j.Attempts++
		if q.Keyed && j.turn > c.h.turns.get(j.Priority) {
			c.h.turns.set(j.Priority, j.turn)
		}
		c.expect(j.Lease)
		if mutation.On("job-unique-early") && j.Unique != "" {
			if err := c.tx.Delete(q.unique, []byte(j.Unique)); err != nil {
				return err
			}
		}
		due := j.Lease
		if mutation.On("job-lease-short") {
			due -= int64(q.leaseOf(to.Lease)) / 2
			c.expect(due)
		}
		if err := c.tx.Put(q.held, store.Entry{Key: []byte(j.ID), Value: j.bytes(), Due: due}); err != nil {
			return err
		}
		to.Got = append(to.Got, j)
	}
	return nil
}
