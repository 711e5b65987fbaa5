package run

import (
	"context"
	"errors"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// Redriving says which dead letters are given in again.
type Redriving struct {
	Flow  string                            // whose
	Match func(v record.View) (bool, error) // nil: all
	Limit int                               // the oldest so many; 0: all
	Rate  float64                           // so many a second at most; 0: no bound
	Who   string                            // flow/step, for the audit
}

// redriver is what a step asks that gives dead letters in again.
type redriver struct {
	f    *flow
	name string // flow/step
	spec *plan.Redrive
}

var _ penstock.Caller = (*redriver)(nil)

// Open implements penstock.Caller.
func (*redriver) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*redriver) Close(context.Context) error { return nil }

// Call implements penstock.Caller. What was given in when it fails stays so.
func (d *redriver) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	give := d.f.r.opts.Redrive
	if give == nil {
		return &penstock.Error{Code: penstock.Config, Op: "redrive", Err: errors.New("this run has no dead letters to give in")}
	}
	what := Redriving{Flow: d.spec.Flow, Limit: d.spec.Limit, Rate: d.spec.Rate, Who: d.name}
	if d.spec.Where != nil {
		what.Match = d.match(f)
	}
	n, left, err := give(ctx, what)
	if err != nil {
		return err
	}
	text := append([]byte(`{"redriven":`), penstock.IntValue(n).String()...)
	text = append(append(text, `,"left":`...), penstock.IntValue(left).String()...)
	into.Body.Reset(jsonview.JSON, append(text, '}'))
	return nil
}

// match evaluates the condition over a dead letter, with the variables of the message that asks. One that lacks a field is not meant.
func (d *redriver) match(asks *penstock.Frame) func(record.View) (bool, error) {
	b := &penstock.Batch{}
	return func(v record.View) (bool, error) {
		b.Reset()
		b.Runtime = d.f.runtime
		m, err := v.Message(b, nil)
		if err != nil {
			return false, err
		}
		m.Vars = append(m.Vars[:0], asks.Msg.Vars...)
		if n := d.spec.Error; n >= len(m.Vars) {
			m.Vars = append(m.Vars, make([]penstock.Value, n+1-len(m.Vars))...)
		}
		m.Vars[d.spec.Error] = ErrorOf(m)
		got := d.spec.Where.Eval(b.Frame(m)).Load(b.Arena())
		return got.Kind() == penstock.KindBool && got.Bool(), nil
	}
}

// ErrorOf is `error` in conditions over dead letters: meta.dead, with the count of how often it was redriven also where that is 0.
func ErrorOf(m *penstock.Message) penstock.Value {
	str := penstock.StringValue
	none := penstock.Entry{Key: str(timesField), Value: penstock.IntValue(0)}
	switch dead := m.Meta.Get("dead"); dead.Kind() {
	case penstock.KindMap:
		all := dead.Map().Entries
		if !slices.ContainsFunc(all, func(e penstock.Entry) bool { return e.Key.Kind() == penstock.KindString && e.Key.Str() == timesField }) {
			all = append(slices.Clip(all), none)
		}
		return penstock.MapValue(&penstock.Map{Entries: all})
	case penstock.KindNode: // it was carried as JSON
		doc, n := dead.Node()
		if doc.Kind(n) != jsonview.Object || doc.Field(n, timesField, nil) != jsonview.None {
			return dead
		}
		var all []penstock.Entry
		for k := doc.First(n); k != jsonview.None; k = doc.Next(k) {
			all = append(all, penstock.Entry{Key: str(string(doc.Key(k, nil))), Value: penstock.NodeValue(doc, doc.Value(k))})
		}
		return penstock.MapValue(&penstock.Map{Entries: append(all, none)})
	default:
		return dead
	}
}

// awaitRedrivers waits until no other flow can give dead letters to this one any more, whose sources have ended. It does not wait for one
// that is fed by it: that one waits for its end.
func (f *flow) awaitRedrivers(reading context.Context) {
	for reading.Err() == nil && f.ctx.Err() == nil {
		by := f.redriver()
		if by == nil {
			return
		}
		f.r.idle()
		select {
		case <-by.done:
		case <-reading.Done():
		case <-f.ctx.Done():
		}
		f.r.busy()
	}
}

// redriver is a flow that may give dead letters to f; nil: there is none.
func (f *flow) redriver() *flow {
	all := f.r.list()
	plans := make([]*plan.Flow, len(all))
	for i, g := range all {
		plans[i] = g.plan
	}
	for _, g := range all {
		select {
		case <-g.done:
			continue
		default:
		}
		if g != f && slices.Contains(redrives(g.plan), f.plan.Name) && !feeds(plans, f.plan, g.plan.Name) {
			return g
		}
	}
	return nil
}

// redrives lists the flows whose dead letters a flow gives in.
func redrives(f *plan.Flow) (out []string) {
	plan.Walk(f.Nodes, func(n *plan.Node) {
		if c, ok := n.Op.(*plan.Call); ok && c.Endpoint.Redrive != nil {
			out = append(out, c.Endpoint.Redrive.Flow)
		}
	})
	return out
}

// feeds says that what a flow sends, or what of it is dead, comes to another flow, directly or through others.
func feeds(all []*plan.Flow, from *plan.Flow, to string) bool {
	seen := map[string]bool{from.Name: true}
	next := []*plan.Flow{from}
	for len(next) > 0 {
		f := next[0]
		next = next[1:]
		sends := []string{deadChannel(f.Name)}
		if d := f.OnError.DeadLetter; d != nil {
			sends = append(sends, d.Channel)
		}
		plan.Walk(f.Nodes, func(n *plan.Node) {
			if s, ok := n.Op.(*plan.Send); ok && s.Endpoint.Channel != "" {
				sends = append(sends, s.Endpoint.Channel)
			}
		})
		given := redrives(f)
		for _, g := range all {
			reads := slices.ContainsFunc(g.Sources, func(ep *plan.Endpoint) bool { return ep.Channel != "" && slices.Contains(sends, ep.Channel) })
			if !seen[g.Name] && (reads || slices.Contains(given, g.Name)) {
				seen[g.Name] = true
				next = append(next, g)
			}
		}
	}
	return seen[to] && to != from.Name
}
