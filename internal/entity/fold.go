package entity

import (
	"errors"
	"fmt"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// bench is where programs of an entity are evaluated: one message, with the state beside it. It serves one goroutine.
type bench struct {
	batch penstock.Batch
	state jsonview.Doc
	patch jsonview.Doc
	msg   *penstock.Message
	buf   []byte
}

var benches = sync.Pool{New: func() any { return new(bench) }}

// over prepares the bench for data on a state. Both stay unchanged for as long as it is used.
func (b *bench) over(rt *penstock.Runtime, key string, data, state []byte, version int64) error {
	b.batch.Reset()
	b.batch.Runtime = rt
	b.msg = b.batch.Append()
	b.msg.Key = key
	b.msg.Body.Reset(jsonview.JSON, data)
	if err := b.msg.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "read data", Path: "body", Err: err}
	}
	return b.on(state, version)
}

// on puts another state in the place of the one before.
func (b *bench) on(state []byte, version int64) error {
	b.state.Reset(jsonview.JSON, state)
	if err := b.state.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "read the state", Err: err}
	}
	if cap(b.msg.Vars) < plan.EntitySlots {
		b.msg.Vars = make([]penstock.Value, plan.EntitySlots)
	}
	b.msg.Vars = b.msg.Vars[:plan.EntitySlots]
	b.msg.Vars[plan.EntityState] = penstock.NodeValue(&b.state, 0)
	b.msg.Vars[plan.EntityVersion] = penstock.IntValue(version)
	return nil
}

func (b *bench) frame() *penstock.Frame { return b.batch.Frame(b.msg) }

// holds evaluates a condition.
func (b *bench) holds(p penstock.Program) (bool, error) {
	v := p.Eval(b.frame())
	if v.IsError() {
		return false, v.Err()
	}
	v = v.Load(b.batch.Arena())
	return v.Kind() == penstock.KindBool && v.Bool(), nil
}

// tree appends the JSON text of a data tree to dst.
func (b *bench) tree(dst []byte, t plan.Tree) ([]byte, error) {
	if t.Mapping != nil {
		return t.Mapping.Append(dst, b.frame())
	}
	v := t.Program.Eval(b.frame())
	if v.IsError() {
		return dst, v.Err()
	}
	if v.IsAbsent() {
		return append(dst, "null"...), nil
	}
	return v.AppendJSON(dst)
}

// text evaluates what is a text in the end: a key, a message.
func (b *bench) text(p penstock.Program) (string, error) {
	v := p.Eval(b.frame())
	if v.IsError() {
		return "", v.Err()
	}
	out, err := v.AppendText(nil)
	return string(out), err
}

// apply appends the state that an event makes of the one on the bench to dst.
func (b *bench) apply(dst []byte, t plan.Tree) ([]byte, error) {
	if t.IsZero() {
		return append(dst, b.state.Bytes()...), nil
	}
	var err error
	if b.buf, err = b.tree(b.buf[:0], t); err != nil {
		return dst, err
	}
	b.patch.Reset(jsonview.JSON, b.buf)
	if err := b.patch.Parse(jsonview.Limits{}); err != nil {
		return dst, err
	}
	if b.patch.Kind(0) != jsonview.Object {
		return dst, errors.New("`apply` gives no object")
	}
	return merge(dst, &b.state, &b.patch), nil
}

// merge appends the object `state` with the fields of patch: they take the place of those with their names, null removes one. Fields keep their
// order, new ones come last.
func merge(dst []byte, state, patch *jsonview.Doc) []byte {
	dst = append(dst, '{')
	first := true
	field := func(key string, d *jsonview.Doc, v jsonview.Node) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(jsonview.AppendString(dst, key), ':')
		dst = d.AppendJSON(dst, v)
	}
	var buf [64]byte
	for k := state.First(0); k != jsonview.None; k = state.Next(state.Value(k)) {
		key := text(state.Key(k, buf[:0]))
		switch at := patch.Field(0, key, nil); {
		case at == jsonview.None:
			field(key, state, state.Value(k))
		case patch.Kind(at) != jsonview.Null:
			field(key, patch, at)
		}
	}
	for k := patch.First(0); k != jsonview.None; k = patch.Next(patch.Value(k)) {
		key := text(patch.Key(k, buf[:0]))
		if v := patch.Value(k); patch.Kind(v) != jsonview.Null && state.Field(0, key, nil) == jsonview.None {
			field(key, patch, v)
		}
	}
	return append(dst, '}')
}

// UnreadableError says which event can't be read any more, and why. Everything that needs it stops there: nothing is skipped.
type UnreadableError struct {
	Event string // entity/account#00@12
	Type  string
	Key   string
	Err   error
}

// Error implements error.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("event %s (%s of %s) can't be read: %v", e.Event, e.Type, e.Key, e.Err)
}

// Unwrap gives the reason.
func (e *UnreadableError) Unwrap() error { return e.Err }

// current brings the data of an event to the version of its type that the configuration has. The result aliases the event's data where that
// is current already.
func (b *bench) current(x *plan.Entity, rt *penstock.Runtime, e *Event) (*plan.EventType, error) {
	t := x.EventType(e.Type)
	switch {
	case t == nil:
		return nil, errors.New("no event of this type is in the configuration")
	case e.Schema > t.Version && !mutation.On("newer-schema-read"):
		return nil, fmt.Errorf("it has version %d of its schema, and the configuration knows %d", e.Schema, t.Version)
	case e.Schema < 1:
		return nil, errors.New("it has no version of its schema")
	}
	for v := e.Schema; v < t.Version; v++ {
		if err := b.over(rt, e.Key, e.Data, []byte("{}"), e.Version); err != nil {
			return nil, err
		}
		data, err := b.tree(nil, t.Upcast[v-1])
		if err != nil {
			return nil, fmt.Errorf("`upcast` from version %d fails: %w", v, err)
		}
		e.Data, e.Schema = data, v+1
	}
	return t, nil
}

// step appends the state behind an event to dst.
func (b *bench) step(dst []byte, rt *penstock.Runtime, t *plan.EventType, e *Event, state []byte, version int64) ([]byte, error) {
	if err := b.over(rt, e.Key, e.Data, state, version); err != nil {
		return dst, err
	}
	out, err := b.apply(dst, t.Apply)
	if err != nil {
		return dst, fmt.Errorf("`apply` fails: %w", err)
	}
	return out, nil
}

// isUnreadable says that an error is about an event, and not about the store.
func isUnreadable(err error) bool {
	var u *UnreadableError
	return errors.As(err, &u)
}
