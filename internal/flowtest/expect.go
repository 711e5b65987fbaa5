package flowtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// found is what an expectation looks at.
type found struct {
	what    string // "channel orders"
	records []*record
	trees   []*penstock.Tree
	body    *types.Type
	dead    bool
	one     string // what each is: "event"; "" is a message
}

// each is what each of them is called.
func (f *found) each() string { return cmp.Or(f.one, "message") }

// expect holds what left the flow against one expectation.
func (w *world) expect(n int) {
	e := &w.test.spec.Expect[n]
	var f *found
	if !e.Entity.IsZero() || !e.View.IsZero() {
		f = w.stateOf(n, e)
	} else {
		f = w.look(e)
	}
	if f == nil || !w.filter(e, f) {
		return
	}
	for _, r := range f.records {
		f.trees = append(f.trees, r.tree)
	}
	if e.Count != nil && *e.Count != len(f.trees) {
		w.differ(e.At("count"), f.list()+w.aside(f), "%s: expected %s, found %d", f.what, plural(*e.Count, f.each()), len(f.trees))
	}
	switch {
	case e.Matches != nil:
		w.matches(e, f)
	case e.Exactly != nil:
		w.exactly(e, f)
	case e.Golden != "":
		w.golden(e, f)
	}
}

// differ adds a failure with a diff.
func (w *world) differ(pos penstock.Pos, diff, format string, args ...any) {
	w.test.failures = append(w.test.failures, Failure{Pos: pos, Message: fmt.Sprintf(format, args...), Diff: diff})
}

// look gathers what an expectation looks at; nil after a failure.
func (w *world) look(e *resource.Expect) *found {
	switch {
	case !e.Queue.IsZero():
		name := resource.QueuePrefix + e.Queue.Name
		return w.at(e.At("queue"), "queue "+e.Queue.Name, w.channelType(name), func(ep *plan.Endpoint) bool { return ep.Channel == name }, nil)
	case !e.Channel.IsZero():
		name := e.Channel.Name
		return w.at(e.At("channel"), "channel "+name, w.channelType(name), func(ep *plan.Endpoint) bool { return ep.Channel == name }, nil)
	case e.File != "":
		return w.at(e.At("file"), "file "+e.File, types.DynType, func(ep *plan.Endpoint) bool {
			t, ok := pathOf(ep.Config)
			return ok && ep.Channel == "" && samePath(t.Source, e.File)
		}, func(r *record) bool { return r.file != "" && samePath(r.file, e.File) })
	case !e.Connection.IsZero():
		name := e.Connection.Name
		return w.at(e.At("connection"), "connection "+name, types.DynType, func(ep *plan.Endpoint) bool { return ep.Connection == name }, nil)
	case e.Step != "":
		return w.at(e.At("step"), "step "+e.Step, types.DynType, func(ep *plan.Endpoint) bool {
			at := w.places[ep]
			return at != nil && at.node.Name == e.Step
		}, nil)
	case e.Dead:
		return &found{what: "dead letters", dead: true, body: types.DynType, records: w.log.find(func(r *record) bool { return r.dead })}
	}
	if w.reply == nil {
		w.differ(e.At("reply"), "", "flow %s has a `to`, so it gives no reply; look at %s", w.flow.Name, w.destinations())
		return nil
	}
	f := &found{what: "reply", body: w.flow.Output}
	if e.Status != 0 {
		f.what += fmt.Sprintf(" with status %d", e.Status)
	}
	if e.Status >= 300 {
		f.body = types.DynType
	}
	f.records = w.log.find(func(r *record) bool {
		return r.ep == w.reply && (r.status == e.Status || e.Status == 0 && r.status < 300 && r.status != 204)
	})
	return f
}

func (w *world) channelType(name string) *types.Type {
	for _, c := range w.test.suite.plan.Channels {
		if c.Name == name && c.Type != nil {
			return c.Type
		}
	}
	return types.DynType
}

