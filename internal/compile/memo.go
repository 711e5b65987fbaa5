package compile

import (
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// Memo is what a compilation leaves for the next one: what it has made of resources that are the same then, and that speak of nothing which
// is another, is taken from there. A configuration of 500 flows of which one was edited is so compiled in the time of one.
//
// What it makes is the same with a Memo and without, but that flows share what they are made of with those of the plan
// before, endpoints and programs. The zero Memo knows nothing. It is used by one compilation at a time.
type Memo struct {
	reg     *penstock.Registry
	options Options // without functions
	env     *environment
	flows   map[*resource.Resource]*remembered
}

// environment is what all flows may speak of, and what was made of it.
type environment struct {
	resources   []*resource.Resource // all but flows and tests
	integration *resource.Integration
	params      []resource.ParamValue
	allowed     []string
	files       []resource.FileRead // neighbours

	fields      []scope.Field
	values      []penstock.Value
	schemas     map[string]*lower.Schema
	schemaSums  map[string]string
	connections map[string]*connection
	providers   []*plan.SecretProvider
	secrets     []resource.SecretUse
	diags       *diag.List
}

// remembered is a flow as it was compiled, before it is known what other flows there are.
type remembered struct {
	around  string // what it depends on beside its document and the environment: see around
	flow    *plan.Flow
	windows map[int]*plan.Stage
	senders []sender
	secrets []resource.SecretUse
	files   []resource.FileRead
	diags   *diag.List
}

// sender is what World.Sent was told.
type sender struct {
	channel string
	sent    lower.Sent
}

// environment makes what all flows may speak of, or takes it from the compilation before.
func (c *compiler) environment(o Options) {
	m, own := o.Memo, c.own()
	c.memo = &Memo{reg: c.reg, options: Options{Strict: o.Strict, CostLimit: o.CostLimit, Stored: o.Stored}, flows: map[*resource.Resource]*remembered{}}
	if c.remembers = m != nil && o.Seen == nil && o.Wrap == nil; c.remembers {
		if m.env != nil && m.reg == c.reg && m.options.same(o) && m.env.holds(c, own) {
			c.before = m.flows
			c.restore(m.env)
			return
		}
	}
	files := len(c.set.Files())
	c.declareParams()
	c.compileSchemas()
	c.compileProviders()
	c.compileConnections()
	c.attachPolicies()
	if c.diags.HasErrors() {
		return // half of it would be remembered
	}
	e := &environment{resources: own, integration: c.set.Integration(), params: c.set.Params, allowed: c.set.Allowed(), files: c.set.FilesSince(files),
		fields: c.params, values: c.plan.Params, schemas: c.schemas, schemaSums: c.schemaSums, connections: c.connections,
		providers: c.plan.SecretProviders, secrets: slices.Clone(c.decoder.Secrets), diags: &diag.List{}}
	e.diags.Merge(c.diags)
	c.memo.env = e
}

// same says that other Options compile the same.
func (o Options) same(other Options) bool {
	return o.Strict == other.Strict && o.CostLimit == other.CostLimit && o.Stored == other.Stored
}

// own lists the resources that are neither flows nor tests.
func (c *compiler) own() []*resource.Resource {
	var out []*resource.Resource
	for _, r := range c.set.Resources {
		if r.Kind != resource.KindFlow && r.Kind != resource.KindTest {
			out = append(out, r)
		}
	}
	return out
}

// holds says that nothing has changed that was compiled into it.
func (e *environment) holds(c *compiler, own []*resource.Resource) bool {
	if !slices.Equal(e.resources, own) || e.integration != c.set.Integration() || !slices.Equal(e.allowed, c.set.Allowed()) || len(e.params) != len(c.set.Params) {
		return false
	}
	for i := range e.params {
		a, b := &e.params[i], &c.set.Params[i]
		if a.Name != b.Name || a.Type != b.Type || a.Value.Kind() != b.Value.Kind() || textOf(a) != textOf(b) {
			return false
		}
	}
	return c.unchanged(e.files)
}

// unchanged reads neighbour files again, and says that all hold what they did.
func (c *compiler) unchanged(files []resource.FileRead) bool {
	for _, f := range files {
		before := len(c.set.Files())
		if _, err := c.set.ReadFile(f.Path); err != nil {
			return false
		}
		if now := c.set.FilesSince(before); len(now) != 1 || now[0].Sum != f.Sum {
			return false
		}
	}
	return true
}

// restore takes everything from e.
func (c *compiler) restore(e *environment) {
	c.params, c.schemas, c.schemaSums, c.connections = e.fields, e.schemas, e.schemaSums, e.connections
	c.plan.Params, c.plan.SecretProviders = e.values, e.providers
	c.decoder.Secrets = slices.Clone(e.secrets)
	c.diags.Merge(e.diags)
	c.memo.env = e
}

// flow compiles a flow, or takes it from the compilation before.
func (c *compiler) flow(r *resource.Resource) {
	if !c.remembers {
		c.compileFlow(r)
		return
	}
	around, ok := c.around(r)
	if !ok {
		c.compileFlow(r)
		return
	}
	if m := c.before[r]; m != nil && m.around == around && c.unchanged(m.files) {
		c.memo.flows[r] = m
		c.recall(m)
		return
	}
	if c.diags.HasErrors() { // what is made of this flow may lack parts that it speaks of
		c.compileFlow(r)
		return
	}
	m := &remembered{around: around, diags: &diag.List{}}
	all, files, secrets := c.diags, len(c.set.Files()), len(c.decoder.Secrets)
	c.diags, c.decoder.Diags, c.recording = m.diags, m.diags, m
	f := c.compileFlow(r)
	c.diags, c.decoder.Diags, c.recording = all, all, nil
	c.diags.Merge(m.diags)
	if m.diags.HasErrors() {
		return
	}
	m.secrets, m.files = slices.Clone(c.decoder.Secrets[secrets:]), c.set.FilesSince(files)
	m.flow, m.windows = ownFlow(f), c.windows[f]
	c.memo.flows[r] = m
}

// ownFlow copies a flow as far as what comes behind compileFlow changes it.
func ownFlow(f *plan.Flow) *plan.Flow {
	out := *f
	out.Nodes = slices.Clone(f.Nodes)
	return &out
}

// recall puts a flow into the plan that was compiled before.
func (c *compiler) recall(m *remembered) {
	f := ownFlow(m.flow)
	c.plan.Flows = append(c.plan.Flows, f)
	c.windows[f] = m.windows
	for _, s := range m.senders {
		c.Sent(s.channel, s.sent)
	}
	c.decoder.Secrets = append(c.decoder.Secrets, m.secrets...)
	c.diags.Merge(m.diags)
}

// around says, as a text, what of other flows there is in what a flow is made of: the channels that it reads and sends to, as they stand when its turn
// has come, and the flows whose dead letters it redrives. Not ok is a flow that is compiled each time: what comes later changes endpoints of channels that are on brokers.
func (c *compiler) around(r *resource.Resource) (text string, ok bool) {
	spec := r.Spec.(*resource.Flow)
	var b strings.Builder
	ok = true
	add := func(name string, reads bool) {
		ch := c.channels[name]
		b.WriteString(strconv.Quote(name))
		switch {
		case ch == nil:
			b.WriteString(" none\n")
			return
		case ch.broker != nil:
			ok = false
		case reads:
			b.WriteString(strconv.FormatBool(ch.keyed()) + c.typeText(ch.typ()))
		}
		b.WriteString("\n")
	}
	for _, in := range spec.Inputs() {
		if !in.Channel.IsZero() {
			add(in.Channel.Name, true)
		}
	}
	for _, name := range sends(spec) {
		add(name, false)
	}
	if dl := spec.OnError.DeadLetter; dl != nil && !dl.Channel.IsZero() {
		add(dl.Channel.Name, false)
	}
	add(r.Name()+".dead", false)
	lower.Walk(spec.Steps, func(s *resource.Step) {
		if v, asks := s.Verb.(*resource.Redrive); asks {
			b.WriteString("redrives " + strconv.Quote(v.Flow.Name) + c.deadPlace(v.Flow.Name) + "\n")
		}
	})
	return b.String(), ok
}

// typeText tells types apart.
func (c *compiler) typeText(t *types.Type) string {
	if text, ok := c.typeTexts[t]; ok {
		return text
	}
	if c.typeTexts == nil {
		c.typeTexts = map[*types.Type]string{}
	}
	text := plan.Fingerprint(t)
	c.typeTexts[t] = text
	return text
}
