package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

// inferrer is our own pass over a checked tree. cel-go's checker has settled names and
// overloads; this pass knows more of the types (what is optional or nullable, labels, the
// fields of map literals), follows what conditions prove, and reports what the profile
// refuses or doubts.
type inferrer struct {
	p     *Profile
	r     *reporter
	a     *ast.AST
	facts map[int64]*types.Type

	reads        [][]string
	typed, total int
	volatile     bool
	varies       bool // reads any root
	vars         int  // numbers given to variables so far
}

// binding is a variable in force: a root, or one that a macro binds.
type binding struct {
	name string
	res  result
	up   *binding
}

// result is what is known of a subexpression.
type result struct {
	t    *types.Type
	path []string // what it is, as the conditions name it; nil if it is no path
	read []string // what it reads of the message; nil if it is no path below a root
}

// scope is where a subexpression stands: its variables, and what holds there.
type context struct {
	vars   *binding
	proofs []proof
}

func (c context) bind(name string, res result) context {
	c.vars = &binding{name: name, res: res, up: c.vars}
	return c
}

func (c context) assume(ps []proof) context {
	if len(ps) > 0 {
		c.proofs = append(slices.Clip(c.proofs), ps...)
	}
	return c
}

func (c context) lookup(name string) (result, bool) {
	for b := c.vars; b != nil; b = b.up {
		if b.name == name {
			return b.res, true
		}
	}
	return result{}, false
}

// value infers e where its whole value is used.
func (in *inferrer) value(e ast.Expr, c context) *types.Type {
	res := in.infer(e, c)
	in.use(res)
	return res.t
}

// use notes that a path is read.
func (in *inferrer) use(res result) {
	if res.read == nil || slices.ContainsFunc(in.reads, func(p []string) bool { return slices.Equal(p, res.read) }) {
		return
	}
	in.reads = append(in.reads, res.read)
}

// infer finds the type of e and notes it.
func (in *inferrer) infer(e ast.Expr, c context) result {
	res := in.kind(e, c)
	if res.t == nil {
		res.t = types.DynType
	}
	if res.path != nil {
		res.t = narrow(res.t, res.path, c.proofs)
	}
	in.facts[e.ID()] = res.t
	return res
}

func (in *inferrer) kind(e ast.Expr, c context) result {
	switch e.Kind() {
	case ast.LiteralKind:
		if s, ok := e.AsLiteral().(celtypes.String); ok {
			return result{t: &types.Type{Kind: types.String, Enum: []string{string(s)}}}
		}
		return result{t: in.celType(e)}
	case ast.IdentKind:
		return in.ident(e, c)
	case ast.SelectKind:
		return in.selected(e, c)
	case ast.CallKind:
		return in.call(e, c)
	case ast.ListKind:
		return in.list(e, c)
	case ast.MapKind:
		return in.mapping(e, c)
	case ast.ComprehensionKind:
		return in.comprehension(e, c)
	}
	in.report(e, "type-mismatch", "", "", "messages of protocol buffers cannot be made here: write a map")
	return result{}
}

// celType is what cel-go's checker found for e.
func (in *inferrer) celType(e ast.Expr) *types.Type { return in.p.catalog.ours(in.a.GetType(e.ID())) }

func (in *inferrer) report(e ast.Expr, code, text, hint, msg string) {
	in.r.add(diag.Error, span(in.a, e.ID()), code, text, hint, msg)
}

func (in *inferrer) ident(e ast.Expr, c context) result {
	name := strings.TrimPrefix(e.AsIdent(), ".")
	if res, ok := c.lookup(name); ok {
		if len(res.read) == 1 {
			in.varies = true
			if name == "now" {
				in.volatile = true
			}
		}
		return res
	}
	return result{t: in.celType(e)} // a type's name
}

