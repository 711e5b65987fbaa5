package step

import (
	"context"
	"errors"
	"sort"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Sort orders the body, which must be a list. It is stable: elements with equal keys stay as they stood. Keys compare as
// CEL compares them (numbers of all kinds by value, strings by code point); keys that do not compare (a number with a
// string, a list) fail the message. Elements whose key is null or absent come last, ascending or descending. The
// elements' text stays as it was.
type Sort struct {
	// By computes the key of an element; nil is the element itself.
	By penstock.Program
	// Slot is the variable that holds the element while By runs: item. It is absent afterwards.
	Slot       int
	Descending bool

	scratches scratches
}

// Process sorts each body.
func (s *Sort) Process(_ context.Context, b *penstock.Batch) error {
	sc := s.scratches.get()
	defer s.scratches.put(sc)
	for i, m := range b.Msgs {
		if err := s.one(sc, b, m); err != nil {
			b.Fail(i, failed("sort", err))
		}
	}
	return nil
}

func (s *Sort) one(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	d := m.Body
	if err := read(d); err != nil {
		return at("body", err)
	}
	if k := d.Kind(0); k != jsonview.Array {
		return &penstock.Error{Code: penstock.Unprocessable, Path: "body", Err: errors.New("is " + article(k.String()) + ", not a list")}
	}
	so := &sc.sorter
	so.descending, so.err = s.Descending, nil
	err := s.keys(so, b, m)
	if s.By != nil && s.Slot < len(m.Vars) {
		m.Vars[s.Slot] = penstock.Absent
	}
	if err != nil {
		return err
	}
	sort.Stable(so)
	if so.err != nil {
		return so.err
	}
	if sort.IsSorted(byNode(so.nodes)) {
		return nil // as it was
	}
	arena := b.Arena()
	text := append(arena.Tail(len(d.Bytes())+2), '[')
	for _, e := range so.nodes {
		text = append(d.AppendJSON(text, e), ',')
	}
	setBody(b, m, arena.Keep(closeWith(text, ']')))
	return nil
}

// keys fills so with the elements of the body and their keys.
func (s *Sort) keys(so *sorter, b *penstock.Batch, m *penstock.Message) error {
	d := m.Body
	so.nodes, so.keys = so.nodes[:0], so.keys[:0]
	for e := d.First(0); e != jsonview.None; e = d.Next(e) {
		key, err := s.key(b, m, penstock.NodeValue(d, e))
		if err != nil {
			return &penstock.Error{Code: penstock.CodeOf(err), Path: place(len(so.nodes)), Err: err}
		}
		so.nodes = append(so.nodes, e)
		so.keys = append(so.keys, key)
	}
	return nil
}

func place(i int) string { return string(appendPath([]byte("body"), []PathStep{{Index: i}})) }

// key computes what an element is sorted by.
func (s *Sort) key(b *penstock.Batch, m *penstock.Message, item penstock.Value) (penstock.Value, error) {
	if s.By != nil {
		for s.Slot >= len(m.Vars) {
			m.Vars = append(m.Vars, penstock.Absent)
		}
		m.Vars[s.Slot] = item
		item = s.By.Eval(b.Frame(m))
	}
	key := unwrap(item).Load(b.Arena())
	if key.IsError() {
		return key, key.Err()
	}
	return key, nil
}

// sorter sorts nodes by their keys.
type sorter struct {
	nodes      []jsonview.Node
	keys       []penstock.Value
	descending bool
	err        error // of the first two keys that don't compare
}

func (s *sorter) Len() int { return len(s.nodes) }

func (s *sorter) Swap(i, j int) {
	s.nodes[i], s.nodes[j] = s.nodes[j], s.nodes[i]
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
}

func (s *sorter) Less(i, j int) bool {
	a, b := s.keys[i], s.keys[j]
	if nothing(a) || nothing(b) {
		return !nothing(a)
	}
	c, ok := a.Compare(b)
	if !ok && s.err == nil {
		s.err = &penstock.Error{Code: penstock.Unprocessable, Path: "body", Err: errors.New(kindName(a) + " and " + kindName(b) + " have no order"),
			Hint: "sort by a key that has the same kind for every element"}
	}
	if s.descending {
		return c > 0
	}
	return c < 0
}

func nothing(v penstock.Value) bool {
	return v.Kind() == penstock.KindNull || v.Kind() == penstock.KindAbsent
}

type byNode []jsonview.Node

func (s byNode) Len() int           { return len(s) }
func (s byNode) Less(i, j int) bool { return s[i] < s[j] }
func (s byNode) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
