package jobs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// MaxPriority bounds priorities, on both sides of 0.
const MaxPriority = 100

// ErrStale refuses who no longer holds the job that it speaks of: its lease ran out, and the job may be with somebody else.
var ErrStale = errors.New("the job is no longer held under this lease")

// Config is how a queue works.
type Config struct {
	Name string
	// Retry is how often and when a job that failed is tried again; Attempts bounds its claims.
	Retry plan.Retry
	// Lease is how long a claim lasts unless it is extended.
	Lease time.Duration
	// Keyed says that jobs have keys: those take turns.
	Keyed bool
	// Concurrency is how many jobs are held at once; 0: no bound.
	Concurrency int
	// Rate is how many jobs a second may be claimed, Burst of them at once after a quiet time; 0: no bound.
	Rate  float64
	Burst int
	// The same for each key. A job counts against the rate of its key when it becomes ready.
	KeyConcurrency int
	KeyRate        float64
	KeyBurst       int
	// Within is for how long after it was enqueued another job that is the same is none, also where it is done; 0: until it is done.
	Within time.Duration
	// Keep is how long a job that is over can be looked at; 0: not at all.
	Keep time.Duration
	// Random gives numbers in [0,1) for the jitter of retries.
	Random func() float64
}

// Queue is a queue of jobs in a store. It holds nothing of it in memory, and is safe for concurrent use.
type Queue struct {
	Config
	ready, wait, held, block, key, gate, unique, done, self string
	dead                                                    string
}

// New makes the queue of a configuration in a store of so many parts.
func New(c Config, parts int) *Queue {
	if c.Burst < 1 {
		c.Burst = 1
	}
	if c.KeyBurst < 1 {
		c.KeyBurst = 1
	}
	if c.Random == nil {
		c.Random = func() float64 { return 0 }
	}
	at := func(what string) string { return in(c.Name, what, parts) }
	return &Queue{Config: c, ready: at("ready"), wait: at("wait"), held: at("held"), block: at("block"), key: at("key"), gate: at("gate"),
		unique: at("unique"), done: at("done"), self: at("head"), dead: c.Name + ".dead"}
}

// leaseOf is how long a lease lasts that somebody asks for: at most ten times what the queue says.
func (q *Queue) leaseOf(asked time.Duration) time.Duration {
	if asked <= 0 {
		return q.Lease
	}
	return min(asked, 10*q.Lease)
}

// keyLimits says that jobs of a key may have to wait for one another.
func (q *Queue) keyLimits() bool { return q.KeyConcurrency > 0 || q.KeyRate > 0 }

// lanes says that the queue has to know of keys.
func (q *Queue) lanes() bool { return q.Keyed || q.keyLimits() }

var headKey = []byte{0}

// change is one transaction of a queue.
type change struct {
	q   *Queue
	tx  store.Tx
	now int64
	h   *head
	was []byte // the head as it was
	// What was read of keys, to be written once.
	lanes map[string]*lane
	order []string
}

// begin reads what every transaction needs.
func (q *Queue) begin(tx store.Tx, now int64) (*change, error) {
	e, _, err := tx.State().Get(q.self, headKey)
	if err != nil {
		return nil, err
	}
	h, err := parseHead(e.Value)
	if err != nil {
		return nil, q.damaged(q.self, headKey, err)
	}
	return &change{q: q, tx: tx, now: now, h: h, was: e.Value}, nil
}

// end writes what was changed of what all jobs have in common.
func (c *change) end() error {
	for _, key := range c.order {
		l := c.lanes[key]
		k := laneKey(key)
		if l.unfinished <= 0 && l.rate <= c.now {
			if err := c.tx.Delete(c.q.key, k); err != nil {
				return err
			}
			continue
		}
		e := store.Entry{Key: k, Value: l.append(nil)}
		if l.unfinished <= 0 {
			e.Due = l.rate
			c.expect(e.Due)
		}
		if err := c.tx.Put(c.q.key, e); err != nil {
			return err
		}
	}
	is := c.h.append(nil)
	if bytes.Equal(is, c.was) {
		return nil
	}
	return c.tx.Put(c.q.self, store.Entry{Key: headKey, Value: is})
}

func (q *Queue) damaged(space string, key []byte, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "queue " + q.Name, Path: fmt.Sprintf("%s %x", space, key), Err: err, Hint: "`penstock store check` says what else is damaged"}
}

