package compile

import (
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// entityChannel is what the events of an entity are called among channels. Names of resources hold no slash.
func entityChannel(entity string) string { return "entity/" + entity }

// compileEntities makes the entities. One with errors is known by name all the same, so that references to it are not dangling.
func (c *compiler) compileEntities() {
	c.entities = map[string]*plan.Entity{}
	for _, r := range c.set.Of(resource.KindEntity) {
		if r.Name() == "" {
			continue // its name was refused, and nothing can refer to it
		}
		e := &entityCompiler{c: c, r: r, spec: r.Spec.(*resource.Entity)}
		used := c.begin()
		out := e.compile()
		out.Hash = plan.HashFacts(e.facts(used))
		c.entities[r.Name()] = out
		c.plan.Entities = append(c.plan.Entities, out)
	}
}

// entityCompiler compiles one entity.
type entityCompiler struct {
	c    *compiler
	r    *resource.Resource
	spec *resource.Entity
	out  *plan.Entity
	held *types.Type // of the state
}

func (e *entityCompiler) compile() *plan.Entity {
	s := e.spec
	e.out = &plan.Entity{Name: e.r.Name(), Pos: e.r.Pos, Initial: []byte("{}"), Every: int64(s.Snapshot.Every), Remember: s.Remember.Std(), State: types.DynType}
	var check step.Validator
	if !s.State.Schema.IsZero() {
		if sch := e.c.Schema(s.State.Schema, e.c.diags); sch != nil {
			e.out.State, check = sch.Type, sch.Check
		}
	}
	e.held = e.out.State
	e.initial(check)
	e.events()
	for i := range s.Commands.Entries {
		e.command(&s.Commands.Entries[i])
	}
	e.key()
	e.publish()
	e.out.Fold = plan.HashFacts(e.fold())
	return e.out
}

// initial is the state before the first event.
func (e *entityCompiler) initial(check step.Validator) {
	n := e.spec.State.Initial
	pos := e.spec.State.Pos
	if n != nil {
		pos = n.Pos
		e.out.Initial = n.JSON()
	}
	var d jsonview.Doc
	d.Reset(jsonview.JSON, e.out.Initial)
	if err := d.Parse(jsonview.Limits{}); err != nil || d.Kind(0) != jsonview.Object {
		e.c.diags.Errorf(pos, "wrong-type", "initial", "write `initial: { balance: 0 }`", "the state of an entity is an object")
		e.out.Initial = []byte("{}")
		return
	}
	if check == nil {
		return
	}
	if wrong := check.Validate(&d); len(wrong) > 0 {
		v := &step.ValidationError{Violations: wrong}
		e.c.diags.Errorf(pos, "schema-mismatch", e.spec.State.Schema.Name, "say in `initial` what holds before the first event, or make the field optional in the schema",
			"before its first event the state of entity %s is not what the schema says: %s", e.out.Name, strings.ReplaceAll(v.Error(), "body", "state"))
	}
}

// slots are the roots that a message does not have.
func (e *entityCompiler) slots(sc *scope.Scope) *scope.Scope {
	sc = sc.With(scope.Root{Name: "state", Source: scope.Slot, Slot: plan.EntityState, Type: e.held})
	return sc.With(scope.Root{Name: "version", Source: scope.Slot, Slot: plan.EntityVersion, Type: types.IntType})
}

// foldScope is what `apply` and `upcast` may speak of: nothing but what is in the store, so that they give the same whenever they are asked.
func foldScope(body *types.Type) *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: body},
		{Name: "key", Source: scope.Key, Type: types.StringType},
	}}
}

// tree compiles a data tree, and gives its type.
func (e *entityCompiler) tree(t penstock.Tree, sc *scope.Scope, volatile *bool) (plan.Tree, *types.Type) {
	x := e.c.exprs()
	x.Volatile = volatile
	if t.Kind != penstock.TreeText {
		got := x.Tree(t, sc)
		return plan.Tree{Mapping: got.Mapping}, orDyn(got.Type)
	}
	got := x.Template(penstock.Template{Source: t.Text, Pos: t.Pos}, sc, expr.Plain)
	return plan.Tree{Program: got.Program}, orDyn(got.Type)
}

