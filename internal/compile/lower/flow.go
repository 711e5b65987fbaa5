package lower

import (
	"strconv"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// Flow lowers one flow: it holds what all its programs share, the slots and names. It is not safe
// for concurrent use.
type Flow struct {
	o     Options
	cover plan.Coverage
	slots map[string]int // of variables, by name; of scoped names, by step and name
	n     int
	names map[*resource.Step]string
	start *scope.Scope
	// dry is above zero while steps are lowered whose nodes are thrown away (a trial round of a loop,
	// steps behind stop): they count nothing and tell nobody what they send.
	dry     int
	windows map[int]*plan.Stage
	cut     bool // it was said that steps are not reached
	// volatile says that an expression of the node that is placed next reads now or uuid().
	volatile bool
	asked    bool // an expression reads `request`
	modules  modules
}

// NewFlow begins a flow. Steps are all its steps, for their names.
func NewFlow(o Options, steps []resource.Step) *Flow {
	f := &Flow{o: o, slots: map[string]int{}, windows: map[int]*plan.Stage{}, names: map[*resource.Step]string{}}
	f.start = &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: orDyn(o.Input)},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "vars", Source: scope.Vars},
		{Name: "params", Source: scope.Params, Fields: o.Params},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
	}}
	if o.Request != nil {
		f.start.Roots = append(f.start.Roots, scope.Root{Name: requestRoot, Source: scope.Slot, Slot: f.slot(requestSlot), Type: o.Request})
	}
	f.nameSteps(steps)
	return f
}

// The root `request`, and the name of its slot: no variable, nor anything of a step, can have that.
const (
	requestRoot = "request"
	requestSlot = "/request"
)

// RequestSlot is the slot of `request`, -1 where nothing reads it. It is known once everything is lowered.
func (f *Flow) RequestSlot() int {
	if !f.asked {
		return -1
	}
	return f.slot(requestSlot)
}

// Scope is what expressions in front of the first step may speak of.
func (f *Flow) Scope() *scope.Scope { return f.start }

// Exprs compiles the flow's expressions.
func (f *Flow) Exprs() Exprs {
	x := Exprs{Profile: f.o.Profile, Diags: f.o.Diags, Volatile: &f.volatile}
	if f.o.Request != nil {
		x.Asked = &f.asked
	}
	if f.dry == 0 {
		x.Cover = &f.cover
	}
	return x
}

// Coverage is what was counted so far.
func (f *Flow) Coverage() plan.Coverage { return f.cover }

// Vars are the names of the slots that the flow's messages need: variables by their own name, what is in scope from a step on
// by the step's name and its own (lines/as). No two are the same, and none depends on the layout of the file but for
// steps without a name.
func (f *Flow) Vars() []string {
	if _, request := f.slots[requestSlot]; request && !f.asked && f.n == 1 {
		return nil
	}
	out := make([]string, f.n)
	for name, slot := range f.slots {
		out[slot] = name
	}
	return out
}

// slot is the slot of a variable, or of another name with a key of its own.
func (f *Flow) slot(name string) int {
	s, ok := f.slots[name]
	if !ok {
		s = f.n
		f.n++
		f.slots[name] = s
	}
	return s
}

// local is the slot of a scoped name of a step.
func (f *Flow) local(s *resource.Step, name string) int {
	return f.slot(f.names[s] + "/" + name)
}

// quiet runs lower with findings kept from the user and nothing counted.
func (f *Flow) quiet(lower func()) {
	diags, volatile := f.o.Diags, f.volatile
	f.o.Diags = &diag.List{}
	f.dry++
	lower()
	f.dry--
	f.o.Diags, f.volatile = diags, volatile
}

// Result is a lowered flow.
type Result struct {
	Nodes  []plan.Node
	Output *types.Type // of the body at the end; never where no message gets there
	// Lost is set when messages reach the end that were sent nowhere on their way.
	Lost bool
	// End is what may be spoken of at the end.
	End *scope.Scope
	// Windows are samples with a window and a name, by their node: what they are in a run that keeps state.
	Windows map[int]*plan.Stage
}

// Lower lowers the steps, behind the nodes of checks (those that validate what a source read), and in
// front of the flow's `to`, if it has one.
func (f *Flow) Lower(first []plan.Node, steps []resource.Step, to *resource.Target) Result {
	b := newBuilder(f, state{sc: f.start, keyed: f.o.Keyed}, "")
	for _, n := range first {
		n.Catch, n.ErrorSlot = plan.End, -1
		b.place(n)
		b.next()
	}
	b.steps(steps)
	if to != nil {
		b.finalTo(to)
	}
	r := Result{Output: b.state.body(), End: b.state.sc, Lost: to == nil && !b.state.dead && !b.state.sent}
	if b.state.dead {
		r.Output = types.NeverType
	}
	r.Nodes, r.Windows = b.seal(), f.windows
	return r
}

// nameSteps gives every step its name: the one in the file, or the verb and a number. Names are
// unique in the flow, whatever is nested in what.
func (f *Flow) nameSteps(steps []resource.Step) {
	taken := map[string]*resource.Step{}
	var unnamed []*resource.Step
	walk(steps, func(s *resource.Step) {
		if s.Name == "" {
			unnamed = append(unnamed, s)
			return
		}
		if first, twice := taken[s.Name]; twice {
			f.o.Diags.Errorf(s.At("name"), "name-collision", s.Name, "give one of them another name",
				"two steps of flow %s are called %s; the other is at line %d", f.o.Name, s.Name, first.Pos.Line)
		} else {
			taken[s.Name] = s
		}
		f.names[s] = s.Name
	})
	count := map[string]int{}
	for _, s := range unnamed {
		for {
			count[s.VerbName]++
			name := s.VerbName + strconv.Itoa(count[s.VerbName])
			if _, collides := taken[name]; !collides {
				f.names[s] = name
				break
			}
		}
	}
}

// StepNames are the names of steps, as a flow of them has them.
func StepNames(steps []resource.Step) map[*resource.Step]string {
	f := &Flow{o: Options{Diags: &diag.List{}}, names: map[*resource.Step]string{}}
	f.nameSteps(steps)
	return f.names
}

// walk visits every step, also those that are nested in others, in the order of the file.
func walk(steps []resource.Step, visit func(*resource.Step)) {
	for i := range steps {
		s := &steps[i]
		visit(s)
		for _, below := range Below(s) {
			walk(below, visit)
		}
	}
}

// Walk visits every step of a list and of those nested in it, in the order of the file.
func Walk(steps []resource.Step, visit func(*resource.Step)) { walk(steps, visit) }

// Below lists the steps that are nested in s, branch by branch.
func Below(s *resource.Step) [][]resource.Step {
	switch v := s.Verb.(type) {
	case *resource.Choice:
		var out [][]resource.Step
		for i := range v.Branches {
			out = append(out, v.Branches[i].Steps, v.Branches[i].Otherwise)
		}
		return out
	case *resource.Try:
		return [][]resource.Step{v.Steps, v.Catch}
	case *resource.Parallel:
		var out [][]resource.Step
		for i := range v.Branches.Entries {
			out = append(out, v.Branches.Entries[i].Value)
		}
		return out
	case *resource.ForEach:
		return [][]resource.Step{v.Steps}
	case *resource.Loop:
		return [][]resource.Step{v.Steps}
	case *resource.LoadBalance:
		var out [][]resource.Step
		for i := range v.Targets.Entries {
			out = append(out, v.Targets.Entries[i].Value)
		}
		return out
	}
	return nil
}
