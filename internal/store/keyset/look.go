package keyset

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"penstock.dev/penstock/internal/store"
)

// want is a key that may be in a page.
type want struct {
	run  int
	page int
	key  int // index in the batch
}

// How much is read in one view, so that none lasts long: pages, and entries of runs that are merged.
const (
	portion      = 512
	mergePortion = 64 << 10
)

// freshBytes is how much is kept of what was written before it is looked at whether it is durable.
const freshBytes = 1 << 20

// slow says that a view was closed because it took too long: the disk is busy. What it read until then counts.
func slow(ctx context.Context, err error) bool {
	return ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
}

// look finds for every key that is not in recent when it was last added, and leaves that in best.
func (s *Set) look(ctx context.Context, keys []Key) error {
	s.best = slices.Grow(s.best[:0], len(keys))[:len(keys)]
	s.wanted = s.wanted[:0]
	for i, k := range keys {
		s.best[i] = never
		if _, ok := s.recent[k.Hash]; ok {
			continue
		}
		if at, ok := s.inFrozen(k.Hash); ok {
			s.best[i] = at
			continue
		}
		for j, r := range s.runs {
			// The clock only goes on from here, so what is over now is over for all of keys.
			if s.counts(r.newest, s.clock) && r.filter.has(k.Hash) {
				if p := r.page(k.Hash); p >= 0 {
					s.wanted = append(s.wanted, want{j, p, i})
				}
			}
		}
	}
	if len(s.wanted) == 0 {
		return nil
	}
	slices.SortFunc(s.wanted, func(a, b want) int {
		if c := cmp.Compare(a.run, b.run); c != 0 {
			return c
		}
		return cmp.Compare(a.page, b.page)
	})
	rest := s.answer(s.wanted, keys)
	for len(rest) > 0 {
		before := len(rest)
		err := s.view(ctx, func(v store.State) error {
			for n := 0; n < portion && len(rest) > 0; n++ {
				r := s.runs[rest[0].run]
				page, err := s.read(v, r, rest[0].page)
				if err != nil {
					return err
				}
				s.pages.put(pageID{r.id, rest[0].page}, page)
				rest = s.answer(rest, keys)
			}
			return nil
		})
		if err != nil && (!slow(ctx, err) || len(rest) == before) {
			return err
		}
	}
	return nil
}

// answer takes from the front of wanted what is in pages that are in memory, and moves on past it; the first of the rest, if any, needs
// a page from the store.
func (s *Set) answer(wanted []want, keys []Key) []want {
	for len(wanted) > 0 {
		first := wanted[0]
		r := s.runs[first.run]
		id := pageID{r.id, first.page}
		page := s.pages.get(id)
		if page == nil {
			if u, ok := s.fresh[id]; ok {
				page = u.data
			} else {
				return wanted
			}
		}
		for len(wanted) > 0 && wanted[0].run == first.run && wanted[0].page == first.page {
			i := wanted[0].key
			if at, ok := r.find(page, keys[i].Hash); ok {
				s.best[i] = max(s.best[i], at)
			}
			wanted = wanted[1:]
		}
	}
	return nil
}

func (s *Set) inFrozen(h Hash) (int64, bool) {
	if len(s.frozen) == 0 {
		return 0, false
	}
	i, ok := slices.BinarySearchFunc(s.frozen, h, func(e entry, h Hash) int { return e.hash.compare(h) })
	if !ok {
		return 0, false
	}
	return s.frozen[i].at, true
}

// view reads the store, and lets go of pages that have become durable.
func (s *Set) view(ctx context.Context, f func(store.State) error) error {
	return s.viewer.View(ctx, func(v store.View) error {
		st := v.State()
		if len(s.fresh) > 0 {
			e, ok, err := st.Get(s.space, clockKey)
			if err != nil {
				return err
			}
			if ok {
				_, _, done, err := s.readClock(e.Value)
				if err != nil {
					return err
				}
				for id, u := range s.fresh {
					if u.sequence <= done {
						delete(s.fresh, id)
					}
				}
			}
		}
		return f(st)
	})
}

// read gets a page, and checks that it is one.
func (s *Set) read(v store.State, r *run, page int) ([]byte, error) {
	if u, ok := s.fresh[pageID{r.id, page}]; ok {
		return u.data, nil
	}
	s.keybuf = pageKey(s.keybuf[:0], r.id, page)
	e, ok, err := v.Get(s.space, s.keybuf)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, s.damaged("page %d of run %d is not there", page, r.id)
	case len(e.Value) == 0 || len(e.Value)%r.size() != 0 || r.at(e.Value, 0).hash.hi != r.fences[page]:
		return nil, s.damaged("page %d of run %d does not fit its index", page, r.id)
	}
	return e.Value, nil
}
