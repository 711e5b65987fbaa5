package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// requestType is what `request` holds where a server says nothing more of it.
var requestType = func() *types.Type {
	texts := &types.Type{Kind: types.Object, Open: true, Rest: types.StringType}
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "method", Type: types.StringType, Required: true},
		{Name: "path", Type: texts, Required: true},
		{Name: "query", Type: texts, Required: true},
		{Name: "header", Type: texts, Required: true},
	}}
}()

// server adds a server's part to what is known of a flow's sources.
func (c *compiler) server(ep *plan.Endpoint, in *inputs) {
	ep.Server = &plan.Server{Request: -1}
	t := requestType
	if r, ok := ep.Config.(penstock.Requested); ok {
		if own := r.RequestType(); own != nil {
			t = own
		}
	}
	if in.request == nil {
		in.request = t
	} else {
		in.request = algebra.Unite(in.request, t)
	}
}

// serving applies the rules of a flow that is called.
func (c *compiler) serving(f *plan.Flow, spec *resource.Flow, in *inputs) {
	if len(in.servers) == 0 {
		return
	}
	for _, s := range in.servers {
		s.ep.Server.Replies, s.ep.Server.Concurrency = spec.To == nil, spec.Concurrency
	}
	if len(f.Sources) > len(in.servers) {
		at := in.servers[0].t
		c.diags.Errorf(at.Pos, "mixed-sources", at.Connector, "give the requests a flow of their own, and let both flows send to one channel",
			"flow %s is called and reads too; what it reads has no caller who waits for an answer", f.Name)
	}
	if !spec.Has("order") {
		f.Order = plan.None
	} else if f.Order == plan.Total {
		c.diags.Errorf(spec.At("order"), "wrong-order", spec.Order, "leave `order` out, or write `order: per-key` with a `key`",
			"requests to flow %s come side by side and have no order among them that could be kept", f.Name)
		f.Order = plan.None
	}
	for _, s := range in.servers {
		if own, ok := s.ep.Config.(penstock.Streamed); ok && own.Streamed() && in.replies() {
			c.diags.Errorf(s.t.Pos, "no-reply", s.t.Connector, "add `to: …` to the flow: callers are told how many records were accepted, when they are durable",
				"a request to flow %s brings any number of messages, and there would be no single reply", f.Name)
		}
		if in.replies() && !s.t.ID.IsZero() {
			c.diags.Errorf(s.t.At("id"), "wrong-field", "id", "leave `id` out, or send what is made somewhere with `to`",
				"what flow %s replies is not kept, so a request that comes again could get no answer", f.Name)
		}
	}
}

// unanswered refuses what says where requests go that fail: nowhere, for their callers are told. Only behind a durable step, where the caller
// has got an answer, a message can be dead.
func (c *compiler) unanswered(f *plan.Flow, spec *resource.Flow, in inputs) {
	if len(in.servers) == 0 || beyond(f) {
		return
	}
	const fix = "remove it; or send to a durable channel (`to: { channel: … }`) and let a flow behind it do what may fail"
	for _, field := range []struct {
		name string
		set  bool
	}{{"deadLetter", spec.OnError.DeadLetter != nil}, {"order", spec.OnError.Order == "park"}} {
		if field.set {
			c.diags.Errorf(spec.OnError.At(field.name), "wrong-field", field.name, fix,
				"a request to flow %s that fails is answered with its error and is never dead-lettered: `%s` means nothing here", f.Name, field.name)
		}
	}
}

// beyond says that a flow goes on behind its answer: it has a durable step.
func beyond(f *plan.Flow) bool {
	for i := range f.Nodes {
		switch f.Nodes[i].Op.(type) {
		case *plan.Stage, *plan.Group:
			return true
		}
	}
	return false
}

// replies compiles what servers say of their replies, which may speak of what the flow has made at its end; where it sends that elsewhere, of the
// request.
func (c *compiler) replies(lf *lower.Flow, in inputs, end *scope.Scope) {
	if !in.replies() {
		end = &scope.Scope{}
		for _, r := range lf.Scope().Roots {
			if r.Name != "body" && r.Name != "vars" {
				end.Roots = append(end.Roots, r)
			}
		}
	}
	for _, s := range in.servers {
		d := &driverConfig{c: c, role: penstock.KindOfServer, tech: s.t.Connector, exprs: lf.Exprs(), scope: end, diags: c.diags, reply: true}
		if d.compile(s.ep.Config); d.reads {
			s.ep.Hash = "" // where its variables are is a matter of the flow: it does not outlive it
		}
	}
}