// events compiles the types of events.
func (e *entityCompiler) events() {
	var all, personal *types.Type
	for i := range e.spec.Events.Entries {
		en := &e.spec.Events.Entries[i]
		spec := &en.Value
		t := &plan.EventType{Name: en.Key, Pos: en.Pos, Version: spec.Version, Type: types.DynType, Form: plan.NewForm(nil)}
		if !eventName(en.Key) {
			e.c.diags.Errorf(en.Pos, "wrong-name", en.Key, "write it as in Withdrawn or account.closed", "an event's type is of letters, digits, `.`, `_` and `-`, and begins with a letter")
		}
		if strings.HasPrefix(en.Key, "penstock.") {
			e.c.diags.Errorf(en.Pos, "wrong-name", en.Key, "choose another", "types that begin with `penstock.` are reserved")
		}
		if !spec.Schema.IsZero() {
			t.Pos = spec.Schema.Pos
			if sch := e.c.Schema(spec.Schema, e.c.diags); sch != nil {
				t.Type, t.Check, t.Form = sch.Type, sch.Check, plan.NewForm(sch.Form)
			}
		}
		seen := t.Type
		if p := e.spec.Personal; p != nil {
			t.Personal = labelled(t.Type, p.Class, nil)
			seen = forgettable(t.Type, t.Personal, 0)
			if len(t.Personal) > 0 {
				personal = unite(personal, t.Type)
			}
		}
		all = unite(all, seen)
		e.upcast(t, spec)
		if spec.Apply.Kind != penstock.TreeNone {
			volatile := false
			var typ *types.Type
			t.Apply, typ = e.tree(spec.Apply, e.slots(foldScope(seen)), &volatile)
			e.steady(volatile, spec.Apply.Pos, "apply")
			e.fits(spec.Apply.Pos, typ, en.Key)
		}
		e.out.Events = append(e.out.Events, t)
	}
	e.out.Event = orDyn(all)
	e.subject(personal)
}

func unite(a, b *types.Type) *types.Type {
	if a == nil {
		return b
	}
	return algebra.Unite(a, b)
}

func eventName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '.' && r != '_' && r != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// steady refuses what gives something else when it is asked again.
func (e *entityCompiler) steady(volatile bool, pos penstock.Pos, field string) {
	if volatile {
		e.c.diags.Errorf(pos, "volatile", field, "let the command put it into the event's data: `data: { at: \"${now}\" }`",
			"`%s` reads now or uuid(): each time the events are read, another state would come of them", field)
	}
}

// upcast compiles how older data becomes that of now.
func (e *entityCompiler) upcast(t *plan.EventType, spec *resource.EntityEvent) {
	t.Upcast = make([]plan.Tree, max(t.Version-1, 0))
	for i := range spec.Upcast {
		u := &spec.Upcast[i]
		if u.From < 1 || u.From > len(t.Upcast) || u.Map.Kind == penstock.TreeNone {
			continue // said when it was loaded
		}
		volatile := false
		tree, typ := e.tree(u.Map, foldScope(types.DynType), &volatile)
		e.steady(volatile, u.Map.Pos, "upcast")
		t.Upcast[u.From-1] = tree
		if u.From == t.Version-1 && t.Check != nil {
			lower.Fits(e.c.diags, u.Map.Pos, spec.Schema.Name, typ, t.Type, "what `upcast` makes of version "+fmt.Sprint(u.From))
		}
	}
}

// fits says whether what `apply` gives fits into the state.
func (e *entityCompiler) fits(pos penstock.Pos, typ *types.Type, event string) {
	if typ.Kind == types.Optional {
		typ = typ.Elem
	}
	if !typ.IsDyn() && typ.Kind != types.Object && typ.Kind != types.Map {
		e.c.diags.Errorf(pos, "wrong-type", event, "write `apply: { field: … }`", "`apply` of %s gives %s, and the state is an object", event, typ.Text(1))
		return
	}
	if e.held.Kind != types.Object || typ.Kind != types.Object {
		return
	}
	part := *e.held
	part.Fields = nil
	for _, f := range e.held.Fields {
		t := f.Type
		if !f.Required && !t.Nullable { // null removes it
			nullable := *t
			nullable.Nullable = true
			t = &nullable
		}
		part.Fields = append(part.Fields, types.Field{Name: f.Name, Type: t})
	}
	lower.Fits(e.c.diags, pos, e.spec.State.Schema.Name, typ, &part, "what "+event+" does to the state")
}

// labelled lists the paths of the fields of t that carry a label: a list or a map that holds some as a whole.
func labelled(t *types.Type, class string, at []string) (out [][]string) {
	if t == nil {
		return nil
	}
	if t.Kind == types.Optional {
		t = t.Elem
	}
	if len(at) > 0 && (slices.Contains(t.Labels.Class, class) || t.Kind != types.Object && holds(t, class)) {
		return [][]string{slices.Clone(at)}
	}
	for _, f := range t.Fields {
		out = append(out, labelled(f.Type, class, append(at, f.Name))...)
	}
	return out
}

