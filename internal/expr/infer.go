package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

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
