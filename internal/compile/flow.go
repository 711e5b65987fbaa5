package compile

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// defaultRetry is a flow's retry where it declares none (LANGUAGE.md §5, Errors).
var defaultRetry = plan.Retry{Attempts: 5, Initial: 100 * time.Millisecond, Factor: 2, Max: 30 * time.Second, Jitter: 0.2}

// compileFlow compiles one flow. Those that feed the channels it reads were compiled before.
func (c *compiler) compileFlow(r *resource.Resource) *plan.Flow {
	spec := r.Spec.(*resource.Flow)
	used := c.begin()
	f := &plan.Flow{
		Name: r.Name(), Pos: r.Pos, Order: plan.Order(spec.Order), Concurrency: spec.Concurrency,
		Delivery: plan.Delivery(spec.Delivery),
		Budget:   plan.Budget{Messages: spec.Budget.Messages, Bytes: int64(spec.Budget.Bytes)},
		OnError:  plan.ErrorPolicy{Retry: defaultRetry}, Labels: r.Metadata.Labels,
	}
	if f.Order == "" {
		f.Order = plan.Total
	}
	if f.Delivery == "" {
		f.Delivery = plan.AtLeastOnce
	}
	c.flowRules(r, f, spec)
	in := c.sources(f, spec)
	c.serving(f, spec, &in)
	f.Input = in.typ
	lf := lower.NewFlow(lower.Options{
		Name: f.Name, Profile: c.profile, World: c, Diags: c.diags, Params: c.params,
		Input: in.typ, Schema: in.schema, Keyed: in.keyed || !spec.Key.IsZero(), Order: f.Order,
		Request: in.request, Replies: in.replies(),
	}, spec.Steps)
	c.flowKey(f, spec, lf, in)
	c.identities(lf, in)
	if !spec.Time.IsZero() {
		f.Time = lf.Exprs().Expr(spec.Time, lf.Scope(), types.TimestampType).Program
	}
	res := lf.Lower(in.checks, spec.Steps, spec.To)
	c.replies(lf, in, res.End)
	f.Nodes, f.Output, f.Vars, f.Coverage = res.Nodes, res.Output, lf.Vars(), lf.Coverage()
	f.Slots = len(f.Vars)
	for _, s := range in.servers {
		s.ep.Server.Request = lf.RequestSlot()
	}
	c.windows[f] = res.Windows
	if res.Lost && len(in.servers) == 0 {
		c.diags.Warnf(r.NamePos(), "no-destination", f.Name, "add `to:` to the flow (`to: { drop: {} }` if that is meant)",
			"what flow %s makes is sent nowhere", f.Name)
	}
	c.onError(f, spec, in)
	c.unanswered(f, spec, in)
	c.ofJobs(f, spec)
	f.Facts = c.flowFacts(r, f, spec, used)
	c.plan.Flows = append(c.plan.Flows, f)
	return f
}

// inputs is what a flow's sources have in common.
type inputs struct {
	typ     *types.Type
	schema  *lower.Schema // the one schema of all sources; nil if there are none or several
	keyed   bool
	checks  []plan.Node
	own     []source
	servers []source    // those of own that are called
	request *types.Type // of `request`; nil without servers
}

// replies says that callers wait for what the flow makes of their requests.
func (in *inputs) replies() bool { return len(in.servers) > 0 && in.servers[0].ep.Server.Replies }

// source is a connector that a flow reads.
type source struct {
	ep *plan.Endpoint
	t  *resource.Target
}

// sources makes the endpoints that a flow reads.
func (c *compiler) sources(f *plan.Flow, spec *resource.Flow) inputs {
	in := inputs{typ: types.NeverType, keyed: true}
	var schemas []*lower.Schema
	all := spec.Inputs()
	for i, t := range all {
		name := f.Name + "/from"
		if len(all) > 1 {
			name += strconv.Itoa(i + 1)
		}
		var schema *lower.Schema
		if !t.Schema.IsZero() {
			schema = c.Schema(t.Schema, c.diags)
		}
		schemas = append(schemas, schema)
		typ, keyed := c.source(f, t, name, schema, &in)
		in.typ = algebra.Unite(in.typ, typ)
		in.keyed = in.keyed && (keyed || !t.Key.IsZero())
	}
	if in.typ.Kind == types.Never {
		in.typ = types.DynType
	}
	c.checkSchemas(&in, f.Name, all, schemas)
	return in
}

// source makes one of them, and gives the type of its bodies and whether they have a key.
func (c *compiler) source(f *plan.Flow, t *resource.Target, name string, schema *lower.Schema, in *inputs) (*types.Type, bool) {
	var declared *types.Type
	if schema != nil {
		declared = schema.Type
	}
	if !t.Queue.IsZero() {
		return c.queueSource(f, t, name, schema, declared)
	}
	if !t.Channel.IsZero() {
		return c.channelSource(f, t, name, schema, declared, in)
	}
	if !t.Entity.IsZero() {
		return c.entitySource(f, t, name, schema, declared)
	}
	if t.Config == nil {
		return types.DynType, true
	}
	kind := penstock.KindOfSource
	if _, ok := c.reg.Lookup(penstock.KindOfServer, t.Connector); ok {
		// What is both is a server where the configuration says how it replies.
		if _, both := c.reg.Lookup(kind, t.Connector); !both || t.Config.Entry("reply") != nil {
			kind = penstock.KindOfServer
		}
	}
	ep, d := c.endpoint(kind, lower.Use{Target: t, Name: name, Scope: c.sourceScope(), Exprs: c.exprs()}, declared, c.diags)
	if ep == nil {
		return orDyn(declared), true
	}
	if declared == nil {
		ep.Type = outputOf(ep, d)
	}
	ep.Hash = plan.HashFacts([]plan.Fact{{Of: ep.Hash, Text: plan.Fingerprint(ep.Type)}})
	f.Sources = append(f.Sources, ep)
	in.own = append(in.own, source{ep, t})
	if kind == penstock.KindOfServer {
		c.server(ep, in)
		in.servers = append(in.servers, source{ep, t})
	}
	return ep.Type, ep.Driver != nil && ep.Driver.Spec.Keyed
}