// holds says that a label is somewhere in t.
func holds(t *types.Type, class string) bool {
	if t == nil {
		return false
	}
	if slices.Contains(t.Labels.Class, class) || holds(t.Elem, class) || holds(t.Rest, class) {
		return true
	}
	for _, f := range t.Fields {
		if holds(f.Type, class) {
			return true
		}
	}
	return slices.ContainsFunc(t.Variants, func(v *types.Type) bool { return holds(v, class) })
}

// forgettable is t with null among the values of what may be erased.
func forgettable(t *types.Type, paths [][]string, depth int) *types.Type {
	if len(paths) == 0 || t.Kind != types.Object {
		return t
	}
	out := *t
	out.Fields = slices.Clone(t.Fields)
	for i := range out.Fields {
		f := &out.Fields[i]
		var below [][]string
		for _, p := range paths {
			if p[depth] != f.Name {
				continue
			}
			if len(p) == depth+1 {
				nullable := *f.Type
				nullable.Nullable = true
				f.Type = &nullable
			} else {
				below = append(below, p)
			}
		}
		f.Type = forgettable(f.Type, below, depth+1)
	}
	return &out
}

// subject compiles whom an event is about.
func (e *entityCompiler) subject(body *types.Type) {
	p := e.spec.Personal
	if p == nil {
		return
	}
	if body == nil {
		e.c.diags.Errorf(p.Pos, "no-effect", "personal", "label them in the schemas of events: `x-class: "+p.Class+"`",
			"no event of entity %s has a field with the label `%s`, so nothing would be encrypted", e.out.Name, p.Class)
		return
	}
	t := p.Subject
	if t.IsZero() {
		t = penstock.Template{Source: "${key}", Pos: p.Pos}
	}
	volatile := false
	x := e.c.exprs()
	x.Volatile = &volatile
	e.out.Subject = x.Template(t, foldScope(body), expr.Plain).Program
	e.steady(volatile, t.Pos, "subject")
}

// command compiles one command.
func (e *entityCompiler) command(en *resource.OrderedEntry[resource.EntityCommand]) {
	spec := &en.Value
	cmd := &plan.Command{Name: en.Key, Type: types.DynType}
	if !spec.Schema.IsZero() {
		if sch := e.c.Schema(spec.Schema, e.c.diags); sch != nil {
			cmd.Type, cmd.Check = sch.Type, sch.Check
		}
	}
	sc := e.slots(e.c.bodyScope(cmd.Type))
	x := e.c.exprs()
	for i := range spec.Require {
		q := &spec.Require[i]
		r := plan.Require{That: x.Expr(q.That, sc, types.BoolType).Program, Code: q.Code, Source: q.That.Source}
		if !q.Message.IsZero() {
			r.Message = x.Template(q.Message, sc, expr.Plain).Program
		}
		cmd.Require = append(cmd.Require, r)
	}
	for i := range spec.Emit {
		m := &spec.Emit[i]
		t := e.out.EventType(m.Event)
		if t == nil {
			if m.Event != "" {
				names := make([]string, len(e.out.Events))
				for i, t := range e.out.Events {
					names[i] = t.Name
				}
				e.c.diags.Errorf(m.At("event"), "dangling-reference", m.Event, lower.Hint(m.Event, names), "entity %s has no event %q", e.out.Name, m.Event)
			}
			continue
		}
		out := plan.Emit{Event: t}
		if !m.When.IsZero() {
			out.When = x.Expr(m.When, sc, types.BoolType).Program
		}
		typ, pos := cmd.Type, m.At("event")
		if m.Data.Kind != penstock.TreeNone {
			out.Data, typ = e.tree(m.Data, sc, nil)
			pos = m.Data.Pos
		}
		if t.Check != nil {
			lower.Fits(e.c.diags, pos, e.spec.Events.Entries[slices.Index(e.out.Events, t)].Value.Schema.Name, typ, t.Type, "the event "+t.Name)
		}
		cmd.Emit = append(cmd.Emit, out)
	}
	e.out.Commands = append(e.out.Commands, cmd)
}

// key compiles what entities are known by, over the data of any command.
func (e *entityCompiler) key() {
	if e.spec.Key.IsZero() {
		return
	}
	var body *types.Type
	for _, c := range e.out.Commands {
		body = unite(body, c.Type)
	}
	k := e.c.exprs().Expr(e.spec.Key, foldScope(orDyn(body)), nil)
	lower.KeyType(e.c.diags, k.Type, e.spec.Key)
	if k.Volatile {
		e.c.diags.Errorf(e.spec.Key.Pos, "volatile", e.spec.Key.Source, "use what the command brings along", "a command that comes again would have another key: `%s` reads now or uuid()", e.spec.Key.Source)
	}
	e.out.Key = k.Program
}

