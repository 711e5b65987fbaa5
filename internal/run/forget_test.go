package run

import (
	"context"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// forgetful is a source that needs no position of its stream any more once all of it is settled.
type forgetful struct {
	resumable
	over []string
}

func (s *forgetful) Settle(_ context.Context, out []penstock.Outcome) error {
	for _, o := range out {
		if int(o.Pos.Next) == len(s.docs) {
			s.over = append(s.over, o.Pos.Stream)
		}
	}
	return nil
}

func (s *forgetful) Over() []string {
	over := s.over
	s.over = nil
	return over
}

func TestTheLastStreamThatIsOverIsForgottenInTheSameRun(t *testing.T) {
	for _, order := range orders {
		p := newPlant(t, &plan.Flow{Name: "a", Order: order, Key: field("n"), Sources: fromLines("a"), Nodes: next(toChannel("c"))})
		p.source = func() penstock.Source {
			return &forgetful{resumable: resumable{lines: lines{docs: docs(100, `{"n":%d}`), batch: 7}}}
		}
		p.run(t.Context())
		if left := p.space(cursorSpace + "a/from"); len(left) > 0 {
			t.Errorf("order %s: the store still keeps %v", order, left)
		}
	}
}
