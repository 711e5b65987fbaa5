package guarantee

import (
	"fmt"

	"penstock.dev/penstock/internal/plan"
)

// Transaction says how the outputs of f and the positions of its sources can be committed together (penstock.Transactor). Nil: they
// can't, and missing says what that would need, in words that ask for it; "" where it is out of the question.
func Transaction(f *plan.Flow) (t *plan.Transaction, missing string) {
	if len(f.Sources) == 0 {
		return nil, ""
	}
	first := f.Sources[0]
	if first.Driver == nil || !first.Driver.Spec.Transacts || first.Connection == "" {
		return nil, ""
	}
	t = &plan.Transaction{Driver: first.Driver.Spec.Name, Connection: first.Connection}
	for _, ep := range f.Sources {
		switch {
		case !t.Has(ep):
			return nil, fmt.Sprintf("read from %s on connection %s only: a transaction takes up the positions of its own cluster", t.Driver, t.Connection)
		case ep.ID != nil:
			return nil, fmt.Sprintf("leave `id` out at %s: identities are remembered in the store, which is not part of a transaction of %s", stepName(ep), t.Driver)
		}
	}
	if f.OnError.Park {
		return nil, "leave `order: park` out of onError: what is parked is kept in the store, which is not part of a transaction of " + t.Driver
	}
	w := &writes{t: t}
	w.nodes(f.Nodes)
	if dl := f.OnError.DeadLetter; dl != nil {
		w.to(dl, "onError", false)
	}
	switch {
	case w.missing != "":
		return nil, w.missing
	case !w.some:
		return nil, ""
	}
	return t, ""
}

// writes looks at what a flow writes to.
type writes struct {
	t       *plan.Transaction
	some    bool // something is in the transaction
	missing string
}

func (w *writes) lacks(format string, args ...any) {
	if w.missing == "" {
		w.missing = fmt.Sprintf(format, args...)
	}
}

func (w *writes) nodes(nodes []plan.Node) {
	for i := range nodes {
		n := &nodes[i]
		switch op := n.Op.(type) {
		case *plan.Stage, *plan.Group, *plan.Claim:
			w.lacks("do what step %s does in a flow of its own: what it keeps is not part of a transaction of %s", n.Name, w.t.Driver)
		case *plan.Send:
			w.to(op.Endpoint, n.Name, op.NoWait)
		case *plan.Fork:
			for _, b := range op.Branches {
				w.nodes(b.Nodes)
			}
		case *plan.Loop:
			w.nodes(op.Body.Nodes)
		}
	}
}

func (w *writes) to(ep *plan.Endpoint, step string, noWait bool) {
	switch {
	case ep == nil || ep.Channel == "" && ep.Driver == nil:
	case ep.Channel != "":
		w.lacks("send to %s on connection %s only: what step %s sends to channel %s is not part of a transaction of it", w.t.Driver, w.t.Connection, step, ep.Channel)
	case w.t.Has(ep):
		w.some = w.some || !noWait
	case ep.Driver.Spec.Transacts && ep.Driver.Spec.Name == w.t.Driver:
		w.lacks("use one connection at the source and at %s: a transaction is of one cluster, and %s and %s may be two", step, w.t.Connection, ep.Connection)
	}
}
