package step

import (
	"context"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Mask replaces what is at its paths, so that the message can be shown; the shape stays. A string (and what is written as
// one: bytes, a timestamp, a duration) becomes "***", whatever its length, so that nothing of it is left. A number and a bool become
// null: any number would read as a true one. Of a list or object every element is masked, at any depth; how many there
// are and the names of the fields stay. Null stays null, and a path that is not there is left alone.
type Mask struct{ edits pathEdits }

// NewMask compiles the paths, of the body, of variables and of headers; [Each] is allowed in those of the body. The key can't be
// masked, since order goes by it. Errors speak of the configuration.
func NewMask(paths []Target) (*Mask, error) {
	s := new(Mask)
	err := s.edits.compile("mask", change{kind: mask}, paths, func(r Root) string {
		switch r {
		case Key:
			return "can't be masked: messages are ordered by it; set it to a hash instead"
		case Discard:
			return "is nothing that could be masked"
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Process masks each message.
func (s *Mask) Process(_ context.Context, b *penstock.Batch) error {
	s.edits.process(b, maskOther)
	return nil
}

func maskOther(sc *scratch, b *penstock.Batch, m *penstock.Message, t *Target) error {
	var v penstock.Value
	switch {
	case t.Root == Meta:
		v = m.Meta.Get(t.Name)
	case t.Slot < len(m.Vars):
		v = m.Vars[t.Slot]
	}
	if v = getIn(v, t.Steps); v.IsAbsent() {
		return nil
	}
	return sc.assign(b, m, t, masked(b, v))
}

// masked is what mask makes of v.
func masked(b *penstock.Batch, v penstock.Value) penstock.Value {
	switch v.Kind() {
	case penstock.KindString, penstock.KindBytes, penstock.KindTimestamp, penstock.KindDuration, penstock.KindType:
		return penstock.StringValue("***")
	case penstock.KindOptional:
		return masked(b, v.Optional())
	case penstock.KindList:
		elems := make([]penstock.Value, len(v.List().Elems))
		for i, e := range v.List().Elems {
			elems[i] = masked(b, e)
		}
		return penstock.ListValue(&penstock.List{Elems: elems})
	case penstock.KindMap:
		entries := make([]penstock.Entry, len(v.Map().Entries))
		for i, e := range v.Map().Entries {
			entries[i] = penstock.Entry{Key: e.Key, Value: masked(b, e.Value)}
		}
		return penstock.MapValue(&penstock.Map{Entries: entries})
	case penstock.KindNode:
		d, n := v.Node()
		if err := read(d); err != nil {
			return penstock.ErrorValue(err)
		}
		arena := b.Arena()
		text := arena.Keep(appendMasked(arena.Tail(sizeOf(v)), d, n))
		return penstock.NodeValue(document(b, text), 0)
	case penstock.KindAbsent:
		return v
	}
	return penstock.Null
}

// maskText is what a string becomes.
const maskText = `"***"`

// appendMasked writes what mask makes of node n: see [Mask].
func appendMasked(dst []byte, d *jsonview.Doc, n jsonview.Node) []byte {
	switch d.Kind(n) {
	case jsonview.String, jsonview.Bytes:
		return append(dst, maskText...)
	case jsonview.Array:
		dst = append(dst, '[')
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			dst = append(appendMasked(dst, d, e), ',')
		}
		return closeWith(dst, ']')
	case jsonview.Object:
		dst = append(dst, '{')
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			dst = append(d.AppendJSON(dst, k), ':')
			dst = append(appendMasked(dst, d, d.Value(k)), ',')
		}
		return closeWith(dst, '}')
	}
	return append(dst, "null"...)
}

// closeWith ends a container, on top of the comma after the last member.
func closeWith(dst []byte, c byte) []byte {
	if last := len(dst) - 1; dst[last] == ',' {
		dst[last] = c
		return dst
	}
	return append(dst, c)
}