// at looks at the endpoints that are meant, or at the records that are. To look where the flow never
// sends anything is a mistake.
func (w *world) at(pos penstock.Pos, what string, body *types.Type, meant func(*plan.Endpoint) bool, also func(*record) bool) *found {
	f := &found{what: what, body: body}
	var eps []*plan.Endpoint
	for _, ep := range w.sinks() {
		if meant(ep) {
			eps = append(eps, ep)
		}
	}
	f.records = w.log.find(func(r *record) bool {
		return r.ep != nil && slices.Contains(eps, r.ep) || also != nil && also(r)
	})
	if len(eps) == 0 && len(f.records) == 0 && !w.mayWrite(pos, what) {
		return nil
	}
	return f
}

// mayWrite says whether anything could come to a place that nothing came to: a file may be named by what a
// path comes to in a message that wasn't sent.
func (w *world) mayWrite(pos penstock.Pos, what string) bool {
	if name, ok := strings.CutPrefix(what, "file "); ok {
		for _, ep := range w.sinks() {
			if t, ok := pathOf(ep.Config); ok && (!t.Constant || samePath(w.constant(t), name)) {
				return true
			}
		}
	}
	w.differ(pos, "", "flow %s never sends to %s; it sends to %s", w.flow.Name, what, w.destinations())
	return false
}

// constant is a path that no message changes.
func (w *world) constant(t penstock.Template) string {
	if t.Program == nil {
		return t.Source
	}
	var a penstock.Arena
	return plain(t.Program.Eval(&penstock.Frame{Msg: &penstock.Message{}, Runtime: w.runtime, Arena: &a}))
}

// sinks lists the endpoints that the flow sends to, in the order of its steps.
func (w *world) sinks() []*plan.Endpoint {
	var out []*plan.Endpoint
	for ep, at := range w.places {
		if _, ok := at.node.Op.(*plan.Send); ok {
			out = append(out, ep)
		}
	}
	slices.SortFunc(out, func(a, b *plan.Endpoint) int { return w.places[a].index - w.places[b].index })
	if ep := w.flow.OnError.DeadLetter; ep != nil {
		out = append(out, ep)
	}
	return out
}

// destinations names the places that a test can look at.
func (w *world) destinations() string {
	var out []string
	for _, ep := range w.sinks() {
		if !slices.Contains(out, ep.Label) {
			out = append(out, ep.Label)
		}
	}
	return strings.Join(append(out, "dead letters"), ", ")
}

// filter keeps the records for which the expectation's condition holds; false after a failure.
func (w *world) filter(e *resource.Expect, f *found) bool {
	failures := len(w.test.failures)
	when := w.test.condition(e.When, f.body)
	if when == nil {
		return len(w.test.failures) == failures
	}
	f.what += " when " + e.When.Source
	var kept []*record
	for _, r := range f.records {
		var a penstock.Arena
		v := when.Eval(&penstock.Frame{Msg: r.msg, Runtime: w.runtime, Arena: &a})
		if v.IsError() {
			w.differ(e.When.Pos, f.each()+": "+clip(text(r.tree))+"\n", "%s: the condition failed: %v", f.what, v.Err())
			return false
		}
		if isTrue(v) {
			kept = append(kept, r)
		}
	}
	f.records = kept
	return true
}

// matches wants documents that are part of the messages.
func (w *world) matches(e *resource.Expect, f *found) {
	want := trees(e.Matches)
	got := assign
	if !e.Unordered {
		got = subsequence
	}
	at := got(want, f.trees)
	for i, j := range at {
		if j >= 0 {
			continue
		}
		pos := want[i].Pos
		var lines []string
		k, diff := nearest(want[i], f.trees, func(j int) bool { return !slices.Contains(at, j) }, true)
		switch {
		case k >= 0 && len(diff) > 0:
			pos = first(diff[0].pos, pos)
			lines = describe(fmt.Sprintf("nearest is %s %d of %d", f.each(), k+1, len(f.trees)), diff)
		case k >= 0:
			lines = []string{fmt.Sprintf("%s %d of %d would match, but it comes too early; if the order doesn't matter, say `unordered: true`", f.each(), k+1, len(f.trees))}
		default:
			lines = []string{"each of the " + plural(len(f.trees), f.each()) + " matches another"}
			if len(f.trees) == 0 {
				lines = []string{"there are no " + f.each() + "s"}
			}
		}
		w.differ(pos, strings.Join(lines, "\n")+"\n"+w.aside(f), "%s: no %s matches %s", f.what, f.each(), clip(text(want[i])))
	}
}

