package view

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// AsOf says as of when rows are asked for: of a time, or of a position of the source. The zero AsOf is position 0, before anything happened.
type AsOf struct {
	// Time, if it is not zero: every event that had happened by then, by the time that it has itself.
	Time time.Time
	// Position is how many events of the source, from the first that there ever was; where Time is zero.
	Position int64
}

func (as *AsOf) String() string {
	if as.Time.IsZero() {
		return "position " + strconv.FormatInt(as.Position, 10)
	}
	return as.Time.UTC().Format(time.RFC3339Nano)
}

// What one query as of then takes at most, and how many go on at a time: rows as they were are made anew for each, in memory.
const (
	pastBytes  = 64 << 20
	pastEvents = 10_000_000
	pastAtOnce = 2
)

// pastBounds are what one query as of then takes at most.
type pastBounds struct{ bytes, events int64 }

// rows is where a query looks.
type rows interface {
	// Read reads rows by their keys; nil for one that is not there.
	Read(ctx context.Context, keys []string) ([][]byte, error)
	// Scan lists up to limit rows behind a key, in the order of their keys.
	Scan(ctx context.Context, after string, limit int) ([]Row, error)
}

// past is rows as they were, in the order of their keys.
type past []Row

var _ rows = past(nil)

// Read implements rows.
func (p past) Read(_ context.Context, keys []string) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if at, ok := p.find(k); ok {
			out[i] = p[at].Text
		}
	}
	return out, nil
}

// Scan implements rows.
func (p past) Scan(_ context.Context, after string, limit int) ([]Row, error) {
	from := 0
	if after != "" {
		at, ok := p.find(after)
		if from = at; ok {
			from++
		}
	}
	return p[from:min(from+limit, len(p))], nil
}

func (p past) find(key string) (int, bool) {
	return slices.BinarySearchFunc(p, key, func(r Row, k string) int { return strings.Compare(r.Key, k) })
}

