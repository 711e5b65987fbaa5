package compile

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// uses gathers what one flow, or one endpoint of it, depends on beside its own text, while it is compiled.
type uses struct {
	c     *compiler
	outer *uses // of the flow, where this is an endpoint's
	files int   // how many had been read before
	facts []plan.Fact
	seen  map[string]bool // resources, as "Connection countries"
}

// begin gathers what is used from here on, until end.
func (c *compiler) begin() *uses {
	u := &uses{c: c, outer: c.uses, files: len(c.set.Files()), seen: map[string]bool{}}
	c.uses = u
	return u
}

// end gives what was used, with the neighbour files that were read meanwhile.
func (u *uses) end() []plan.Fact {
	u.c.uses = u.outer
	for _, f := range u.c.set.FilesSince(u.files) {
		u.add(plan.Fact{Of: "file " + f.Path, Text: plan.Digest(f.Sum[:])})
	}
	if u.outer != nil {
		for _, f := range u.facts {
			u.outer.add(f)
		}
	}
	return u.facts
}

func (u *uses) add(f plan.Fact) {
	if u != nil && !slices.Contains(u.facts, f) {
		u.facts = append(u.facts, f)
	}
}

// use notes that a resource is used. Its values are not shown where it may hold what nobody should read.
func (c *compiler) use(kind resource.Kind, name string) {
	u := c.uses
	if u == nil {
		return
	}
	r, ok := c.set.Find(kind, name)
	of := string(kind) + " " + name
	if !ok || u.seen[of] {
		return
	}
	u.seen[of] = true
	l := &leaves{of: of, digest: kind == resource.KindConnection}
	switch spec := r.Doc.Get("spec"); {
	case spec == nil: // said when it was loaded
	case kind == resource.KindSchema:
		u.add(plan.Fact{Of: of, Text: plan.Digest(spec.AppendJSON(nil))})
		u.add(plan.Fact{Of: of, Path: "content", Text: c.schemaSums[name]})
	case kind == resource.KindPolicy:
		for i := range spec.Entries {
			if e := &spec.Entries[i]; e.Key != "targets" {
				l.walk(e.Value, e.Key)
			}
		}
	default:
		l.walk(spec, "")
	}
	for _, f := range l.facts {
		u.add(f)
	}
	if ch, ok := r.Spec.(*resource.Channel); ok && !ch.Schema.IsZero() {
		c.use(resource.KindSchema, ch.Schema.Name)
	}
	if kind == resource.KindConnection {
		c.usePolicies(r)
	}
}

// usePolicies notes the policies that have r as a target.
func (c *compiler) usePolicies(r *resource.Resource) {
	for _, p := range c.policiesFor(r) {
		c.use(resource.KindPolicy, p.from.Name())
	}
}

// flowFacts are all facts of a flow: its own text, and what it uses.
func (c *compiler) flowFacts(r *resource.Resource, f *plan.Flow, spec *resource.Flow, u *uses) []plan.Fact {
	own := &leaves{stop: map[*resource.Node]bool{}}
	names := lower.StepNames(spec.Steps)
	lower.Walk(spec.Steps, func(s *resource.Step) { own.stop[s.Node] = true })
	own.walk(spec.Node, "")
	var order []string
	lower.Walk(spec.Steps, func(s *resource.Step) {
		order = append(order, names[s])
		step := &leaves{of: "step " + names[s], stop: own.stop, verb: s.VerbName}
		step.add("", "")
		if s.Node == nil {
			return
		}
		for i := range s.Node.Entries {
			switch e := &s.Node.Entries[i]; {
			case e.Key == "name":
			case e.Key == s.VerbName && e.Value.Kind == resource.NodeMap && len(e.Value.Entries) > 0:
				step.below(e.Value, "")
			default:
				step.walk(e.Value, e.Key)
			}
		}
		own.facts = append(own.facts, step.facts...)
	})
	own.facts = append(own.facts, plan.Fact{Of: plan.StepOrder, Text: strings.Join(order, ", ")})
	c.usePolicies(r)
	own.facts = append(own.facts, u.end()...)
	for _, s := range f.Sources {
		if s.Channel != "" { // which others decide
			own.facts = append(own.facts, plan.Fact{Of: "the type of what comes from channel " + s.Channel, Text: plan.Digest([]byte(plan.Fingerprint(s.Type)))})
		}
	}
	for _, p := range c.paramsOf(spec.Node, u) {
		own.facts = append(own.facts, plan.Fact{Of: "param " + p.Name, Text: textOf(p)})
	}
	return own.facts
}

