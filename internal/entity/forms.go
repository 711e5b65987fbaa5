package entity

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/schema"
	"penstock.dev/penstock/internal/store"
)

// formsOf is the space that knows what the schemas were that events were written with. It is one for all parts: what one process has written is there for all.
func formsOf(entity string) string { return Channel(entity) + "/forms" }

// formKey is what a form is known by.
type formKey struct {
	event   string
	version int
	sum     [16]byte
}

func keyOf(t eventType) formKey { return formKey{t.Name, t.Version, t.Form.Sum} }

// prefix is what the keys of the entries of a version of an event begin with: the type, which holds no zero byte, a zero byte, and the version.
func (k formKey) prefix() []byte {
	return binary.BigEndian.AppendUint32(append([]byte(k.event), 0), uint32(k.version))
}

func (k formKey) entry() []byte { return append(k.prefix(), k.sum[:]...) }

// forms are those that surely are in the store. It is safe for concurrent use.
type forms struct {
	mu    sync.Mutex
	known atomic.Pointer[map[formKey]bool] // replaced, never changed
}

func (f *forms) has(k formKey) bool {
	m := f.known.Load()
	return m != nil && (*m)[k]
}

// keep remembers those of a command that is durable.
func (f *forms) keep(p *pending) {
	for _, t := range p.types {
		if k := keyOf(t); !f.has(k) {
			f.mu.Lock()
			m := map[formKey]bool{k: true}
			if old := f.known.Load(); old != nil {
				maps.Copy(m, *old)
			}
			f.known.Store(&m)
			f.mu.Unlock()
		}
	}
}

// formed sees to it that the schemas of the events of a command are in the store with them. refused: events were written under the same version with a
// schema that takes what this one doesn't.
func (l *lane) formed(tx store.Tx, p *pending) (refused, err error) {
	var last eventType
	for _, t := range p.types {
		if t == last || l.forms.has(keyOf(t)) {
			continue
		}
		last = t
		if refused, err = l.form(tx, t); refused != nil || err != nil {
			return refused, err
		}
	}
	return nil, nil
}

// form writes the schema of one event, where it says anything new.
func (l *lane) form(tx store.Tx, t eventType) (refused, err error) {
	space, k := formsOf(l.e.name), keyOf(t)
	if _, there, err := tx.State().Get(space, k.entry()); err != nil || there {
		return nil, err
	}
	written, err := writtenWith(tx.State(), l.e.name, k)
	if err != nil {
		return nil, err
	}
	covered := false
	for _, w := range written {
		changes, err := schema.Backward(w, t.Form.Text)
		if err != nil {
			return nil, err
		}
		if len(changes) > 0 && !mutation.On("schema-not-compared-with-events") {
			e := &IncompatibleError{Entity: l.e.name, Event: t, Changes: changes}
			return &penstock.Error{Code: penstock.Internal, Op: "event " + t.Name, Path: l.e.name, Err: e, Hint: e.Hint()}, nil
		}
		less, err := schema.Backward(t.Form.Text, w)
		if err != nil {
			return nil, err
		}
		covered = covered || len(less) == 0
	}
	if covered || mutation.On("schema-of-events-not-kept") {
		return nil, nil
	}
	return nil, tx.Put(space, store.Entry{Key: k.entry(), Value: t.Form.Text})
}

// writtenWith lists the schemas that events of a version were written with.
func writtenWith(s store.State, entity string, k formKey) (out [][]byte, err error) {
	prefix := k.prefix()
	err = scanForms(s, entity, prefix, func(e store.Entry) bool {
		if !bytes.HasPrefix(e.Key, prefix) {
			return false
		}
		out = append(out, e.Value)
		return true
	})
	return out, err
}

// scanForms visits the entries behind a key, until visit says that it is enough.
func scanForms(s store.State, entity string, after []byte, visit func(store.Entry) bool) error {
	const page = 64
	for {
		all, err := s.Scan(formsOf(entity), after, page)
		if err != nil {
			return err
		}
		for _, e := range all {
			if !visit(e) {
				return nil
			}
			after = e.Key
		}
		if len(all) < page {
			return nil
		}
	}
}

// Form is a schema that events in the store were written with.
type Form struct {
	Entity  string          `json:"entity"`
	Event   string          `json:"event"`
	Version int             `json:"version"` // that the events say they have
	Schema  json.RawMessage `json:"schema"`  // JSON Schema of their data, whatever it was written in
}

// Forms lists the schemas that events in a store were written with, by event and version. One that takes nothing that another one does not take as well may be missing.
func Forms(ctx context.Context, st store.Store, entity string) ([]Form, error) {
	out := []Form{}
	err := st.View(ctx, func(v store.View) error {
		out = out[:0]
		return scanForms(v.State(), entity, nil, func(e store.Entry) bool {
			if name, rest, ok := bytes.Cut(e.Key, []byte{0}); ok && len(rest) > 4 {
				out = append(out, Form{entity, string(name), int(binary.BigEndian.Uint32(rest)), e.Value})
			}
			return true
		})
	})
	return out, err
}

// Incompatible holds the schemas of events to those that events were written with under the same version.
func Incompatible(entities []*plan.Entity, written []Form) (found []*IncompatibleError, err error) {
	for _, x := range entities {
		said := map[string]bool{}
		for _, w := range written {
			t := x.EventType(w.Event)
			if w.Entity != x.Name || t == nil || t.Version != w.Version || said[t.Name] {
				continue
			}
			changes, err := schema.Backward(w.Schema, t.Form.Text)
			if err != nil {
				return nil, err
			}
			if len(changes) > 0 {
				said[t.Name] = true
				found = append(found, &IncompatibleError{Entity: x.Name, Event: t, Changes: changes})
			}
		}
	}
	return found, nil
}

// IncompatibleError says that the schema of an event was changed, and its version was not, so that what is in the store may not be valid under it.
type IncompatibleError struct {
	Entity  string
	Event   *plan.EventType
	Changes []schema.Change
}

// Error implements error.
func (e *IncompatibleError) Error() string {
	all := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		all[i] = c.String()
	}
	return fmt.Sprintf("events %s of entity %s are in the store as version %d with another schema: %s", e.Event.Name, e.Entity, e.Event.Version, strings.Join(all, "; "))
}

// Hint says what to do.
func (e *IncompatibleError) Hint() string {
	v := e.Event.Version
	return fmt.Sprintf("set `version: %d` and say how the older data becomes the new in `upcast: [ { from: %d, map: { … } } ]`, or change the schema back", v+1, v)
}
