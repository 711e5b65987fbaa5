package run

import (
	"context"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// work is a run of messages that one lane processes together, with the memory that
// its steps write to. With one lane to a batch that is the intake's own memory.
type work struct {
	in      *intake // holds the messages
	batch   *penstock.Batch
	own     *penstock.Batch // batch, when it is not the intake's; reused
	msgs    []*penstock.Message
	early   []failure         // failed before the first step (their key)
	extra   []*penstock.Batch // memory of calls and branches, freed with the work
	start   int               // node where the messages begin: 0, or behind a group
	spans   []spanned         // groups among them that are recorded
	mem     int               // messages that still need the memory
	turn    bool              // has a turn at the gate to take or to give up
	inTail  bool
	handled int32  // messages of in that are accounted to this work
	no      uint64 // order among the lane's works
	maxAt   int64  // greatest event time among them that a group saw, Unix nanoseconds
}

// failure is a message that failed. One that is behind was not tried: a sink did not write it, since
// one of its key before it has failed.
type failure struct {
	m      *penstock.Message
	err    error
	behind bool
}

// lane runs works, one at a time. Everything in it belongs to its goroutine but the mailbox.
type lane struct {
	f    *flow
	id   int
	in   *queue
	wake chan struct{} // by the queue
	box  mailbox       // messages that come back: timers, calls, completed groups
	main exec

	away   int               // messages that left the lane and will come back
	works  uint64            // run so far
	chains map[string]*chain // per-key: keys that wait
}

// exec runs one program. The lane's main program has a lane; a branch's has not: there,
// waiting is done in place.
type exec struct {
	f         *flow
	ctx       context.Context
	prog      *program
	lane      *lane       // nil in branches
	inherit   *plan.Retry // what a node without a retry of its own does; nil: nothing
	results   *subResults // branches: where messages that reach the end go
	req       *request    // requests: where messages end; else nil
	inRequest bool        // branches: they are a part of a request
	buckets   [][]*penstock.Message
	joined    []bool
	spare     [][]*penstock.Message
	before    []*penstock.Message
	scratch   []byte
	fails     []failure
	owner     *penstock.Message // branches: the message of the flow that they belong to
	try       *attempt          // branches, in a run that keeps state: the try that they belong to
	span      *observe.Span     // branches: what they are a part of; nil: nobody records it
	writing   context.Context   // the span that a sink is written in; nil: ctx
	tries     int               // of the message that is tried again; 0 at first
	cause     error             // of the message that is tried again: why
	ending    []ending          // onError.order: park: what is about to end
}

func newExec(ctx context.Context, f *flow, p *program, inherit *plan.Retry) *exec {
	return &exec{f: f, ctx: ctx, prog: p, inherit: inherit, buckets: make([][]*penstock.Message, len(p.nodes)), joined: make([]bool, len(p.nodes))}
}

func (x *exec) take() []*penstock.Message {
	if n := len(x.spare); n > 0 {
		s := x.spare[n-1]
		x.spare = x.spare[:n-1]
		return s[:0]
	}
	return make([]*penstock.Message, 0, 64)
}

func (x *exec) give(s []*penstock.Message) {
	if cap(s) > 0 && len(x.spare) < 16 {
		clear(s[:cap(s)])
		x.spare = append(x.spare, s)
	}
}

// put hands ms to node pc and takes the slice over.
func (x *exec) put(w *work, pc int, ms []*penstock.Message) {
	switch {
	case len(ms) == 0:
		x.give(ms)
	case pc == plan.End || pc >= len(x.prog.nodes):
		x.finish(w, ms)
		x.give(ms)
	case len(x.buckets[pc]) == 0:
		x.give(x.buckets[pc])
		x.buckets[pc] = ms
	default:
		x.buckets[pc] = append(x.buckets[pc], ms...)
		x.joined[pc] = true
		x.give(ms)
	}
}

// run takes ms from node pc to the end.
func (x *exec) run(w *work, pc int, ms []*penstock.Message) {
	x.put(w, pc, ms)
	defer x.endInOrder(w)
	if pc != plan.End {
		x.onward(w, pc)
	}
}

// onward takes what is in the buckets from node pc on to the end.
func (x *exec) onward(w *work, pc int) {
	for ; pc < len(x.prog.nodes); pc++ {
		ms := x.buckets[pc]
		if len(ms) == 0 {
			continue
		}
		x.buckets[pc] = nil
		if x.joined[pc] { // branches meet: back into the order of reading
			x.joined[pc] = false
			slices.SortStableFunc(ms, func(a, b *penstock.Message) int {
				if a.Seq < b.Seq {
					return -1
				}
				if a.Seq > b.Seq {
					return 1
				}
				return 0
			})
		}
		for x.inRounds(&x.prog.nodes[pc], ms) {
			var now []*penstock.Message
			now, ms = x.round(ms)
			x.come(w, pc, now)
			x.onward(w, pc+1)
		}
		if len(ms) > 0 {
			x.come(w, pc, ms)
		}
	}
}

// come has ms come to a node: in their turn, and not before others of their keys that wait.
func (x *exec) come(w *work, pc int, ms []*penstock.Message) {
	if x.lane != nil {
		if x.f.gate != nil && pc >= x.f.tail {
			w.enterTail(x.f)
		}
		if len(x.lane.chains) > 0 {
			if ms = x.lane.hold(w, pc, ms); len(ms) == 0 {
				return
			}
		}
		if x.f.parked != nil {
			x.inTurn(w, pc, ms)
			return
		}
	}
	x.at(w, pc, ms)
}

func (w *work) enterTail(f *flow) {
	if w.turn && !w.inTail {
		f.gate.enter(w.in.seq)
		w.inTail = true
	}
}

// leaveTail ends the work's turn, or gives it up where nothing reached the tail.
func (w *work) leaveTail(f *flow) {
	switch {
	case !w.turn:
	case w.inTail:
		f.gate.leave()
	default:
		f.gate.skip(w.in.seq)
	}
	w.turn, w.inTail = false, false
}

// at runs one node over ms, which it takes over.
func (x *exec) at(w *work, pc int, ms []*penstock.Message) {
	n := &x.prog.nodes[pc]
	if x.req != nil && x.req.stopped() {
		x.req.stop(ms, n.Name)
		return
	}
	if n.When != nil {
		ms = x.when(w, pc, n, ms)
	}
	if len(ms) == 0 {
		x.give(ms)
		return
	}
	n.stats.In.Add(int64(len(ms)))
	if looks := x.f.r.looks.Load(); looks != nil {
		x.comes(*looks, pc, n, ms)
	}
	fails := x.op(w, pc, n, ms)
	if len(fails) > 0 {
		for i := range fails {
			n.stats.failed(fails[i].err)
		}
		x.failed(w, pc, n, fails)
	}
}

// when lets those pass for which the step's condition holds; the others go on behind it.
func (x *exec) when(w *work, pc int, n *node, ms []*penstock.Message) []*penstock.Message {
	var skip []*penstock.Message
	var fails []failure
	kept := ms[:0]
	for _, m := range ms {
		ok, err := test(n.When, w.batch.Frame(m), n.Name+" when")
		switch {
		case err != nil:
			fails = append(fails, failure{m: m, err: err})
		case ok:
			kept = append(kept, m)
		default:
			if skip == nil {
				skip = x.take()
			}
			skip = append(skip, m)
		}
	}
	if skip != nil {
		x.put(w, n.Next, skip)
	}
	if fails != nil {
		for i := range fails {
			n.stats.failed(fails[i].err)
		}
		x.failed(w, pc, n, fails)
	}
	return kept
}

// test evaluates a condition.
func test(p penstock.Program, f *penstock.Frame, op string) (bool, error) {
	v := p.Eval(f)
	switch v.Kind() {
	case penstock.KindBool:
		return v.Bool(), nil
	case penstock.KindNode: // an untyped path, read here for the first time
		switch d, n := v.Node(); d.Kind(n) {
		case jsonview.True:
			return true, nil
		case jsonview.False:
			return false, nil
		}
	case penstock.KindError:
		return false, v.Err()
	}
	return false, penstock.E(penstock.Invalid, op, "", "the condition is not a bool")
}

// op dispatches to the node's operation: it puts what succeeds into the buckets, takes
// ms over and returns what failed. The failures' slice is valid until the next op.
func (x *exec) op(w *work, pc int, n *node, ms []*penstock.Message) []failure {
	if x.traces(w) {
		return x.traced(w, pc, n, ms)
	}
	return x.do(w, pc, n, ms)
}

func (x *exec) do(w *work, pc int, n *node, ms []*penstock.Message) []failure {
	x.fails = x.fails[:0]
	switch op := n.Op.(type) {
	case *plan.Apply:
		x.apply(w, n, ms)
	case *plan.Route:
		x.route(w, n, op, ms)
	case *plan.Finish:
		x.end(w, ms, fateStopped)
		x.give(ms)
	case *plan.Send:
		x.send(w, n, op, ms)
	case *plan.Call:
		x.call(w, pc, n, ms)
	case *plan.Fork:
		x.fork(w, pc, n, op, ms)
	case *plan.Loop:
		x.loop(w, pc, n, op, ms)
	case *plan.Split:
		x.split(w, pc, n, op, ms)
	case *plan.Group:
		if n.stage != nil {
			x.absorb(w, n, ms)
		} else {
			x.group(w, n, op, ms)
		}
	case *plan.Stage:
		x.absorb(w, n, ms)
	case *plan.Claim:
		x.claim(w, n, op, ms)
	}
	return x.fails
}

func (x *exec) fail(m *penstock.Message, err error) {
	x.fails = append(x.fails, failure{m: m, err: err})
}

// apply runs a leaf step and finds out what it dropped.
func (x *exec) apply(w *work, n *node, ms []*penstock.Message) {
	b := w.batch
	own := b.Msgs
	b.Msgs = ms
	x.before = append(x.before[:0], ms...)
	err := n.step.Process(x.ctx, b)
	out := b.Msgs
	b.Msgs = own
	if err != nil { // speaks of the whole batch
		for _, m := range x.before {
			x.fail(m, err)
		}
		b.ClearErrors()
		x.give(ms)
		return
	}
	if len(out) < len(x.before) {
		x.dropped(w, n, out)
	}
	if b.Failed() > 0 {
		kept := out[:0]
		for i, m := range out {
			if err := b.Err(i); err != nil {
				x.fail(m, err)
			} else {
				kept = append(kept, m)
			}
		}
		out = kept
		b.ClearErrors()
	}
	x.put(w, n.Next, out)
}

// dropped ends the messages of x.before that are not in out any more.
func (x *exec) dropped(w *work, n *node, out []*penstock.Message) {
	gone := x.take()
	i := 0
	for _, m := range x.before {
		if i < len(out) && out[i] == m {
			i++
			continue
		}
		gone = append(gone, m)
	}
	n.stats.Dropped.Add(int64(len(gone)))
	x.end(w, gone, fateFiltered)
	x.give(gone)
}

func (x *exec) route(w *work, n *node, op *plan.Route, ms []*penstock.Message) {
	rest := ms
	for ci := range op.Cases {
		if len(rest) == 0 {
			break
		}
		c := &op.Cases[ci]
		taken := x.take()
		kept := rest[:0]
		for _, m := range rest {
			ok, err := test(c.When, w.batch.Frame(m), n.Name)
			switch {
			case err != nil:
				x.fail(m, err)
			case ok:
				taken = append(taken, m)
			default:
				kept = append(kept, m)
			}
		}
		rest = kept
		x.put(w, c.Target, taken)
	}
	x.put(w, op.Else, rest)
}

// fate is how a message ended.
type fate uint8

const (
	fateDone     fate = iota // reached the end of the steps
	fateStopped              // stop
	fateFiltered             // filter, sample
	fateDead                 // dead-lettered
	fateLost                 // could not even be dead-lettered: the run stops
	fateGrouped              // absorbed by a group, which keeps the lineage
	fateLate                 // dropped as late
	fateFailed               // a job: it goes back to its queue
)

// finish ends messages that reached the end of the program.
func (x *exec) finish(w *work, ms []*penstock.Message) { x.end(w, ms, fateDone) }

// end takes messages off the ledger.
func (x *exec) end(w *work, ms []*penstock.Message, ft fate) {
	if x.results != nil { // a branch: its end is its result
		x.results.end(ms, ft)
		return
	}
	if x.req != nil {
		if looks := x.f.r.looks.Load(); looks != nil {
			x.ends(*looks, ms, "", fateNames[ft], nil)
		}
		x.req.end(ms, ft)
		return
	}
	if x.lane != nil && x.f.parked != nil && ft != fateDead && ft != fateLost && !mutation.On("ends-out-of-order") {
		for _, m := range ms {
			x.ending = append(x.ending, ending{m, ft})
		}
		return
	}
	x.ended(w, ms, ft)
}

func (x *exec) ended(w *work, ms []*penstock.Message, ft fate) {
	x.f.stats.count(ft, len(ms))
	if looks := x.f.r.looks.Load(); looks != nil && ft != fateDead {
		x.ends(*looks, ms, "", fateNames[ft], nil)
	}
	if x.traces(w) {
		x.noteEnds(w, ms, ft)
	}
	if ft == fateDead {
		for _, m := range ms {
			for _, t := range tracksOf(m.Lineage) {
				t.dead.Store(true)
			}
		}
	}
	switch {
	case x.f.durable:
		for _, m := range ms {
			t := m.Lineage.(*track)
			t.fate = journalFates[ft]
			t.done()
		}
	case ft != fateGrouped:
		for _, m := range ms {
			release(m.Lineage)
		}
	}
	w.mem -= len(ms)
}

// journalFates is what the journal calls the fates.
var journalFates = [...]journal.Fate{
	fateDone: journal.Done, fateStopped: journal.Done, fateFiltered: journal.Filtered, fateDead: journal.Dead, fateLost: journal.Dead,
	fateGrouped: journal.Absorbed, fateLate: journal.Filtered, fateFailed: journal.Refused,
}
