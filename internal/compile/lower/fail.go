package lower

import (
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerFail fails the message: nothing comes behind it but a catch.
func (b *builder) lowerFail(s *resource.Step, v *resource.Fail) {
	st := &step.Fail{Code: v.Code}
	if !v.Message.IsZero() {
		st.Message = b.exprs().Template(v.Message, b.state.sc, expr.Plain).Program
	}
	conditional := b.when != nil
	b.emit(s, &plan.Apply{Step: st}, string(v.Code))
	if conditional {
		b.next()
	}
	b.state.dead = true
}
