package view

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// errNotLevel says that rows which change with their events do not hold all of them for now.
var errNotLevel = errors.New("its rows do not hold all events yet")

// isLevel says that the rows of a part hold all of its events that v sees.
func (s *stored) isLevel(v store.View, generation int64, part int) error {
	if mutation.On("view-inline-read-behind") {
		return nil
	}
	all, err := readInlined(v, s.view, part)
	if err != nil {
		return err
	}
	i := findInlined(all, generation)
	if i < 0 || !all[i].On {
		return errNotLevel
	}
	b, err := v.Log().Bounds(store.InPart(entity.Channel(s.entity), part))
	if err == nil && b.Next != all[i].Pos {
		err = errNotLevel
	}
	return err
}

// with is how far rows have come of which some change with their events.
func (a at) with(beside map[int]inlined) at {
	if len(beside) == 0 {
		return a
	}
	a.Pos = slices.Clone(a.Pos)
	for p, r := range beside {
		if p < len(a.Pos) {
			a.Pos[p] = r.Pos
		}
		a.Rows, a.Events, a.Old = a.Rows+r.Rows, a.Events+r.Events, a.Old || r.Old
	}
	return a
}

// load reads how far followers have brought the rows, and in which parts they do so no more.
func (s *stored) load(ctx context.Context) (a at, beside map[int]inlined, ok bool, err error) {
	err = look(ctx, s.st, func(v store.View) error {
		beside = map[int]inlined{}
		if a, ok, err = s.at(v); err != nil {
			return err
		}
		for p := range s.lanes() {
			all, err := readInlined(v, s.view, p)
			if err != nil {
				return err
			}
			if i := findInlined(all, s.generation); i >= 0 {
				beside[p] = all[i]
			}
		}
		return nil
	})
	return a, beside, ok, err
}

// alone says that the rows of all parts whose position changes are a follower's to change.
func (s *stored) alone(tx store.Tx, from, to []int64) error {
	for p := range s.lanes() {
		if p < len(from) && p < len(to) && from[p] == to[p] {
			continue
		}
		all, err := readInlined(tx, s.view, p)
		if err != nil {
			return err
		}
		if findInlined(all, s.generation) >= 0 {
			return errBehind
		}
	}
	return nil
}

// join has the rows of a part change with its events from now on. False: too many are there that they don't hold yet, or one that can't be folded.
func (s *stored) join(ctx context.Context, r *inlineRows, part int) (bool, error) {
	var joined bool // no result: where nobody waits any more, the transaction may still assign it
	err := s.st.Submit(store.Small, func(tx store.Tx) error {
		joined = false
		a, ok, err := s.at(tx)
		if err != nil || !ok {
			return errors.Join(err, errBehind)
		}
		if g, _, err := readRegistered(tx, s.view); err != nil || g.Generation != s.generation && g.Building != s.generation {
			return errors.Join(err, errRetired)
		}
		all, err := readInlined(tx, s.view, part)
		if err != nil {
			return err
		}
		if findInlined(all, s.generation) >= 0 {
			return errBehind // somebody else was there first
		}
		b, err := tx.Log().Bounds(store.InPart(entity.Channel(s.entity), part))
		if err != nil {
			return err
		}
		if b.Next-a.Pos[part] > mostTaken {
			return nil
		}
		all = append(all, inlined{Generation: s.generation, Hash: r.view.Hash, On: true, Pos: a.Pos[part]})
		if mutation.On("view-inline-joins-early") {
			all[len(all)-1].Pos = b.Next
		}
		made := &beside{r: r, tx: tx, part: part, all: all}
		g, err := made.take(&all[len(all)-1], b.Next)
		if err != nil || g == nil {
			return err
		}
		made.made = append(made.made, g)
		joined = true
		return made.End()
	}).Wait(ctx)
	if err != nil { // it may still be running
		return false, err
	}
	return joined, nil
}

// mostTaken is how many events are folded at most where a part is taken over: others wait meanwhile.
const mostTaken = 4096

// catchUp brings the rows of a part that change with its events to what is there: somebody may have appended who did not change them, such as an erasure.
func (s *stored) catchUp(ctx context.Context, r *inlineRows, part int) error {
	return s.st.Submit(store.Small, func(tx store.Tx) error {
		b, err := tx.Log().Bounds(store.InPart(entity.Channel(s.entity), part))
		if err != nil {
			return err
		}
		made, err := r.begin(tx, part, b.Next)
		if err != nil || made == nil {
			return err
		}
		return made.End()
	}).Wait(ctx)
}