func textOf(p *resource.ParamValue) string {
	v, err := p.Value.AppendText(nil)
	if err != nil {
		return err.Error()
	}
	return string(v)
}

var paramWord = regexp.MustCompile(`\bparams\b(\.([A-Za-z0-9_]+))?`)

// paramsOf are the parameters that a text and what it uses name, or all, where one names params as a whole.
func (c *compiler) paramsOf(own *resource.Node, u *uses) (out []*resource.ParamValue) {
	if own == nil {
		return nil
	}
	text := string(own.AppendJSON(nil))
	for of := range u.seen {
		kind, name, _ := strings.Cut(of, " ")
		if r, ok := c.set.Find(resource.Kind(kind), name); ok {
			text += string(r.Doc.AppendJSON(nil))
		}
	}
	named := map[string]bool{}
	for _, m := range paramWord.FindAllStringSubmatch(text, -1) {
		named[m[2]] = true
	}
	for i := range c.set.Params {
		if p := &c.set.Params[i]; named[""] || named[p.Name] {
			out = append(out, p)
		}
	}
	return out
}

// endpointHash is the hash of an endpoint that was made of t, in the scope that its programs are compiled in (nil: they read no
// message).
func (c *compiler) endpointHash(ep *plan.Endpoint, t *resource.Target, sc *scope.Scope, u *uses) string {
	l := &leaves{of: ep.Driver.Kind + " " + t.Connector}
	l.walk(t.Config, "")
	if t.Paginate != nil {
		l.walk(t.Paginate.Node, "paginate")
	}
	facts := append(l.facts, instanceFacts(u.end())...)
	for _, p := range c.paramsOf(t.Config, u) {
		slot := slices.IndexFunc(c.set.Params, func(o resource.ParamValue) bool { return o.Name == p.Name })
		facts = append(facts, plan.Fact{Of: "param " + p.Name, Path: strconv.Itoa(slot), Text: textOf(p)})
	}
	facts = append(facts, signature(sc)...)
	return plan.HashFacts(append(facts, plan.Fact{Of: "type", Text: plan.Fingerprint(ep.Type)}, plan.Fact{Of: "id", Text: t.ID.Source}, plan.Fact{Of: "remember", Text: t.Remember.String()}))
}

// connectionFacts are all that an instance depends on that a Connection gives.
func (c *compiler) connectionFacts(name string) []plan.Fact {
	u := &uses{c: c, seen: map[string]bool{}}
	outer := c.uses
	c.uses = u
	c.use(resource.KindConnection, name)
	c.uses = outer
	facts := instanceFacts(u.facts)
	if r, ok := c.set.Find(resource.KindConnection, name); ok {
		for _, p := range c.paramsOf(r.Doc, u) {
			facts = append(facts, plan.Fact{Of: "param " + p.Name, Text: textOf(p)})
		}
	}
	return facts
}

// instanceFacts are those that a driver's instance depends on: what a Policy says is done in front of it.
func instanceFacts(facts []plan.Fact) []plan.Fact {
	var out []plan.Fact
	for _, f := range facts {
		if !strings.HasPrefix(f.Of, string(resource.KindPolicy)+" ") {
			out = append(out, f)
		}
	}
	return out
}

// touches reports whether a flow reads a channel, or sends to it.
func touches(f *plan.Flow, channel string) bool {
	for _, s := range f.Sources {
		if s.Channel == channel {
			return true
		}
	}
	if dl := f.OnError.DeadLetter; dl != nil && dl.Channel == channel || channel == f.Name+".dead" {
		return true
	}
	return nodesSend(f.Nodes, channel)
}

func nodesSend(nodes []plan.Node, channel string) bool {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Send:
			if op.Endpoint != nil && op.Endpoint.Channel == channel {
				return true
			}
		case *plan.Fork:
			for j := range op.Branches {
				if nodesSend(op.Branches[j].Nodes, channel) {
					return true
				}
			}
		case *plan.Loop:
			if nodesSend(op.Body.Nodes, channel) {
				return true
			}
		}
	}
	return false
}

