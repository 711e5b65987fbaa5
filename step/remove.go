package step

import (
	"context"

	"penstock.dev/penstock"
)

// Remove takes away what is at its paths. A path that is not there is left alone. Indexes of a list mean the list as it
// was before the step. The whole body becomes null, the key empty.
type Remove struct{ edits pathEdits }

// NewRemove compiles the paths; [Each] is allowed in those of the body. Errors speak of the configuration.
func NewRemove(paths []Target) (*Remove, error) {
	s := new(Remove)
	err := s.edits.compile("remove", change{kind: drop}, paths, func(r Root) string {
		if r == Discard {
			return "is nothing that could be taken away"
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Process takes the paths away from each message.
func (s *Remove) Process(_ context.Context, b *penstock.Batch) error {
	s.edits.process(b, removeOther)
	return nil
}

func removeOther(sc *scratch, b *penstock.Batch, m *penstock.Message, t *Target) error {
	return sc.assign(b, m, t, penstock.Absent)
}
