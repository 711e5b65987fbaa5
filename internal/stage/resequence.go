package stage

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Resequence puts the messages of each key into the order of their numbers. A message whose number is the next one goes
// on at once; one that is ahead is held until those before it have come, or until their gap is given up. That is when a message
// has been held for Timeout, by a clock that does not go back (see steady): all gaps before it are given up. And when more than
// Bound messages are held, over all keys: then the first gap of the key that has the message which was held longest.
//
// A number that is over, since a message had it or it was given up, is late: with include the message goes on at once,
// out of order; with drop it ends here; with deadLetter it is rejected. A second message of a number that is
// held counts as late as well, but with include it is held too, and goes on behind the first.
//
// Messages that are held stay so after the end of the sources where there is no timeout: what is missing may come
// with another run. The next number of each key is kept for good.
type Resequence struct {
	op      *plan.Resequence
	space   string
	clock   steady
	keys    map[string]*sequence
	oldest  *early // of all that are held, in the order of arrival
	newest  *early
	held    int
	nextID  uint64
	touched []*sequence
	key     []byte
	scratch []byte
}

// sequence is the state of a key.
type sequence struct {
	key     string
	next    int64
	early   minHeap[*early]
	numbers map[int64]int // of early; nil when there are none
	touched bool
}

// early is a message that is ahead of its turn.
type early struct {
	of           *sequence
	number       int64
	id           uint64
	at           int64 // when it came
	record       []byte
	heapAt       int
	older, newer *early
}

func (e *early) before(o *early) bool {
	if e.number != o.number {
		return e.number < o.number
	}
	return e.id < o.id
}

func (e *early) placed(at int) { e.heapAt = at }

var _ Machine = (*Resequence)(nil)

// NewResequence makes the machine of a resequence step that keeps its state in the space.
func NewResequence(op *plan.Resequence, space string) *Resequence {
	return &Resequence{op: op, space: space, clock: newSteady(), keys: map[string]*sequence{}, nextID: 1}
}

const (
	sequenceKind = 'n'
	earlyKind    = 'q'
)

// Absorb lets pass what is in order, and holds what is ahead.
func (r *Resequence) Absorb(_ context.Context, out Output, now time.Time, items []Item) error {
	t := r.clock.tick(out, now)
	for i := range items {
		it := &items[i]
		s := r.keys[it.Key]
		if s == nil {
			s = &sequence{key: strings.Clone(it.Key), next: r.op.Start}
			r.keys[s.key] = s
			r.touch(s) // so that Start can be changed without moving the keys that are there
		}
		switch {
		case it.Number < s.next:
			r.late(out, i, it, errOver)
		case it.Number == s.next:
			out.Emit(it.Record)
			r.advance(out, s, it.Number)
		case s.numbers[it.Number] > 0 && (r.op.Late == plan.LateDrop || r.op.Late == plan.LateDeadLetter):
			r.late(out, i, it, errTwice)
		default:
			if s.numbers[it.Number] > 0 {
				out.Count(Late, 1)
			}
			r.hold(out, s, it, t)
		}
		for r.op.Bound > 0 && r.held > r.op.Bound {
			out.Count(ByBound, 1)
			r.giveUp(out, r.oldest.of)
		}
	}
	r.mirror(out)
	return nil
}

var (
	errOver  = errors.New("late: its number was passed before it came")
	errTwice = errors.New("late: another message with its number is here")
)

func (r *Resequence) late(out Output, i int, it *Item, err error) {
	out.Count(Late, 1)
	switch r.op.Late {
	case plan.LateDrop:
		out.Count(Dropped, 1)
	case plan.LateDeadLetter:
		out.Reject(i, &penstock.Error{Code: penstock.Conflict, Op: r.space, Err: err})
	default:
		out.Emit(it.Record)
	}
}

// hold keeps a message that is ahead.
func (r *Resequence) hold(out Output, s *sequence, it *Item, t int64) {
	e := &early{of: s, number: it.Number, id: r.nextID, at: t, record: append([]byte{}, it.Record...)}
	r.nextID++
	r.insert(e)
	r.key = numberKey(r.key[:0], earlyKind, e.id)
	r.scratch = binary.AppendVarint(r.scratch[:0], e.at)
	r.scratch = binary.AppendVarint(r.scratch, e.number)
	r.scratch = binary.AppendUvarint(r.scratch, uint64(len(s.key)))
	r.scratch = append(append(r.scratch, s.key...), e.record...)
	due := int64(0)
	if r.op.Timeout > 0 {
		due = e.at + int64(r.op.Timeout)
	}
	out.Put(r.key, r.scratch, due)
}

