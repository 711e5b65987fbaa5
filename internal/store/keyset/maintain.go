package keyset

import (
	"context"
	"encoding/binary"
	"slices"

	"penstock.dev/penstock/internal/store"
)

// work is how many entries Maintain may handle for each key that was added: each is written once as it becomes part of a run, less than five
// times when runs are merged, and deleted as often, which costs a third of that.
const work = 8

// deletion is what deleting an entry of the store costs, in entries of the set.
const deletion = 16

// build is a run that is being written.
type build struct {
	out  *run
	in   []*run // merge: neighbours in time; nil: frozen is written
	most int    // pages, at most

	cursors []cursor // merge
	taken   int      // flush: entries of frozen
	to      uint64   // flush: the log entries before this one are in it

	page    []byte
	lastHi  uint64
	filters int // words of the filter that are stored
	fences  int // fences that are stored
}

// cursor goes through a run.
type cursor struct {
	run  *run
	data []byte
	page int // the next to be read
	i    int
	head entry
	done bool
}

// Maintain does a portion of what keeps the set small and fast: it writes runs, merges them, and deletes those that are over.
// How much it does follows from what was added. It is to be called with every transaction that adds keys, after [Set.Add]; more says
// that there is work left, which can wait for the next. A portion is a few milliseconds of work, for each thousand keys added about one
// more.
func (s *Set) Maintain(ctx context.Context, out Putter) (more bool, err error) {
	if len(s.fresh)*s.shape.page > freshBytes { // nobody has looked into the store for long: let go of what is durable
		if err := s.view(ctx, func(store.State) error { return nil }); err != nil && !slow(ctx, err) {
			return false, err
		}
	}
	budget := s.shape.least + s.credit
	s.credit = 0
	began := s.sequence
	s.dropOld()
	for progress := true; progress && budget > 0; {
		progress = false
		if s.flush == nil && len(s.recent) >= s.shape.memory {
			s.freeze()
		}
		if s.flush != nil {
			budget = s.flushSome(out, began+1, budget)
			progress = true
		}
		if s.merge == nil && budget > 0 {
			s.fold()
		}
		if s.merge != nil && budget > 0 {
			if budget, err = s.mergeSome(ctx, out, began+1, budget); err != nil {
				return false, err
			}
			progress = true
		}
		if len(s.dead) > 0 && budget > 0 {
			budget = s.deleteSome(out, budget)
			progress = true
		}
	}
	if s.dirty {
		s.writeManifest(out)
		s.writeClock(out)
	} else if s.sequence != began || s.stored != s.clock {
		s.writeClock(out)
	}
	return s.flush != nil || s.merge != nil || len(s.dead) > 0 || len(s.recent) >= s.shape.memory, nil
}

// dropOld lets go of the runs that are over.
func (s *Set) dropOld() {
	s.runs = slices.DeleteFunc(s.runs, func(r *run) bool {
		if s.counts(r.newest, s.clock) || s.merge != nil && slices.Contains(s.merge.in, r) {
			return false
		}
		s.bury(r, r.pages)
		return true
	})
}

// begin makes a run of so many entries at most.
func (s *Set) begin(entries int64, oldest, newest int64) *build {
	out := &run{id: s.next}
	s.next++
	out.span(oldest, newest)
	perPage := int64(max(1, s.shape.page/out.size()))
	b := &build{out: out, most: int((entries + perPage - 1) / perPage)}
	out.filter = make(filter, filterWords(entries))
	out.fences = make([]uint64, 0, b.most)
	s.dirty = true
	return b
}

// freeze makes what has gathered in memory the next run.
func (s *Set) freeze() {
	s.log.turn()
	s.frozen = s.frozen[:0]
	for h, at := range s.recent {
		if s.counts(at, s.clock) {
			s.frozen = append(s.frozen, entry{h, at})
		}
	}
	clear(s.recent)
	slices.SortFunc(s.frozen, func(a, b entry) int { return a.hash.compare(b.hash) })
	oldest, newest := s.clock, s.clock
	for _, e := range s.frozen {
		oldest, newest = min(oldest, e.at), max(newest, e.at)
	}
	s.flush = s.begin(int64(len(s.frozen)), oldest, newest)
	s.flush.to = s.log.number
}

