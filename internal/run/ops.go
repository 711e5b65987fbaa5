package run

import (
	"context"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/stage"
)

// What a durable run writes to its store is recorded on the track of the source message that it came of, and written by the
// committer when that message settles (ADR 6). So lanes never wait for the store, the store sees everything in the order of
// reading, and what a message wrote is taken back where it dies.

// op is one thing that is to be written.
type op struct {
	author author     // who recorded it: what dies takes back what it wrote
	outlet *outlet    // append to a channel, or
	stage  *stageNode // give to a durable step, or
	claim  bool       // keep under a claim, or
	sink   *sink      // only note that it was written there
	record span       // the message
	key    span       // of the item, or the claim
	of     span
	at     int64
	due    int64
	number int64
	flag   bool
	place  int // in what the transaction appends to the outlet
}

// author is who records something: a message of the flow, and the tries of forks and loops around the step, the innermost.
type author struct {
	m   *penstock.Message
	try *attempt
}

// attempt is one try of a fork or a loop. Where it fails, what was recorded in it is taken back, and nothing of what others record
// at the same time.
type attempt struct{ around *attempt }

// in says that a is t, or was made in it.
func (a *attempt) in(t *attempt) bool {
	for ; a != nil; a = a.around {
		if a == t {
			return true
		}
	}
	return false
}

// span is a piece of the track's memory.
type span struct{ from, to int }

// ledger of what a track writes. Branches of one message may record at the same time.
type recorded struct {
	mu    sync.Mutex
	ops   []op
	mem   []byte
	noted span // the key, for the journal
}

// claims is how many claims are among what is recorded.
func (r *recorded) claims() (n int) {
	for i := range r.ops {
		if r.ops[i].claim {
			n++
		}
	}
	return n
}

// noteKey keeps the message's key for the journal.
func (r *recorded) noteKey(key string) {
	if key != "" && r.noted.to == r.noted.from {
		r.noted = r.keep(key)
	}
}

// keepMemory is how much memory for records a track keeps for its next use.
const keepMemory = 16 << 10

func (r *recorded) reset() {
	clear(r.ops)
	r.ops = r.ops[:0]
	if cap(r.mem) > keepMemory {
		r.mem = nil
	}
	r.mem, r.noted = r.mem[:0], span{}
}

func (r *recorded) bytes(s span) []byte { return r.mem[s.from:s.to:s.to] }

// text copies s out of the track's memory; twice the same text after one another is copied once.
func (r *recorded) text(s span, last string) string {
	if b := r.mem[s.from:s.to]; string(b) != last {
		return string(b)
	}
	return last
}

func (r *recorded) keep(s string) span {
	from := len(r.mem)
	r.mem = append(r.mem, s...)
	return span{from, len(r.mem)}
}

// takeBack removes what m recorded.
func (r *recorded) takeBack(m *penstock.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = slices.DeleteFunc(r.ops, func(o op) bool { return o.author.m == m })
}

// failed removes what was recorded in a try.
func (r *recorded) failed(t *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = slices.DeleteFunc(r.ops, func(o op) bool { return o.author.try.in(t) })
}

// append records a message for a channel. The text of its variables is left out.
func (t *track) append(by author, o *outlet, m *penstock.Message, h record.Header, vars []string) {
	r := &t.recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteKey(m.Key)
	from := len(r.mem)
	r.mem = record.Append(r.mem, h, m, vars)
	r.ops = append(r.ops, op{author: by, outlet: o, record: span{from, len(r.mem)}})
}

// sent notes that a message was written to a sink, for the journal.
func (t *track) sent(s *sink, key string) {
	r := &t.recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteKey(key)
	r.ops = append(r.ops, op{sink: s})
}

// absorb records a message for a durable step.
func (t *track) absorb(s *stageNode, m *penstock.Message, it stage.Item, h record.Header, vars []string) {
	r := &t.recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteKey(m.Key)
	o := op{author: author{m: m}, stage: s, key: r.keep(it.Key), of: r.keep(it.Of), at: it.At, due: it.Due, number: it.Number, flag: it.Flag}
	from := len(r.mem)
	r.mem = record.Append(r.mem, h, m, vars)
	o.record = span{from, len(r.mem)}
	r.ops = append(r.ops, o)
}

// author is who records what m of a branch, or of the flow, makes.
func (x *exec) author(m *penstock.Message) author {
	if x.owner != nil {
		m = x.owner
	}
	return author{m, x.try}
}

// ownerOf is the message of the flow that m of a branch belongs to.
func (x *exec) ownerOf(m *penstock.Message) *penstock.Message { return x.author(m).m }

// tryKey finds the try that a branch belongs to in its context.
type tryKey struct{}

// guarded lets a task that fails take back what its branches recorded: a later try records it again.
func (x *exec) guarded(t task) task {
	if !x.f.durable {
		return t
	}
	return func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		tr, ok := m.Lineage.(*track)
		if !ok {
			return t(ctx, b, m)
		}
		try, good := &attempt{around: x.try}, false
		defer func() { // also where it panics
			if !good && !mutation.On("try-keeps-writes") {
				tr.recorded.failed(try)
			}
		}()
		r, err := t(context.WithValue(ctx, tryKey{}, try), b, m)
		good = err == nil
		return r, err
	}
}
