package stage

import (
	"context"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// held is a message that waits for its time.
type held struct {
	due   int64
	id    uint64 // in the order of arrival; what its entry is found under
	value []byte // of its entry; nil: in the store only
}

// shelf keeps the messages that a step holds back. All of them are entries in the store, in the order of their
// arrival; in memory are as many of them as fit into a budget, and of the others their places.
type shelf struct {
	store  store.Store
	space  string
	next   uint64 // id of the next
	bytes  int64  // of values in memory
	budget int64
	probe  uint64 // id behind those which may be let go once they are durable; 0: none
	tries  int
	key    []byte
}

const (
	shelfKind   = 'm'
	shelfBudget = 32 << 20
	heldBytes   = 48 // about what one takes beside its value
	fetchAtOnce = 64
)

func newShelf(space string) shelf { return shelf{space: space, next: 1, budget: shelfBudget} }

// put stores a message, whose value it takes over.
func (s *shelf) put(out Output, due int64, value []byte) held {
	h := held{due: due, id: s.next, value: value}
	s.next++
	s.bytes += int64(len(value)) + heldBytes
	s.key = numberKey(s.key[:0], shelfKind, h.id)
	out.Put(s.key, value, due)
	return h
}

// remove takes a message off.
func (s *shelf) remove(out Output, h held) {
	if h.value != nil {
		s.bytes -= int64(len(h.value)) + heldBytes
	}
	s.key = numberKey(s.key[:0], shelfKind, h.id)
	out.Delete(s.key)
}

// load takes an entry over; ok is false for an entry that is no message of the shelf.
func (s *shelf) load(e store.Entry) (h held, ok bool, err error) {
	if e.Key[0] != shelfKind {
		return held{}, false, nil
	}
	id, err := readNumberKey(e.Key)
	if err != nil {
		return held{}, false, err
	}
	h = held{due: e.Due, id: id}
	s.next = max(s.next, id+1)
	if s.bytes+int64(len(e.Value))+heldBytes <= s.budget {
		h.value = append([]byte{}, e.Value...)
		s.bytes += int64(len(e.Value)) + heldBytes
	}
	return h, true, nil
}

// fetch reads the values that are not in memory, of so many of the first as one view allows; at least one. It returns how
// many have a value.
func (s *shelf) fetch(ctx context.Context, hs []held) (int, error) {
	n := min(len(hs), fetchAtOnce)
	for {
		err := s.store.View(ctx, func(v store.View) error {
			for i := range hs[:n] {
				h := &hs[i]
				if h.value != nil {
					continue
				}
				s.key = numberKey(s.key[:0], shelfKind, h.id)
				e, ok, err := v.State().Get(s.space, s.key)
				if err != nil {
					return err
				}
				if !ok {
					return &penstock.Error{Code: penstock.Internal, Op: "state of " + s.space, Err: fmt.Errorf("message %d is held, and not in the store", h.id), Hint: "run `penstock store check`"}
				}
				h.value = append([]byte{}, e.Value...)
				s.bytes += int64(len(h.value)) + heldBytes
			}
			return nil
		})
		if err == nil {
			return n, nil
		}
		if n == 1 || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return 0, fmt.Errorf("reading what %s holds: %w", s.space, err)
		}
		n = (n + 7) / 8
	}
}

// missing says that one of them has to be fetched.
func missing(hs []held) bool {
	for i := range hs {
		if hs[i].value == nil {
			return true
		}
	}
	return false
}

// trim keeps to the budget: it lets values go that are durable. What a transaction has put is durable when something that
// was put later can be seen in a view. all walks over everything that is held, what is due first about first.
func (s *shelf) trim(ctx context.Context, all func(f func(*held))) error {
	if s.bytes <= s.budget {
		return nil
	}
	if s.probe == 0 {
		s.probe, s.tries = s.next, 0
		return nil
	}
	durable := false
	err := s.store.View(ctx, func(v store.View) error {
		after := numberKey(nil, shelfKind, s.probe-2)
		es, err := v.State().Scan(s.space, after, 1)
		durable = err == nil && len(es) == 1 && es[0].Key[0] == shelfKind
		return err
	})
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("looking into what %s holds: %w", s.space, err)
	}
	if !durable {
		if s.tries++; s.tries > 8 { // it has left by now: ask for another
			s.probe = 0
		}
		return nil
	}
	var kept int64
	all(func(h *held) {
		if h.value == nil {
			return
		}
		size := int64(len(h.value)) + heldBytes
		if kept+size <= s.budget/2 || h.id >= s.probe {
			kept += size
			return
		}
		h.value = nil
		s.bytes -= size
	})
	s.probe = 0
	return nil
}

func readNumberKey(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, errDamaged
	}
	var n uint64
	for _, b := range key[1:] {
		n = n<<8 | uint64(b)
	}
	return n, nil
}

// before is the order in which held messages leave: of due, and of arrival.
func (h held) before(o held) bool {
	if h.due != o.due {
		return h.due < o.due
	}
	return h.id < o.id
}

func (held) placed(int) {}
