// Package step holds the leaf steps that look at one message at a time: map, set, remove, mask, filter, validate,
// decode, encode, sort, log, fail and sample (LANGUAGE.md §4), and what the engine needs to put the result of any
// other step into a message ([Assign]).
//
// Each step is a struct of compiled configuration that implements penstock.Step. It is safe for concurrent use with
// different batches. Steps with state ([Sample]) and steps that need the run ([Log]) are a [Binder]: the engine binds
// them once per run and uses what Bind returns.
//
// A message that fails is marked with Batch.Fail by its index in Batch.Msgs as Process returns it, and is as it came. A
// message that is dropped is taken out of Batch.Msgs. Errors are *penstock.Error with the verb as Op.
package step

import (
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Binder is a step that needs the run's environment. Bind returns the step to use in this run, with fresh state; the
// step it is called on stays as it was, so that one plan can run many times.
type Binder interface {
	Bind(env penstock.Env) penstock.Step
}

// scratch is what a step works with inside one Process.
type scratch struct {
	splicer
	buf     []byte
	changes []change
	pass    []change
	sorter  sorter
	undo    []old
}

// old is what stood at a target before it was written.
type old struct {
	target *Target
	value  penstock.Value
}

// assign is Assign that remembers what it replaces.
func (sc *scratch) assign(b *penstock.Batch, m *penstock.Message, t *Target, v penstock.Value) error {
	before := penstock.Absent
	switch t.Root {
	case Vars:
		if t.Slot < len(m.Vars) {
			before = m.Vars[t.Slot]
		}
	case Meta:
		before = m.Meta.Get(t.Name)
	case Key:
		before = penstock.StringValue(m.Key)
	}
	if err := Assign(b, m, *t, v); err != nil {
		return err
	}
	sc.undo = append(sc.undo, old{t, before})
	return nil
}

// restore makes the message as it was before the calls of assign.
func (sc *scratch) restore(m *penstock.Message, body *jsonview.Doc) {
	m.Body = body
	for i := len(sc.undo) - 1; i >= 0; i-- {
		switch u := sc.undo[i]; u.target.Root {
		case Vars:
			m.Vars[u.target.Slot] = u.value
		case Meta:
			m.Meta.Set(u.target.Name, u.value)
		case Key:
			m.Key = u.value.Str()
		}
	}
}

// scratches keeps scratch between batches. The zero value is ready.
type scratches struct{ pool sync.Pool }

func (p *scratches) get() *scratch {
	if s, ok := p.pool.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// keepScratch is how large a buffer may be, in bytes, that waits for the next batch.
const keepScratch = 1 << 20

func (p *scratches) put(s *scratch) {
	if cap(s.buf) > keepScratch {
		s.buf = nil
	}
	// What is kept must not hold the memory of a batch that is over.
	s.changes = cleared(s.changes)
	s.pass = cleared(s.pass)
	s.undo = cleared(s.undo)
	s.sorter.keys = cleared(s.sorter.keys)
	p.pool.Put(s)
}

func cleared[T any](s []T) []T {
	s = s[:cap(s)]
	clear(s)
	return s[:0]
}

// truth is v as the answer to a condition.
func truth(v penstock.Value) (bool, error) {
	v = unwrap(v)
	switch v.Kind() {
	case penstock.KindBool:
		return v.Bool(), nil
	case penstock.KindError:
		return false, v.Err()
	case penstock.KindNode:
		d, n := v.Node()
		if err := read(d); err != nil {
			return false, err
		}
		switch d.Kind(n) {
		case jsonview.True:
			return true, nil
		case jsonview.False:
			return false, nil
		}
	}
	return false, &penstock.Error{Code: penstock.Unprocessable, Err: errNoBool{kindName(v)},
		Hint: "a condition must be true or false"}
}

type errNoBool struct{ got string }

func (e errNoBool) Error() string { return "the condition is " + e.got + ", not a bool" }

var kindNames = [...]string{
	penstock.KindAbsent:    "absent",
	penstock.KindNull:      "null",
	penstock.KindBool:      "a bool",
	penstock.KindInt:       "an int",
	penstock.KindUint:      "a uint",
	penstock.KindDouble:    "a double",
	penstock.KindDecimal:   "a decimal",
	penstock.KindString:    "a string",
	penstock.KindBytes:     "bytes",
	penstock.KindTimestamp: "a timestamp",
	penstock.KindDuration:  "a duration",
	penstock.KindList:      "a list",
	penstock.KindMap:       "a map",
	penstock.KindOptional:  "an optional",
	penstock.KindType:      "a type",
	penstock.KindError:     "an error",
}

// kindName says what v is, with its article.
func kindName(v penstock.Value) string {
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		return article(d.Kind(n).String())
	}
	return kindNames[v.Kind()]
}