// show writes a path for people.
func show(path []string) string {
	var b strings.Builder
	for i, s := range path {
		name, _, _ := strings.Cut(s, "#") // a variable's number is ours
		switch {
		case i == 0:
			b.WriteString(name)
		case s[0] == '[':
			b.WriteString(s)
		case isName(s):
			b.WriteString("." + s)
		default:
			b.WriteString("[" + strconv.Quote(s) + "]")
		}
	}
	return b.String()
}

func extend(path []string, step string) []string {
	if path == nil {
		return nil
	}
	return append(slices.Clip(path), step)
}

func (in *inferrer) selected(e ast.Expr, c context) result {
	sel := e.AsSelect()
	op := in.infer(sel.Operand(), c)
	name := sel.FieldName()
	t, optional := op.t, false
	if t.Kind == types.Optional {
		t, optional = t.Elem, true
	}
	in.total++
	at := in.r.src.word(span(in.a, e.ID()), name)
	if !optional {
		in.notNull(sel.Operand(), op, c)
	}
	f, ok := in.field(t, name, at, (sel.IsTestOnly() || optional) && in.loose(sel.Operand()))
	if ok && !t.IsDyn() && !f.Type.IsDyn() {
		in.typed++
	}
	if sel.IsTestOnly() {
		in.use(result{read: extend(op.read, name)})
		return result{t: types.BoolType}
	}
	res := result{t: f.Type, path: extend(op.path, name), read: extend(op.read, name)}
	if optional {
		res.t = types.OptionalOf(res.t)
		return res
	}
	if ok && in.mayLack(t, f) && !proven(c.proofs, res.path, present) {
		in.r.doubt(at, "may-be-absent", name, in.absentHint(e, c), fmt.Sprintf("`%s` may be absent", in.wording(res.path, name)))
	}
	return res
}

// wording is a path where there is one, else a field's name.
func (in *inferrer) wording(path []string, name string) string {
	if path == nil {
		return name
	}
	return show(path)
}

// absentHint shows the optional form of a selection.
func (in *inferrer) absentHint(e ast.Expr, c context) string {
	sel := e.AsSelect()
	if path := pathOf(e, c); path != nil && isName(sel.FieldName()) {
		return fmt.Sprintf("write `%s.?%s.orValue(…)`, or test with `has(…)` first", show(path[:len(path)-1]), sel.FieldName())
	}
	return "read it with `.?` and `.orValue(…)`, or test with `has(…)` first"
}

// loose says that e is typed by our pass alone, so that a name it does not have is no error
// where presence is tested: map literals may be asked for any key.
func (in *inferrer) loose(e ast.Expr) bool {
	t := in.a.GetType(e.ID())
	if t.TypeName() == "optional_type" && len(t.Parameters()) == 1 {
		t = t.Parameters()[0]
	}
	return t.Kind() != celtypes.StructKind
}

// mayLack says that field f of t may not be there although it is declared.
func (in *inferrer) mayLack(t *types.Type, f types.Field) bool {
	if f.Required || t.Kind != types.Object && t.Kind != types.Union {
		return false
	}
	if _, declared := t.Field(f.Name); !declared && t.Kind == types.Object {
		return false // of an open object's rest nothing is known
	}
	return true
}

// field finds a field and reports one that is not declared.
func (in *inferrer) field(t *types.Type, name string, at int, lenient bool) (types.Field, bool) {
	if t.IsDyn() || t.Kind == types.Never || t.Kind == types.Union && !objects(t) {
		return types.Field{Name: name, Type: types.DynType, Required: true}, false
	}
	f, ok := fieldOf(t, name)
	if ok {
		if f.Type == nil {
			f.Type = types.DynType
		}
		if l := t.Labels; !l.IsZero() {
			f.Type = labelled(f.Type, l)
		}
		return f, true
	}
	if lenient {
		return types.Field{Name: name, Type: types.DynType, Required: true}, false
	}
	what := "the " + t.Kind.String() + " here"
	switch t.Kind {
	case types.Object, types.Union:
		if t.Name != "" {
			what = "`" + t.Name + "`"
		}
		names := fieldNames(t)
		hint := didYouMean(name, names)
		if hint == "" {
			hint = "it has: " + strings.Join(shorten(names, 12), ", ")
		}
		if len(names) == 0 {
			hint = "it has no fields"
		}
		in.r.add(diag.Error, at, "unknown-field", name, hint, fmt.Sprintf("%s declares no field `%s`", what, name))
	default:
		in.r.add(diag.Error, at, "type-mismatch", name, "", fmt.Sprintf("a %s has no field `%s`", t.Kind, name))
	}
	return types.Field{Name: name, Type: types.DynType, Required: true}, false
}

