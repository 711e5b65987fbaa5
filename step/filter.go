package step

import (
	"context"

	"penstock.dev/penstock"
)

// Filter lets pass the messages for which Condition is true, and drops the rest. A condition that fails, or is no bool,
// fails the message.
type Filter struct{ Condition penstock.Program }

// Process takes out what doesn't pass.
func (s *Filter) Process(_ context.Context, b *penstock.Batch) error {
	kept := 0
	for _, m := range b.Msgs {
		ok, err := truth(s.Condition.Eval(b.Frame(m)))
		if err != nil {
			// Nothing is moved to a place that is marked: marks are made left of what is still to come.
			b.Msgs[kept] = m
			b.Fail(kept, failed("filter", err))
			kept++
			continue
		}
		if ok {
			b.Msgs[kept] = m
			kept++
		}
	}
	clear(b.Msgs[kept:])
	b.Msgs = b.Msgs[:kept]
	return nil
}
