package resource

import (
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// DecodeNode reads a step: the common keys, and one verb.
func (s *Step) DecodeNode(n *Node, d *Decoder) {
	if n.Kind != NodeMap {
		d.wrong(n, &fieldInfo{name: "step"}, "a map with one verb", "write `- filter: …`")
		s.Place = Place{n.Pos, n}
		s.broken(n)
		return
	}
	var found []*NodeEntry
	d.structure(n, reflect.ValueOf(s).Elem(), &fieldInfo{name: "step"}, func(e *NodeEntry) bool {
		if _, ok := LookupVerb(e.Key); ok {
			found = append(found, e)
			return true
		}
		if isUnsupported("Step", e.Key) {
			return false
		}
		if near := diag.Nearest(e.Key, slices.Concat(verbNames(), d.info(reflect.TypeFor[Step]()).names())); near != "" {
			d.errorf(e.KeyPos, "unknown-field", e.Key, "did you mean `"+near+"`?", "unknown field `%s` in a step", e.Key)
			return true
		}
		return false
	})
	if len(found) != 1 {
		d.verbCount(n, found)
	}
	if len(found) == 0 {
		s.broken(n)
		return
	}
	for i, e := range found {
		spec, _ := LookupVerb(e.Key)
		v := spec.New()
		d.value(e.Value, reflect.ValueOf(v).Elem(), &fieldInfo{name: e.Key})
		if i == 0 {
			s.Verb, s.VerbName, s.VerbPos = v, e.Key, e.KeyPos
		}
	}
}

// broken gives a step without a verb, which was reported, one that does nothing: others can walk over it.
func (s *Step) broken(n *Node) {
	s.Verb, s.VerbName, s.VerbPos = &Filter{Place: Place{Pos: n.Pos}}, "filter", n.Pos
}

func (d *Decoder) verbCount(n *Node, found []*NodeEntry) {
	if len(found) > 1 {
		var names []string
		for _, e := range found {
			names = append(names, "`"+e.Key+"`")
		}
		d.errorf(found[1].KeyPos, "two-verbs", found[1].Key, "make each a step of its own, beginning with `- `",
			"a step has exactly one verb, and this one has %s", strings.Join(names, " and "))
		return
	}
	// A misspelt or unsupported verb was reported where it stands.
	common := (&Decoder{}).info(reflect.TypeFor[Step]()).names()
	for i := range n.Entries {
		if !slices.Contains(common, n.Entries[i].Key) {
			return
		}
	}
	d.errorf(n.Pos, "no-verb", "", "add one of "+strings.Join(verbNames(), ", "), "the step has no verb")
}

func (s *Step) check(d *Decoder) {
	spec, ok := LookupVerb(s.VerbName)
	if !ok {
		return
	}
	if s.Has("into") && !spec.Value {
		s.Into = penstock.Path{}
		d.errorf(s.AtKey("into"), "wrong-field", "into", "leave it out; only "+strings.Join(valueVerbs(), ", ")+" have a result to put somewhere",
			"`%s` has no result that `into` could take", s.VerbName)
	}
	if c, ok := s.Verb.(*ClaimCheck); ok && s.Has("into") && !c.IsRedeem() {
		s.Into = penstock.Path{}
		d.errorf(s.AtKey("into"), "wrong-field", "into", "leave it out; the body that goes on is `body`, and `meta.claim` names the one that was checked in",
			"`claimCheck` without `redeem` has no result that `into` could take")
	}
	if s.Into.Root == "key" && s.VerbName != "map" && s.VerbName != "call" {
		d.errorf(s.Into.Pos, "wrong-path", s.Into.Source, "set the key with a step of its own: `set: { key: … }`", "the result of `%s` can't be the key", s.VerbName)
	}
	if s.Retry != nil {
		s.Retry.noBudget(d, "a step")
	}
	if s.Partial != nil {
		s.Partial.beside(s, d)
	}
	for _, field := range []string{"timeout", "retry"} {
		if s.Has(field) && !spec.Fallible {
			d.errorf(s.AtKey(field), "wrong-field", field, "leave it out", "`%s` asks nobody and has nothing to wait for: `%s` means nothing here", s.VerbName, field)
			s.Timeout, s.Retry = 0, nil
		}
	}
}

// DecodeNode reads assignments in the order of the file.
func (a *Assign) DecodeNode(n *Node, d *Decoder) {
	a.Place = Place{n.Pos, n}
	f := &fieldInfo{name: "set"}
	if n.Kind != NodeMap {
		d.wrong(n, f, "a map of paths to values", "write `set: { body.total: … }`")
		return
	}
	if len(n.Entries) == 0 {
		d.errorf(n.Pos, "empty", "", "add `body.total: …`", "`set` is empty")
	}
	for i := range n.Entries {
		e := &n.Entries[i]
		v := Assignment{Value: e.Value.Tree()}
		d.treeLeaves(&v.Value)
		if p, ok := d.parsePath(e.Key, e.KeyPos, "`set` "); ok {
			if p.Root == "none" {
				d.errorf(e.KeyPos, "wrong-path", e.Key, "leave it out", "`set` can't put a value nowhere")
				continue
			}
			v.Path = p
			a.Values = append(a.Values, v)
		}
	}
}

func (r *Remove) check(d *Decoder) {
	for _, p := range r.Paths {
		if p.Root != "" && len(p.Steps) == 0 && p.Root != "key" {
			d.errorf(p.Pos, "wrong-path", p.Source, "name what is below it, such as `"+p.Root+".x`", "`%s` as a whole can't be removed", p.Source)
		}
	}
}

// DecodeNode reads a list of paths, or {class: …}.
func (m *Mask) DecodeNode(n *Node, d *Decoder) {
	m.Place = Place{n.Pos, n}
	if n.Kind == NodeList {
		d.value(n, reflect.ValueOf(&m.Paths).Elem(), &fieldInfo{name: "mask", rules: rules{nonempty: true}})
		for _, p := range m.Paths {
			if p.Root == "none" {
				d.errorf(p.Pos, "wrong-path", p.Source, "name what is to be masked", "nothing can't be masked")
			}
		}
		return
	}
	if n.Kind != NodeMap {
		d.wrong(n, &fieldInfo{name: "mask"}, "a list of paths or `{ class: … }`", "write `mask: [ body.email ]`")
		return
	}
	d.structure(n, reflect.ValueOf(m).Elem(), &fieldInfo{name: "mask"}, nil)
	if m.Class == "" && !m.Has("class") {
		d.errorf(n.Pos, "missing-field", "", "add `class: pii`, or write a list of paths", "`mask` names nothing to mask")
	}
}

func (c *Choice) check(d *Decoder) {
	for i := range c.Branches {
		b := &c.Branches[i]
		if b.Has("otherwise") && i < len(c.Branches)-1 {
			d.errorf(b.AtKey("otherwise"), "wrong-order", "otherwise", "move it to the end", "`otherwise` must be the last branch: those behind it are never looked at")
		}
	}
}

func (b *Branch) check(d *Decoder) {
	if b.Node == nil || b.Node.Kind != NodeMap {
		return
	}
	switch {
	case b.Has("otherwise"):
		for _, other := range []string{"when", "steps"} {
			if b.Has(other) {
				d.errorf(b.AtKey(other), "wrong-field", other, "make it a branch of its own", "`otherwise` holds its steps itself, and stands alone")
			}
		}
	case !b.Has("when"):
		d.errorf(b.Pos, "missing-field", "", "add `when: …`, or write `otherwise: […]`", "a branch needs the field `when`")
	case !b.Has("steps"):
		d.errorf(b.Pos, "missing-field", "", "add `steps: […]`", "a branch needs the field `steps`")
	}
}

func (s *Split) check(d *Decoder)   { d.scopedName(s.As, s.At("as")) }
func (e *ForEach) check(d *Decoder) { d.scopedName(e.As, e.At("as")) }

func (d *Decoder) scopedName(as string, pos penstock.Pos) {
	if as == "index" {
		d.errorf(pos, "wrong-name", as, "choose another", "`index` is the number of the element")
	}
}

func (s *Sample) check(d *Decoder) {
	if s.Node != nil && s.Node.Kind == NodeMap {
		d.exactlyOne(&s.Place, "`sample`", "every", "rate")
	}
}

func (y *Delay) check(d *Decoder) {
	if y.Node != nil && y.Node.Kind == NodeMap {
		d.exactlyOne(&y.Place, "`delay`", "for", "until")
	}
}

func (c *ClaimCheck) check(d *Decoder) {
	if c.Node == nil || c.Node.Kind != NodeMap {
		return
	}
	if c.IsRedeem() {
		for _, f := range []string{"body", "retention"} {
			if c.Has(f) {
				d.errorf(c.AtKey(f), "both-fields", f, "leave one of them out", "`claimCheck` has `redeem` and `%s`; it checks a body in, or brings one back", f)
			}
		}
		return
	}
	if c.Has("schema") {
		d.errorf(c.AtKey("schema"), "wrong-field", "schema", "leave it out", "`schema` says of what type a redeemed body is: it means nothing without `redeem`")
	}
}

// exactlyOne reports fields of which not exactly one is there.
func (d *Decoder) exactlyOne(p *Place, subject string, fields ...string) {
	first := ""
	for _, f := range fields {
		if !p.Has(f) {
			continue
		}
		if first != "" {
			d.errorf(p.AtKey(f), "both-fields", f, "leave one of them out", "%s has `%s` and `%s`; only one can be", subject, first, f)
			return
		}
		first = f
	}
	if first == "" {
		d.errorf(p.Pos, "missing-field", "", "add one of them", "%s needs one of %s", subject, orList(fields))
	}
}

// DecodeNode reads a count or a duration.
func (e *Every) DecodeNode(n *Node, d *Decoder) {
	e.Pos = n.Pos
	f := &fieldInfo{name: "every", rules: rules{min: "1"}}
	if n.Kind == NodeInt {
		if i, ok := d.integer(n, f); ok {
			e.Count = int(i)
		}
		return
	}
	var v penstock.Duration
	f.rules.min = "1ms"
	if n.Kind != NodeText {
		d.wrong(n, f, "a count such as 10 or a duration such as 5s", "")
		return
	}
	d.duration(n, f, &v)
	e.Interval = v.Std()
}

// DecodeNode reads a share or a rate.
func (r *SampleRate) DecodeNode(n *Node, d *Decoder) {
	r.Pos = n.Pos
	f := &fieldInfo{name: "rate"}
	switch {
	case n.Kind != NodeText:
		d.wrong(n, f, "a share such as 1% or a rate such as 10/s", "")
	case strings.Contains(n.Text, "/"):
		d.rate(n, f, &r.Rate)
	default:
		d.share(n, f, &r.Share)
		if r.Share == 0 && d.zeroShare(n) {
			d.errorf(n.Pos, "out-of-range", n.Text, "use `filter: false` to let nothing pass", "`rate` is 0%%: no message would pass")
		}
	}
}

func (d *Decoder) zeroShare(n *Node) bool {
	v, err := penstock.ParseShare(n.Text)
	return err == nil && v == 0
}