func trees(list []penstock.Tree) []*penstock.Tree {
	out := make([]*penstock.Tree, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// exactly wants documents that are the messages.
func (w *world) exactly(e *resource.Expect, f *found) {
	want := trees(*e.Exactly)
	pairs, same := w.pairs(want, f, e.Unordered)
	if same {
		return
	}
	if w.test.suite.o.Update {
		err := w.test.rewrite(e, pairs, f.trees)
		if err == nil {
			return
		}
		w.differ(e.AtKey("exactly"), "", "%s: can't be updated in place: %v", f.what, err)
	}
	diff, pos := f.show(pairs, want)
	w.differ(first(pos, e.AtKey("exactly")), diff+w.aside(f), "%s: %s", f.what, f.counts(len(want)))
}

// counts says how what was found differs in number from what was expected.
func (f *found) counts(want int) string {
	if want == len(f.trees) {
		return fmt.Sprintf("not the %s expected", plural(want, f.each()))
	}
	return fmt.Sprintf("expected %s, found %d", plural(want, f.each()), len(f.trees))
}

// pairs sets what is expected against what was found, and says whether they are the same.
func (w *world) pairs(want []*penstock.Tree, f *found, unordered bool) ([]pair, bool) {
	a, b := canons(want), canons(f.trees)
	pairs := align(a, b)
	if unordered {
		pairs = multiset(a, b)
	}
	same := true
	for _, p := range pairs {
		same = same && p.want >= 0 && p.got >= 0 && a[p.want] == b[p.got]
	}
	return pairs, same
}

func canons(ts []*penstock.Tree) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = canon(t)
	}
	return out
}

// aside tells of dead letters, where something else is missing: they are often the reason.
func (w *world) aside(f *found) string {
	if f.dead {
		return ""
	}
	dead := w.log.find(func(r *record) bool { return r.dead })
	switch len(dead) {
	case 0:
		return w.refused(f)
	case 1:
		return "a message was dead-lettered: " + dead[0].reason() + "\n"
	}
	return fmt.Sprintf("%d messages were dead-lettered; the first: %s\n", len(dead), dead[0].reason())
}

// refused tells of requests that failed, where they are not what is looked at.
func (w *world) refused(f *found) string {
	if slices.ContainsFunc(f.records, func(r *record) bool { return r.status >= 300 }) {
		return ""
	}
	failed := w.log.find(func(r *record) bool { return r.status >= 300 })
	switch len(failed) {
	case 0:
		return ""
	case 1:
		return "a request failed: " + clip(text(failed[0].tree)) + "\n"
	}
	return fmt.Sprintf("%d requests failed; the first: %s\n", len(failed), clip(text(failed[0].tree)))
}

// list shows the messages that were found, the dead letters with their reasons.
func (f *found) list() string {
	var b strings.Builder
	for i, r := range f.records {
		if i == shown {
			fmt.Fprintf(&b, "… and %d more\n", len(f.records)-shown)
			break
		}
		fmt.Fprintf(&b, "%s %d: %s\n", f.each(), i+1, clip(text(r.tree)))
		if f.dead {
			fmt.Fprintf(&b, "  %s\n", r.reason())
		}
	}
	return b.String()
}

// reason is why a message was dead-lettered: the step, the code and what is wrong.
func (r *record) reason() string {
	t, err := r.reasons()
	if err != nil {
		return "for no reason"
	}
	var parts []string
	for _, k := range []string{"step", "code", "message"} {
		if x := field(&t, k); x != nil && x.Text != "" {
			parts = append(parts, clip(x.Text))
		}
	}
	return strings.Join(parts, ": ")
}

// reasons is meta.dead as a document.
func (r *record) reasons() (penstock.Tree, error) {
	out, err := r.msg.Meta.Get("dead").AppendJSON(nil)
	if err != nil {
		return penstock.Tree{}, err
	}
	return parse(out)
}
