package resource

import (
	"reflect"
	"slices"

	"penstock.dev/penstock"
)

// Partial makes the failures of a parallel or forEach a part of its result. Beside parallel the result is {ok: {…}, failed: {name: error}}; beside forEach it
// is {ok: […], failed: [{index, …error}]}: ok in the order of the list, index from 0. An error has code, message, step, path and
// attempts, as in catch.
type Partial struct {
	Place
	// How long all of them may take together. What is not done then is cancelled, and counts as failed with timeout. Left out, they take the time that they take.
	Deadline penstock.Duration `json:"deadline" penstock:"min=1ms"`
	// What must succeed, or the message fails after all: names of branches, or, beside forEach, a number of elements. Left out, nothing must.
	AtLeast *AtLeast `json:"atLeast"`
}

// AtLeast is names of branches, or a number of elements.
type AtLeast struct {
	Place
	Names []BranchName // nil if it is a number
	Count int
}

// BranchName is a branch that is referred to.
type BranchName struct {
	Name string
	Pos  penstock.Pos
}

// LoadBalance sends each message through one of several targets.
type LoadBalance struct {
	Place
	// How the target is chosen. roundRobin: one after the other. random: by chance. weighted: one after the other, by weight. leastInFlight: the one with the fewest messages under way in this process. sticky: by the key, always the same one for it, as long as the targets stay. failover: the first one; where it fails with a transient error the next, and so on.
	Strategy string `json:"strategy" penstock:"enum=roundRobin|random|weighted|leastInFlight|sticky|failover,default=roundRobin"`
	// With sticky, what decides: text, a number, a bool or a timestamp.
	Key penstock.Expr `json:"key"`
	// With weighted, how many messages a target gets for each that one of weight 1 gets. Left out for a target, 1.
	Weights Ordered[int] `json:"weights"`
	// Steps by the name of the target. The result is what the target's body is at its end.
	Targets Ordered[[]Step] `json:"targets" penstock:"required,name,min=2"`
}

func (*LoadBalance) verb() string { return "loadBalance" }

// DecodeNode reads a list of names, or a number.
func (a *AtLeast) DecodeNode(n *Node, d *Decoder) {
	a.Place = Place{n.Pos, n}
	f := &fieldInfo{name: "atLeast"}
	switch n.Kind {
	case NodeInt:
		f.rules.min = "1"
		if i, ok := d.integer(n, f); ok {
			a.Count = int(i)
		}
	case NodeList:
		a.Names = []BranchName{}
		f.rules.nonempty, f.rules.name = true, true
		var names []string
		d.list(n, reflect.ValueOf(&names).Elem(), f)
		for i, name := range names {
			if name != "" {
				a.Names = append(a.Names, BranchName{name, n.Elems[i].Pos})
			}
		}
	default:
		d.wrong(n, f, "names of branches, or a number of elements", "write `[ name ]`")
	}
}

// check looks at partial beside the step's verb.
func (p *Partial) beside(s *Step, d *Decoder) {
	v, parallel := s.Verb.(*Parallel)
	if _, each := s.Verb.(*ForEach); !parallel && !each {
		d.errorf(s.AtKey("partial"), "wrong-field", "partial", "leave it out; `try` catches the failure of other steps", "`partial` is about parts of a whole, and stands beside `parallel` or `forEach`, not `%s`", s.VerbName)
		return
	}
	a := p.AtLeast
	switch {
	case a == nil || a.Node == nil || a.Node.Kind != NodeInt && a.Node.Kind != NodeList:
	case parallel && a.Names == nil:
		d.errorf(a.Pos, "wrong-type", "atLeast", "write the names of the branches: `[ … ]`", "beside `parallel`, `atLeast` lists branches")
	case !parallel && a.Names != nil:
		d.errorf(a.Pos, "wrong-type", "atLeast", "write how many", "beside `forEach`, `atLeast` is a number of elements")
	case parallel:
		names := v.Branches.keys()
		for _, n := range a.Names {
			if !slices.Contains(names, n.Name) {
				d.errorf(n.Pos, "dangling-reference", n.Name, hintFor(n.Name, names), "there is no branch `%s`", n.Name)
			}
		}
	}
}

// keys lists the keys in their order.
func (o *Ordered[T]) keys() []string {
	out := make([]string, len(o.Entries))
	for i := range o.Entries {
		out[i] = o.Entries[i].Key
	}
	return out
}

func (l *LoadBalance) check(d *Decoder) {
	if l.Node == nil || l.Node.Kind != NodeMap {
		return
	}
	switch sticky := l.Strategy == "sticky"; {
	case sticky && !l.Has("key"):
		d.errorf(l.At("strategy"), "missing-field", "sticky", "add `key: …`", "the strategy `sticky` needs a key to go by")
	case !sticky && l.Has("key"):
		d.errorf(l.AtKey("key"), "wrong-field", "key", "leave it out, or write `strategy: sticky`", "`key` means nothing with the strategy `%s`", l.Strategy)
	}
	switch weighted := l.Strategy == "weighted"; {
	case weighted && !l.Has("weights"):
		d.errorf(l.At("strategy"), "missing-field", "weighted", "add `weights: { … }`, or write `strategy: roundRobin`", "the strategy `weighted` needs the weights of its targets")
	case !weighted && l.Has("weights"):
		d.errorf(l.AtKey("weights"), "wrong-field", "weights", "leave them out, or write `strategy: weighted`", "`weights` mean nothing with the strategy `%s`", l.Strategy)
	}
	names := l.Targets.keys()
	for _, w := range l.Weights.Entries {
		if !slices.Contains(names, w.Key) {
			d.errorf(w.Pos, "dangling-reference", w.Key, hintFor(w.Key, names), "there is no target `%s`", w.Key)
		} else if v := l.Node.Get("weights").Get(w.Key); v != nil && v.Kind == NodeInt && (w.Value < 1 || w.Value > 1_000_000) {
			d.errorf(w.Pos, "out-of-range", w.Key, "leave a target out that gets nothing", "the weight of `%s` is %d, and must be from 1 to 1000000", w.Key, w.Value)
		}
	}
}
