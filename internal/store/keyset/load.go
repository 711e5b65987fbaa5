package keyset

import (
	"context"
	"encoding/binary"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// load reads what is in the store.
func (s *Set) load(ctx context.Context) error {
	var st stored
	err := s.view(ctx, func(v store.State) error {
		if e, ok, err := v.Get(s.space, clockKey); err != nil {
			return err
		} else if ok {
			if s.clock, s.ahead, s.sequence, err = s.readClock(e.Value); err != nil {
				return err
			}
		}
		e, ok, err := v.Get(s.space, manifestKey)
		if err != nil || !ok {
			return err
		}
		if len(e.Value) == 0 || e.Value[0] != manifestVersion {
			err := penstock.E(penstock.Config, "store", "space "+s.space, "the set of keys was written by another version of Penstock")
			err.Hint = "run the newer version"
			return err
		}
		if st, ok = s.readManifest(e.Value[1:]); !ok {
			return s.damaged("its manifest can't be read")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if st.chunk > 0 {
		s.shape.chunk = st.chunk // what is there goes on in pieces of its size
	}
	for i, r := range s.runs {
		if err := s.loadRun(ctx, r, st.words[i]); err != nil {
			return err
		}
		s.clock = max(s.clock, r.newest)
	}
	for _, b := range st.building {
		if err := s.abandon(ctx, b); err != nil {
			return err
		}
	}
	if err := s.loadLog(ctx); err != nil {
		return err
	}
	s.stored = s.clock
	return nil
}

// loadRun reads a run's filter and fences.
func (s *Set) loadRun(ctx context.Context, r *run, words int) error {
	var err error
	if r.filter, err = s.words(ctx, 'b', r, words); err != nil {
		return err
	}
	r.fences, err = s.words(ctx, 'f', r, r.pages)
	return err
}

// words reads numbers that are stored in pieces.
func (s *Set) words(ctx context.Context, kind byte, r *run, n int) ([]uint64, error) {
	dst := make([]uint64, 0, n)
	for piece := 0; len(dst) < n; {
		err := s.view(ctx, func(v store.State) error {
			for range 128 {
				want := min(s.shape.chunk, n-len(dst))
				if want == 0 {
					return nil
				}
				e, ok, err := v.Get(s.space, partKey(nil, kind, r.id, piece))
				if err != nil {
					return err
				}
				if !ok || len(e.Value) != 8*want {
					return s.damaged("piece %d of the index of run %d is not whole", piece, r.id)
				}
				for b := e.Value; len(b) > 0; b = b[8:] {
					dst = append(dst, binary.LittleEndian.Uint64(b))
				}
				piece++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// abandon finds out how far a run came that was being written when the process ended, and has it deleted. Its pages were written in
// order.
func (s *Set) abandon(ctx context.Context, b [3]int64) error {
	lo, hi := 0, int(b[2]) // the pages before lo are there, those from hi on are not
	err := s.view(ctx, func(v store.State) error {
		for lo < hi {
			m := (lo + hi) / 2
			_, ok, err := v.Get(s.space, pageKey(nil, uint64(b[0]), m))
			if err != nil {
				return err
			}
			if ok {
				lo = m + 1
			} else {
				hi = m
			}
		}
		return nil
	})
	s.dead = append(s.dead, dead{id: uint64(b[0]), pages: lo, filters: pieces(int(b[1]), s.shape.chunk), fences: pieces(lo, s.shape.chunk)})
	s.dirty = true
	return err
}

// loadLog reads the keys that are in no run.
func (s *Set) loadLog(ctx context.Context) error {
	s.log.number = s.log.first
	after, more := []byte{'l'}, true
	for more {
		err := s.view(ctx, func(v store.State) error {
			entries, err := v.Scan(s.space, after, 64)
			if err != nil {
				return err
			}
			more = len(entries) == 64
			for _, e := range entries {
				if e.Key[0] != 'l' {
					more = false
					return nil
				}
				if len(e.Key) != 9 {
					return s.damaged("its log has a key of %d bytes", len(e.Key))
				}
				after = e.Key
				n := binary.BigEndian.Uint64(e.Key[1:])
				s.log.number = max(s.log.number, n+1)
				whole := readLog(e.Value, func(x entry) {
					s.clock = max(s.clock, x.at)
					s.recent[x.hash] = x.at // times don't go back: the last is the newest
				})
				if !whole {
					return s.damaged("entry %d of its log is cut off", n)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
