package compile

import (
	"fmt"
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

// view is a View resource while flows are compiled.
type view struct {
	spec *resource.View
	from *channel     // nil after a finding, and where it reads an entity
	of   *plan.Entity // nil where it reads a channel
	row  *lower.Schema
	out  *plan.View
	asks lower.View
}

// argTypes are the types of the arguments of queries.
var argTypes = map[string]*types.Type{
	"string": types.StringType, "int": types.IntType, "double": types.DoubleType, "decimal": types.DecimalType,
	"bool": types.BoolType, "duration": types.DurationType, "timestamp": types.TimestampType,
}

// declareViews makes what steps can ask of views, and has them read their channels.
func (c *compiler) declareViews() {
	c.views = map[string]*view{}
	for _, r := range c.set.Of(resource.KindView) {
		if r.Name() == "" {
			continue // its name was refused
		}
		spec := r.Spec.(*resource.View)
		v := &view{spec: spec, out: &plan.View{Name: r.Name(), Pos: r.NamePos(), Strict: spec.Strict, Inline: spec.Inline}}
		c.views[r.Name()] = v
		v.out.Row = types.DynType
		if !spec.Schema.IsZero() {
			if v.row = c.Schema(spec.Schema, c.diags); v.row != nil {
				v.out.Row, v.out.Check = v.row.Type, v.row.Check
			}
		}
		if v.row != nil && (v.row.Type.Kind != types.Object || v.row.Type.Nullable) {
			c.diags.Errorf(spec.Schema.Pos, "type-mismatch", spec.Schema.Name, "give it `type: object` and `properties`", "a row is an object, and schema %s is another type", spec.Schema.Name)
			v.row = nil
		}
		for _, q := range spec.Queries.Entries {
			v.out.Queries = append(v.out.Queries, c.declareQuery(q.Key, &q.Value))
		}
		v.asks = lower.View{Name: r.Name(), Row: v.out.Row, Queries: v.out.Queries}
		c.viewSource(v)
	}
}

// declareQuery reads the arguments of a query.
func (c *compiler) declareQuery(name string, q *resource.ViewQuery) plan.ViewQuery {
	out := plan.ViewQuery{Name: name, Limit: q.Limit}
	for _, a := range q.Args.Entries {
		t := argTypes[a.Value]
		if t == nil {
			pos := a.Pos
			if n := q.Node.Get("args"); n != nil && n.Get(a.Key) != nil {
				pos = n.Get(a.Key).Pos
			}
			c.diags.Errorf(pos, "wrong-value", a.Value, "write string, int, double, decimal, bool, duration or timestamp", "%q is no type of an argument", a.Value)
			t = types.DynType
		}
		out.Args = append(out.Args, plan.ViewArg{Name: a.Key, Type: t})
	}
	return out
}

// viewSource finds the channel of a view.
func (c *compiler) viewSource(v *view) {
	if ref := v.spec.From.Entity; !ref.IsZero() {
		if v.of = c.Entity(ref, c.diags); v.of != nil {
			v.out.Entity = ref.Name
		}
		return
	}
	ref := v.spec.From.Channel
	if ref.IsZero() {
		return
	}
	ch := c.channels[ref.Name]
	switch {
	case ch == nil:
		c.dangling(c.diags, ref, resource.KindChannel)
	case ch.broker != nil:
		c.diags.Errorf(ref.Pos, "wrong-source", ref.Name, "let a flow read it into a channel of the store, and name that one here", "channel %s is on a broker, and a view reads a channel of the store", ref.Name)
	case !ch.out.Durable:
		c.diags.Errorf(ref.Pos, "wrong-source", ref.Name, "leave its `durable: false` out", "channel %s is in memory, and a view reads a channel of the store", ref.Name)
	case ch.out.Queue:
		c.diags.Errorf(ref.Pos, "wrong-source", ref.Name, "write `mode: topic`", "channel %s is a queue, whose readers share the messages: a view needs all of them", ref.Name)
	default:
		v.from = ch
		ch.readers = append(ch.readers, ref.Pos)
		v.out.Channel = ref.Name
	}
}

// View implements lower.World.
func (c *compiler) View(ref resource.Ref, l *diag.List) *lower.View {
	c.use(resource.KindView, ref.Name)
	v := c.views[ref.Name]
	if v == nil {
		c.dangling(l, ref, resource.KindView)
		return nil
	}
	return &v.asks
}

// finishViews compiles what views do, when the types of their channels are known.
func (c *compiler) finishViews() {
	for _, r := range c.set.Of(resource.KindView) {
		v := c.views[r.Name()]
		if v == nil || v.from == nil && v.of == nil || v.row == nil {
			continue
		}
		used := c.begin()
		c.use(resource.KindSchema, v.row.Name)
		c.viewEvents(v)
		l := &leaves{stop: map[*resource.Node]bool{}}
		for _, name := range []string{"queries", "inline"} { // the rows are the same
			if n := v.spec.Node.Get(name); n != nil {
				l.stop[n] = true
			}
		}
		l.walk(v.spec.Node, "")
		facts := append(l.facts, used.end()...)
		for _, p := range c.paramsOf(v.spec.Node, used) {
			facts = append(facts, plan.Fact{Of: "param " + p.Name, Text: textOf(p)})
		}
		facts = append(facts, c.sourceFacts(v)...)
		v.out.Hash = plan.HashFacts(facts)
		c.viewRows(v)
		c.viewInline(v)
		for i := range v.out.Queries {
			c.viewQuery(v, &v.spec.Queries.Entries[i].Value, &v.out.Queries[i])
		}
		c.plan.Views = append(c.plan.Views, v.out)
	}
}

// sourceFacts are what of a view's source its rows depend on.
func (c *compiler) sourceFacts(v *view) []plan.Fact {
	if v.of == nil {
		return []plan.Fact{{Of: "the type of what comes from channel " + v.out.Channel, Text: plan.Fingerprint(v.from.typ())}}
	}
	facts := []plan.Fact{{Of: "the type of the events of entity " + v.of.Name, Text: plan.Fingerprint(v.of.Event)}}
	r, _ := c.set.Find(resource.KindEntity, v.of.Name)
	for _, e := range r.Spec.(*resource.Entity).Events.Entries { // old events are read by these
		l := &leaves{of: "event " + e.Key}
		for _, n := range []string{"version", "upcast"} {
			if e.Value.Node != nil {
				l.walk(e.Value.Node.Get(n), n)
			}
		}
		facts = append(facts, l.facts...)
	}
	return facts
}

// event is the type of an event of a view, of a kind where that says more.
func (v *view) event(kind string) *types.Type {
	if v.of == nil {
		return v.from.typ()
	}
	if t := v.of.EventType(kind); t != nil && v.spec.By.IsZero() {
		if len(t.Personal) > 0 {
			return forgettable(t.Type, t.Personal, 0)
		}
		return t.Type
	}
	return orDyn(v.of.Event)
}

// before is the type of a row that may not be there: whatever it has may be absent.
func before(row *types.Type) *types.Type {
	t := *row
	t.Fields = slices.Clone(t.Fields)
	for i := range t.Fields {
		t.Fields[i].Required = false
	}
	return &t
}

// viewEvents compiles how events change rows.
func (c *compiler) viewEvents(v *view) {
	volatile := false
	x := c.exprs()
	x.Volatile = &volatile
	sc := &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: v.event("")},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "params", Source: scope.Params, Fields: c.params},
		{Name: "version", Source: scope.Slot, Slot: plan.ViewVersion, Type: types.IntType},
	}}
	by := v.spec.By
	steady := func(what string, pos penstock.Pos) {
		if volatile {
			c.diags.Errorf(pos, "volatile", what, "use what the event brings along, such as a field of its own", "rows that are built anew would be others: %s reads uuid()", what)
			volatile = false
		}
	}
	if !by.IsZero() {
		e := x.Expr(by, sc, nil)
		lower.KeyType(c.diags, e.Type, by)
		v.out.By = e.Program
		steady("`by`", by.Pos)
	}
	switch k := v.spec.Key; {
	case !k.IsZero():
		e := x.Expr(k, sc, nil)
		lower.KeyType(c.diags, e.Type, k)
		v.out.Key = e.Program
		steady("`key`", k.Pos)
	case v.from != nil && !v.from.keyed():
		c.diags.Errorf(v.spec.Pos, "missing-key", v.out.Name, "add `key: …` to the view", "view %s needs to know which row an event is about, and the messages of channel %s have no key", v.out.Name, v.out.Channel)
	}
	rows := sc.With(scope.Root{Name: "row", Source: scope.Slot, Slot: plan.ViewRow, Type: before(v.row.Type)})
	set := map[string]bool{}
	anything := false
	for i := range v.spec.Events.Entries {
		entry := &v.spec.Events.Entries[i]
		e := &entry.Value
		out := plan.ViewEvent{Kind: entry.Key}
		own := rows
		if v.of != nil && by.IsZero() {
			own = rows.With(scope.Root{Name: "body", Source: scope.Body, Type: v.event(entry.Key)})
			if v.of.EventType(entry.Key) == nil {
				var known []string
				for _, t := range v.of.Events {
					known = append(known, t.Name)
				}
				c.diags.Errorf(entry.Pos, "dangling-reference", entry.Key, lower.Hint(entry.Key, known), "entity %s has no event %q", v.of.Name, entry.Key)
			}
		}
		if !by.IsZero() { // what `by` tells apart is known of the body
			quiet := x
			quiet.Diags = &diag.List{}
			cond := penstock.Expr{Source: "(" + by.Source + ") == " + strconv.Quote(entry.Key), Pos: by.Pos}
			if _, yes, _ := quiet.Cond(cond, rows); !quiet.Diags.HasErrors() {
				own = yes
			}
		}
		if !e.When.IsZero() {
			cond, yes, _ := x.Cond(e.When, own)
			out.When, own = cond.Program, yes
		}
		if e.Upsert.Kind == penstock.TreeMap && !e.Delete {
			t := x.Tree(e.Upsert, own)
			out.Upsert = t.Mapping
			c.fitsRow(v, entry.Key, e, orDyn(t.Type))
			for _, f := range orDyn(t.Type).Fields {
				set[f.Name] = true
			}
			anything = anything || orDyn(t.Type).Kind != types.Object || orDyn(t.Type).Open
			out.Whole = sets(orDyn(t.Type), v.row.Type)
		}
		steady("event "+entry.Key, entry.Pos)
		v.out.Events = append(v.out.Events, out)
	}
	var missing []string
	for _, f := range v.row.Type.Fields {
		if f.Required && !set[f.Name] {
			missing = append(missing, "`"+f.Name+"`")
		}
	}
	if len(missing) > 0 && !anything && !c.diags.HasErrors() {
		c.diags.Errorf(v.spec.At("events"), "schema-mismatch", v.row.Name, "set it in `upsert`, or take it off `required`", "schema %s requires %s of each row, and no event of view %s ever sets it", v.row.Name, strings.Join(missing, ", "), v.out.Name)
	}
}

