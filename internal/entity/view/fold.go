package view

import (
	"bytes"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// eventType is the header that tells what kind of event a message is, where the view does not say otherwise.
const eventType = penstock.EventPrefix + "type"

// event is one event of a batch, read.
type event struct {
	pos     int64
	version int64
	time    int64 // Unix nanoseconds: when it happened, or was sent
	key     string
	does    *plan.ViewEvent
	row     *rowOf
	msg     *penstock.Message
	err     error // it can't be read, or its row is not known: the view stops here
}

// folder makes rows of events. It serves one goroutine.
type folder struct {
	view   *plan.View
	events map[string]*plan.ViewEvent
	batch  penstock.Batch
	read   []event
	doc    jsonview.Doc // the row before
	patch  jsonview.Doc // what an event sets
	next   jsonview.Doc // the row after
	text   []byte
	merged []byte
}

func newFolder(v *plan.View, runtime *penstock.Runtime) *folder {
	f := &folder{view: v, events: make(map[string]*plan.ViewEvent, len(v.Events))}
	for i := range v.Events {
		f.events[v.Events[i].Kind] = &v.Events[i]
	}
	f.batch.Runtime = runtime
	return f
}

// reset forgets what was read.
func (f *folder) reset() {
	f.batch.Reset()
	clear(f.read)
	f.read = f.read[:0]
}

// take reads the event of a record. One of a kind that the view does not know is passed over. rec must stay as it is until reset.
func (f *folder) take(pos, version int64, rec []byte) {
	v, err := record.Parse(rec)
	if err != nil {
		f.read = append(f.read, event{pos: pos, err: err})
		return
	}
	var does *plan.ViewEvent
	if f.view.By == nil {
		kind, known := kindOf(v)
		if does = f.events[kind]; does == nil {
			if f.view.Strict && known {
				f.unknown(pos, v.Time(), kind)
			}
			return
		}
	}
	m, err := v.Message(&f.batch, nil)
	if err != nil {
		f.read = append(f.read, event{pos: pos, time: v.Time(), err: err})
		return
	}
	f.takeMessage(pos, version, v.Time(), m, does)
}

// takeMessage reads an event that is a message of the folder's batch. does is nil where `by` has to tell.
func (f *folder) takeMessage(pos, version, at int64, m *penstock.Message, does *plan.ViewEvent) {
	if cap(m.Vars) < 2 {
		m.Vars = make([]penstock.Value, 2)
	}
	m.Vars = m.Vars[:2]
	m.Vars[plan.ViewRow], m.Vars[plan.ViewVersion] = penstock.Absent, penstock.IntValue(version)
	e := event{pos: pos, version: version, time: at, msg: m, does: does, key: m.Key}
	if does == nil {
		kind, err := f.textOf(f.view.By, m, "by")
		if e.does = f.events[kind]; err != nil {
			e.err = err
		} else if e.does == nil {
			if f.view.Strict {
				f.unknown(pos, at, kind)
			}
			return
		}
	}
	if f.view.Key != nil && e.err == nil {
		e.key, e.err = f.textOf(f.view.Key, m, "key")
	}
	if e.key == "" && e.err == nil {
		e.err = penstock.E(penstock.Unprocessable, "view "+f.view.Name, "key", "the event has no key, so it is about no row")
	}
	f.read = append(f.read, e)
}

func (f *folder) unknown(pos, at int64, kind string) {
	f.read = append(f.read, event{pos: pos, time: at, err: penstock.E(penstock.Unprocessable, "view "+f.view.Name, "by", fmt.Sprintf("the view is strict and knows no event %q", kind))})
}

// kindOf is the type of the CloudEvent that a record is; not known is one that is none.
func kindOf(v record.View) (kind string, known bool) {
	for name, value := range v.Meta() {
		if name == eventType && value.Kind() == penstock.KindString {
			return value.Str(), true
		}
	}
	return "", false
}

// textOf evaluates a key.
func (f *folder) textOf(p penstock.Program, m *penstock.Message, what string) (string, error) {
	v := p.Eval(f.batch.Frame(m)).Load(f.batch.Arena())
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	switch v.Kind() {
	case penstock.KindString:
		return v.Str(), nil
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "view " + f.view.Name, Path: what, Err: err}
	}
	return string(text), nil
}

var noRow = []byte("{}")

// apply says what an event makes of a row: its text, which is valid until the next call; nil deletes it. same says that it stays as it is. before is nil where there is no row.
func (f *folder) apply(e *event, before []byte) (after []byte, same bool, err error) {
	if e.err != nil {
		return nil, true, e.err
	}
	text := before
	if text == nil {
		text = noRow
	}
	f.doc.Reset(jsonview.JSON, text)
	if err := f.doc.Parse(jsonview.Limits{}); err != nil {
		return nil, true, fmt.Errorf("the row is damaged: %w", err)
	}
	e.msg.Vars[plan.ViewRow] = penstock.NodeValue(&f.doc, 0)
	if w := e.does.When; w != nil {
		v := w.Eval(f.batch.Frame(e.msg)).Load(f.batch.Arena())
		switch {
		case v.IsError():
			return nil, true, v.Err()
		case v.Kind() != penstock.KindBool:
			return nil, true, penstock.E(penstock.Unprocessable, "view "+f.view.Name, "when", "the condition gives no bool")
		case !v.Bool():
			return before, true, nil
		}
	}
	if e.does.Upsert == nil {
		return nil, before == nil, nil
	}
	if f.text, err = e.does.Upsert.Append(f.text[:0], f.batch.Frame(e.msg)); err != nil {
		return nil, true, err
	}
	after = f.text
	if before != nil && !e.does.Whole || bytes.Contains(after, nullText) {
		if after, err = f.merge(); err != nil {
			return nil, true, err
		}
	}
	if before != nil && bytes.Equal(after, before) {
		return before, true, nil
	}
	return after, false, f.check(after)
}

