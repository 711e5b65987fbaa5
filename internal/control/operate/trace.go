package operate

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

const (
	maxHops   = 1000 // shown, where nothing else is asked for
	maxPasses = 64   // over the journal, to find what a message was made of
)

// Trace implements [Journal]. By id it finds what a message was made of, and everything that was made of it; by key
// the messages that had it.
func (d *direct) Trace(ctx context.Context, q TraceQuery) (*Trace, error) {
	if (q.ID == "") == (q.Key == "") {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "trace", Err: errors.New("what is followed is a message, by its id, or a key")}
	}
	if d.unused() {
		return &Trace{Hops: []Hop{}}, nil
	}
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	t := &tracer{s: s, limit: q.Limit, out: &Trace{Hops: []Hop{}}}
	if t.limit <= 0 {
		t.limit = maxHops
	}
	if q.Key != "" {
		err = t.byKey(ctx, q.Key)
	} else {
		err = t.byID(ctx, q.ID)
	}
	if err != nil {
		return nil, err
	}
	return t.out, nil
}

type tracer struct {
	s     store.Store
	limit int
	out   *Trace
}

func (t *tracer) byKey(ctx context.Context, key string) error {
	return t.read(ctx, func(e *journal.Entry) {
		if e.Key == key || slices.ContainsFunc(e.Hops, func(h journal.Hop) bool { return h.Key == key }) {
			t.show(e)
		}
	})
}

// byID follows a message. What is made of a message comes after it in the journal, and is found in one pass; what it was made of
// lies before it, and takes a pass for each step back.
func (t *tracer) byID(ctx context.Context, id string) error {
	ids, err := t.named(ctx, id)
	if err != nil {
		return err
	}
	f := newFollower(ids...)
	if err := t.s.View(ctx, f.steps); err != nil {
		return err
	}
	for range maxPasses {
		if err := t.read(ctx, f.see); err != nil {
			return err
		}
		if !f.over() {
			break
		}
	}
	return t.read(ctx, func(e *journal.Entry) {
		if f.shows(e) {
			t.show(e)
		}
	})
}

// named lists the messages that an id means: its own, and where it is a line of a file, in/x.csv:17, that line of each version of the
// file which a watched folder had.
func (t *tracer) named(ctx context.Context, id string) ([]string, error) {
	ids := []string{id}
	at := strings.LastIndexByte(id, ':')
	if at < 0 {
		return ids, nil
	}
	line, err := strconv.ParseInt(id[at+1:], 10, 64)
	if err != nil || line <= 0 {
		return ids, nil //nolint:nilerr // no line of a file: nothing but itself
	}
	err = t.read(ctx, func(e *journal.Entry) {
		if e.Line == line && e.Fate != journal.Emitted && versionOf(e.Stream, id[:at]) && !slices.Contains(ids, e.ID()) {
			ids = append(ids, e.ID())
		}
	})
	return ids, err
}

// versionOf says that a stream is a version of a file: in/x.csv@1f00c3d2 or in/x.csv@1f00c3d2.2 of in/x.csv (see package
// connector/file).
func versionOf(stream, name string) bool {
	rest, ok := strings.CutPrefix(stream, name+"@")
	if !ok {
		return false
	}
	hash, number, numbered := strings.Cut(rest, ".")
	if _, err := strconv.ParseUint(hash, 16, 32); err != nil || len(hash) != 8 {
		return false
	}
	if _, err := strconv.ParseUint(number, 10, 31); numbered && err != nil {
		return false
	}
	return true
}

func (t *tracer) show(e *journal.Entry) {
	if len(t.out.Hops) >= t.limit {
		t.out.More = true
		return
	}
	h := Hop{Time: time.Unix(0, e.Time).UTC(), Flow: e.Flow, ID: e.ID(), Key: e.Key, Fate: e.Fate.String()}
	for _, to := range e.Hops {
		switch {
		case e.Fate == journal.Emitted:
			h.From = to.To
		case to.Position >= 0:
			h.To = append(h.To, record.ID(to.To, to.Position))
		case to.Key != "":
			h.To = append(h.To, to.To+" ("+to.Key+")")
		default:
			h.To = append(h.To, to.To)
		}
	}
	t.out.Hops = append(t.out.Hops, h)
}

// read goes through the journal, the oldest entry first.
func (t *tracer) read(ctx context.Context, visit func(*journal.Entry)) error {
	from := int64(0)
	for {
		var segs []store.Segment
		err := t.s.View(ctx, func(v store.View) (err error) {
			segs, err = v.Log().Segments(journal.Channel, from, pageBytes)
			return err
		})
		if err != nil || len(segs) == 0 {
			return err
		}
		if t.out.Since.IsZero() {
			t.out.Since = time.Unix(0, segs[0].MinTime).UTC()
		}
		for _, seg := range segs {
			err := frames(seg, from, func(pos int64, rec []byte) (bool, error) {
				err := journal.Read(rec, func(e *journal.Entry) bool {
					visit(e)
					return true
				})
				if err != nil {
					err = &penstock.Error{Code: penstock.Internal, Op: "trace", Path: record.ID(journal.Channel, pos), Err: err, Hint: "`penstock store check` says what else is damaged"}
				}
				return true, err
			})
			if err != nil {
				return err
			}
			from = seg.End()
		}
	}
}
