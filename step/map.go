package step

import (
	"context"

	"penstock.dev/penstock"
)

// Map makes a new value of each message and puts it into Into (the zero Target is the whole body). Exactly one
// of Mapping and Program is set. Where it fails the message is left as it came.
type Map struct {
	// Mapping writes a data tree as JSON text.
	Mapping penstock.Mapping
	// Program computes the value of a tree that is one ${…}: the value keeps its type on the way into a variable.
	Program penstock.Program
	Into    Target

	scratches scratches
}

// Process maps each message.
func (s *Map) Process(_ context.Context, b *penstock.Batch) error {
	sc := s.scratches.get()
	defer s.scratches.put(sc)
	for i, m := range b.Msgs {
		if err := s.one(sc, b, m); err != nil {
			b.Fail(i, err)
		}
	}
	return nil
}

func (s *Map) one(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	if s.Program != nil {
		v := s.Program.Eval(b.Frame(m))
		if v.IsError() {
			return failed("map", v.Err())
		}
		if err := Assign(b, m, s.Into, v); err != nil {
			return failed("map", err)
		}
		return nil
	}
	// Not straight into the arena: the programs of the mapping put what they compute there at the same time.
	buf, err := s.Mapping.Append(sc.buf[:0], b.Frame(m))
	if err != nil {
		return failed("map", err)
	}
	sc.buf = buf
	d := document(b, b.Arena().Copy(buf))
	if s.Into.Root == Body && len(s.Into.Steps) == 0 {
		m.Body = d
		return nil
	}
	if err := Assign(b, m, s.Into, penstock.NodeValue(d, 0)); err != nil {
		return failed("map", err)
	}
	return nil
}
