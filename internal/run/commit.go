package run

import (
	"context"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// committer writes what the messages of a flow recorded, and settles them (ADR 6): one goroutine a flow, one
// transaction at a time. What is ready meanwhile is the next one.
type committer struct {
	f    *flow
	poke chan struct{} // something is ready; counted as busy by who pokes
	done chan struct{} // closed when run has returned, and the run was told how

	mu     sync.Mutex
	moved  cond       // something was committed, or is over
	late   []*track   // stragglers that are done
	ending *stageNode // its sources have ended
	closed bool       // nothing more will come
	parted

	backlog int64 // see stageBacklog; tests make it small
	ready   load  // of the intakes that have been through the lanes, and are in no transaction yet
	most    load  // of it, before the flow's pumps wait; tests make it small

	// The rest belongs to the committer's goroutine.
	behind map[uint64][]*track // per-key: by key, stragglers and what was read after them, in order
	unit   unit
	last   time.Time // of the commit before
}

// load is about how much something weighs.
type load struct {
	messages int
	bytes    int64
}

func (l *load) add(in *intake, times int) {
	l.messages += times * in.count
	l.bytes += int64(times) * in.bytes
}

// mostReady is how much may wait for the committer before the flow's pumps wait. The messages' own memory is free by then, but not
// what they recorded: a store that is slow, or has no room, must not fill the memory.
var mostReady = load{messages: 1 << 16, bytes: 64 << 20}

// most that one transaction takes of what is ready, unless it comes in one piece.
const (
	unitMessages = 4096
	unitBytes    = 1 << 20
)

func newCommitter(f *flow) *committer {
	c := &committer{f: f, poke: make(chan struct{}, 1), done: make(chan struct{}), behind: map[uint64][]*track{}, backlog: stageBacklog, most: mostReady}
	c.moved.init(f.r, &c.mu)
	c.unit.c = c
	return c
}

// wake lets the committer look for what is ready.
func (c *committer) wake() {
	c.f.r.busy()
	select {
	case c.poke <- struct{}{}:
	default:
		c.f.r.idle()
	}
}

// arrive takes an intake that has been through the lanes.
func (c *committer) arrive(in *intake) {
	c.mu.Lock()
	in.src.through[in.read] = in
	c.ready.add(in, 1)
	next := in.src.nextSeq == in.read
	c.mu.Unlock()
	if next {
		c.wake()
	}
}

// straggled takes a message that is done, though its intake was committed before.
func (c *committer) straggled(t *track) {
	c.mu.Lock()
	c.late = append(c.late, t)
	c.mu.Unlock()
	c.wake()
}

// run commits until close, or until ctx ends.
func (c *committer) run(ctx context.Context) error {
	defer c.leave()
	for {
		u := &c.unit
		if c.rest(ctx) {
			return nil
		}
		over := c.gather(u)
		due, more, err := c.stages(ctx, u)
		if err != nil {
			return err
		}
		if u.empty() {
			c.tell(u)
			if over {
				return c.forget(ctx, u)
			}
			c.wait(ctx, due)
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		if !more && c.linger(ctx, u) {
			continue // what came meanwhile goes with it
		}
		if err := c.commit(ctx, u); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// forget deletes the positions that sources need no longer since the last transaction.
func (c *committer) forget(ctx context.Context, u *unit) error {
	if err := u.prepare(ctx); err != nil || !u.writes() {
		return err
	}
	return c.submit(ctx, u)
}

// leave takes a poke that nobody will see off the count.
func (c *committer) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.wake()
	select {
	case <-c.poke:
		c.f.r.idle()
	default:
	}
	c.f.r.idle()
}

// gather takes what is ready, in the order of reading; what is late comes first. It says whether nothing more will come.
func (c *committer) gather(u *unit) (over bool) {
	c.mu.Lock()
	late := c.late
	c.late, over = nil, c.closed
	c.mu.Unlock()
	for _, t := range late {
		t.ready = true
	}
	for _, t := range late {
		c.straggler(u, t)
	}
	for took := true; took; {
		took = false
		for _, p := range c.f.pumps { // in turn: one that is always ready must not keep the others from being settled
			if u.full() {
				return over
			}
			if in := c.next(p); in != nil {
				took = true
				u.intakes = append(u.intakes, in)
				u.count += in.count
				c.intake(u, in)
			}
		}
	}
	return over
}

// next takes the next intake of a pump that is ready; nil: there is none.
func (c *committer) next(p *pump) *intake {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := p.through[p.nextSeq]
	if in != nil {
		delete(p.through, p.nextSeq)
		p.nextSeq++
		c.ready.add(in, -1)
	}
	return in
}

// intake takes those messages of an intake that are done. The others stay behind, and with order: per-key those of the
// same key that were read after them.
func (c *committer) intake(u *unit, in *intake) {
	keyed, places := c.f.keyed && in.src.server == nil, in.src.places() // requests of a key have taken turns
	for i := range in.tracks {
		t := &in.tracks[i]
		open := t.state.CompareAndSwap(trackOpen, trackLate)
		t.ready = !open
		if keyed {
			if q, waits := c.behind[t.hash]; open || waits && !mutation.On("straggler-overtaken") {
				c.behind[t.hash] = append(q, t)
				if places && !t.early {
					in.src.at.add(t, true)
				}
				continue
			}
		}
		if places && !t.early {
			in.src.at.add(t, open)
		}
		if !open {
			u.take(t)
		}
	}
}

// straggler takes a message that came late, and those that waited behind it.
func (c *committer) straggler(u *unit, t *track) {
	if mutation.On("straggler-twice") {
		t.recorded.ops = append(t.recorded.ops, t.recorded.ops...)
	}
	if !c.f.keyed {
		t.in.src.finish(t)
		u.take(t)
		return
	}
	q := c.behind[t.hash]
	for len(q) > 0 && q[0].ready {
		q[0].in.src.finish(q[0])
		u.take(q[0])
		q = q[1:]
	}
	if len(q) == 0 {
		delete(c.behind, t.hash)
	} else {
		c.behind[t.hash] = q
	}
}

// stages gives the durable steps what came to them, and lets them do what is due. It says when the next is due, and
// whether there is more to do at once.
func (c *committer) stages(ctx context.Context, u *unit) (due int64, more bool, err error) {
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	now := c.f.r.clock.Now()
	for _, s := range c.f.stages {
		out := &stageOutput{u: u, s: s}
		if len(u.items[s.index]) > 0 {
			if err := s.machine.Absorb(ctx, out, now, u.items[s.index]); err != nil {
				return 0, false, c.f.staged(s, err)
			}
			u.absorbed(s)
		}
		if s.machine.Due() != 0 { // also where nothing is due: a machine learns here that the clock was set back
			m, err := s.machine.Fire(ctx, out, now)
			if err != nil {
				return 0, false, c.f.staged(s, err)
			}
			more = more || m
		}
		if s == ending && !s.ended.Load() {
			m, err := s.machine.End(ctx, out, now)
			if err != nil {
				return 0, false, c.f.staged(s, err)
			}
			more = more || m
			if !m {
				u.ends = s
			}
		}
		if d := s.machine.Due(); d != 0 && (due == 0 || d < due) {
			due = d
		}
	}
	return due, more, nil
}

// tell says what the durable steps have come to, once what they emitted is durable.
func (c *committer) tell(u *unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.f.stages {
		s.due.Store(s.machine.Due())
	}
	if u.ends != nil {
		u.ends.ended.Store(true)
		u.ends = nil
	}
	c.moved.wake()
}

// linger waits for more where nobody waits for what there is: positions only, in a flow whose effects are elsewhere. An
// fsync has its price. True where it waited.
func (c *committer) linger(ctx context.Context, u *unit) bool {
	wait := flushEvery - time.Since(c.last)
	if c.f.r.opts.OnIdle != nil { // somebody waits for the run's rest
		return false
	}
	if u.urgent() || wait <= 0 || u.full() {
		return false
	}
	c.mu.Lock()
	over := c.closed || c.hurry || c.ending != nil
	c.mu.Unlock()
	for _, p := range c.f.pumps {
		over = over || p.over()
	}
	if over {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		c.last = time.Time{}
	case <-c.poke:
		c.f.r.idle() // the committer counts as busy all the time
	case <-ctx.Done():
	}
	return true
}

// commit makes everything durable that u holds, and tells the sources.
func (c *committer) commit(ctx context.Context, u *unit) error {
	f := c.f
	c.last = time.Now()
	if err := f.flushSinks(ctx); err != nil {
		return err
	}
	if err := u.prepare(ctx); err != nil {
		return err
	}
	if mutation.On("settled-before-commit") {
		if err := u.settle(ctx); err != nil {
			return err
		}
	}
	if u.writes() {
		if err := c.submit(ctx, u); err != nil {
			return &penstock.Error{Code: penstock.CodeOf(err), Op: "commit of " + f.plan.Name, Err: err,
				Hint: "what was not committed is read again at the next start, where its source can"}
		}
	}
	if err := u.settle(ctx); err != nil {
		return err
	}
	u.measure()
	c.mu.Lock()
	for _, s := range c.f.stages {
		if b := u.appends[s.out]; b != nil {
			s.waiting.Add(int64(b.n))
		}
	}
	for _, t := range u.tracks {
		in := t.in
		if s := in.src.stage; s != nil {
			s.waiting.Add(-1)
		}
		if in.left--; in.left == 0 {
			if in.src.server == nil { // else with the answer
				in.endSpans()
			}
			in.src.open--
			in.committed()
			in.part()
		}
	}
	c.mu.Unlock()
	c.tell(u)
	u.reset() // not where it failed: the store may still be about to write it
	return nil
}

// submit writes the unit. While the disk has no room it waits, and its sources with it. What comes out of the store goes on before that: it
// may use half of the reserve, as a small transaction, so that what is in the store is worked off, which makes room.
func (c *committer) submit(ctx context.Context, u *unit) error {
	told, class := false, store.Bulk
	if mutation.On("settled-before-state") {
		defer c.apart(u.withoutState())
	}
	for {
		err := c.f.r.store.Submit(class, u.write).Wait(ctx)
		if penstock.CodeOf(err) != penstock.Limited || err == nil {
			if told && err == nil {
				c.f.log.Info("the store has room again")
			}
			return err
		}
		if class == store.Bulk && u.fromStore() {
			class = store.Small
			continue
		}
		if !told {
			c.f.log.Warn("the store takes nothing; the flow waits", "error", err)
			told = true
		}
		t := time.NewTimer(roomEvery) // the disk's room has nothing to do with a test's clock
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// roomEvery is how often a store without room is asked again.
const roomEvery = time.Second

// lookEvery is how often the machine's clock is looked at while something is due by it: it may be set, or have stood still while the machine slept, which its timers do
// not notice.
const lookEvery = 30 * time.Second

// until is how long to wait for what is due by a clock, before that is looked at again.
func until(clock penstock.Clock, due int64) time.Duration {
	d := time.Duration(due - clock.Now().UnixNano())
	if _, real := clock.(penstock.SystemClock); real && !mutation.On("clock-looked-at-once") {
		d = min(d, lookEvery)
	}
	return d
}

// wait waits until something is ready, or may be due.
func (c *committer) wait(ctx context.Context, due int64) {
	var timer <-chan time.Time
	stop := func() {}
	if due != 0 {
		timer, stop = c.f.r.clock.NewTimer(until(c.f.r.clock, due))
	}
	c.f.r.idle()
	select {
	case <-timer:
		c.f.r.busy()
	case <-c.poke: // counted by who poked
	case <-ctx.Done():
		c.f.r.busy()
	}
	stop()
}

// settled waits until everything that these pumps have read is committed, or the run was aborted.
func (c *committer) settled(ctx context.Context, pumps ...*pump) {
	stop := c.moved.wakeAfter(ctx)
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range pumps {
		for p.open > 0 && ctx.Err() == nil && !c.over() {
			c.moved.wait()
		}
	}
}

// stageBacklog is how many messages may stand behind a durable step before the flow's sources wait: there is no use in reading
// what the rest of the flow can't take.
const stageBacklog = 1 << 16

// room waits until there is not too much that is not durable yet, nor, for those who read on in front of durable steps, behind them; false
// where ctx has ended before.
func (c *committer) room(ctx context.Context, p *pump) (there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.crowded(p) {
		return true
	}
	stop := c.moved.wakeAfter(ctx)
	defer stop()
	for c.crowded(p) && ctx.Err() == nil && !c.over() {
		c.moved.wait()
	}
	return !c.crowded(p)
}

// crowded says that p is to read no further now.
func (c *committer) crowded(p *pump) bool {
	if c.ready.messages > c.most.messages || c.ready.bytes > c.most.bytes {
		return true
	}
	if p.stage != nil {
		return false
	}
	for _, s := range c.f.stages {
		if s.waiting.Load() > c.backlog {
			return true
		}
	}
	return false
}

// over says that the committer has ended.
func (c *committer) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// endStage does what the end of the sources does at a durable step, and waits until nothing is left that will come by
// itself, or ctx has ended.
func (c *committer) endStage(ctx context.Context, s *stageNode) {
	stop := c.moved.wakeAfter(ctx)
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = s
	c.wake()
	for (!s.ended.Load() || s.due.Load() != 0) && ctx.Err() == nil && !c.over() {
		c.moved.wait()
	}
	c.ending = nil
}

// close ends the committer once everything is committed.
func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake() // before it can see that it is over, and leave
}