// hashes completes what tells this plan from another, once everything is known.
func (c *compiler) hashes() {
	for _, ch := range c.plan.Channels {
		if ch.Relay != nil {
			continue // it has one
		}
		of := []plan.Fact{{Of: "data", Text: plan.Fingerprint(&plan.Channel{Name: ch.Name, Durable: ch.Durable, Queue: ch.Queue, Retain: ch.Retain, RetainBytes: ch.RetainBytes, Capacity: ch.Capacity})}}
		if from := c.channels[ch.Name]; from != nil && from.spec != nil {
			of = append(of, plan.Fact{Of: "key", Text: from.spec.Key.Source}, plan.Fact{Of: "type", Text: plan.Fingerprint(ch.Type)})
		}
		if q := c.queues[strings.TrimPrefix(ch.Name, resource.QueuePrefix)]; q != nil && ch.Jobs != nil {
			of = append(of, plan.Fact{Of: "queue", Text: plan.Digest(q.res.Doc.Get("spec").AppendJSON(nil))})
		}
		ch.Hash = plan.HashFacts(of)
	}
	for _, f := range c.plan.Flows {
		own := slices.Clone(f.Facts)
		for _, ch := range c.plan.Channels { // also of those that nobody wrote down: dead letters
			if touches(f, ch.Name) {
				own = append(own, plan.Fact{Of: "channel " + ch.Name, Text: ch.Hash})
			}
		}
		f.Hash = plan.HashFacts(append(own, plan.Fact{Of: "data", Text: plan.Fingerprint(f)}))
	}
}

// leaves makes facts of a part of a document.
type leaves struct {
	of     string
	verb   string
	digest bool                    // values are not shown
	stop   map[*resource.Node]bool // parts that are told apart from this one
	facts  []plan.Fact
}

func (l *leaves) add(path, text string) {
	if l.digest {
		text = plan.Digest([]byte(text))
	}
	l.facts = append(l.facts, plan.Fact{Of: l.of, Path: path, Text: text})
}

func (l *leaves) walk(n *resource.Node, path string) {
	if n == nil || l.stop[n] {
		return
	}
	switch n.Kind {
	case resource.NodeMap, resource.NodeList:
		if len(n.Entries)+len(n.Elems) == 0 {
			l.add(path, string(n.AppendJSON(nil)))
			return
		}
		l.below(n, path)
	case resource.NodeText:
		if path == l.verb {
			path = ""
		}
		l.add(path, n.Text)
	default:
		if path == l.verb {
			path = ""
		}
		l.add(path, string(n.AppendJSON(nil)))
	}
}

func (l *leaves) below(n *resource.Node, path string) {
	for i := range n.Entries {
		e := &n.Entries[i]
		at := e.Key
		if path != "" {
			at = path + "." + e.Key
		}
		l.walk(e.Value, at)
	}
	for i, e := range n.Elems {
		l.walk(e, path+"["+strconv.Itoa(i)+"]")
	}
	if n.Kind == resource.NodeMap && len(n.Entries) > 1 { // the order of the keys of a data tree is that of what is made of it
		keys := make([]string, len(n.Entries))
		for i := range n.Entries {
			keys[i] = n.Entries[i].Key
		}
		l.add(path+plan.KeyOrder, strings.Join(keys, ","))
	}
}

// signature is what a driver's programs depend on that are compiled in sc.
func signature(sc *scope.Scope) []plan.Fact {
	var out []plan.Fact
	if sc == nil {
		return nil
	}
	for _, r := range sc.Roots {
		of := "root " + r.Name + " " + strconv.Itoa(int(r.Source)) + " " + strconv.Itoa(r.Slot)
		out = append(out, plan.Fact{Of: of, Text: plan.Fingerprint(r.Type)})
		if r.Source == scope.Params {
			continue // those that are read are there by themselves, and slots are those of the run
		}
		for _, f := range r.Fields {
			out = append(out, plan.Fact{Of: of, Path: f.Name + " " + strconv.Itoa(f.Slot) + " " + strconv.FormatBool(f.Maybe), Text: plan.Fingerprint(f.Type)})
		}
	}
	return out
}