// rowsOn gives the rows that a query looks at: those that are read now, or, where it asks as of then, those that there were. key is the one row that is wanted;
// "" is all.
func (e *Engine) rowsOn(ctx context.Context, m *model, as *AsOf, key string) (rows, error) {
	if as == nil {
		rows, err := e.read(ctx, m)
		if s, is := rows.(*stored); is && err == nil && s.inline {
			s.level = true
			return &insistent{e, m, s}, nil
		}
		return rows, err
	}
	select {
	case e.pasts <- struct{}{}:
		defer func() { <-e.pasts }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	m.mu.RLock()
	v := m.view
	m.mu.RUnlock()
	h := &historian{e: e, view: v, as: as, key: key, table: map[string]*rowOf{}}
	if err := h.run(ctx, m); err != nil {
		return nil, err
	}
	return h.rows(), nil
}

// historian makes the rows of a view as they were.
type historian struct {
	e     *Engine
	view  *plan.View
	as    *AsOf
	key   string
	table map[string]*rowOf
	bytes int64
	n     int64 // events
}

func (h *historian) fail(code penstock.Code, hint, format string, args ...any) error {
	return &penstock.Error{Code: code, Op: "query view " + h.view.Name, Path: "asOf " + h.as.String(), Err: fmt.Errorf(format, args...), Hint: hint}
}

// run folds the events that are meant.
func (h *historian) run(ctx context.Context, m *model) error {
	src := h.e.sourceOf(h.view)
	logs, err := src.Logs()
	if err != nil {
		return err
	}
	if h.as.Time.IsZero() && len(logs) > 1 {
		return h.fail(penstock.Unprocessable, "ask as of a time", "its events are in %d parts of the store, and a position is one of a single part", len(logs))
	}
	first, next, err := ends(ctx, h.e.opts.Store, logs)
	if err != nil {
		return err
	}
	if h.as.Time.IsZero() && h.as.Position > next[0] {
		return h.fail(penstock.NotFound, "", "its source has not come there yet: the next event is %d", next[0])
	}
	if err := h.kept(ctx, m, logs, first); err != nil {
		return err
	}
	f := newFolder(h.view, h.e.runtime.Load())
	for p := range logs {
		limit := next[p]
		if h.as.Time.IsZero() {
			limit = h.as.Position
		}
		for pos := first[p]; pos < limit; {
			f.reset()
			end, _, err := src.Read(ctx, f, p, pos, limit)
			if err == nil {
				err = h.fold(f)
			}
			if err != nil {
				return err
			}
			if end <= pos {
				break
			}
			pos = end
		}
	}
	return nil
}

// kept says whether all events are there that rows as of then are made of.
func (h *historian) kept(ctx context.Context, m *model, logs []string, first []int64) error {
	if mutation.On("view-asof-forgets") {
		return nil
	}
	m.mu.RLock()
	serving, active := m.serving, m.active
	m.mu.RUnlock()
	var from []int64
	if active != nil {
		a, _, _ := active.state()
		from = a.From
	} else if serving != nil {
		a, _, err := serving.Load(ctx)
		if err != nil {
			return err
		}
		from = a.From
	}
	const hint = "rows can be asked for as of what the channel keeps: see its `retention`"
	for p, name := range logs {
		switch {
		case first[p] == 0:
			continue
		case p >= len(from) || first[p] > from[p]:
			return h.fail(penstock.Unprocessable, hint, "the events before %d are no longer kept in %s, and the rows are made of them", first[p], name)
		case h.as.Time.IsZero() && h.as.Position < first[p]:
			return h.fail(penstock.Unprocessable, hint, "the events before %d are no longer kept in %s", first[p], name)
		case h.as.Time.IsZero():
			continue
		}
		var begin time.Time
		err := look(ctx, h.e.opts.Store, func(v store.View) error {
			segs, err := v.Log().Segments(name, first[p], 1)
			if len(segs) > 0 {
				begin = time.Unix(0, segs[0].MinTime)
			}
			return err
		})
		if err != nil {
			return err
		}
		if h.as.Time.Before(begin) {
			return h.fail(penstock.Unprocessable, hint, "the events before %s are no longer kept in %s", begin.UTC().Format(time.RFC3339Nano), name)
		}
	}
	return nil
}

// fold takes what was read and is meant.
func (h *historian) fold(f *folder) error {
	until := int64(math.MaxInt64)
	if !h.as.Time.IsZero() {
		until = h.as.Time.UnixNano()
	}
	f.read = slices.DeleteFunc(f.read, func(e event) bool {
		return e.time > until || e.err == nil && h.key != "" && e.key != h.key
	})
	for i := range f.read {
		e := &f.read[i]
		if e.err != nil {
			continue
		}
		if e.row = h.table[e.key]; e.row == nil {
			key := strings.Clone(e.key) // it aliases the event
			e.row = &rowOf{key: key}
			h.table[key] = e.row
			h.bytes += int64(len(key)) + 128
		}
	}
	next, dirty, err := f.fold(0, nil, math.MaxInt)
	if err != nil {
		ev := &f.read[next]
		return &penstock.Error{Code: penstock.CodeOf(err), Op: "query view " + h.view.Name, Path: "asOf " + h.as.String(), Err: fmt.Errorf("the event at %d can't be folded: %w", ev.pos, err),
			Hint: "mend the view; rows as of a place before it can be asked for"}
	}
	for _, r := range dirty {
		r.dirty = false
		h.bytes += int64(len(r.text) - r.size)
		r.size = len(r.text)
		if r.text == nil {
			delete(h.table, r.key)
			h.bytes -= int64(len(r.key)) + 128
		}
	}
	h.n += int64(len(f.read))
	switch {
	case h.bytes > h.e.past.bytes:
		return h.fail(penstock.TooLarge, "ask for one row by its `key`", "the rows take more than %d bytes", h.e.past.bytes)
	case h.n > h.e.past.events:
		return h.fail(penstock.TooLarge, "ask for one row by its `key`", "they are made of more than %d events", h.e.past.events)
	}
	return nil
}

// rows are what it has made.
func (h *historian) rows() past {
	out := make(past, 0, len(h.table))
	for k, r := range h.table {
		if r.text != nil {
			out = append(out, Row{k, r.text})
		}
	}
	slices.SortFunc(out, func(a, b Row) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// asOf evaluates as of when a step asks; nil is now.
func (a *asker) asOf(f *penstock.Frame) (*AsOf, error) {
	if a.ask.AsOf == nil {
		return nil, nil
	}
	v := a.ask.AsOf.Eval(f).Load(f.Arena)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch v.Kind() {
	case penstock.KindError:
		return nil, v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return nil, nil
	case penstock.KindInt:
		if v.Int() >= 0 {
			return &AsOf{Position: v.Int()}, nil
		}
	case penstock.KindTimestamp:
		return &AsOf{Time: v.Timestamp()}, nil
	case penstock.KindString:
		if n, err := strconv.ParseInt(v.Str(), 10, 64); err == nil && n >= 0 {
			return &AsOf{Position: n}, nil
		}
		if t, err := time.Parse(time.RFC3339Nano, v.Str()); err == nil {
			return &AsOf{Time: t}, nil
		}
	}
	return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "query", Path: "asOf", Err: errors.New("it is neither a timestamp nor a position")}
}