func shorten(names []string, n int) []string {
	if len(names) > n {
		return append(slices.Clip(names[:n]), "…")
	}
	return names
}

// notNull doubts an operand that may be null where null has no meaning.
func (in *inferrer) notNull(e ast.Expr, res result, c context) {
	if !res.t.Nullable || res.t.Kind == types.Null || proven(c.proofs, res.path, notNull) {
		return
	}
	what := "the value"
	if res.path != nil {
		what = "`" + show(res.path) + "`"
	}
	at := span(in.a, e.ID())
	text := ""
	if e.Kind() == ast.SelectKind {
		text = e.AsSelect().FieldName()
		at = in.r.src.word(at, text)
	}
	in.r.doubt(at, "may-be-null", text, "test with `!= null` first", what+" may be null")
}

func (in *inferrer) list(e ast.Expr, c context) result {
	elem := types.NeverType
	for i, x := range e.AsList().Elements() {
		t := in.value(x, c)
		if e.AsList().IsOptional(int32(i)) && t.Kind == types.Optional {
			t = t.Elem
		}
		elem = in.unite(elem, t)
	}
	if elem.Kind == types.Never && in.celType(e).Kind == types.List {
		elem = types.NeverType
	}
	return result{t: types.ListOf(elem)}
}

// unite is algebra.Unite, with texts of one enumeration each taken for any text, and forms
// of one kind for the form that readers take the other for as well.
func (in *inferrer) unite(a, b *types.Type) *types.Type {
	a, b = general(a), general(b)
	if a != b && a.Kind == b.Kind && (a.DecimalText != b.DecimalText || a.Layout == "" != (b.Layout == "")) {
		u := *a
		u.DecimalText = a.DecimalText || b.DecimalText
		if u.Layout == "" {
			u.Layout = b.Layout
		}
		u.Nullable, u.Labels = a.Nullable || b.Nullable, a.Labels.With(b.Labels)
		return &u
	}
	return algebra.Unite(a, b)
}

// general forgets that a literal is one certain text. The layout of a time stays: a list
// of what was read may be written as it was read, and readers take either form.
func general(t *types.Type) *types.Type {
	if t.Kind == types.String && len(t.Enum) == 1 && t.Name == "" && t.Labels.IsZero() && !t.Nullable {
		return types.StringType
	}
	return t
}

// mapping gives a map literal with constant names an object type, in their order.
func (in *inferrer) mapping(e ast.Expr, c context) result {
	o := &types.Type{Kind: types.Object}
	key, elem, named := types.NeverType, types.NeverType, true
	for _, en := range e.AsMap().Entries() {
		entry := en.AsMapEntry()
		k := in.value(entry.Key(), c)
		v := in.value(entry.Value(), c)
		required := true
		if entry.IsOptional() {
			required = false
			if v.Kind == types.Optional {
				v = v.Elem
			}
		}
		key, elem = in.unite(key, k), in.unite(elem, v)
		if entry.Key().Kind() != ast.LiteralKind {
			named = false
			continue
		}
		name, ok := entry.Key().AsLiteral().(celtypes.String)
		if !ok {
			named = false
			continue
		}
		if _, twice := o.Field(string(name)); twice {
			in.report(entry.Key(), "duplicate-key", string(name), "remove one", fmt.Sprintf("the map has the key %q twice", name))
		}
		o.Fields = append(o.Fields, types.Field{Name: string(name), Type: general(v), Required: required})
	}
	if named && len(o.Fields) > 0 {
		return result{t: o}
	}
	m := types.MapOf(elem)
	if key.Kind != types.String && key.Kind != types.Never {
		m.Key = key
	}
	return result{t: m}
}

