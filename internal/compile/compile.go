// Package compile turns resources into a plan: the second step of config → compile → run.
//
// [Compile] reads top to bottom as the pipeline: parameters, schemas, connections, channels, then the
// flows in the order in which they feed each other, so that the type of a channel is known before
// the flows that read it are looked at. Package lower makes nodes of steps. Everything wrong
// is collected; nothing stops at the first finding.
package compile

import (
	"fmt"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// Options adjust a compilation. The zero Options are the usual ones.
type Options struct {
	// Strict makes doubtful null safety an error, whatever the Integration says.
	Strict bool
	// CostLimit bounds one evaluation of an expression, in steps; 0 is the profile's default.
	CostLimit uint64
	// Seen, where it is there, is told of every expression, with what may be spoken of at its place: what editors show.
	Seen func(expr.Expression)
	// Stored puts channels that are on a broker into the store, as if nothing were said of a broker: what tests of flows run.
	Stored bool
	// Memo, where it is there, spares what was compiled before, and is what this compilation leaves behind it. It has no effect with Seen or Wrap.
	Memo *Memo
	// Wrap, where it is there, puts a program around that of each expression: to see what is evaluated.
	Wrap func(expr.Expression, penstock.Program) penstock.Program
}

// Compile makes a plan of everything that set selects, with the drivers of reg. The list holds all
// findings, each with its place; where one of them is an error, the plan is nil.
func Compile(set *resource.Set, reg *penstock.Registry, o Options) (*plan.Plan, *diag.List) {
	c := &compiler{set: set, reg: reg, diags: &diag.List{}, plan: &plan.Plan{}, windows: map[*plan.Flow]map[int]*plan.Stage{}, stored: o.Stored}
	strict := o.Strict
	if in := set.Integration(); in != nil {
		strict = strict || in.Strict
	}
	profile, err := expr.NewProfile(expr.Options{Strict: strict, CostLimit: o.CostLimit, Seen: o.Seen, Wrap: o.Wrap})
	if err != nil {
		c.diags.Errorf(penstock.Pos{}, "internal", "", "please report this", "the expression profile can't be made: %v", err)
		return nil, c.diags
	}
	c.profile = profile
	c.decoder = &resource.Decoder{Diags: c.diags, Registry: reg}

	c.environment(o)
	c.checkTargets()
	c.declareChannels()
	c.compileEntities()
	c.declareViews()
	for _, f := range c.inOrder() {
		c.flow(f)
	}
	if o.Memo != nil {
		*o.Memo = *c.memo
	}
	c.serveQueues()
	c.finishChannels()
	c.finishViews()
	c.finishQueues()
	c.keepState()
	c.observe()
	c.checkOverlaps()
	c.checkExclusives()
	c.listener()
	c.checkRoutes()
	c.checkHedges()
	c.checkTests()
	c.deriveDelivery(strict)
	if c.diags.HasErrors() {
		return nil, c.diags
	}
	c.fileOrder()
	c.hashes()
	c.plan.Known = c.names(resource.KindFlow)
	for _, f := range c.plan.Flows {
		if f.Relay != "" || f.Queue != "" {
			c.plan.Known = append(c.plan.Known, f.Name)
		}
	}
	for _, s := range c.decoder.Secrets {
		c.plan.Secrets = append(c.plan.Secrets, plan.Secret{Name: s.Name, Pos: s.Pos, Target: s.Target})
	}
	return c.plan, c.diags
}

// compiler is one compilation.
type compiler struct {
	set     *resource.Set
	reg     *penstock.Registry
	diags   *diag.List
	profile *expr.Profile
	decoder *resource.Decoder
	plan    *plan.Plan

	params      []scope.Field
	schemas     map[string]*lower.Schema // nil where it has errors
	connections map[string]*connection
	channels    map[string]*channel
	entities    map[string]*plan.Entity
	views       map[string]*view
	queues      map[string]*queue
	stored      bool // no channel is on a broker

	remembers  bool                               // what is made can be used again
	memo       *Memo                              // what is left for the next compilation
	before     map[*resource.Resource]*remembered // flows that were compiled before; nil: none can be used
	recording  *remembered                        // the flow that is compiled now; nil: it is not remembered
	typeTexts  map[*types.Type]string
	timeout    time.Duration                      // of what the flow that is being compiled asks, by its policies; 0: none
	windows    map[*plan.Flow]map[int]*plan.Stage // see lower.Result
	uses       *uses                              // of what is compiled; nil: nobody asks
	schemaSums map[string]string                  // digests of the schemas' texts
}

// paramTypes are the types that an Integration can give a parameter.
var paramTypes = map[string]*types.Type{
	"string": types.StringType, "int": types.IntType, "double": types.DoubleType,
	"decimal": types.DecimalType, "bool": types.BoolType, "duration": types.DurationType,
}

// declareParams gives every parameter its slot.
func (c *compiler) declareParams() {
	for i, p := range c.set.Params {
		c.params = append(c.params, scope.Field{Name: p.Name, Slot: i, Type: paramTypes[p.Type]})
		c.plan.Params = append(c.plan.Params, p.Value)
	}
}

// exprs compiles what stands outside of flows.
func (c *compiler) exprs() lower.Exprs { return lower.Exprs{Profile: c.profile, Diags: c.diags} }

// paramScope is what may be spoken of outside of messages.
func (c *compiler) paramScope() *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{{Name: "params", Source: scope.Params, Fields: c.params}}}
}

// bodyScope is what may be spoken of where there is a message but no flow.
func (c *compiler) bodyScope(body *types.Type) *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: body},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "params", Source: scope.Params, Fields: c.params},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
	}}
}

// names lists the resources of a kind, for suggestions.
func (c *compiler) names(kind resource.Kind) []string {
	var out []string
	for _, r := range c.set.Of(kind) {
		if r.Name() != "" { // a name that is wrong is not there
			out = append(out, r.Name())
		}
	}
	return out
}

// dangling reports a reference to a resource that isn't there.
func (c *compiler) dangling(l *diag.List, ref resource.Ref, kind resource.Kind) {
	names := c.names(kind)
	hint := lower.Hint(ref.Name, names)
	if len(names) == 0 {
		hint = fmt.Sprintf("add it: a document with `kind: %s` and `metadata: { name: %s }`", kind, ref.Name)
	}
	l.Errorf(ref.Pos, "dangling-reference", ref.Name, hint, "there is no %s %q", kind, ref.Name)
}
