package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// stateful refuses a step that keeps state where it can't stand, or has no name to keep it under. It reports whether
// the step may be lowered.
func (b *builder) stateful(s *resource.Step) bool {
	if b.misplaced(s) {
		return false
	}
	if _, kept := s.Verb.(*resource.ClaimCheck); !kept && b.unanswered(s) {
		return false
	}
	if s.Name == "" {
		b.diags().Errorf(s.Pos, "missing-name", s.VerbName, "add `name:` to the step", "%s keeps state, and state is kept under the step's name", s.VerbName)
	}
	return true
}

// stage places a stage boundary. Variables and names in scope outlive it: they are stored with the message.
func (b *builder) stage(s *resource.Step, st *plan.Stage, label string) {
	b.emit(s, st, label)
	b.next()
}

// groupBy compiles what a step keeps its state by; nil where it says nothing.
func (b *builder) groupBy(e penstock.Expr) penstock.Program {
	if e.IsZero() {
		return nil
	}
	c := b.exprs().Expr(e, b.state.sc, nil)
	b.keyType(c.Type, e)
	return c.Program
}

// keyed is what a step's state depends on, in words that don't change with the layout of the file.
func keyed(verb string, by penstock.Expr) string {
	if by.IsZero() {
		return verb
	}
	return verb + " by " + plainly(by.Source)
}

// lowerDedupe lets the first message of a key pass.
func (b *builder) lowerDedupe(s *resource.Step, v *resource.Dedupe) {
	if !b.stateful(s) {
		return
	}
	b.stage(s, &plan.Stage{By: b.groupBy(v.Key), Spec: &plan.Dedupe{Window: v.Window.Std()}, Keyed: keyed("dedupe", v.Key)},
		"by "+v.Key.Source+" within "+v.Window.String())
}

// lowerResequence puts messages into the order of their numbers. Without `by` the sequences are those of the messages'
// keys; where they have none, there is one.
func (b *builder) lowerResequence(s *resource.Step, v *resource.Resequence) {
	if !b.stateful(s) {
		return
	}
	by := v.By
	if by.IsZero() && b.state.keyed {
		by = penstock.Expr{Source: "key", Pos: s.VerbPos}
	}
	number := b.exprs().Expr(v.Number, b.state.sc, types.IntType)
	st := &plan.Stage{By: b.groupBy(by), Number: number.Program, Keyed: keyed("resequence", by) + " number " + plainly(v.Number.Source),
		Spec: &plan.Resequence{Start: v.Start, Timeout: v.Timeout.Std(), Bound: v.Bound, Late: plan.Late(v.Late)}}
	label := "number " + v.Number.Source
	if !by.IsZero() {
		label = "by " + by.Source + ", " + label
	}
	b.stage(s, st, label)
}

// changeKinds are the words of change.
var changeKinds = &types.Type{Kind: types.String, Enum: []string{"added", "changed", "gone"}}

// lowerChanges compares extracts. Order must be total, since an extract ends where the next one begins.
func (b *builder) lowerChanges(s *resource.Step, v *resource.Changes) {
	if !b.stateful(s) {
		return
	}
	if b.f.o.Order != plan.Total {
		b.diags().Errorf(s.VerbPos, "wrong-order", string(b.f.o.Order), "leave the flow's `order` out, or write `order: total`",
			"changes needs the order of the extract: with order: %s records of two extracts mix", b.f.o.Order)
	}
	of := v.Of
	if of.IsZero() {
		of = penstock.Expr{Source: "meta.file", Pos: s.VerbPos}
	}
	st := &plan.Stage{By: b.groupBy(v.Key), Of: b.groupBy(of), Spec: &plan.Changes{}, Keyed: keyed("changes", v.Key)}
	body := b.state.body()
	b.stage(s, st, "by "+v.Key.Source+" of "+of.Source)
	b.state.keyed = true
	b.state = b.state.withBody(&types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "change", Type: changeKinds, Required: true},
		{Name: "key", Type: types.StringType, Required: true},
		{Name: "before", Type: body},
		{Name: "after", Type: body},
	}})
}

// lowerDelay holds messages back.
func (b *builder) lowerDelay(s *resource.Step, v *resource.Delay) {
	if !b.stateful(s) {
		return
	}
	st := &plan.Stage{Spec: &plan.Delay{For: v.For.Std()}, Keyed: "delay"}
	label := v.For.String()
	if !v.Until.IsZero() {
		st.Until = b.exprs().Expr(v.Until, b.state.sc, types.TimestampType).Program
		label = "until " + v.Until.Source
	}
	b.stage(s, st, label)
}

// lowerThrottle holds messages back to a rate.
func (b *builder) lowerThrottle(s *resource.Step, v *resource.Throttle) {
	if !b.stateful(s) {
		return
	}
	label := v.Rate.String()
	if !v.By.IsZero() {
		label += " by " + v.By.Source
	}
	b.stage(s, &plan.Stage{By: b.groupBy(v.By), Spec: &plan.Throttle{Rate: v.Rate.PerSecond(), Burst: v.Burst}, Keyed: keyed("throttle", v.By)}, label)
}

// claimMeta is the header that names a body which was checked in.
var claimMeta = penstock.Path{Source: "meta.claim", Root: "meta", Steps: []penstock.PathStep{{Name: "claim"}}}

// lowerClaimCheck keeps the body and goes on without it, or brings one back. It is no stage boundary: the body is kept in the
// transaction that settles the message.
func (b *builder) lowerClaimCheck(s *resource.Step, v *resource.ClaimCheck) {
	if v.IsRedeem() {
		b.lowerRedeem(s, v)
		return
	}
	if !b.stateful(s) {
		return
	}
	tree := v.Body
	if tree.Kind == penstock.TreeNone {
		tree = penstock.Tree{Kind: penstock.TreeNull, Pos: s.VerbPos}
	}
	c := b.exprs().Tree(tree, b.state.sc)
	b.emit(s, &plan.Claim{Body: c.Mapping, Retain: v.Retention.Std()}, "kept for "+v.Retention.String())
	b.next()
	b.state = b.put(b.state.withBody(bodyType(orDyn(c.Type))), claimMeta, types.StringType)
}

// lowerRedeem brings a body back.
func (b *builder) lowerRedeem(s *resource.Step, v *resource.ClaimCheck) {
	c := b.exprs().Expr(v.Redeem, b.state.sc, types.StringType)
	t := types.DynType
	if !v.Schema.IsZero() {
		if schema := b.f.o.World.Schema(v.Schema, b.diags()); schema != nil {
			t = schema.Type
		}
	}
	b.emit(s, &plan.Claim{Redeem: c.Program, Into: b.target(into(s))}, "redeem "+v.Redeem.Source)
	b.next()
	b.state = b.put(b.state, into(s), t)
}
