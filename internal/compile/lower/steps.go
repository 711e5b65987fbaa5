package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// steps lowers a list of steps, one after the other.
func (b *builder) steps(list []resource.Step) {
	for i := range list {
		if b.state.dead {
			b.unreachable(list[i:])
			return
		}
		b.step(&list[i])
	}
}

// unreachable says that nothing gets to steps, and looks at them for their own faults. They leave no
// nodes.
func (b *builder) unreachable(list []resource.Step) {
	s := &list[0]
	b.f.cut = true
	b.diags().Warnf(s.Pos, "unreachable", s.VerbName, "remove it, or give what ends the message before it a condition",
		"no message gets to %s", b.f.names[s])
	scratch := newBuilder(b.f, b.state, b.sub)
	scratch.state.dead = false
	b.f.dry++
	scratch.steps(list)
	b.f.dry--
}

// step lowers one step with the keys that all share.
func (b *builder) step(s *resource.Step) {
	if !s.Into.IsZero() && s.Into.Root != "none" {
		b.writable(s.Into)
	}
	pre := b.state
	skipped, taken := state{dead: true}, pre.sc
	var cond penstock.Program
	if !s.When.IsZero() {
		c, yes, no := b.exprs().Cond(s.When, pre.sc)
		b.when, cond = &expectWhen{c.Program, s.When.Source}, c.Program
		b.state.sc, taken = yes, yes
		skipped = pre
		skipped.sc = no
	}
	b.verb(s, cond)
	b.when = nil
	changed := b.state.dead || b.state.sc != taken
	b.state = uniteStates(b.state, skipped)
	if !changed || sameScope(b.state.sc, pre.sc) {
		b.state.sc = pre.sc // narrowed and united again: nothing is lost, and no new scope to be learnt
	}
	switch n := len(b.nodes) - 1; s.Verb.(type) {
	case *resource.Choice, *resource.Try: // their steps have types of their own
	default:
		if n < 0 {
			break
		}
		b.nodes[n].Type = b.state.body()
		if b.state.dead {
			b.nodes[n].Type = types.NeverType
		}
	}
}

// verb dispatches: one file per verb.
func (b *builder) verb(s *resource.Step, when penstock.Program) {
	switch v := s.Verb.(type) {
	case *resource.Map:
		b.lowerMap(s, v)
	case *resource.Assign:
		b.lowerSet(s, v)
	case *resource.Remove:
		b.lowerRemove(s, v)
	case *resource.Filter:
		b.lowerFilter(s, v)
	case *resource.Validate:
		b.lowerValidate(s, v)
	case *resource.DecodeBody:
		b.lowerDecode(s, v)
	case *resource.EncodeBody:
		b.lowerEncode(s, v)
	case *resource.Sort:
		b.lowerSort(s, v)
	case *resource.Mask:
		b.lowerMask(s, v)
	case *resource.Log:
		b.lowerLog(s, v)
	case *resource.Script:
		b.lowerScript(s, v)
	case *resource.Sample:
		b.lowerSample(s, v)
	case *resource.Choice:
		b.lowerChoice(s, v)
	case *resource.Try:
		b.lowerTry(s, v, when)
	case *resource.Stop:
		b.lowerStop(s)
	case *resource.Fail:
		b.lowerFail(s, v)
	case *resource.Send:
		b.lowerSend(s, v)
	case *resource.Call:
		b.lowerCall(s, v)
	case *resource.Redrive:
		b.lowerRedrive(s, v)
	case *resource.Command:
		b.lowerCommand(s, v)
	case *resource.Query:
		if v.View.IsZero() {
			b.lowerQuery(s, v)
		} else {
			b.askView(s, v)
		}
	case *resource.Enqueue:
		b.lowerJob(s, v)
	case *resource.Parallel:
		b.lowerParallel(s, v)
	case *resource.ForEach:
		b.lowerForEach(s, v)
	case *resource.Loop:
		b.lowerLoop(s, v)
	case *resource.LoadBalance:
		b.lowerLoadBalance(s, v)
	case *resource.Split:
		b.lowerSplit(s, v)
	case *resource.Aggregate:
		b.lowerAggregate(s, v)
	case *resource.Dedupe:
		b.lowerDedupe(s, v)
	case *resource.Resequence:
		b.lowerResequence(s, v)
	case *resource.Changes:
		b.lowerChanges(s, v)
	case *resource.ClaimCheck:
		b.lowerClaimCheck(s, v)
	case *resource.Delay:
		b.lowerDelay(s, v)
	case *resource.Throttle:
		b.lowerThrottle(s, v)
	}
}

func (b *builder) exprs() Exprs { return b.f.Exprs() }

// valueVerbs lists the verbs whose value can go elsewhere than to the body.
var valueVerbs = map[string]bool{
	"map": true, "decode": true, "call": true, "parallel": true, "forEach": true, "loop": true, "loadBalance": true, "aggregate": true, "claimCheck": true,
	"script": true, "redrive": true, "command": true, "query": true, "job": true,
}

// into is where the value of a step goes: the body, unless it says otherwise.
func into(s *resource.Step) penstock.Path {
	if s.Into.IsZero() || !valueVerbs[s.VerbName] {
		return penstock.Path{Source: "body", Root: "body", Pos: s.Pos}
	}
	return s.Into
}

// misplaced refuses a verb inside a program that makes one result of one message.
func (b *builder) misplaced(s *resource.Step) bool {
	if b.sub == "" {
		return false
	}
	b.diags().Errorf(s.VerbPos, "misplaced-step", s.VerbName, "put it behind, or into a flow of its own with a channel between",
		"%s can't stand inside %s, which makes one result of each message", s.VerbName, b.sub)
	return true
}

// unanswered refuses a step behind which a message is no longer the one that came, where somebody waits for what becomes of it.
func (b *builder) unanswered(s *resource.Step) bool {
	if !b.f.o.Replies {
		return false
	}
	b.diags().Errorf(s.VerbPos, "no-reply", s.VerbName, "add `to: …` to the flow, so that callers are answered as soon as their request is kept; or let a `to` step send to a flow that does it",
		"flow %s replies with what it makes of each request, and behind %s there would be no single reply", b.f.o.Name, s.VerbName)
	return true
}

// leaf places a stateless step that goes on to the next node.
func (b *builder) leaf(s *resource.Step, st penstock.Step, label string) {
	b.emit(s, &plan.Apply{Step: st}, label)
	b.next()
}