// publish finds the channel that events are sent to.
func (e *entityCompiler) publish() {
	p := e.spec.Publish
	if p == nil || p.Channel.IsZero() {
		return
	}
	ch := e.c.channels[p.Channel.Name]
	if ch == nil {
		e.c.dangling(e.c.diags, p.Channel, resource.KindChannel)
		return
	}
	e.c.use(resource.KindChannel, ch.name)
	if !ch.out.Durable && ch.broker == nil {
		e.c.diags.Errorf(p.Channel.Pos, "wrong-channel", ch.name, "leave `durable: false` out of the channel", "what is in memory can't be written with the events in one transaction")
		return
	}
	if ch.spec != nil && !ch.spec.Key.IsZero() {
		e.c.diags.Errorf(ch.spec.Key.Pos, "wrong-field", "key", "leave it out: the events have the entity's key", "entity %s sends its events with its own key, and the channel has another", e.out.Name)
	}
	at := map[string]penstock.Pos{}
	for i, name := range p.Events {
		at[name] = p.Pos
		if n := p.Node.Get("events"); n != nil && i < len(n.Elems) {
			at[name] = n.Elems[i].Pos
		}
		if e.out.EventType(name) == nil {
			e.c.diags.Errorf(at[name], "dangling-reference", name, "", "entity %s has no event %q", e.out.Name, name)
		}
	}
	sent := false
	for i, t := range e.out.Events {
		if len(p.Events) > 0 && !slices.Contains(p.Events, t.Name) {
			continue
		}
		pos, ok := at[t.Name]
		if !ok {
			pos = p.Channel.Pos
		}
		if spec := &e.spec.Events.Entries[i].Value; ch.broker != nil && spec.Schema.IsZero() {
			e.c.diags.Errorf(pos, "missing-schema", t.Name, "add `schema: …` to the event: the name of a Schema",
				"event %s is sent to channel %s on %s, where others read it, and has no schema", t.Name, ch.name, ch.broker.tech)
		}
		typ := t.Type
		if !p.Personal {
			typ = forgettable(typ, t.Personal, 0)
		}
		sent = true
		ch.senders = append(ch.senders, lower.Sent{Flow: "entity " + e.out.Name, Type: typ, Keyed: true, Pos: pos, What: "event " + t.Name + " for channel " + ch.name})
	}
	if !sent { // said above
		ch.senders = append(ch.senders, lower.Sent{Flow: "entity " + e.out.Name, Type: types.DynType, Keyed: true, Pos: p.Channel.Pos})
	}
	e.out.Publish = &plan.Publish{Channel: ch.name, Events: p.Events, Personal: p.Personal}
}

// facts are what the entity depends on.
func (e *entityCompiler) facts(u *uses) []plan.Fact {
	l := &leaves{of: "Entity " + e.r.Name()}
	l.walk(e.spec.Node, "")
	return append(l.facts, u.end()...)
}

// fold is what the state depends on: what a snapshot is good for.
func (e *entityCompiler) fold() []plan.Fact {
	l := &leaves{of: "fold"}
	for _, field := range []string{"state", "events", "personal"} {
		if n := e.spec.Node.Get(field); n != nil {
			l.walk(n, field)
		}
	}
	out := append(l.facts, plan.Fact{Of: "initial", Text: string(e.out.Initial)}, plan.Fact{Of: "state", Text: plan.Fingerprint(e.out.State)})
	for _, t := range e.out.Events {
		out = append(out, plan.Fact{Of: "event " + t.Name, Text: plan.Fingerprint(t.Type)})
	}
	return out
}

// Entity implements lower.World.
func (c *compiler) Entity(ref resource.Ref, l *diag.List) *plan.Entity {
	e := c.entities[ref.Name]
	if e == nil {
		if ref.Name != "" {
			c.dangling(l, ref, resource.KindEntity)
		}
		return nil
	}
	c.use(resource.KindEntity, ref.Name)
	return e
}

// entitySource makes the endpoint of an entity whose events a flow reads.
func (c *compiler) entitySource(f *plan.Flow, t *resource.Target, name string, schema *lower.Schema, declared *types.Type) (*types.Type, bool) {
	e := c.Entity(t.Entity, c.diags)
	if e == nil {
		return types.DynType, true
	}
	typ := e.Event
	if schema != nil {
		lower.Fits(c.diags, t.At("schema"), schema.Name, typ, declared, "what happens to entity "+e.Name)
		typ = algebra.Refine(typ, declared)
	}
	f.Sources = append(f.Sources, &plan.Endpoint{Name: name, Channel: entityChannel(e.Name), Entity: e.Name, Type: typ, Pos: t.Pos, Label: "entity " + e.Name})
	return typ, true
}