var nullText = []byte("null")

// merge puts what an event sets over the row before: fields keep their places, null removes one, new ones follow.
func (f *folder) merge() ([]byte, error) {
	f.patch.Reset(jsonview.JSON, f.text)
	if err := f.patch.Parse(jsonview.Limits{}); err != nil {
		return nil, err
	}
	out := append(f.merged[:0], '{')
	add := func(d *jsonview.Doc, name, value jsonview.Node) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, d.Raw(name)...)
		out = append(out, ':')
		out = append(out, d.Raw(value)...)
	}
	for k := f.doc.First(0); k != jsonview.None; k = f.doc.Next(k) {
		set := f.patch.Field(0, string(f.doc.Key(k, nil)), nil)
		if set == jsonview.None || mutation.On("view-null-stays") && f.patch.Kind(set) == jsonview.Null {
			add(&f.doc, k, f.doc.Value(k))
			continue
		}
		if f.patch.Kind(set) != jsonview.Null {
			if len(out) > 1 {
				out = append(out, ',')
			}
			out = append(out, f.doc.Raw(k)...)
			out = append(out, ':')
			out = append(out, f.patch.Raw(set)...)
		}
	}
	for k := f.patch.First(0); k != jsonview.None; k = f.patch.Next(k) {
		v := f.patch.Value(k)
		if f.patch.Kind(v) != jsonview.Null && f.doc.Field(0, string(f.patch.Key(k, nil)), nil) == jsonview.None {
			add(&f.patch, k, v)
		}
	}
	f.merged = append(out, '}')
	return f.merged, nil
}

// check holds a row to its schema.
func (f *folder) check(row []byte) error {
	f.next.Reset(jsonview.JSON, row)
	if err := f.next.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "view " + f.view.Name, Path: "upsert", Err: fmt.Errorf("the row is no JSON: %w", err)}
	}
	if f.view.Check == nil {
		return nil
	}
	if found := f.view.Check.Validate(&f.next); len(found) > 0 {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "view " + f.view.Name, Err: fmt.Errorf("the row does not fit its schema: %w", &step.ValidationError{Violations: found})}
	}
	return nil
}

// rowOf is a row in memory.
type rowOf struct {
	key    string
	text   []byte // nil: there is none
	stored bool   // it is in the store, as of the last transaction that was submitted
	lent   bool   // a transaction that was submitted has the text
	dirty  bool
	size   int // of the text, as far as it was counted
}

// set gives the row another text, which is copied.
func (r *rowOf) set(text []byte) {
	switch {
	case text == nil:
		r.text = nil
	case r.lent:
		r.text = bytes.Clone(text)
	default:
		r.text = append(r.text[:0], text...)
	}
	r.lent = false
}

// shelf keeps rows that were used lately, within a bound.
type shelf struct {
	now, old map[string]*rowOf
	bytes    int
	bound    int
	// whole says that every row there is stands here: what does not is none.
	whole bool
}

func newShelf(bound int) *shelf { return &shelf{now: map[string]*rowOf{}, bound: bound} }

// get finds a row; nil where it is not known.
func (s *shelf) get(key string) *rowOf {
	if r := s.now[key]; r != nil {
		return r
	}
	r := s.old[key]
	if r != nil {
		s.put(r)
	}
	return r
}

// put keeps a row.
func (s *shelf) put(r *rowOf) {
	s.bytes += len(r.key) + len(r.text) + 128
	s.now[r.key] = r
}

// trim keeps to the bound. No row may be changed and not stored yet.
func (s *shelf) trim() {
	if s.bytes > s.bound/2 {
		if len(s.old) > 0 {
			s.whole = false
		}
		s.old, s.now, s.bytes = s.now, map[string]*rowOf{}, 0
	}
}

// change is a row as it is to be stored; Text nil deletes it.
type change struct {
	Key  string
	Text []byte
}

// errBehind says that somebody else has brought the rows further.
var errBehind = errors.New("somebody else has brought the rows further")

// errRetired says that another process has switched to other rows.
var errRetired = errors.New("other rows are read by now")

// fold applies the events that were read from one on to their rows, until one fails or so many rows are dirty: next is the first that was not applied. Rows that
// changed are added to dirty.
func (f *folder) fold(from int, dirty []*rowOf, most int) (next int, out []*rowOf, err error) {
	for i := from; i < len(f.read); i++ {
		e := &f.read[i]
		var before []byte
		if e.row != nil {
			before = e.row.text
		}
		after, same, err := f.apply(e, before)
		if err != nil {
			if mutation.On("view-skips-errors") {
				continue
			}
			return i, dirty, err
		}
		if same {
			continue
		}
		e.row.set(after)
		if !e.row.dirty {
			e.row.dirty = true
			if dirty = append(dirty, e.row); len(dirty) >= most {
				return i + 1, dirty, nil
			}
		}
	}
	return len(f.read), dirty, nil
}
