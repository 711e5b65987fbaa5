package resource

import (
	"time"

	"penstock.dev/penstock"
)

func (m *Mock) check(d *Decoder) {
	if m.Node == nil || m.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&m.Place, "a mock", "connection", "step")
	d.exactlyOne(&m.Place, "a mock", "reply", "fail")
}

func (a *Action) check(d *Decoder) {
	if a.Node == nil || a.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&a.Place, "a line of a script", "send", "advance", "crash", "start")
	for _, f := range []struct {
		name string
		set  bool
	}{{"crash", a.Crash}, {"start", a.Start}} {
		if a.Has(f.name) && !f.set && a.Node.Get(f.name).Kind == NodeBool {
			d.errorf(a.At(f.name), "wrong-value", "false", "write `"+f.name+": true`, or leave the line out", "`%s: false` does nothing", f.name)
		}
	}
}

// check looks whether the flow runs where it crashes, and does not where it is started again.
func (t *Test) check(d *Decoder) {
	crashed := penstock.Pos{}
	before := false // a crash stands before
	for i := range t.Script {
		a := &t.Script[i]
		switch {
		case a.Crash && crashed.IsValid():
			d.errorf(a.AtKey("crash"), "wrong-order", "crash", "put `start: true` between", "the flow has crashed already, at line %d", crashed.Line)
		case a.Crash:
			crashed, before = a.Pos, true
		case a.Start && before && !crashed.IsValid():
			d.errorf(a.AtKey("start"), "wrong-order", "start", "put `crash: true` before it, or leave it out", "the flow runs already")
		case a.Start:
			crashed = penstock.Pos{}
		}
	}
}

// TestBegin is when the time of every Test begins.
var TestBegin = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// Text is the data as JSON text.
func (g *GivenEvent) Text() []byte {
	if g.Data.Kind == penstock.TreeNone {
		return []byte("{}")
	}
	return AppendTree(nil, &g.Data)
}

func (g *GivenEvent) check(d *Decoder) {
	if g.Data.Kind != penstock.TreeNone && g.Data.Kind != penstock.TreeMap {
		d.errorf(g.Data.Pos, "wrong-type", clip(g.Data.Text), "write `data: { field: value }`", "the data of an event is a map")
	}
	g.Happened = TestBegin
	if !g.Has("time") {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, g.Time)
	switch {
	case err != nil:
		d.errorf(g.At("time"), "wrong-value", clip(g.Time), "write it as in \"1999-12-31T18:00:00Z\" (RFC 3339)", "`time` is no time")
	case at.After(TestBegin):
		d.errorf(g.At("time"), "out-of-range", g.Time, "give an earlier one; what happens later is sent by the script", "the test begins at %s, and what is given had happened before", TestBegin.Format(time.RFC3339))
	default:
		g.Happened = at
	}
}

// checkState looks at what only entities and views have.
func (e *Expect) checkState(d *Decoder) {
	if e.Has("key") && !e.Has("entity") && !e.Has("view") {
		d.errorf(e.AtKey("key"), "wrong-field", "key", "write a condition: `when: key == …`", "only an entity or a view is looked at by `key`")
	}
	for _, f := range []string{"state", "version"} {
		switch {
		case !e.Has(f):
		case !e.Has("entity"):
			d.errorf(e.AtKey(f), "wrong-field", f, "leave it out", "only an entity has a `%s`", f)
		case !e.Has("key"):
			d.errorf(e.AtKey(f), "missing-field", "key", "add `key: …`", "`%s` is that of one entity, and `key` says which", f)
		}
	}
	if e.State.Kind != penstock.TreeNone && e.State.Kind != penstock.TreeMap {
		d.errorf(e.State.Pos, "wrong-type", clip(e.State.Text), "write `state: { field: value }`", "a state is a map of fields")
	}
}

func (s *SendAction) check(d *Decoder) {
	if s.Node == nil || s.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&s.Place, "`send`", "file", "text", "body", "bodies", "request")
	if s.Request != nil && s.Has("meta") {
		d.errorf(s.AtKey("meta"), "wrong-field", "meta", "write `header` in the request", "a request has headers, and no `meta` beside it")
	}
	if s.File != "" {
		s.Path = besides(s.Pos.File, s.File)
	}
	if s.Meta.Kind != penstock.TreeNone && s.Meta.Kind != penstock.TreeMap {
		d.errorf(s.Meta.Pos, "wrong-type", clip(s.Meta.Text), "write `meta: { name: value }`", "`meta` wants a map")
	}
}

func (r *RequestAction) check(d *Decoder) {
	for _, f := range []struct {
		name string
		tree *penstock.Tree
	}{{"query", &r.Query}, {"header", &r.Header}} {
		if f.tree.Kind == penstock.TreeNone {
			continue
		}
		if f.tree.Kind != penstock.TreeMap {
			d.errorf(f.tree.Pos, "wrong-type", clip(f.tree.Text), "write `"+f.name+": { name: value }`", "`%s` wants a map", f.name)
			continue
		}
		for i := range f.tree.Elems {
			if e := &f.tree.Elems[i]; e.Kind == penstock.TreeMap || e.Kind == penstock.TreeList || e.Kind == penstock.TreeNull {
				d.errorf(e.Pos, "wrong-type", f.tree.Keys[i], "write text, a number or a bool", "%s `%s` has one value, which is text", f.name, f.tree.Keys[i])
			}
		}
	}
}

func (e *Expect) check(d *Decoder) {
	if e.Node == nil || e.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&e.Place, "an expectation", "channel", "queue", "file", "connection", "step", "reply", "dead", "entity", "view")
	e.checkState(d)
	for _, f := range []struct {
		name string
		set  bool
	}{{"dead", e.Dead}, {"reply", e.Reply}} {
		if e.Has(f.name) && !f.set && e.Node.Get(f.name).Kind == NodeBool {
			d.errorf(e.At(f.name), "wrong-value", "false", "write `"+f.name+": true`, with `count: 0` if nothing should be there", "`%s: false` looks at nothing", f.name)
		}
	}
	if e.Has("status") && !e.Has("reply") {
		d.errorf(e.AtKey("status"), "wrong-field", "status", "add `reply: true`, or leave it out", "only a reply has a `status`")
	}
	if e.Golden != "" {
		e.GoldenPath = besides(e.Pos.File, e.Golden)
	}
	documents := ""
	for _, f := range []string{"matches", "exactly", "golden"} {
		if !e.Has(f) {
			continue
		}
		if documents != "" {
			d.errorf(e.AtKey(f), "both-fields", f, "make two expectations", "an expectation has `%s` and `%s`; only one can be", documents, f)
		}
		documents = f
	}
	if documents == "" && !e.Has("count") && !e.Has("state") && !e.Has("version") {
		d.errorf(e.Pos, "missing-field", "", "add `count: …`, `matches: […]`, `exactly: […]` or `golden: …`", "the expectation says nothing about what it looks at")
	}
	if e.Has("unordered") && documents == "" {
		d.errorf(e.AtKey("unordered"), "wrong-field", "unordered", "leave it out", "`unordered` means nothing without `matches`, `exactly` or `golden`")
	}
}
