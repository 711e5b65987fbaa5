package resource

import "penstock.dev/penstock"

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

func (s *SendAction) check(d *Decoder) {
	if s.Node == nil || s.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&s.Place, "`send`", "file", "text", "body", "bodies")
	if s.File != "" {
		s.Path = besides(s.Pos.File, s.File)
	}
	if s.Meta.Kind != penstock.TreeNone && s.Meta.Kind != penstock.TreeMap {
		d.errorf(s.Meta.Pos, "wrong-type", clip(s.Meta.Text), "write `meta: { name: value }`", "`meta` wants a map")
	}
}

func (e *Expect) check(d *Decoder) {
	if e.Node == nil || e.Node.Kind != NodeMap {
		return
	}
	d.exactlyOne(&e.Place, "an expectation", "channel", "file", "reply", "dead")
	for _, f := range []struct {
		name string
		set  bool
	}{{"dead", e.Dead}, {"reply", e.Reply}} {
		if e.Has(f.name) && !f.set && e.Node.Get(f.name).Kind == NodeBool {
			d.errorf(e.At(f.name), "wrong-value", "false", "write `"+f.name+": true`, with `count: 0` if nothing should be there", "`%s: false` looks at nothing", f.name)
		}
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
	if documents == "" && !e.Has("count") {
		d.errorf(e.Pos, "missing-field", "", "add `count: …`, `matches: […]`, `exactly: […]` or `golden: …`", "the expectation says nothing about what it looks at")
	}
	if e.Has("unordered") && documents == "" {
		d.errorf(e.AtKey("unordered"), "wrong-field", "unordered", "leave it out", "`unordered` means nothing without `matches`, `exactly` or `golden`")
	}
}
