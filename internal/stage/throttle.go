package stage

import (
	"context"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Throttle holds messages back so that no more than a rate of each key go on. It is the generic cell rate algorithm
// (ITU-T I.371, annex A), which is a token bucket: a key that was quiet for long enough lets Burst messages pass at once, then
// one each 1/Rate. Messages of a key keep their order; one that may pass as it comes is not stored. A key is forgotten once its
// bucket would be full again.
//
// What waits may leave a little late, since the engine fires when it can: a key catches up on 100 ms of its
// rate at most. So in any time t no more than Rate × (t + 100 ms) and Burst of them leave, also after a pause of the engine.
//
// It goes by a clock that does not go back (see steady): set back, the engine's clock holds nothing up; set forward, it lets at most
// the burst of each key pass too early.
type Throttle struct {
	space   string
	every   int64 // nanoseconds between two of a key
	span    int64 // what a full bucket is worth
	catchUp int64 // beyond span
	clock   steady
	taps    map[string]*tap
	waiting minHeap[*tap] // those that hold messages, by when the next may leave
	idle    minHeap[*tap] // the others, by when they are forgotten
	touched []*tap
	shelf   shelf
	key     []byte
	scratch []byte
}

// tap is the state of a key.
type tap struct {
	key     string
	full    int64 // when the bucket is full: the theoretical arrival time
	held    []held
	taken   int // of held
	when    int64
	rank    uint64 // among those of one time
	heap    *minHeap[*tap]
	heapAt  int
	touched bool
	stored  bool
}

func (k *tap) before(o *tap) bool {
	if k.when != o.when {
		return k.when < o.when
	}
	return k.rank < o.rank
}

func (k *tap) placed(at int) { k.heapAt = at }

// lag is how much of its rate a key may catch up on.
const lag = 100 * time.Millisecond

var _ Machine = (*Throttle)(nil)

// NewThrottle makes the machine of a throttle step that keeps its state in the space. A rate of 0 or less lets
// nothing pass but the first burst; a burst below 1 is 1.
func NewThrottle(spec *plan.Throttle, space string) *Throttle {
	t := &Throttle{space: space, every: endOfTime / 4, clock: newSteady(), taps: map[string]*tap{}, shelf: newShelf(space)}
	if spec.Rate > 0 {
		t.every = int64(math.Ceil(min(1e9/spec.Rate, float64(t.every))))
	}
	burst := int64(max(spec.Burst, 1))
	t.span = min(burst-1, endOfTime/4/t.every) * t.every
	t.catchUp = max(0, int64(lag)-t.span)
	return t
}

// Absorb lets messages pass, or holds them back behind others of their key.
func (t *Throttle) Absorb(ctx context.Context, out Output, now time.Time, items []Item) error {
	at := t.clock.tick(out, now)
	t.forget(out, at)
	for i := range items {
		it := &items[i]
		k := t.taps[it.Key]
		if k == nil {
			k = &tap{key: strings.Clone(it.Key), full: at, heapAt: -1}
			t.taps[k.key] = k
		}
		t.touch(k)
		if len(k.held) == 0 && k.full-t.span <= at {
			k.full = max(k.full, at) + t.every
			out.Emit(it.Record)
			continue
		}
		value := make([]byte, 0, len(it.Key)+len(it.Record)+binary.MaxVarintLen64)
		value = binary.AppendUvarint(value, uint64(len(it.Key)))
		value = append(append(value, it.Key...), it.Record...)
		due := max(k.full, at) - t.span + min(int64(len(k.held)), endOfTime/4/t.every)*t.every // at the earliest
		k.held = append(k.held, t.shelf.put(out, due, value))
	}
	t.mirror(out, at)
	return t.shelf.trim(ctx, t.all)
}

func (t *Throttle) touch(k *tap) {
	if !k.touched {
		k.touched = true
		t.touched = append(t.touched, k)
	}
}

// mirror stores the keys that have changed, and puts them where they belong. A key that will be forgotten within lag is not
// stored: after a restart it is as if it had been quiet for that long.
func (t *Throttle) mirror(out Output, at int64) {
	for i, k := range t.touched {
		t.touched[i] = nil
		k.touched = false
		if k.stored || k.full > at+int64(lag) {
			k.stored = true
			t.key = textKey(t.key[:0], tapKind, k.key)
			t.scratch = textValue(t.scratch[:0], k.key, k.full)
			out.Put(t.key, t.scratch, 0)
		}
		t.place(k)
	}
	t.touched = t.touched[:0]
}

const tapKind = 'k'

// place puts a key where it is found when something is to be done with it.
func (t *Throttle) place(k *tap) {
	if k.heap != nil {
		k.heap.remove(k.heapAt)
	}
	if k.taken > 0 && k.taken*2 >= len(k.held) {
		n := copy(k.held, k.held[k.taken:])
		clear(k.held[n:])
		k.held, k.taken = k.held[:n], 0
		if n == 0 {
			k.held = nil
		}
	}
	if len(k.held) > 0 {
		k.heap, k.when, k.rank = &t.waiting, k.full-t.span, k.held[k.taken].id
	} else {
		k.heap, k.when, k.rank = &t.idle, k.full, 0
	}
	k.heap.push(k)
}

// forget removes keys that are as if they had never been, a portion of them.
func (t *Throttle) forget(out Output, at int64) {
	for range portion {
		if len(t.idle) == 0 || t.idle[0].when > at {
			return
		}
		k := t.idle.remove(0)
		delete(t.taps, k.key)
		if !k.stored {
			continue
		}
		t.key = textKey(t.key[:0], tapKind, k.key)
		out.Delete(t.key)
	}
}

// all walks over what is held.
func (t *Throttle) all(f func(*held)) {
	for _, k := range t.waiting {
		for i := range k.held[k.taken:] {
			f(&k.held[k.taken+i])
		}
	}
}

// Due says when the next message may pass.
func (t *Throttle) Due() int64 {
	if len(t.waiting) == 0 {
		return 0
	}
	return t.clock.outside(t.waiting[0].when)
}

// Fire lets pass what may.
func (t *Throttle) Fire(ctx context.Context, out Output, now time.Time) (more bool, err error) {
	at := t.clock.tick(out, now)
	t.forget(out, at)
	left, leftBytes := portion, portionBytes
	for left > 0 && leftBytes > 0 && len(t.waiting) > 0 && t.waiting[0].when <= at {
		k := t.waiting[0]
		next := k.held[k.taken:]
		next = next[:min(len(next), left, t.room(k, at))]
		if missing(next) {
			var n int
			if n, err = t.shelf.fetch(ctx, next); err != nil {
				return false, err
			}
			next = next[:n]
		}
		for i := range next {
			_, record, err := cutBytes(next[i].value)
			if err != nil {
				return false, damaged(t.space, numberKey(nil, shelfKind, next[i].id), err)
			}
			out.Emit(record)
			t.shelf.remove(out, next[i])
			leftBytes -= len(record)
			next[i] = held{}
			left--
			k.taken++
			k.full = max(k.full, at-t.catchUp) + t.every
			if leftBytes <= 0 {
				break
			}
		}
		t.touch(k)
		t.place(k)
	}
	t.mirror(out, at)
	return len(t.waiting) > 0 && t.waiting[0].when <= at, nil
}

// room is how many of a key may pass now; at least one, if one may at all.
func (t *Throttle) room(k *tap, at int64) int {
	from := max(k.full, at-t.catchUp)
	return int(min((at+t.span-from)/t.every+1, portion))
}

// End leaves what is held to the clock.
func (t *Throttle) End(context.Context, Output, time.Time) (more bool, err error) { return false, nil }

// Load reads the keys, and what is held.
func (t *Throttle) Load(ctx context.Context, s store.Store) error {
	t.shelf.store = s
	err := scan(ctx, s, t.space, func(e store.Entry) error {
		switch e.Key[0] {
		case clockKey[0]:
			return t.clock.load(e.Value)
		case tapKind, tapKind - 'a' + 'A':
			key, full, err := readText(e)
			if err != nil {
				return err
			}
			t.clock.seen(min(full, endOfTime) - t.span - t.every)
			t.taps[key] = &tap{key: key, full: full, heapAt: -1, stored: true}
			return nil
		}
		h, ok, err := t.shelf.load(e)
		if err != nil {
			return err
		}
		key, _, err := cutBytes(e.Value)
		if err != nil || !ok {
			return errDamaged
		}
		k := t.taps[string(key)] // keys come before what is held
		if k == nil {
			k = &tap{key: string(key), full: noTime, heapAt: -1}
			t.taps[k.key] = k
		}
		k.held = append(k.held, h)
		return nil
	})
	for _, k := range t.taps {
		t.place(k)
	}
	return err
}
