package flowtest

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// record is one message that left the flow, with memory of its own.
type record struct {
	ep    *plan.Endpoint // nil: the dead letter of a flow that names none
	dead  bool
	msg   *penstock.Message
	tree  *penstock.Tree // the body
	file  string         // where a file sink would have written it
	epoch int64          // what the pace let happen before
	sent  int64          // in a durable channel: when it was sent, which may be before it was committed; else 0
	index int            // of the place
	path  []int
	loose bool

	status int // of the reply to a request; else 0
}

// records gathers what left the flow.
type records struct {
	mu  sync.Mutex
	all []*record
	err error // the first that could not be taken
}

func (l *records) add(r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
}

// damaged notes that something left the flow that can't be read.
func (l *records) damaged(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = cmp.Or(l.err, err)
}

// failure is why not everything was taken; nil if it was.
func (l *records) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// find lists the records for which want holds, in order. Where several came at once, from branches
// that run beside each other, their order is that of the branches.
func (l *records) find(want func(*record) bool) []*record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*record
	for _, r := range l.all {
		if want(r) {
			out = append(out, r)
		}
	}
	for i := 0; i < len(out); {
		j, loose := i, false
		for ; j < len(out) && out[j].epoch == out[i].epoch; j++ {
			loose = loose || out[j].loose
		}
		if loose {
			slices.SortStableFunc(out[i:j], compareRecords)
		}
		i = j
	}
	return out
}

func compareRecords(a, b *record) int {
	if c := cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.index, b.index)); c != 0 || !a.loose {
		return c
	}
	if c := slices.Compare(a.path, b.path); c != 0 {
		return c
	}
	return strings.Compare(text(a.tree), text(b.tree))
}

// recorder is the sink that stands for an endpoint.
type recorder struct {
	w    *world
	life *life
	ep   *plan.Endpoint // nil: the dead letter of a flow that names none
	dead bool
	at   *place
	key  penstock.Program // of the channel
	path penstock.Template
	encs map[string]penstock.Encoder // as the sink would write, by file; nil where it has no format
	buf  []byte
}

func (w *world) recorder(ep *plan.Endpoint, dead bool) *recorder {
	r := &recorder{w: w, life: w.life, ep: ep, dead: dead, at: &place{index: 1 << 30}}
	if ep == nil {
		return r
	}
	if at := w.places[ep]; at != nil {
		r.at = at
	}
	var file bool
	if r.path, file = pathOf(ep.Config); file || formatOf(ep.Config) != nil {
		r.encs = map[string]penstock.Encoder{}
	}
	if c := w.channel(ep.Channel); c != nil {
		r.key = c.Key
	}
	return r
}

// Open implements penstock.Sink.
func (*recorder) Open(context.Context) error { return nil }

// Close implements penstock.Sink.
func (*recorder) Close(context.Context) error { return nil }

// Write implements penstock.Sink. What the format of the real sink can't write fails here too.
func (r *recorder) Write(_ context.Context, b *penstock.Batch) error {
	if r.life.over.Load() {
		return errCrashed
	}
	can := []mishap{crashBefore, crashAfter}
	if op, ok := r.at.op(); ok && !op.Idempotent { // else what failed was not done, or does no harm when it is done again
		can = append(can, lateSuccess)
	}
	what := r.w.fault.meet("write to "+r.name(), can...)
	if what == crashBefore {
		r.w.fall()
		return errCrashed
	}
	errs := map[int]error{}
	for i, m := range b.Msgs {
		rec, err := r.record(b.Frame(m))
		if err != nil {
			errs[i] = err
			continue
		}
		r.w.log.add(rec)
		if what == lateSuccess {
			errs[i] = errLate
		}
	}
	if what == crashAfter {
		r.w.fall()
		return errCrashed
	}
	if len(errs) > 0 {
		return &penstock.BatchError{Errs: errs}
	}
	return nil
}

// op is the step that sends there; ok is false for a dead letter.
func (p *place) op() (op *plan.Send, ok bool) {
	if p.node != nil {
		op, ok = p.node.Op.(*plan.Send)
	}
	return op, ok
}

// name is how reports call the sink.
func (r *recorder) name() string {
	switch {
	case r.ep == nil:
		return "the dead letters"
	case r.ep.Label != "":
		return r.ep.Label
	}
	return r.ep.Name
}

func (r *recorder) record(f *penstock.Frame) (*record, error) {
	m := f.Msg
	rec := &record{ep: r.ep, dead: r.dead, epoch: r.w.pace.epoch.Load(), index: r.at.index, loose: r.at.loose, path: r.at.path(m)}
	if r.path.Program != nil {
		v := r.path.Program.Eval(f)
		if v.IsError() {
			return nil, v.Err()
		}
		rec.file = plain(v)
	}
	if err := r.encode(rec.file, m); err != nil {
		return nil, err
	}
	rec.msg, rec.tree = keep(m)
	if r.key != nil {
		v := r.key.Eval(f)
		if v.IsError() {
			return nil, v.Err()
		}
		rec.msg.Key = plain(v)
	}
	return rec, nil
}

// encode tries whether the sink could write the message.
func (r *recorder) encode(file string, m *penstock.Message) error {
	if r.encs == nil || r.dead {
		return nil
	}
	enc := r.encs[file]
	if enc == nil {
		codec := r.w.test.suite.codec(r.ep, r.ep.Type, file)
		if codec == nil {
			return nil
		}
		enc = codec.NewEncoder()
		r.encs[file] = enc
	}
	out, err := enc.Append(r.buf[:0], m.Body)
	r.buf = out
	return err
}

// keep copies a message out of the memory of its batch.
func keep(m *penstock.Message) (*penstock.Message, *penstock.Tree) {
	c := &penstock.Message{Body: new(jsonview.Doc), Key: strings.Clone(m.Key), Pos: m.Pos, Time: m.Time}
	for _, e := range m.Meta.Entries() {
		c.Meta.Set(e.Name, e.Value.Clone())
	}
	body := m.Body.Parse(jsonview.Limits{}) == nil && m.Body.Format() != jsonview.Binary
	if body {
		c.Body.Reset(jsonview.JSON, m.Body.AppendJSON(nil, 0))
	} else { // no document: its bytes as text, as dead letters show them
		raw := m.Body.Bytes()
		s := string(raw)
		if !utf8.Valid(raw) {
			s = base64.StdEncoding.EncodeToString(raw)
		}
		c.Body.Reset(jsonview.JSON, jsonview.AppendString(nil, s))
	}
	if err := c.Body.Parse(jsonview.Limits{}); err != nil {
		return c, &penstock.Tree{Kind: penstock.TreeNull}
	}
	t := treeOf(c.Body, 0)
	return c, &t
}
