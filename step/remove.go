package step

import (
	"context"

	"penstock.dev/penstock"
)

// Remove takes away what is at its paths. A path that is not there is left alone. Indexes of a list mean the list as it
// was before the step. The whole body becomes null, the key empty.
type Remove struct {
	passes  []editPass
	changes []change // drop, for each path of a pass
	other   []Target

	scratches scratches
}

// NewRemove compiles the paths; [Each] is allowed in those of the body. Errors speak of the configuration.
func NewRemove(paths []Target) (*Remove, error) {
	s := new(Remove)
	var body [][]PathStep
	for _, t := range paths {
		if err := checkPath("remove", t, t.Root == Body); err != nil {
			return nil, err
		}
		switch t.Root {
		case Body:
			body = append(body, t.Steps)
			s.changes = append(s.changes, change{kind: drop})
		case Discard:
			return nil, configError("remove", t, "is nothing that could be taken away")
		default:
			s.other = append(s.other, t)
		}
	}
	s.passes = compilePasses(body)
	return s, nil
}

// Process takes the paths away from each message.
func (s *Remove) Process(_ context.Context, b *penstock.Batch) error {
	sc := s.scratches.get()
	defer s.scratches.put(sc)
	for i, m := range b.Msgs {
		before := m.Body
		sc.undo = sc.undo[:0]
		if err := s.one(sc, b, m); err != nil {
			sc.restore(m, before)
			b.Fail(i, failed("remove", err))
		}
	}
	return nil
}

func (s *Remove) one(sc *scratch, b *penstock.Batch, m *penstock.Message) error {
	for i := range s.passes {
		if err := sc.edit(b, m, &s.passes[i].root, s.changes); err != nil {
			return err
		}
	}
	for i := range s.other {
		if err := sc.assign(b, m, &s.other[i], penstock.Absent); err != nil {
			return err
		}
	}
	return nil
}
