package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// builder makes one program: a flow's, or one inside a node. Jumps lead forward only, so a jump whose
// aim is not there yet waits in open until the next node is placed.
type builder struct {
	f       *Flow
	nodes   []plan.Node
	open    []exit
	state   state
	try     *tryFrame // the innermost try around, in this program
	sub     string    // the verb that the program is inside of; "" for a flow's
	drops   bool      // a message may end in this program without reaching its end
	stopped state     // what is known where the message was stopped

	when *expectWhen // condition of the step, for the node that is placed next
}

// exit is a jump of a node that leads to whatever comes next.
type exit struct {
	node int
	kind exitKind
	i    int // the case
}

type exitKind uint8

const (
	exitNext exitKind = iota
	exitCase
	exitElse
	exitCatch
)

// expectWhen is a step's condition, which its first node takes.
type expectWhen struct {
	program penstock.Program
	text    string
}

// tryFrame gathers the nodes in a try, and what is known as a message enters each of them: that is
// what is known in catch.
type tryFrame struct {
	outer   *tryFrame
	nodes   []int
	entries state // united
	slot    int
}

// newBuilder begins a program: sub is the verb that it is inside of.
func newBuilder(f *Flow, start state, sub string) *builder {
	return &builder{f: f, state: start, sub: sub, stopped: state{dead: true}}
}

func (b *builder) diags() *diag.List { return b.f.o.Diags }

// place appends a node: everything that is open leads to it. Where it goes on is left to the caller.
func (b *builder) place(n plan.Node) int {
	at := len(b.nodes)
	b.patch(at)
	n.Next = plan.End
	n.Type = b.state.body()
	n.Volatile, b.f.volatile = b.f.volatile, false
	if b.when != nil {
		n.When, n.Cond, b.when = b.when.program, b.when.text, nil
	}
	b.nodes = append(b.nodes, n)
	if b.try != nil {
		b.try.nodes = append(b.try.nodes, at)
		b.try.entries = uniteStates(b.try.entries, b.state)
		b.nodes[at].ErrorSlot = b.try.slot
	}
	return at
}

// emit places the node of a step.
func (b *builder) emit(s *resource.Step, op plan.Op, label string) int {
	return b.place(plan.Node{
		Name: b.f.names[s], Verb: s.VerbName, Op: op, Catch: plan.End, ErrorSlot: -1,
		Retry: Retry(s.Retry), Timeout: s.Timeout.Std(), Pos: s.Pos, Label: label,
	})
}

// next lets the node placed last go on to the next one.
func (b *builder) next() { b.exit(exit{node: len(b.nodes) - 1, kind: exitNext}) }

func (b *builder) exit(e exit) { b.open = append(b.open, e) }

// also lets a node that is placed take what was compiled after it: whether that reads now or uuid().
func (b *builder) also(node int) {
	b.nodes[node].Volatile = b.nodes[node].Volatile || b.f.volatile
	b.f.volatile = false
}

// take gives what is open to the caller, who will put it back.
func (b *builder) take() []exit {
	open := b.open
	b.open = nil
	return open
}

// patch lets everything that is open lead to node at.
func (b *builder) patch(at int) {
	for _, e := range b.open {
		n := &b.nodes[e.node]
		switch e.kind {
		case exitNext:
			n.Next = at
		case exitCatch:
			n.Catch = at
		case exitCase:
			n.Op.(*plan.Route).Cases[e.i].Target = at
		case exitElse:
			n.Op.(*plan.Route).Else = at
		}
	}
	b.open = nil
}

// seal ends the program: what is open leads to its end. A catch can't, since there End stands for the
// flow's onError; it gets a node that does nothing.
func (b *builder) seal() []plan.Node {
	for _, e := range b.open {
		if e.kind == exitCatch {
			b.place(plan.Node{Name: "caught", Verb: "try", Op: &plan.Route{Else: plan.End}, Catch: plan.End, ErrorSlot: -1,
				Pos: b.nodes[e.node].Pos})
			break
		}
	}
	b.patch(plan.End)
	return b.nodes
}

// Retry makes a plan's retry of a resource's; nil for nil.
func Retry(r *resource.Retry) *plan.Retry {
	if r == nil {
		return nil
	}
	return &plan.Retry{
		Attempts: r.Attempts, Initial: r.Backoff.Initial.Std(), Factor: r.Backoff.Factor,
		Max: r.Backoff.Max.Std(), Jitter: r.Backoff.Jitter,
	}
}