// comprehension follows a macro.
func (in *inferrer) comprehension(e ast.Expr, c context) result {
	m := e.AsComprehension()
	if m.IterRange().Kind() == ast.ListKind && m.IterRange().AsList().Size() == 0 {
		in.facts[m.IterRange().ID()] = types.ListOf(types.NeverType)
		bound := in.infer(m.AccuInit(), c) // cel.bind, and what is built on it
		in.infer(m.LoopCondition(), c)
		res := in.infer(m.Result(), c.bind(m.AccuVar(), bound))
		in.infer(m.LoopStep(), c.bind(m.AccuVar(), bound))
		return res
	}
	rng := in.infer(m.IterRange(), c)
	in.notNull(m.IterRange(), rng, c)
	before := len(in.reads)
	inner := in.iterate(m, rng, c)
	accu := in.infer(m.AccuInit(), c)
	in.use(accu)
	in.infer(m.LoopCondition(), inner.bind(m.AccuVar(), accu))
	step := in.infer(m.LoopStep(), inner.bind(m.AccuVar(), accu))
	in.use(step)
	if len(in.reads) == before {
		in.use(result{read: rng.read}) // at least how many there are
	}
	accu.t = in.unite(accu.t, step.t)
	return result{t: in.value(m.Result(), c.bind(m.AccuVar(), result{t: accu.t}))}
}

// iterate binds the variables of a loop over rng.
func (in *inferrer) iterate(m ast.ComprehensionExpr, rng result, c context) context {
	in.vars++
	number := "#" + strconv.Itoa(in.vars)
	one := func(name string, t *types.Type, read []string) result {
		if t == nil {
			t = types.DynType
		}
		return result{t: t, path: []string{name + number}, read: read}
	}
	key, elem := types.DynType, types.DynType
	switch rng.t.Kind {
	case types.List:
		key, elem = types.IntType, rng.t.Elem
		if elem != nil && elem.Kind == types.Never {
			elem = types.DynType
		}
		if !m.HasIterVar2() {
			return c.bind(m.IterVar(), one(m.IterVar(), elem, extend(rng.read, "[]")))
		}
	case types.Map:
		key, elem = types.StringType, rng.t.Elem
		if rng.t.Key != nil {
			key = rng.t.Key
		}
	case types.Object:
		key, elem = types.StringType, types.NeverType
		for _, f := range rng.t.Fields {
			elem = in.unite(elem, f.Type)
		}
		if rng.t.Open || elem.Kind == types.Never {
			elem = types.DynType
		}
	}
	if !m.HasIterVar2() && rng.t.IsDyn() {
		return c.bind(m.IterVar(), one(m.IterVar(), types.DynType, extend(rng.read, "[]")))
	}
	c = c.bind(m.IterVar(), one(m.IterVar(), key, nil))
	if m.HasIterVar2() {
		c = c.bind(m.IterVar2(), one(m.IterVar2(), elem, extend(rng.read, "[]")))
	}
	return c
}

// deepLabels gathers the labels of a value and of what it holds.
func deepLabels(t *types.Type) types.Labels {
	var l types.Labels
	seen := map[*types.Type]bool{}
	var walk func(t *types.Type)
	walk = func(t *types.Type) {
		if t == nil || seen[t] {
			return
		}
		seen[t] = true
		l = l.With(t.Labels)
		walk(t.Elem)
		walk(t.Rest)
		for _, f := range t.Fields {
			walk(f.Type)
		}
		for _, v := range t.Variants {
			walk(v)
		}
	}
	walk(t)
	return l
}

// labelled gives t the labels l too.
func labelled(t *types.Type, l types.Labels) *types.Type {
	if l.IsZero() {
		return t
	}
	n := *t
	n.Labels = t.Labels.With(l)
	return &n
}