// expect notes that something is due.
func (c *change) expect(due int64) {
	if due != 0 && (c.h.due == 0 || due < c.h.due) {
		c.h.due = due
	}
}

// laneKey is what a key is stored under: an empty one is a key, too, and long ones are bounded by who makes them.
func laneKey(key string) []byte { return append([]byte{'k'}, key...) }

func (c *change) lane(key string) (*lane, error) {
	if l := c.lanes[key]; l != nil {
		return l, nil
	}
	e, found, err := c.tx.State().Get(c.q.key, laneKey(key))
	if err != nil {
		return nil, err
	}
	l := &lane{}
	if found {
		if l, err = parseLane(e.Value); err != nil {
			return nil, c.q.damaged(c.q.key, laneKey(key), err)
		}
	}
	if c.lanes == nil {
		c.lanes = map[string]*lane{}
	}
	c.lanes[key] = l
	c.order = append(c.order, key)
	return l, nil
}

// readyKey orders jobs as they are claimed: the highest priority first, then by turn, then by number.
func readyKey(j *Job) []byte {
	k := make([]byte, 0, 17)
	if mutation.On("job-priority-inverted") {
		k = append(k, byte(MaxPriority+j.Priority))
	} else {
		k = append(k, byte(MaxPriority-j.Priority))
	}
	k = binary.BigEndian.AppendUint64(k, j.turn)
	return binary.BigEndian.AppendUint64(k, j.Number)
}

// blockPrefix begins what the blocked jobs of a key are stored under.
func blockPrefix(key string) []byte {
	k := binary.BigEndian.AppendUint16(make([]byte, 0, len(key)+11), uint16(len(key))) //nolint:gosec // keys are bounded
	return append(k, key...)
}

func blockKey(j *Job) []byte {
	k := append(blockPrefix(j.Key), byte(MaxPriority-j.Priority))
	return binary.BigEndian.AppendUint64(k, j.Number)
}

// arrive lets a job in that may run as far as time is concerned: it becomes ready, or waits behind the limits of its key.
func (c *change) arrive(j *Job) error {
	q := c.q
	j.admits = false
	if !q.lanes() {
		return c.toReady(j, nil)
	}
	l, err := c.lane(j.Key)
	if err != nil {
		return err
	}
	if q.keyLimits() && (l.blocked > 0 || !c.lets(l)) {
		j.state = Blocked
		l.blocked++
		c.h.Blocked++
		if err := c.tx.Put(q.block, store.Entry{Key: blockKey(j), Value: j.bytes()}); err != nil {
			return err
		}
		return c.watch(j.Key, l)
	}
	return c.toReady(j, l)
}

// lets says that the limits of a key let one more job through.
func (c *change) lets(l *lane) bool {
	if n := c.q.KeyConcurrency; n > 0 && l.active >= int64(n) {
		return false
	}
	return c.q.KeyRate <= 0 || c.free(l.rate, c.q.KeyRate, c.q.KeyBurst) <= c.now
}

// free is when a rate lets the next one through.
func (c *change) free(clock int64, rate float64, burst int) int64 {
	step := int64(float64(time.Second) / rate)
	// A clock that was set back leaves one that is ahead for longer than any use of the rate could have put it there.
	if most := c.now + int64(burst)*step; clock > most {
		clock = most
	}
	return clock - int64(burst-1)*step
}

// spend moves a rate's clock on.
func (c *change) spend(clock *int64, rate float64, burst int) {
	step := int64(float64(time.Second) / rate)
	at := min(*clock, c.now+int64(burst)*step)
	*clock = max(at, c.now) + step
}

// watch sees to it that a key whose rate holds jobs back is looked at when it lets the next one through.
func (c *change) watch(key string, l *lane) error {
	q := c.q
	if l.blocked == 0 || l.gated || q.KeyRate <= 0 || q.KeyConcurrency > 0 && l.active >= int64(q.KeyConcurrency) {
		return nil
	}
	due := max(c.free(l.rate, q.KeyRate, q.KeyBurst), c.now+1)
	l.gated = true
	c.expect(due)
	return c.tx.Put(q.gate, store.Entry{Key: laneKey(key), Due: due})
}

