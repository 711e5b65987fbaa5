package step

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"penstock.dev/penstock"
)

// Edit puts a value at a path. Exactly one of Program and Mapping is set.
type Edit struct {
	Target Target
	// Program computes the value; one that is absent takes away what is at the path.
	Program penstock.Program
	// Mapping writes a data tree as JSON text.
	Mapping penstock.Mapping
}

// Set puts values at paths and leaves the rest of the message as it is. All values are computed from the message as
// it entered the step, then written in the order of the edits. Objects on the way that are missing (or null) are made;
// a list grows by the index after its last. What no path names keeps its text, byte by byte.
type Set struct {
	edits  []Edit
	passes []editPass // over the body
	body   []int      // the edit that each path of the body came from
	other  []int      // edits of vars, meta and key

	scratches scratches
}

// NewSet compiles the edits. Errors (an edit without a value, a target that can't be set) speak of the configuration.
func NewSet(edits []Edit) (*Set, error) {
	s := &Set{edits: slices.Clone(edits)}
	var paths [][]PathStep
	for i, e := range s.edits {
		if (e.Program == nil) == (e.Mapping == nil) {
			return nil, configError("set", e.Target, "needs exactly one of a program and a mapping")
		}
		if err := checkPath("set", e.Target, false); err != nil {
			return nil, err
		}
		switch e.Target.Root {
		case Body:
			s.body = append(s.body, i)
			paths = append(paths, e.Target.Steps)
		case Discard:
			return nil, configError("set", e.Target, "is no place for a value")
		default:
			s.other = append(s.other, i)
		}
	}
	s.passes = compilePasses(paths)
	return s, nil
}

func configError(verb string, t Target, msg string) error {
	return &penstock.Error{Code: penstock.Config, Op: verb, Path: t.String(), Err: errors.New(msg)}
}

// checkPath refuses indexes that mean nothing.
func checkPath(verb string, t Target, each bool) error {
	for _, p := range t.Steps {
		if p.Name == "" && p.Index < 0 && (!each || p.Index != Each) {
			return configError(verb, t, fmt.Sprintf("has the index %d; a list counts from 0", p.Index))
		}
	}
	return nil
}

// Process edits each message.
func (s *Set) Process(_ context.Context, b *penstock.Batch) error {
	sc := s.scratches.get()
	defer s.scratches.put(sc)
	for i, m := range b.Msgs {
		if err := s.one(sc, b, m); err != nil {
			b.Fail(i, err)
		}
	}
	return nil
}

func (s *Set) one(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	if err := s.compute(sc, b, m); err != nil {
		return err
	}
	before := m.Body
	sc.undo = sc.undo[:0]
	if err := s.write(sc, b, m); err != nil {
		sc.restore(m, before)
		return failed("set", err)
	}
	return nil
}

// write puts what was computed into its places.
func (s *Set) write(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	for i := range s.passes {
		p := &s.passes[i]
		sc.pass = sc.pass[:0]
		for _, path := range p.edits {
			sc.pass = append(sc.pass, sc.changes[s.body[path]])
		}
		if err := sc.edit(b, m, &p.root, sc.pass); err != nil {
			return err
		}
	}
	for _, e := range s.other {
		v := sc.changes[e].value
		if raw := sc.changes[e].raw; raw != nil {
			v = penstock.NodeValue(document(b, b.Arena().Copy(raw)), 0)
		}
		if err := sc.assign(b, m, &s.edits[e].Target, v); err != nil {
			return err
		}
	}
	return nil
}

// compute fills sc.changes, one for each edit.
func (s *Set) compute(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	sc.changes, sc.buf = sc.changes[:0], sc.buf[:0]
	for i := range s.edits {
		e := &s.edits[i]
		if e.Mapping != nil {
			start := len(sc.buf)
			buf, err := e.Mapping.Append(sc.buf, b.Frame(m))
			if err != nil {
				return computing("set", e.Target.String(), err)
			}
			// When the buffer grows later, this part stays where it is.
			sc.buf = buf
			sc.changes = append(sc.changes, change{kind: put, raw: buf[start:len(buf):len(buf)]})
			continue
		}
		v := unwrap(e.Program.Eval(b.Frame(m)))
		c := change{kind: put, value: v}
		switch v.Kind() {
		case penstock.KindError:
			return computing("set", e.Target.String(), v.Err())
		case penstock.KindAbsent:
			c.kind = drop
		}
		sc.changes = append(sc.changes, c)
	}
	return nil
}