// sets says that a tree of type t always sets every field that a row may have.
func sets(t, row *types.Type) bool {
	if row.Open || t.Kind != types.Object {
		return false
	}
	for _, f := range row.Fields {
		have, ok := t.Field(f.Name)
		if !ok || !have.Required || have.Type.Kind == types.Optional || have.Type.Nullable || have.Type.Kind == types.Null || have.Type.IsDyn() {
			return false
		}
	}
	return true
}

// fitsRow holds what an event sets to the schema of the rows.
func (c *compiler) fitsRow(v *view, kind string, e *resource.ViewEvent, t *types.Type) {
	want := before(v.row.Type)
	want.Fields = slices.Clone(want.Fields)
	for i, f := range want.Fields { // null removes
		if f.Type != nil && !f.Type.IsDyn() && !f.Type.Nullable && !v.row.Type.Fields[i].Required {
			own := *f.Type
			own.Nullable = true
			want.Fields[i].Type = &own
		}
	}
	lower.Fits(c.diags, e.At("upsert"), v.row.Name, t, want, fmt.Sprintf("what %s sets", kind))
}

// viewQuery compiles the condition of a query.
func (c *compiler) viewQuery(v *view, q *resource.ViewQuery, out *plan.ViewQuery) {
	if q.Where.IsZero() {
		return
	}
	args := scope.Root{Name: "args", Source: scope.Vars}
	for i, a := range out.Args {
		args.Fields = append(args.Fields, scope.Field{Name: a.Name, Slot: plan.ViewArgs + i, Type: a.Type})
	}
	sc := &scope.Scope{Roots: []scope.Root{
		{Name: "row", Source: scope.Slot, Slot: plan.ViewRow, Type: v.row.Type},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		args,
		{Name: "params", Source: scope.Params, Fields: c.params},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
	}}
	out.Where = c.exprs().Expr(q.Where, sc, types.BoolType).Program
}
