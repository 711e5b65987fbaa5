package run

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/jsonview"
)

// intake is what one Read brought: the messages' memory, and the ledger of their fates.
// The two end at different times: a message that a group absorbed needs no memory, but is
// not settled.
type intake struct {
	src    *pump
	batch  *penstock.Batch // nil once no message needs it
	seq    uint64          // order of reading within the flow
	read   uint64          // order of reading within the source
	tracks []track
	open   atomic.Int32 // tracks that have not ended
	mem    atomic.Int32 // messages that still use the memory, works that hold it
	bytes  int64        // charged to the budget
	count  int          // messages charged to the budget
	free   atomic.Int32 // 2 until both memory and ledger are done; at 0 it is used again

	works atomic.Int32 // in a run that keeps state: works that have not been through a lane
	left  int          // … tracks that are not committed; the committer's
	last  []lasting    // … what its tracks know
	entry entry        // where its messages begin

	since time.Time // it was read
	spans []spanned // of its messages that are recorded

	followed []int // messages of it that somebody follows

	repeats bool   // some were read before: see pump.repeat
	unique  uint64 // of a source whose messages have no identities that last: its number among all intakes of the run

	numbers int64 // … of the first, if it dies

	waiter waiter // of a request: who waits for the committer
	asked  string // … what it is known by when it is asked again; "" where that is nothing
}

// track follows one source message through split, group and fan-out: refs counts the
// messages in flight that were made of it. At zero it is settled.
type track struct {
	in   *intake
	idx  int
	refs atomic.Int32
	dead atomic.Bool   // it, or something made of it, was dead-lettered
	orig *jsonview.Doc // the body as it came, for the dead letter
	pos  penstock.Position
	err  error // why it could not be settled well; nil normally

	*lasting // in a run that keeps state; else nil: tracks are to be small
}

// lasting is what a track has to know in a run that keeps state.
type lasting struct {
	state    atomic.Uint32
	early    bool // it was settled when it was read
	repeated bool // it was read before, in this run
	ready    bool // the committer knows that it is done; its own
	placed   bool // … that it has taken it off the messages that are not done, at their place
	recorded recorded
	vars     []penstock.Value // as they came, from a channel
	hash     uint64           // of the key, with order: per-key
	inbox    *identity
	fate     journal.Fate
	redriven bool   // it was dead before
	known    string // … and what it was known by then; "" if nobody has said
	times    int64  // … and was given in again so often
	died     bool
	number   int64  // onError.order: park: its place among the dead of its key; 0: it was not dead
	passed   bool   // … one in front of it is dead, and was not given in again before it
	heldKey  string // onError.order: park: its key when it came
	parkKey  string // onError.order: park: what its key is counted under
}

// The states of a track in a run that keeps state.
const (
	trackOpen uint32 = iota
	trackLate        // its intake was committed without it
	trackDone
)

// Origin implements penstock.Lineage.
func (t *track) Origin() string {
	return journal.ID(t.pos.Stream, t.pos.Offset, t.pos.Line)
}

// lineages is the lineage of a message that was made of several (a group in memory).
type lineages struct {
	tracks []*track
	first  string
	id     string        // of the first, the path to it included
	orig   *jsonview.Doc // the body as the group made it, for the dead letter
	span   *observe.Span // nil: nobody records it
	live   atomic.Int32  // where it is recorded: messages that hang on it
}

// Origin implements penstock.Lineage.
func (l *lineages) Origin() string { return l.first }

// retain says that one more message hangs on the lineage.
func retain(l penstock.Lineage, n int32) {
	switch l := l.(type) {
	case *track:
		l.refs.Add(n)
	case *lineages:
		l.live.Add(n)
		for _, t := range l.tracks {
			t.refs.Add(n)
		}
	}
}

// release says that one message that hung on the lineage has ended.
func release(l penstock.Lineage) {
	switch l := l.(type) {
	case *track:
		l.done()
	case *lineages:
		if l.live.Add(-1) == 0 && l.span != nil {
			l.span.Close(l.tracks[0].in.src.flow.r.clock.Now())
		}
		for _, t := range l.tracks {
			t.done()
		}
	}
}

func (t *track) done() {
	if t.refs.Add(-1) != 0 {
		return
	}
	in := t.in
	if in.src.flow.durable {
		if t.state.Swap(trackDone) == trackLate {
			in.src.flow.commit.straggled(t) // it is committed after that, and not before
		}
		return
	}
	if in.open.Add(-1) == 0 {
		in.src.completed(in)
	}
}

// through says that one work of the intake has been through its lane: all that it holds has ended, or waits for something.
func (in *intake) through() {
	if in.src.flow.durable && in.works.Add(-1) == 0 {
		in.src.flow.commit.arrive(in)
	}
}

// tracksOf lists the tracks below a lineage.
func tracksOf(l penstock.Lineage) []*track {
	switch l := l.(type) {
	case *track:
		return []*track{l}
	case *lineages:
		return l.tracks
	}
	return nil
}