func (r *Resequence) insert(e *early) {
	e.of.early.push(e)
	if e.of.numbers == nil {
		e.of.numbers = map[int64]int{}
	}
	e.of.numbers[e.number]++
	e.older = r.newest
	if r.newest != nil {
		r.newest.newer = e
	} else {
		r.oldest = e
	}
	r.newest = e
	r.held++
}

// first takes the first of the held messages of a key out, and emits it.
func (r *Resequence) first(out Output, s *sequence) *early {
	e := s.early.remove(0)
	if s.numbers[e.number]--; s.numbers[e.number] == 0 {
		delete(s.numbers, e.number)
	}
	if len(s.early) == 0 {
		s.early, s.numbers = nil, nil
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		r.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		r.newest = e.older
	}
	e.older, e.newer = nil, nil
	r.held--
	out.Emit(e.record)
	r.key = numberKey(r.key[:0], earlyKind, e.id)
	out.Delete(r.key)
	return e
}

// advance goes on behind a number, with all that follow it without a gap.
func (r *Resequence) advance(out Output, s *sequence, number int64) (emitted int) {
	s.next = after(number)
	for len(s.early) > 0 && s.early[0].number <= s.next {
		s.next = max(s.next, after(r.first(out, s).number))
		emitted++
	}
	r.touch(s)
	return emitted
}

func after(number int64) int64 {
	if number == math.MaxInt64 {
		return number
	}
	return number + 1
}

// giveUp goes on behind the first gap of a key.
func (r *Resequence) giveUp(out Output, s *sequence) (emitted int) {
	first := s.early[0].number
	out.Count(Gaps, int(min(uint64(first)-uint64(s.next), math.MaxInt)))
	return r.advance(out, s, first-1)
}

func (r *Resequence) touch(s *sequence) {
	if !s.touched {
		s.touched = true
		r.touched = append(r.touched, s)
	}
}

// mirror stores the keys that have moved on.
func (r *Resequence) mirror(out Output) {
	for i, s := range r.touched {
		r.touched[i] = nil
		s.touched = false
		r.key = textKey(r.key[:0], sequenceKind, s.key)
		r.scratch = textValue(r.scratch[:0], s.key, s.next)
		out.Put(r.key, r.scratch, 0)
	}
	r.touched = r.touched[:0]
}

// Due says when the message that was held longest has waited long enough.
func (r *Resequence) Due() int64 {
	if r.oldest == nil || r.op.Timeout <= 0 {
		return 0
	}
	return r.clock.outside(r.oldest.at + int64(r.op.Timeout))
}

// Fire gives up the gaps that messages have waited for long enough.
func (r *Resequence) Fire(_ context.Context, out Output, now time.Time) (more bool, err error) {
	t := r.clock.tick(out, now)
	overdue := func() bool { return r.op.Timeout > 0 && r.oldest != nil && r.oldest.at+int64(r.op.Timeout) <= t }
	for left := portion; overdue(); {
		if left <= 0 {
			more = true
			break
		}
		left -= r.giveUp(out, r.oldest.of)
	}
	r.mirror(out)
	return more, nil
}

// End leaves what is held to the clock; without a timeout it stays, and is counted.
func (r *Resequence) End(_ context.Context, out Output, _ time.Time) (more bool, err error) {
	if r.op.Timeout <= 0 && r.held > 0 {
		out.Count(Unfinished, r.held)
	}
	return false, nil
}

// Load reads the keys, and what is held.
func (r *Resequence) Load(ctx context.Context, s store.Store) error {
	return scan(ctx, s, r.space, func(e store.Entry) error {
		switch e.Key[0] {
		case clockKey[0]:
			return r.clock.load(e.Value)
		case sequenceKind, sequenceKind - 'a' + 'A':
			key, next, err := readText(e)
			if err != nil {
				return err
			}
			r.keys[key] = &sequence{key: key, next: next}
			return nil
		case earlyKind:
			return r.load(e)
		}
		return errDamaged
	})
}

// load reads a message that is held. Keys come before them.
func (r *Resequence) load(entry store.Entry) (err error) {
	e := &early{}
	if e.id, err = readNumberKey(entry.Key); err != nil {
		return err
	}
	v := entry.Value
	for _, n := range []*int64{&e.at, &e.number} {
		var w int
		if *n, w = binary.Varint(v); w <= 0 {
			return errDamaged
		}
		v = v[w:]
	}
	key, record, err := cutBytes(v)
	if err != nil {
		return err
	}
	if e.of = r.keys[string(key)]; e.of == nil {
		return errDamaged
	}
	e.record = append([]byte{}, record...)
	r.nextID = max(r.nextID, e.id+1)
	r.clock.seen(e.at)
	r.insert(e)
	return nil
}