func (s *Set) flushSome(out Putter, sequence uint64, budget int) int {
	b := s.flush
	for ; b.taken < len(s.frozen) && budget > 0; budget-- {
		s.emit(out, b, sequence, s.frozen[b.taken])
		b.taken++
	}
	if b.taken < len(s.frozen) {
		return budget
	}
	s.complete(out, b, sequence)
	if b.out.entries > 0 {
		s.runs = append(s.runs, b.out)
	}
	for ; s.log.first < b.to; s.log.first++ {
		s.keybuf = logKey(s.keybuf[:0], s.log.first)
		out.Delete(s.keybuf)
	}
	s.frozen, s.flush, s.dirty = s.frozen[:0], nil, true
	return budget
}

// fold looks for runs to merge, the newest first: three to six neighbours of which none is more than two fifths of all, so that every entry
// is merged a few times only however many there are.
func (s *Set) fold() {
	for end := len(s.runs); end >= 3; end-- {
		for n := min(6, end); n >= 3; n-- {
			in := s.runs[end-n : end]
			var sum, largest int64
			for _, r := range in {
				sum += r.entries
				largest = max(largest, r.entries)
			}
			if sum > int64(s.shape.most) || largest*5 > sum*2 {
				continue
			}
			oldest, newest := in[0].base, in[0].newest
			for _, r := range in[1:] {
				oldest, newest = min(oldest, r.base), max(newest, r.newest)
			}
			s.merge = s.begin(sum, oldest, newest)
			s.merge.in = slices.Clone(in)
			for _, r := range in {
				s.merge.cursors = append(s.merge.cursors, cursor{run: r})
			}
			return
		}
	}
}

func (s *Set) mergeSome(ctx context.Context, out Putter, sequence uint64, budget int) (int, error) {
	b := s.merge
	done := false
	for !done && budget > 0 {
		part := min(budget, mergePortion)
		asked := part
		budget -= part
		err := s.view(ctx, func(v store.State) error {
			for part > 0 {
				e, n, err := s.least(v, b)
				if err != nil {
					return err
				}
				if done = n == 0; done {
					return nil
				}
				part -= n
				if s.counts(e.at, s.clock) {
					s.emit(out, b, sequence, e)
				}
			}
			return nil
		})
		budget += part
		if err != nil && (!slow(ctx, err) || part == asked) {
			return 0, err
		}
	}
	if !done {
		return budget, nil
	}
	s.complete(out, b, sequence)
	at := slices.Index(s.runs, b.in[0])
	var made []*run
	if b.out.entries > 0 {
		made = append(made, b.out)
	}
	s.runs = slices.Replace(s.runs, at, at+len(b.in), made...)
	for _, r := range b.in {
		s.bury(r, r.pages)
	}
	s.merge, s.dirty = nil, true
	return budget, nil
}

// least takes the lowest hash of the runs that are merged, with the newest time where several have it; how many entries that
// were: 0 at the end.
func (s *Set) least(v store.State, b *build) (entry, int, error) {
	var e entry
	found := false
	for i := range b.cursors {
		c := &b.cursors[i]
		if err := s.turn(v, c); err != nil {
			return e, 0, err
		}
		if !c.done && (!found || c.head.hash.compare(e.hash) < 0) {
			e, found = c.head, true
		}
	}
	if !found {
		return e, 0, nil
	}
	n := 0
	for i := range b.cursors {
		c := &b.cursors[i]
		if !c.done && c.head.hash == e.hash {
			e.at = max(e.at, c.head.at)
			n++
			c.advance()
		}
	}
	return e, n, nil
}

