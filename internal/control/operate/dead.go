package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// pageBytes is about how much of a channel is read at a time: a view lasts at most a second.
const pageBytes = 1 << 20

// stored is a dead letter as it lies in the store.
type stored struct {
	flow   string
	pos    int64
	record []byte
	open   bool
}

// Clusters implements [DeadLetters].
func (d *direct) Clusters(ctx context.Context, flow string) (*Clusters, error) {
	c := newClusterer()
	err := d.visit(ctx, Selection{Flow: flow}, func(s stored) error {
		v, err := record.Parse(s.record)
		if err != nil {
			return damaged(s, err)
		}
		r := reasonOf(v)
		c.add(s.flow, letterID(s.flow, s.pos), &r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.result(), nil
}

func damaged(s stored, err error) error {
	return &penstock.Error{Code: penstock.Internal, Op: "dead letter", Path: letterID(s.flow, s.pos), Err: err, Hint: "`penstock store check` says what else is damaged"}
}

// reasonOf reads meta.dead without the rest of the letter.
func reasonOf(v record.View) Reason {
	for name, value := range v.Meta() {
		if name == "dead" {
			return ReasonOf(value)
		}
	}
	return Reason{}
}

// ReasonOf reads a header meta.dead; what is no object gives the zero Reason.
func ReasonOf(dead penstock.Value) Reason {
	var r Reason
	if dead.Kind() == penstock.KindNode { // it was carried as JSON
		if text, err := dead.AppendJSON(nil); err == nil && json.Unmarshal(text, &r) != nil {
			return Reason{}
		}
		return r
	}
	if dead.Kind() != penstock.KindMap {
		return r
	}
	for _, e := range dead.Map().Entries {
		if e.Key.Kind() != penstock.KindString {
			continue
		}
		if e.Value.Kind() == penstock.KindInt {
			switch e.Key.Str() {
			case "attempts":
				r.Attempts = e.Value.Int()
			case "number":
				r.Number = e.Value.Int()
			case "redriven":
				r.Redriven = e.Value.Int()
			}
		}
		if e.Value.Kind() == penstock.KindString {
			r.set(e.Key.Str(), strings.Clone(e.Value.Str()))
		}
	}
	return r
}

func (r *Reason) set(field, value string) {
	switch field {
	case "code":
		r.Code = penstock.Code(value)
	case "message":
		r.Message = value
	case "path":
		r.Path = value
	case "step":
		r.Step = value
	case "flow":
		r.Flow = value
	case "origin":
		r.Origin = value
	case "time":
		r.Time = value
	case "entry":
		r.Entry = value
	case "held":
		r.Held = value
	}
}

// Show implements [DeadLetters].
func (d *direct) Show(ctx context.Context, id string) (*DeadLetter, error) {
	flow, pos, err := ParseID(id)
	if err != nil {
		return nil, err
	}
	var found *DeadLetter
	gone := "is not there any more"
	err = d.scan(ctx, flow, pos, pos, func(s stored) (bool, error) {
		found, err = letterOf(s.flow, s.pos, s.record)
		if err == nil {
			found.Open = s.open
		}
		return false, err
	}, func(b store.Bounds) {
		if pos >= b.Next {
			gone = "was never there"
		}
	})
	if err == nil && found == nil {
		err = &penstock.Error{Code: penstock.NotFound, Op: "dead letter", Err: fmt.Errorf("%s %s", id, gone), Hint: "`penstock dlq ls` shows what there is"}
	}
	return found, err
}

// Each implements [DeadLetters].
func (d *direct) Each(ctx context.Context, s Selection, visit func(*DeadLetter) error) error {
	return d.visit(ctx, s, func(f stored) error {
		l, err := letterOf(f.flow, f.pos, f.record)
		if err != nil {
			return err
		}
		l.Open = true
		if s.Records {
			l.Record = f.record
		}
		return visit(l)
	})
}

// visit goes through what is selected, flow by flow, in the order of positions.
func (d *direct) visit(ctx context.Context, s Selection, visit func(stored) error) error {
	filter, err := d.filter(s)
	if err != nil {
		return err
	}
	ids, err := readIDs(s)
	if err != nil {
		return err
	}
	if ids == nil && d.unused() {
		return d.known(store.Bounds{}, s.Flow)
	}
	flows, err := d.flowsOf(ctx, s.Flow, ids)
	if err != nil {
		return err
	}
	left := s.Limit
	if left <= 0 {
		left = math.MaxInt
	}
	for _, f := range flows {
		flow := f.flow
		from, to := int64(0), f.next-1 // what dies meanwhile is not meant: what was redriven would be so again and again
		if ids != nil {
			from, to = slices.Min(ids[flow]), min(to, slices.Max(ids[flow]))
		}
		err := d.scan(ctx, flow, from, to, func(f stored) (bool, error) {
			if !f.open || ids != nil && !slices.Contains(ids[flow], f.pos) {
				return true, nil
			}
			if filter != nil {
				v, err := record.Parse(f.record)
				if err != nil {
					return false, damaged(f, err)
				}
				if ok, err := filter(v); err != nil || !ok {
					return err == nil, err
				}
			}
			if err := visit(f); err != nil {
				return false, err
			}
			left--
			return left > 0, nil
		}, nil)
		if err != nil || left == 0 {
			return err
		}
	}
	return nil
}

func (d *direct) filter(s Selection) (Filter, error) {
	if s.Match != nil || s.Where == "" {
		return s.Match, nil
	}
	return d.c.Where(s.Where)
}

// readIDs gives the positions that ids name, by flow, sorted; nil where none are named.
func readIDs(s Selection) (map[string][]int64, error) {
	if len(s.IDs) == 0 {
		return nil, nil //nolint:nilnil // not by id
	}
	out := map[string][]int64{}
	for _, id := range s.IDs {
		flow, pos, err := ParseID(id)
		if err != nil {
			return nil, err
		}
		if s.Flow != "" && flow != s.Flow {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "dead letters", Err: fmt.Errorf("%s is no dead letter of flow %s", id, s.Flow)}
		}
		if at, there := slices.BinarySearch(out[flow], pos); !there {
			out[flow] = slices.Insert(out[flow], at, pos)
		}
	}
	return out, nil
}

// lies says where the dead letters of a flow end.
type lies struct {
	flow string
	next int64
}

// flowsOf lists the flows whose dead letters are meant.
func (d *direct) flowsOf(ctx context.Context, flow string, ids map[string][]int64) ([]lies, error) {
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	var out []lies
	err = s.View(ctx, func(v store.View) error {
		if flow != "" {
			b, err := v.Log().Bounds(deadChannel(flow))
			if err != nil {
				return err
			}
			out = append(out, lies{flow, b.Next})
			return d.known(b, flow)
		}
		all, err := v.Log().Channels()
		for _, b := range all {
			f, ok := deadFlow(b.Channel)
			if ok && (ids == nil || ids[f] != nil) {
				out = append(out, lies{f, b.Next})
			}
		}
		return err
	})
	slices.SortFunc(out, func(a, b lies) int { return strings.Compare(a.flow, b.flow) })
	return out, err
}

// scan visits the stored dead letters of a flow from a position up to one, open or not, until visit says false. bounds, where
// it is there, is told of the channel.
func (d *direct) scan(ctx context.Context, flow string, from, to int64, visit func(stored) (bool, error), bounds func(store.Bounds)) error {
	s, err := d.store()
	if err != nil {
		return err
	}
	name := deadChannel(flow)
	for more := true; more && from <= to; {
		var segs []store.Segment
		var g group
		err := s.View(ctx, func(v store.View) error {
			b, err := v.Log().Bounds(name)
			if err != nil {
				return err
			}
			if bounds != nil {
				bounds(b)
			}
			if g, err = groupOf(v, b, deadGroup); err != nil {
				return err
			}
			segs, err = v.Log().Segments(name, from, pageBytes)
			return err
		})
		if err != nil {
			return err
		}
		if len(segs) == 0 {
			return nil
		}
		for _, seg := range segs {
			err := frames(seg, from, func(pos int64, rec []byte) (bool, error) {
				if pos > to {
					more = false
					return false, nil
				}
				more, err = visit(stored{flow: flow, pos: pos, record: rec, open: g.has(pos)})
				return more, err
			})
			if err != nil || !more {
				return err
			}
			from = seg.End()
		}
	}
	return nil
}
