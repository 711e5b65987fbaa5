package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// Codec implements lower.World.
func (c *compiler) Codec(f *penstock.Format, t *types.Type, l *diag.List) (penstock.Codec, *types.Type) {
	drv, ok := c.reg.Lookup(penstock.KindOfCodec, f.Name)
	if !ok {
		return nil, types.DynType // said when it was decoded
	}
	decoded := t
	if t.IsDyn() && drv.Spec.Output != nil {
		decoded = drv.Spec.Output
	}
	codec := c.codec(f, penstock.CodecOptions{Type: t}, l)
	if own, ok := f.Config.(penstock.Typed); ok && t.IsDyn() && codec != nil {
		if o := own.OutputType(); !o.IsDyn() { // known now that the codec's configuration is complete
			decoded = o
		}
	}
	if rows(drv, f.Config) {
		decoded = types.ListOf(decoded)
	}
	return codec, decoded
}

// rows says whether what a codec decodes as a whole is a list.
func rows(drv *penstock.Driver, config any) bool {
	if t, ok := config.(penstock.Tabular); ok {
		return t.Rows()
	}
	return drv.Spec.Rows
}

// Schema implements lower.World.
func (c *compiler) Schema(ref resource.Ref, l *diag.List) *lower.Schema {
	s, ok := c.schemas[ref.Name]
	c.use(resource.KindSchema, ref.Name)
	if !ok {
		c.dangling(l, ref, resource.KindSchema)
	}
	return s
}

// Sink implements lower.World.
func (c *compiler) Sink(u lower.Use, l *diag.List) *plan.Endpoint {
	if !u.Target.Channel.IsZero() {
		return c.channelSink(u, l)
	}
	ep, _ := c.endpoint(penstock.KindOfSink, u, u.Type, l)
	return ep
}

// Caller implements lower.World. One that answers from memory looks something up, and may find nothing;
// so may one whose configuration says that its output is optional.
func (c *compiler) Caller(u lower.Use, l *diag.List) (*plan.Endpoint, lower.Reply) {
	var declared *types.Type
	if !u.Target.Schema.IsZero() {
		if s := c.Schema(u.Target.Schema, l); s != nil {
			declared = s.Type
		}
	}
	ep, d := c.endpoint(penstock.KindOfCaller, u, declared, l)
	if ep == nil {
		return nil, lower.Reply{Type: types.DynType}
	}
	reply := lower.Reply{Type: declared, Maybe: ep.Driver.Spec.Local, Parts: d.parts, Trees: d.trees}
	if declared == nil {
		reply.Type = outputOf(ep, d)
	}
	ep.Type = reply.Type
	if rowed, ok := ep.Config.(penstock.Rowed); ok { // the driver is told of the row's type
		reply.Type = rowed.ReplyType(reply.Type)
	}
	if reply.Type.Kind == types.Optional {
		if reply.Type == ep.Type {
			ep.Type = reply.Type.Elem
		}
		reply.Type, reply.Maybe = reply.Type.Elem, true
	}
	return ep, reply
}

// outputOf is what is known of the documents that a driver gives, without a schema: what its
// configuration says, or its format, or the data tree that a source makes them of, or its registration.
func outputOf(ep *plan.Endpoint, d *driverConfig) *types.Type {
	if typed, ok := ep.Config.(penstock.Typed); ok {
		if t := typed.OutputType(); t != nil {
			return t
		}
	}
	if d.output != nil {
		return d.output
	}
	if ep.Driver.Kind == penstock.KindOfSource && d.tree != nil {
		return d.tree
	}
	if ep.Driver.Spec.Output != nil {
		return ep.Driver.Spec.Output
	}
	return types.DynType
}

// endpoint decodes and compiles one use of a driver; nil after a finding.
func (c *compiler) endpoint(kind string, u lower.Use, typ *types.Type, l *diag.List) (*plan.Endpoint, *driverConfig) {
	t := u.Target
	if t.Config == nil {
		return nil, nil // no connector: said when it was loaded
	}
	dec := *c.decoder
	dec.Diags = l
	dec.Secrets = nil
	drv, config := dec.DecodeConfig(c.reg, kind, t.Connector, t.ConnectorPos, t.Config)
	if drv == nil {
		return nil, nil
	}
	if !u.Dry {
		c.decoder.Secrets = append(c.decoder.Secrets, dec.Secrets...)
	}
	used := c.begin()
	outer, volatile := u.Exprs.Volatile, false
	u.Exprs.Volatile = &volatile
	d := &driverConfig{c: c, role: kind, tech: t.Connector, exprs: u.Exprs, scope: u.Scope, diags: l, typ: typ}
	d.compile(config)
	if kind == penstock.KindOfCaller {
		paginate(t, config, l)
	}
	if own, ok := config.(penstock.Specific); ok {
		drv = drv.WithSpec(own.SpecFor(drv.Spec))
	}
	if volatile && outer != nil {
		*outer = true
	}
	c.permit(config, l)
	ep := &plan.Endpoint{Volatile: volatile, Name: u.Name, Driver: drv, Config: config, Type: typ, Pos: t.Pos, Label: t.Connector, Connection: d.connName}
	if d.label != "" {
		ep.Label += " " + d.label
	}
	if r, ok := config.(penstock.Routed); ok && d.label == "" {
		ep.Label += routesLabel(r)
	}
	if d.conn != nil {
		ep.Timeout, ep.Retry, ep.Policy = d.conn.timeout, d.conn.retry, d.conn.policy
		ep.ConnectionHash = plan.HashFacts(c.connectionFacts(d.connName))
	}
	if ep.Timeout == 0 && (kind == penstock.KindOfCaller || kind == penstock.KindOfSink) {
		ep.Timeout = c.timeout
	}
	sc := u.Scope
	if !d.reads {
		sc = nil
	}
	ep.Hash = c.endpointHash(ep, t, sc, used)
	return ep, d
}

// sourceScope is what a source's configuration may speak of: the message that it makes has headers, no
// body yet.
func (c *compiler) sourceScope() *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{
		{Name: "meta", Source: scope.Meta},
		{Name: "params", Source: scope.Params, Fields: c.params},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
	}}
}