// toReady makes a job ready. l is the lane of its key, nil where nobody counts.
func (c *change) toReady(j *Job, l *lane) error {
	if j.state != Delayed || j.At > c.now { // else it could run before anybody looked
		j.At = c.now
	}
	j.state = Ready
	if l != nil {
		// Start-time fair queueing (Goyal, Vin, Cheng 1996): the turns of a key follow one another, and begin no earlier than that of the
		// job that was claimed last; keys that wait are then served in rotation.
		j.turn = max(c.h.turns.get(j.Priority), l.turns.get(j.Priority))
		if !c.q.Keyed || mutation.On("job-unfair") {
			j.turn = 0
		}
		l.turns.set(j.Priority, j.turn+1)
		l.active++
		if c.q.KeyRate > 0 {
			c.spend(&l.rate, c.q.KeyRate, c.q.KeyBurst)
		}
	}
	c.h.Ready++
	return c.tx.Put(c.q.ready, store.Entry{Key: readyKey(j), Value: j.bytes()})
}

// left notes that a job is no longer active of its key, and lets those through that waited for that.
func (c *change) left(j *Job) error {
	if !c.q.lanes() {
		return nil
	}
	l, err := c.lane(j.Key)
	if err != nil {
		return err
	}
	l.active--
	if mutation.On("job-key-stays-full") {
		return nil
	}
	return c.admit(j.Key, l)
}

// admit lets as many blocked jobs of a key through as its limits allow.
func (c *change) admit(key string, l *lane) error {
	for l.blocked > 0 && c.lets(l) {
		prefix := blockPrefix(key)
		found, err := c.tx.State().Scan(c.q.block, prefix, 1)
		if err != nil {
			return err
		}
		if len(found) == 0 || len(found[0].Key) != len(prefix)+9 || string(found[0].Key[:len(prefix)]) != string(prefix) {
			l.blocked = 0 // nothing is there, whatever was counted
			break
		}
		j, err := parseJob(found[0].Value)
		if err != nil {
			return c.q.damaged(c.q.block, found[0].Key, err)
		}
		if err := c.tx.Delete(c.q.block, found[0].Key); err != nil {
			return err
		}
		l.blocked--
		c.h.Blocked--
		if err := c.toReady(j, l); err != nil {
			return err
		}
	}
	return c.watch(key, l)
}

// later puts a job where it waits for its time.
func (c *change) later(j *Job, at int64) error {
	j.state, j.At = Delayed, at
	c.h.Delayed++
	c.expect(at)
	return c.tx.Put(c.q.wait, store.Entry{Key: []byte(j.ID), Value: j.bytes(), Due: at})
}

// over ends a job: completed, dead or cancelled.
func (c *change) over(j *Job, as State) error {
	if c.q.lanes() {
		l, err := c.lane(j.Key)
		if err != nil {
			return err
		}
		l.unfinished--
	}
	if j.Unique != "" {
		if err := c.forget(j); err != nil {
			return err
		}
	}
	if c.q.Keep <= 0 {
		return nil
	}
	j.state, j.At, j.Lease = as, c.now, 0
	due := c.now + int64(c.q.Keep)
	c.expect(due)
	return c.tx.Put(c.q.done, store.Entry{Key: []byte(j.ID), Value: j.bytes(), Due: due})
}

// forget frees what a job is unique by, unless it is kept for longer.
func (c *change) forget(j *Job) error {
	key := []byte(j.Unique)
	e, found, err := c.tx.State().Get(c.q.unique, key)
	if err != nil || !found || string(e.Value) != j.ID {
		return err
	}
	if until := j.Created + int64(c.q.Within); c.q.Within > 0 && until > c.now {
		c.expect(until)
		return c.tx.Put(c.q.unique, store.Entry{Key: key, Value: e.Value, Due: until})
	}
	return c.tx.Delete(c.q.unique, key)
}

// dueAt reads when something is due next, over all that has a time.
func (c *change) dueAt() error {
	c.h.due = 0
	for _, space := range []string{c.q.wait, c.q.held, c.q.gate, c.q.unique, c.q.done, c.q.key} {
		first, err := c.tx.State().Due(space, math.MaxInt64, 1)
		if err != nil {
			return err
		}
		if len(first) > 0 {
			c.expect(first[0].Due)
		}
	}
	return nil
}
