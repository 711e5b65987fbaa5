package control

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// Checked is a configuration that was read and compiled.
type Checked struct {
	// OK says that it can run: no finding is an error.
	OK       bool           `json:"ok"`
	Errors   int            `json:"errors"`
	Warnings int            `json:"warnings"`
	Findings []Finding      `json:"findings"` // by file, line and column
	Flows    []FlowCoverage `json:"flows"`    // by name, as far as they could be compiled

	plan *plan.Plan
	set  *resource.Set
}

// FlowCoverage says how much of a flow is typed: how many of the paths that its expressions
// read have a static type.
type FlowCoverage struct {
	Flow    string       `json:"flow"`
	Pos     penstock.Pos `json:"position"`
	Typed   int          `json:"typed"`
	Total   int          `json:"total"`
	Percent int          `json:"percent"` // rounded down; 100 where nothing is read
}

// Check reads and compiles a configuration. With strict, a doubtful read is an error and every
// warning counts as one: OK is then false.
func (s *Service) Check(p Project, strict bool) *Checked {
	set, found := s.load(p)
	pl, more := compile.Compile(set, s.Registry, compile.Options{Strict: strict})
	found.Merge(more)
	if len(set.Resources) == 0 && found.Len() == 0 {
		at := "."
		if len(p.Paths) > 0 {
			at = p.Paths[0]
		}
		found.Errorf(penstock.Pos{File: at}, "nothing-here", "", "name a file or folder of a configuration, or make one with penstock init", "there is no configuration here")
	}
	c := &Checked{plan: pl, set: set}
	c.Findings = distinct(found.Sorted())
	c.Errors, c.Warnings = tally(c.Findings)
	c.OK = c.Errors == 0 && (!strict || c.Warnings == 0)
	c.Flows = []FlowCoverage{}
	if pl != nil {
		for _, f := range pl.Flows {
			c.Flows = append(c.Flows, coverageOf(f))
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

func coverageOf(f *plan.Flow) FlowCoverage {
	c := FlowCoverage{Flow: f.Name, Pos: f.Pos, Typed: f.Coverage.Typed, Total: f.Coverage.Total, Percent: 100}
	if c.Total > 0 {
		c.Percent = c.Typed * 100 / c.Total
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
			same = f.Text != "" && out[i].Code == f.Code && out[i].Text == f.Text && out[i].Severity == f.Severity
		}
		if !same {
			out = append(out, f)
		}
	}
	return out
}
