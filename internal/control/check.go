package control

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// Checked is a configuration that was read and compiled.
type Checked struct {
	// OK says that it can run: no finding is an error.
	OK       bool       `json:"ok"`
	Errors   int        `json:"errors"`
	Warnings int        `json:"warnings"`
	Findings []Finding  `json:"findings"` // by file, line and column
	Flows    []FlowFact `json:"flows"`    // in the order of the files; empty where something is wrong

	plan *plan.Plan
	set  *resource.Set
	memo *compile.Memo
}

// FlowFact is what was derived of a flow: what it gives, and how much of it is typed.
type FlowFact struct {
	Flow string       `json:"flow"`
	Pos  penstock.Pos `json:"position"`
	// Delivery is how often an effect of a message may happen: effectively-once, at-least-once, at-most-once, or
	// best-effort (it may be lost, and another may happen twice). Declared is what the file asks for, or the
	// default.
	Delivery string `json:"delivery"`
	Declared string `json:"declaredDelivery"`
	// Within is for how long that holds, as "7d", where it rests on identities that are remembered; else empty.
	Within string `json:"within,omitempty"`
	// Order is what order the output has: total, per-key or none. Asked is what the file asks for, or the default.
	Order string `json:"order"`
	Asked string `json:"declaredOrder"`
	// Reasons say why it is not more, and under which conditions it holds, in the order of the steps.
	Reasons []Reason `json:"reasons"`
	// Typed of Total paths that its expressions read have a static type.
	Typed   int `json:"typed"`
	Total   int `json:"total"`
	Percent int `json:"percent"` // rounded down; 100 where nothing is read
}

// Reason is one place of a flow that takes something from what it gives, or a condition.
type Reason struct {
	Step     string       `json:"step"`               // its name; from, or onError
	Delivery string       `json:"delivery,omitempty"` // what this alone leaves; empty where it is about order
	Order    string       `json:"order,omitempty"`    // … of the order; empty where it is about delivery
	Text     string       `json:"text"`
	Hint     string       `json:"hint,omitempty"` // what would mend it
	Pos      penstock.Pos `json:"position"`
	// Breaks says that it leaves less than what is declared; of order only where the flow says what it wants.
	Breaks bool `json:"breaks,omitempty"`
}

// Check reads and compiles a configuration. With strict, a doubtful read is an error and every
// warning counts as one: OK is then false.
func (s *Service) Check(p Project, strict bool) *Checked {
	return s.check(p, compile.Options{Strict: strict})
}

func (s *Service) check(p Project, o compile.Options) *Checked { return s.checkAfter(p, o, nil) }

// checkAfter is check for a configuration that was checked before (nil: it was not). What is the same is neither read nor compiled again.
func (s *Service) checkAfter(p Project, o compile.Options, before *Checked) *Checked {
	from := s.loading(p)
	o.Memo = &compile.Memo{}
	if before != nil {
		from.Before, *o.Memo = before.set, *before.memo
	}
	set, found := resource.Load(from)
	pl, more := compile.Compile(set, s.Registry, o)
	found.Merge(more)
	if len(set.Resources) == 0 && found.Len() == 0 {
		at := "."
		if len(p.Paths) > 0 {
			at = p.Paths[0]
		}
		if p.Overlay != "" {
			at = p.Overlay
		}
		found.Errorf(penstock.Pos{File: at}, "nothing-here", "", "name a file or folder of a configuration, or make one with penstock init", "there is no configuration here")
	}
	c := &Checked{plan: pl, set: set, memo: o.Memo}
	c.Findings = distinct(found.Sorted())
	c.Errors, c.Warnings = tally(c.Findings)
	c.OK = c.Errors == 0 && (!o.Strict || c.Warnings == 0)
	c.Flows = []FlowFact{}
	if pl != nil {
		asks := asksOrder(set)
		for _, f := range pl.Flows {
			if f.Relay != "" {
				continue // what it gives is part of what those give who send through it
			}
			c.Flows = append(c.Flows, factOf(f, asks[f.Name]))
		}
	}
	return c
}

func tally(found []Finding) (errs, warnings int) {
	for _, f := range found {
		if f.Severity == diag.Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}

// asksOrder gives the names of the flows that say what order they want: total is the default, and nobody misses what he did not ask for.
func asksOrder(set *resource.Set) map[string]bool {
	out := map[string]bool{}
	for _, r := range set.Of(resource.KindFlow) {
		if f, ok := r.Spec.(*resource.Flow); ok && f.Has("order") {
			out[r.Name()] = true
		}
	}
	return out
}

func factOf(f *plan.Flow, asks bool) FlowFact {
	g := f.Guarantee
	c := FlowFact{
		Flow: f.Name, Pos: f.Pos, Delivery: string(g.Delivery), Declared: string(f.Delivery), Order: string(g.Order), Asked: string(f.Order),
		Reasons: []Reason{}, Typed: f.Coverage.Typed, Total: f.Coverage.Total, Percent: 100,
	}
	if g.Within > 0 {
		c.Within = guarantee.Span(g.Within)
	}
	if c.Total > 0 {
		c.Percent = c.Typed * 100 / c.Total
	}
	for _, r := range g.Reasons {
		c.Reasons = append(c.Reasons, Reason{
			Step: r.Step, Delivery: string(r.Delivery), Order: string(r.Order), Text: r.Text, Hint: r.Hint, Pos: r.Pos,
			Breaks: guarantee.Breaks(f, r) && (r.Order == "" || asks),
		})
	}
	return c
}

// distinct leaves one finding where reading and compiling both say the same of the same place. The
// result is never nil.
func distinct(sorted []Finding) []Finding {
	out := make([]Finding, 0, len(sorted))
	for _, f := range sorted {
		same := false
		for i := len(out) - 1; i >= 0 && out[i].Pos == f.Pos && !same; i-- {
			same = f.Text != "" && out[i].Code == f.Code && out[i].Text == f.Text && out[i].Severity == f.Severity &&
				(f.Code != "driver-config" || out[i].Message == f.Message) // a driver may have much to say of one place
		}
		if !same {
			out = append(out, f)
		}
	}
	return out
}
