package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// deriveDelivery says of each flow what it gives, and holds that against what it declares. It needs a plan without errors:
// of half a flow nothing true can be said.
func (c *compiler) deriveDelivery(strict bool) {
	if c.diags.HasErrors() {
		return
	}
	declared := map[string]*resource.Flow{}
	for _, r := range c.set.Of(resource.KindFlow) {
		if f := r.Spec.(*resource.Flow); f.Has("delivery") {
			declared[r.Name()] = f
		}
	}
	for _, f := range c.plan.Flows {
		f.Guarantee = guarantee.Derive(c.plan, f)
		if spec := declared[f.Name]; spec != nil {
			c.holdDelivery(f, spec.At("delivery"), strict)
		}
	}
}

// holdDelivery reports each place of a flow that breaks what it declares. Effectively-once and at-most-once are asked for by
// name, and refused where they can't be kept. At-least-once is what everybody begins with: that something may be lost all the same
// is a warning.
func (c *compiler) holdDelivery(f *plan.Flow, at penstock.Pos, strict bool) {
	if guarantee.Covers(f.Guarantee.Delivery, f.Delivery) {
		return
	}
	severity := diag.Error
	if f.Delivery == plan.AtLeastOnce && !strict {
		severity = diag.Warning
	}
	for _, r := range f.Guarantee.Reasons {
		if r.Delivery == "" || !guarantee.Breaks(f, r) {
			continue
		}
		pos := r.Pos
		if !pos.IsValid() {
			pos = at
		}
		hint := r.Hint
		if f.Delivery == plan.EffectivelyOnce && f.Guarantee.Delivery == plan.AtLeastOnce {
			hint += ", or declare at-least-once"
		}
		c.diags.Add(diag.Diagnostic{Severity: severity, Code: "delivery", Pos: pos, Hint: hint,
			Message: "delivery: " + string(f.Delivery) + " can't be kept at " + r.Step + ": " + r.Text})
	}
}