// beside says how the rows of a part are that change with its events, and whether they hold all of them.
func (s *stored) beside(ctx context.Context, part int) (r inlined, ok, level bool, err error) {
	err = look(ctx, s.st, func(v store.View) error {
		all, err := readInlined(v, s.view, part)
		if err != nil {
			return err
		}
		b, err := v.Log().Bounds(store.InPart(entity.Channel(s.entity), part))
		if err != nil {
			return err
		}
		i := findInlined(all, s.generation)
		if ok = i >= 0; ok {
			r = all[i]
			level = r.Pos == b.Next
		}
		return nil
	})
	return r, ok, level, err
}

// leave has a follower bring the rows of a part further again.
func (s *stored) leave(ctx context.Context, part int) error {
	return s.st.Submit(store.Small, func(tx store.Tx) error {
		all, err := readInlined(tx, s.view, part)
		if err != nil {
			return err
		}
		i := findInlined(all, s.generation)
		a, ok, err := s.at(tx)
		if err != nil || i < 0 || !ok {
			return err
		}
		a = a.with(map[int]inlined{part: all[i]})
		if err := putInlined(tx, s.view, part, slices.Delete(all, i, i+1)); err != nil {
			return err
		}
		return putAt(tx, s.view, s.generation, a)
	}).Wait(ctx)
}

// unjoin has nothing change with events any more: the generation is to be dropped.
func (s *stored) unjoin(ctx context.Context) error {
	for p := range s.lanes() {
		err := s.st.Submit(store.Small, func(tx store.Tx) error {
			all, err := readInlined(tx, s.view, p)
			if err != nil {
				return err
			}
			i := findInlined(all, s.generation)
			if i < 0 {
				return nil
			}
			return putInlined(tx, s.view, p, slices.Delete(all, i, i+1))
		}).Wait(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// scan lists rows in a view of the store.
func (s *stored) scan(v store.View, after []byte, limit int) ([]Row, error) {
	generation, err := s.seen(v)
	if err != nil {
		return nil, err
	}
	parts := make([]reading, s.parts())
	for p := range parts {
		if s.level {
			if err := s.isLevel(v, generation, p); err != nil {
				return nil, err
			}
		}
		parts[p] = reading{state: v.State(), space: rowsIn(s.view, generation, s.place, p), after: after, page: limit}
		if len(parts) > 1 {
			parts[p].page = limit/len(parts)*2 + 8 // most parts have about as many
		}
	}
	return merged(parts, limit)
}

// reading is the rows of a part behind a key.
type reading struct {
	state store.State
	space string
	after []byte
	page  int
	rows  []store.Entry
	end   bool
}

// first is the next row; false where there is none.
func (r *reading) first() (*store.Entry, bool, error) {
	if len(r.rows) == 0 && !r.end {
		var err error
		if r.rows, err = r.state.Scan(r.space, r.after, r.page); err != nil {
			return nil, false, err
		}
		if r.end = len(r.rows) < r.page; len(r.rows) > 0 {
			r.after = r.rows[len(r.rows)-1].Key
		}
	}
	if len(r.rows) == 0 {
		return nil, false, nil
	}
	return &r.rows[0], true, nil
}

// merged are the rows of all parts in the order of their keys, up to limit.
func merged(parts []reading, limit int) ([]Row, error) {
	var out []Row
	for len(out) < limit {
		var least *reading
		for p := range parts {
			e, ok, err := parts[p].first()
			if err != nil {
				return nil, err
			}
			if ok && (least == nil || bytes.Compare(e.Key, least.rows[0].Key) < 0) {
				least = &parts[p]
			}
		}
		if least == nil {
			break
		}
		out = append(out, Row{string(least.rows[0].Key), least.rows[0].Value})
		least.rows = least.rows[1:]
	}
	return out, nil
}

// notKept is the error of who asks for rows that do not hold all events for now.
func notKept(view string) error {
	return &penstock.Error{Code: penstock.Unavailable, Op: "query view " + view, Err: errors.New("its rows are to change with the events, and do not hold all of them yet: they are being built"),
		Hint: "`penstock view list` shows how far they are, and why they come no further"}
}

// lags says how far the rows are, and that those of some part do not change with their events.
func (s *stored) lags(ctx context.Context) (at, bool, error) {
	a, beside, ok, err := s.load(ctx)
	on := 0
	for _, r := range beside {
		if r.On {
			on++
		}
	}
	return a.with(beside), !ok || on < s.lanes(), err
}