// begin opens the ledger for what a Read brought.
func (in *intake) begin(slots int, rt *penstock.Runtime) {
	n := len(in.batch.Msgs)
	if cap(in.tracks) < n {
		in.tracks = make([]track, n)
	}
	in.tracks = in.tracks[:n]
	if in.src.flow.durable && len(in.last) < len(in.tracks) {
		in.last = make([]lasting, cap(in.tracks))
	}
	in.batch.Runtime = rt
	for i, m := range in.batch.Msgs {
		t := &in.tracks[i]
		t.in, t.idx, t.orig, t.pos, t.err = in, i, m.Body, m.Pos, nil
		if in.src.flow.durable {
			t.lasting = &in.last[i]
			t.state.Store(trackOpen)
			t.ready, t.early, t.repeated = false, false, false
			t.recorded.reset()
			t.fate = journal.Done
			t.hash, t.inbox, t.redriven, t.times, t.died, t.parkKey = 0, nil, in.src == in.src.flow.redriven, 0, false, ""
			t.known = ""
			t.heldKey, t.number, t.passed = "", 0, false
		}
		t.refs.Store(1)
		t.dead.Store(false)
		m.Lineage = t
		m.Seq = place(i)
		switch {
		case in.src.server != nil:
			extendVars(m, slots)
		case in.src.channel == nil:
			growVars(m, slots)
		default:
			t.vars = append(t.vars[:0], m.Vars...) // as it came, for the dead letter
		}
	}
	in.repeats, in.followed = false, in.followed[:0]
	if !in.src.stable && in.src.channel == nil {
		in.unique = in.src.flow.r.unique.Add(1)
	}
	if looks := in.src.flow.r.looks.Load(); looks != nil {
		in.choose(*looks)
	}
	in.open.Store(int32(n))
	in.free.Store(2)
	in.count, in.left = n, n
	in.bytes = int64(in.batch.Arena().Bytes()) + int64(n)*messageOverhead
}

// first says that the messages begin at the first step. Behind a durable step they have the key that they left it with.
func (in *intake) first() bool { return in.entry.at == 0 }

// messageOverhead is what a message costs beside its bytes: its struct, track, headers and tape.
const messageOverhead = 512

// extendVars is growVars for a message that brings some along: its request.
func extendVars(m *penstock.Message, slots int) {
	n := len(m.Vars)
	if n >= slots {
		return
	}
	if cap(m.Vars) < slots {
		own := make([]penstock.Value, slots)
		copy(own, m.Vars)
		m.Vars = own
		return
	}
	m.Vars = m.Vars[:slots]
	clear(m.Vars[n:])
}

func growVars(m *penstock.Message, slots int) {
	if cap(m.Vars) < slots {
		m.Vars = make([]penstock.Value, slots)
		return
	}
	m.Vars = m.Vars[:slots]
	clear(m.Vars)
}

// memDone says that n messages no longer need the intake's memory.
func (in *intake) memDone(n int32) {
	if in.mem.Add(-n) != 0 {
		return
	}
	in.src.flow.budget.release(in.count, in.bytes)
	in.src.flow.recycle(in.batch)
	in.batch = nil
	in.part()
}

// part says that memory or ledger is done with; after both the intake can be used again.
func (in *intake) part() {
	if in.free.Add(-1) == 0 {
		in.src.spare.put(in)
	}
}

// budget bounds what is in memory at once; it is the back-pressure on sources.
type budget struct {
	mu       sync.Mutex
	cond     cond
	messages int
	bytes    int64
	maxMsgs  int
	maxBytes int64
	closed   bool
}

func newBudget(r *Runner, msgs int, bytes int64) *budget {
	if msgs <= 0 {
		msgs = 16384
	}
	if bytes <= 0 {
		bytes = 64 << 20
	}
	b := &budget{maxMsgs: msgs, maxBytes: bytes}
	b.cond.init(r, &b.mu)
	return b
}

// acquire waits for room. What is larger than the whole budget is let in alone. It
// returns false when the budget was closed.
func (b *budget) acquire(n int, bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.full(n, bytes) {
		b.cond.wait()
	}
	if b.closed {
		return false
	}
	b.messages += n
	b.bytes += bytes
	return true
}

// within is acquire for as long as ctx lasts.
func (b *budget) within(ctx context.Context, n int, bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full(n, bytes) {
		stop := b.cond.wakeAfter(ctx)
		defer stop()
		for b.full(n, bytes) && ctx.Err() == nil {
			b.cond.wait()
		}
	}
	if b.closed || b.full(n, bytes) {
		return false
	}
	b.messages += n
	b.bytes += bytes
	return true
}

// full says that there is no room for so much now.
func (b *budget) full(n int, bytes int64) bool {
	return !b.closed && b.messages > 0 && (b.messages+n > b.maxMsgs || b.bytes+bytes > b.maxBytes)
}

func (b *budget) release(n int, bytes int64) {
	b.mu.Lock()
	b.messages -= n
	b.bytes -= bytes
	b.cond.wake()
	b.mu.Unlock()
}

func (b *budget) summary() BudgetSummary {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BudgetSummary{Messages: b.messages, MaxMessages: b.maxMsgs, Bytes: b.bytes, MaxBytes: b.maxBytes}
}

func (b *budget) close() {
	b.mu.Lock()
	b.closed = true
	b.cond.wake()
	b.mu.Unlock()
}
