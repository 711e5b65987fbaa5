package flowtest

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/run"
)

// Coverage is what the tests have reached of one flow.
type Coverage struct {
	Flow        string `json:"flow"`
	Steps       Share  `json:"steps"`       // to which a message came
	Branches    Share  `json:"branches"`    // outcomes of conditions: each can be true and false
	Expressions Share  `json:"expressions"` // that were evaluated; constant ones, and those of connectors, which tests replace, don't count
	// Missed is what was not reached, by place.
	Missed []Missed `json:"missed"`
}

// Share is so many of a number.
type Share struct {
	Reached int `json:"reached"`
	Total   int `json:"total"`
}

// Percent is rounded down; 100 of nothing.
func (s Share) Percent() int {
	if s.Total == 0 {
		return 100
	}
	return s.Reached * 100 / s.Total
}

// Missed is something of a flow that no test has reached.
type Missed struct {
	Pos  penstock.Pos `json:"position"`
	What string       `json:"what"`           // step, branch, expression
	Text string       `json:"text"`           // the step's name, or the expression
	Want string       `json:"want,omitempty"` // of a branch: the outcome that never came, true or false
}

// coverage counts what is reached while the tests run. It is safe for concurrent use.
type coverage struct {
	expressions []*watched // in the order of compilation

	mu    sync.Mutex
	steps map[string]map[string]bool // by flow, the names of steps to which a message came
}

// watched is an expression with its counts.
type watched struct {
	expr.Expression
	program   penstock.Program
	evaluated atomic.Bool
	yes, no   atomic.Bool
}

// wrap is what compile.Options.Wrap takes.
func (c *coverage) wrap(e expr.Expression, p penstock.Program) penstock.Program {
	w := &watched{Expression: e, program: p}
	c.expressions = append(c.expressions, w)
	return w
}

// Eval implements penstock.Program.
func (w *watched) Eval(f *penstock.Frame) penstock.Value {
	v := w.program.Eval(f)
	w.evaluated.Store(true)
	if w.Condition {
		switch {
		case v.IsError():
		case isTrue(v):
			w.yes.Store(true)
		default:
			w.no.Store(true)
		}
	}
	return v
}

// ran takes what a run of a flow has reached.
func (c *coverage) ran(s *run.Summary) {
	if c == nil || s == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range s.Flows {
		f := &s.Flows[i]
		if c.steps[f.Name] == nil {
			c.steps[f.Name] = map[string]bool{}
		}
		for _, st := range f.Steps {
			if st.In > 0 {
				c.steps[f.Name][st.Name] = true
			}
		}
	}
}

// report says what was reached of the flows that tests have run.
func (c *coverage) report(set *resource.Set, p *plan.Plan) []Coverage {
	var out []Coverage
	for _, f := range p.Flows {
		reached := c.steps[f.Name]
		r, ok := set.Find(resource.KindFlow, f.Name)
		if reached == nil || !ok {
			continue
		}
		cov := Coverage{Flow: f.Name, Missed: []Missed{}}
		cov.nodes(f.Nodes, reached)
		end := endOf(set, r)
		outside := configs(r.Doc)
		for _, w := range c.expressions {
			if w.Pos.File == r.Pos.File && w.Pos.Line >= r.Pos.Line && w.Pos.Line < end && !outside.hold(w.Pos) {
				cov.expression(w)
			}
		}
		slices.SortStableFunc(cov.Missed, func(a, b Missed) int {
			return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
		})
		out = append(out, cov)
	}
	return out
}

// span is a part of a file.
type span struct{ from, to penstock.Pos }

type spans []span

func (s spans) hold(p penstock.Pos) bool {
	return slices.ContainsFunc(s, func(x span) bool { return !before(p, x.from) && !before(x.to, p) })
}

func before(a, b penstock.Pos) bool { return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col }

// configs are the configurations of connectors in a document: a test replaces the connectors, so that nothing of them is
// evaluated.
func configs(n *resource.Node) spans {
	var out spans
	if n == nil {
		return nil
	}
	for _, e := range n.Elems {
		out = append(out, configs(e)...)
	}
	for _, e := range n.Entries {
		switch e.Key {
		case "from", "to", "call", "deadLetter":
			for _, inner := range e.Value.Entries {
				if inner.Value.Kind == resource.NodeMap && inner.Key != "body" {
					out = append(out, span{inner.Value.Pos, lastOf(inner.Value)})
				}
			}
		case "sources":
			for _, s := range e.Value.Elems {
				out = append(out, configs(&resource.Node{Entries: []resource.NodeEntry{{Key: "from", Value: s}}})...)
			}
		default:
			out = append(out, configs(e.Value)...)
		}
	}
	return out
}

// lastOf is where the last part of a node ends, or behind it in its line.
func lastOf(n *resource.Node) penstock.Pos {
	last := n.Pos
	if n.Kind == resource.NodeText {
		last = n.TextPos
		last.Line += strings.Count(n.Text, "\n")
		last.Col += len(n.Text)
	}
	for _, e := range n.Elems {
		if p := lastOf(e); before(last, p) {
			last = p
		}
	}
	for _, e := range n.Entries {
		if p := lastOf(e.Value); before(last, p) {
			last = p
		}
	}
	return last
}

// endOf is the line at which the next document of the file begins.
func endOf(set *resource.Set, r *resource.Resource) int {
	end := int(^uint(0) >> 1)
	for _, o := range set.Resources {
		if o.Pos.File == r.Pos.File && o.Pos.Line > r.Pos.Line {
			end = min(end, o.Pos.Line)
		}
	}
	return end
}

func (c *Coverage) nodes(nodes []plan.Node, reached map[string]bool) {
	for i := range nodes {
		n := &nodes[i]
		if n.Pos.IsValid() && n.Name != "" {
			c.Steps.Total++
			if reached[n.Name] {
				c.Steps.Reached++
			} else {
				c.Missed = append(c.Missed, Missed{Pos: n.Pos, What: "step", Text: n.Name})
			}
		}
		switch op := n.Op.(type) {
		case *plan.Fork:
			for b := range op.Branches {
				c.nodes(op.Branches[b].Nodes, reached)
			}
		case *plan.Loop:
			c.nodes(op.Body.Nodes, reached)
		}
	}
}

func (c *Coverage) expression(w *watched) {
	c.Expressions.Total++
	if w.evaluated.Load() {
		c.Expressions.Reached++
	} else {
		c.Missed = append(c.Missed, Missed{Pos: w.Pos, What: "expression", Text: clip(w.Text)})
	}
	if !w.Condition {
		return
	}
	for _, side := range []struct {
		came bool
		name string
	}{{w.yes.Load(), "true"}, {w.no.Load(), "false"}} {
		c.Branches.Total++
		switch {
		case side.came:
			c.Branches.Reached++
		case w.evaluated.Load():
			c.Missed = append(c.Missed, Missed{Pos: w.Pos, What: "branch", Text: clip(w.Text), Want: side.name})
		}
	}
}