// channelSource makes the endpoint of a channel that a flow reads.
func (c *compiler) channelSource(f *plan.Flow, t *resource.Target, name string, schema *lower.Schema, declared *types.Type, in *inputs) (*types.Type, bool) {
	ch := c.channels[t.Channel.Name]
	onBroker := ch != nil && ch.broker != nil
	var ep *plan.Endpoint
	if !onBroker {
		if ep = c.channelEndpoint(t, name, declared); ep == nil {
			return types.DynType, true
		}
	}
	typ := ch.typ()
	if schema != nil {
		lower.Fits(c.diags, t.At("schema"), schema.Name, typ, declared, "what comes from channel "+ch.name)
		typ = algebra.Refine(typ, declared)
	}
	if onBroker {
		c.use(resource.KindChannel, ch.name)
		if ep = c.brokerSource(f, t, ch, name, typ, in); ep == nil {
			return typ, ch.keyed()
		}
	}
	ep.Type = typ
	f.Sources = append(f.Sources, ep)
	return typ, ch.keyed()
}

// checkSchemas makes the node that checks what was read. Where sources have several schemas, a message is
// held to that of one of them.
func (c *compiler) checkSchemas(in *inputs, flow string, all []*resource.Target, schemas []*lower.Schema) {
	var distinct []*lower.Schema
	var names []string
	var pos penstock.Pos
	for i, s := range schemas {
		if s == nil {
			continue
		}
		pos = all[i].At("schema")
		if !slices.Contains(distinct, s) {
			distinct, names = append(distinct, s), append(names, s.Name)
		}
	}
	for i, t := range all {
		if len(distinct) > 0 && t.Schema.IsZero() {
			c.diags.Errorf(t.Pos, "missing-schema", t.Connector, "name a schema here too, or use `validate` in a flow of its own",
				"source %d of flow %s has no schema and others have one, so what it reads can't be told from what must be checked", i+1, flow)
			return
		}
	}
	var check step.Validator
	switch len(distinct) {
	case 0:
		return
	case 1:
		in.schema, check = distinct[0], distinct[0].Check
	default:
		var several anyOf
		for _, s := range distinct {
			several = append(several, s.Check)
		}
		check = several
	}
	in.checks = []plan.Node{{
		Name: "schema", Verb: "validate", Op: &plan.Apply{Step: &step.Validate{Validator: check}}, Pos: pos, Label: strings.Join(names, " or "),
	}}
}

// flowKey makes the program of the messages' key: the flow's, or that of its sources.
func (c *compiler) flowKey(f *plan.Flow, spec *resource.Flow, lf *lower.Flow, in inputs) {
	key := spec.Key
	for _, t := range spec.Inputs() {
		switch {
		case t.Key.IsZero():
		case key.IsZero() && len(spec.Inputs()) == 1:
			key = t.Key
		case key.Source != t.Key.Source:
			c.diags.Errorf(t.Key.Pos, "two-keys", t.Key.Source, "give the flow one `key`, for the messages of all sources", "the sources of flow %s have keys of their own", f.Name)
		}
	}
	if !key.IsZero() {
		k := lf.Exprs().Expr(key, lf.Scope(), nil)
		f.Key = k.Program
		lower.KeyType(c.diags, k.Type, key)
	}
	if f.Order == plan.PerKey && key.IsZero() && !in.keyed {
		c.diags.Errorf(spec.At("order"), "missing-key", spec.Order, "add `key: …` to the flow", "order: per-key needs a key, and the messages of flow %s have none", f.Name)
	}
}

// onError makes the flow's error policy.
func (c *compiler) onError(f *plan.Flow, spec *resource.Flow, in inputs) {
	f.OnError.Park = spec.OnError.Order == "park" && c.mayPark(f, spec, in)
	if r := lower.Retry(spec.OnError.Retry); r != nil {
		f.OnError.Retry, f.OnError.Declared = *r, true
	}
	dead := f.Name + ".dead"
	switch dl := spec.OnError.DeadLetter; {
	case dl == nil:
		if _, read := c.channels[dead]; read {
			f.OnError.DeadLetter = &plan.Endpoint{Name: f.Name + "/dead", Channel: dead, Type: types.DynType, Pos: f.Pos, Label: "channel " + dead}
		}
	case !dl.Channel.IsZero():
		f.OnError.DeadLetter = c.channelSink(lower.Use{Target: dl, Name: f.Name + "/deadLetter", Type: types.DynType, Scope: c.bodyScope(types.DynType), Exprs: c.exprs()}, c.diags)
	default:
		u := lower.Use{Target: dl, Name: f.Name + "/deadLetter", Scope: c.bodyScope(types.DynType), Exprs: c.exprs()}
		f.OnError.DeadLetter, _ = c.endpoint(penstock.KindOfSink, u, types.DynType, c.diags)
	}
}

func orDyn(t *types.Type) *types.Type {
	if t == nil {
		return types.DynType
	}
	return t
}