// turn reads the next page if a cursor needs one. Nothing is lost if that fails.
func (s *Set) turn(v store.State, c *cursor) error {
	if c.data != nil || c.done {
		return nil
	}
	if c.page == c.run.pages {
		c.done = true
		return nil
	}
	data, err := s.read(v, c.run, c.page)
	if err != nil {
		return err
	}
	c.data, c.i = data, 0
	c.page++
	c.head = c.run.at(data, 0)
	return nil
}

// advance moves a cursor to the next entry, which may be in a page that has to be read.
func (c *cursor) advance() {
	if c.i++; c.i*c.run.size() < len(c.data) {
		c.head = c.run.at(c.data, c.i)
	} else {
		c.data = nil
	}
}

// emit writes an entry of a run.
func (s *Set) emit(out Putter, b *build, sequence uint64, e entry) {
	r := b.out
	// Hashes with the same first half stay in one page, so that a fence says where to look.
	if len(b.page)+r.size() > s.shape.page && len(b.page) > 0 && e.hash.hi != b.lastHi {
		s.closePage(out, b, sequence)
	}
	if len(b.page) == 0 {
		r.fences = append(r.fences, e.hash.hi)
	}
	b.page = r.append(b.page, e)
	b.lastHi = e.hash.hi
	r.entries++
	r.filter.add(e.hash)
	for at := r.filter.block(e.hash); b.filters+s.shape.chunk <= at; {
		s.storeFilter(out, b, sequence)
	}
	for len(r.fences)-b.fences > s.shape.chunk {
		s.storeFences(out, b, sequence)
	}
}

// complete writes what is left of a run.
func (s *Set) complete(out Putter, b *build, sequence uint64) {
	if b.out.entries == 0 {
		return
	}
	s.closePage(out, b, sequence)
	for b.filters < len(b.out.filter) {
		s.storeFilter(out, b, sequence)
	}
	for b.fences < len(b.out.fences) {
		s.storeFences(out, b, sequence)
	}
}

func (s *Set) closePage(out Putter, b *build, sequence uint64) {
	s.keybuf = pageKey(s.keybuf[:0], b.out.id, b.out.pages)
	out.Put(s.keybuf, b.page, 0)
	s.fresh[pageID{b.out.id, b.out.pages}] = unseen{slices.Clone(b.page), sequence}
	s.sequence = sequence
	b.out.pages++
	b.page = b.page[:0]
}

func (s *Set) storeFilter(out Putter, b *build, sequence uint64) {
	n := min(s.shape.chunk, len(b.out.filter)-b.filters)
	s.storeWords(out, 'b', b.out.id, b.filters/s.shape.chunk, b.out.filter[b.filters:b.filters+n])
	b.filters += n
	s.sequence = sequence
}

func (s *Set) storeFences(out Putter, b *build, sequence uint64) {
	n := min(s.shape.chunk, len(b.out.fences)-b.fences)
	s.storeWords(out, 'f', b.out.id, b.fences/s.shape.chunk, b.out.fences[b.fences:b.fences+n])
	b.fences += n
	s.sequence = sequence
}

func (s *Set) storeWords(out Putter, kind byte, run uint64, piece int, words []uint64) {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	s.keybuf = partKey(s.keybuf[:0], kind, run, piece)
	out.Put(s.keybuf, b, 0)
}

// deleteSome deletes runs that nothing reads any more.
func (s *Set) deleteSome(out Putter, budget int) int {
	for len(s.dead) > 0 && budget > 0 {
		d := &s.dead[0]
		for ; d.done < d.parts() && budget > 0; budget -= deletion {
			s.keybuf = d.part(s.keybuf[:0], d.done)
			out.Delete(s.keybuf)
			d.done++
		}
		if d.done == d.parts() {
			s.dead = slices.Delete(s.dead, 0, 1)
			s.dirty = true
		}
	}
	return budget
}
