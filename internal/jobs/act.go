package jobs

import (
	"errors"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/policy"
	"penstock.dev/penstock/internal/record"
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

// most that one transaction does of what time has made due: it must not take long.
const mostDue = 256

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

// Work is what one transaction does of a queue: what is over first, then what is due, then claims.
type Work struct {
	Finish []*Finish
	Claims []*Claim

	// What has become of it.
	Next   int64  // when the queue is worth another look, Unix nanoseconds; 0: not because of time
	More   bool   // … at once: there was more than one transaction may do
	Counts Counts // afterwards
}

// Claim is what one worker wants.
type Claim struct {
	Worker string
	Max    int           // jobs
	Lease  time.Duration // 0: the queue's

	Got []*Job // what it has got
}

// most that one transaction claims.
const mostClaims = 512

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

// bury makes a dead letter of a job that was held.
func (c *change) bury(j *Job) error {
	c.h.Dead++
	rec, err := c.letter(j)
	if err != nil {
		return err
	}
	if !mutation.On("job-dies-silently") {
		if _, err := c.tx.Append(c.q.dead, store.Bundle{N: 1, Data: store.AppendFrame(nil, rec), MinTime: c.now, MaxTime: c.now}); err != nil {
			return err
		}
	}
	if err := c.over(j, Dead); err != nil {
		return err
	}
	return c.left(j)
}

// letter is the dead letter of a job: its message, with why and after how many tries.
func (c *change) letter(j *Job) ([]byte, error) {
	v, err := record.Parse(j.Record)
	if err != nil {
		return nil, c.q.damaged("job", []byte(j.ID), err)
	}
	str := penstock.StringValue
	d := v.Draft()
	d.Time = c.now
	d.Meta = append(d.Meta,
		penstock.MetaEntry{Name: "dead", Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
			{Key: str("code"), Value: str(j.Code)},
			{Key: str("message"), Value: str(j.Error)},
			{Key: str("step"), Value: str("job")},
			{Key: str("path"), Value: str("")},
			{Key: str("attempts"), Value: penstock.IntValue(int64(j.Attempts))},
			{Key: str("flow"), Value: str(c.q.Name)},
			{Key: str("origin"), Value: str(v.Origin())},
			{Key: str("entry"), Value: str("")},
			{Key: str("time"), Value: str(time.Unix(0, c.now).UTC().Format(time.RFC3339Nano))},
		}})},
		penstock.MetaEntry{Name: MetaJob, Value: penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
			{Key: str("id"), Value: str(j.ID)},
			{Key: str("queue"), Value: str(c.q.Name)},
			{Key: str("priority"), Value: penstock.IntValue(int64(j.Priority))},
			{Key: str("attempt"), Value: penstock.IntValue(int64(j.Attempts))},
			{Key: str("worker"), Value: str(j.Worker)},
		}})})
	return d.Append(nil), nil
}

// MetaJob is the header in which a message that is a job says which one.
const MetaJob = "job"

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

// Find looks for a job, wherever it stands; nil where there is none.
func (q *Queue) Find(st store.State, id string) (*Job, error) {
	j, _, _, err := q.find(st, id)
	return j, err
}

func (q *Queue) find(st store.State, id string) (j *Job, space string, key []byte, err error) {
	for _, s := range []string{q.held, q.wait, q.done} {
		e, found, err := st.Get(s, []byte(id))
		if err != nil {
			return nil, "", nil, err
		}
		if found {
			j, err := parseJob(e.Value)
			return j, s, e.Key, err
		}
	}
	for _, s := range []string{q.ready, q.block} {
		var after []byte
		for {
			page, err := st.Scan(s, after, 1000)
			if err != nil {
				return nil, "", nil, err
			}
			for _, e := range page {
				j, err := parseJob(e.Value)
				if err != nil {
					return nil, "", nil, q.damaged(s, e.Key, err)
				}
				if j.ID == id {
					return j, s, e.Key, nil
				}
			}
			if len(page) < 1000 {
				break
			}
			after = page[len(page)-1].Key
		}
	}
	return nil, "", nil, nil
}

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

// Look is what a queue shows of itself.
type Look struct {
	Counts
	Paused bool  `json:"paused"`
	Oldest int64 `json:"-"` // when the job became ready that is claimed next, Unix nanoseconds; 0: none is ready
}

// Look counts.
func (q *Queue) Look(st store.State) (Look, error) {
	e, _, err := st.Get(q.self, headKey)
	if err != nil {
		return Look{}, err
	}
	h, err := parseHead(e.Value)
	if err != nil {
		return Look{}, q.damaged(q.self, headKey, err)
	}
	out := Look{Counts: h.Counts, Paused: h.paused}
	first, err := st.Scan(q.ready, nil, 1)
	if err != nil || len(first) == 0 {
		return out, err
	}
	j, err := parseJob(first[0].Value)
	if err != nil {
		return out, q.damaged(q.ready, first[0].Key, err)
	}
	out.Oldest = j.At
	return out, nil
}

// List lists up to limit jobs that stand in a state, in the order in which they are claimed, or are due, or of their ids.
func (q *Queue) List(st store.State, s State, limit int) ([]*Job, error) {
	space := map[State]string{Ready: q.ready, Delayed: q.wait, Blocked: q.block, Leased: q.held, Done: q.done, Dead: q.done}[s]
	var found []store.Entry
	var err error
	switch s {
	case Delayed, Leased:
		found, err = st.Due(space, 1<<63-1, limit)
	default:
		found, err = st.Scan(space, nil, limit)
	}
	if err != nil {
		return nil, err
	}
	out := make([]*Job, 0, len(found))
	for _, e := range found {
		j, err := parseJob(e.Value)
		if err != nil {
			return nil, q.damaged(space, e.Key, err)
		}
		if j.state == s {
			out = append(out, j)
		}
	}
	return out, nil
}
