package expr

import (
	"fmt"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// Profile is the compiler of expressions under one set of options. It keeps what it learns
// of scopes and types for as long as it lives: make one for each configuration that is
// compiled. It is safe for concurrent use.
type Profile struct {
	opts    Options
	engine  *engine
	catalog *catalog
	lenient bool // what fails with every message is let be: a test of what expressions give

	mu     sync.Mutex
	scopes map[*scope.Scope]*checkEnv
}

// NewProfile makes a profile, which takes a few milliseconds. An error is a fault of this
// program.
func NewProfile(o Options) (*Profile, error) {
	if o.CostLimit == 0 {
		o.CostLimit = DefaultCostLimit
	}
	if o.MaxDepth == 0 {
		o.MaxDepth = DefaultMaxDepth
	}
	if o.MaxSource == 0 {
		o.MaxSource = DefaultMaxSource
	}
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	return &Profile{opts: o, engine: e, catalog: newCatalog(e.env.CELTypeProvider()), scopes: map[*scope.Scope]*checkEnv{}}, nil
}

// compile checks one expression and makes its programs.
func (p *Profile) compile(src source, sc *scope.Scope, want *types.Type, l *diag.List) *Compiled {
	c := p.compiled(src, sc, want, l)
	if p.opts.Seen != nil {
		p.opts.Seen(insight(src, sc, want, c))
	}
	if p.opts.Wrap != nil && c != nil && !c.Constant {
		c.Program, c.Fast = p.opts.Wrap(insight(src, sc, want, c), c.Program), false
	}
	return c
}

func (p *Profile) compiled(src source, sc *scope.Scope, want *types.Type, l *diag.List) *Compiled {
	r := &reporter{src: src, l: l, strict: p.opts.Strict}
	if sc == nil {
		sc = &scope.Scope{}
	}
	c := p.analyse(r, sc)
	if c == nil {
		return nil
	}
	if want != nil {
		p.wanted(r, c, want)
	}
	if !r.failed && !p.lenient {
		(&constants{p: p, r: r, a: c.AST, facts: c.facts}).look(c.AST.Expr())
	}
	if r.failed {
		return nil
	}
	o := &lazyOracle{engine: p.engine, ast: c.AST, facts: c.facts, sc: sc, limit: p.opts.CostLimit}
	c.oracle, c.Program = o, o
	prog, err := fast.Compile(fast.Input{AST: c.AST, Scope: sc, TypeOf: func(id int64) *types.Type { return c.facts[id] }, CostLimit: int64(p.opts.CostLimit)})
	if err == nil {
		c.Program, c.Fast = prog, true
	} else if err := o.plan(); err != nil {
		r.add(diag.Error, 0, "expression", src.text, "", err.Error())
		return nil
	}
	if want != nil {
		c.Program, c.oracle = guard(c.Program, c.Type, want, src.text), guard(c.oracle, c.Type, want, src.text)
	}
	return c
}

// analyse parses, rewrites, checks and infers; nil after an error.
func (p *Profile) analyse(r *reporter, sc *scope.Scope) *Compiled {
	a, text := p.parse(r)
	if a == nil {
		return nil
	}
	rewrite(a)
	ce, err := p.scoped(sc)
	if err != nil {
		r.add(diag.Error, 0, "expression", r.src.text, "", err.Error())
		return nil
	}
	a, errs := p.check(a, text, ce)
	r.ast = a
	if len(errs.GetErrors()) > 0 {
		p.checkErrors(r, a, text, errs, ce)
		return nil
	}
	in := &inferrer{p: p, r: r, a: a, facts: map[int64]*types.Type{}}
	res := in.infer(a.Expr(), rootContext(sc))
	in.use(res)
	t := res.t
	if r.failed {
		return nil
	}
	return &Compiled{Type: general(t), Reads: in.reads, Constant: !in.varies, Typed: in.typed, Total: in.total, Optional: t.Kind == types.Optional,
		Volatile: in.volatile, AST: a, Source: r.src.text, Pos: r.src.at(0), prof: p, scope: sc, facts: in.facts}
}

// wanted checks that the value is what its place takes.
func (p *Profile) wanted(r *reporter, c *Compiled, want *types.Type) {
	have := c.Type
	if have.Nullable && !want.Nullable && !want.IsDyn() && have.Kind != types.Null {
		r.doubt(0, "may-be-null", r.src.text, "test with `!= null` first", fmt.Sprintf("the value may be null, %s is wanted here", want.Text(0)))
	}
	if have.Kind == types.Optional && want.Kind != types.Optional && !want.IsDyn() {
		r.add(diag.Error, 0, "may-be-absent", r.src.text, "give a default with `.orValue(…)`", fmt.Sprintf("the value may be absent, %s is wanted here", want.Text(0)))
		return
	}
	if !fits(have, want) {
		r.add(diag.Error, 0, "type-mismatch", r.src.text, "", fmt.Sprintf("%s is wanted here, this is %s", want.Text(0), have.Text(0)))
	}
}

// fits says that a value of type have can be taken for want, widening numbers. What is not
// typed is verified when it is evaluated.
func fits(have, want *types.Type) bool {
	switch {
	case want.IsDyn() || have.IsDyn() || have.Kind == types.Never:
		return true
	case have.Kind == types.Null:
		return want.Nullable || want.Kind == types.Null
	case want.Kind == types.Optional:
		return fits(unwrapped(have), want.Elem)
	case want.Kind == types.Union || have.Kind == types.Union:
		return true
	case have.Kind == types.Int && (want.Kind == types.Double || want.Kind == types.Decimal):
		return true
	case have.Kind == types.Map && want.Kind == types.Object, have.Kind == types.Object && want.Kind == types.Map:
		return true
	case have.Kind != want.Kind:
		return false
	case have.Kind == types.List:
		return fits(have.Elem, want.Elem)
	}
	return true
}

// unwrapped is what an optional holds, any other type itself.
func unwrapped(t *types.Type) *types.Type {
	if t.Kind == types.Optional {
		return t.Elem
	}
	return t
}

// guarded verifies at run time what the check could not know, and widens numbers.
type guarded struct {
	penstock.Program
	want   *types.Type
	source string
}

// guard wraps prog where its type leaves something to verify.
func guard(prog penstock.Program, have, want *types.Type, source string) penstock.Program {
	if want.IsDyn() || have.Kind == want.Kind && (want.Nullable || !have.Nullable) && (have.Kind != types.List || have.Elem == want.Elem) {
		return prog
	}
	return &guarded{prog, want, source}
}

// Eval evaluates and verifies.
func (g *guarded) Eval(f *penstock.Frame) penstock.Value {
	v := g.Program.Eval(f)
	if v.IsError() {
		return v
	}
	v = v.Load(f.Arena)
	if ok, out := take(v, g.want); ok {
		return out
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: g.source,
		Err: fmt.Errorf("%s is wanted, the value is %s", g.want.Text(0), kindOf(v))})
}

// take gives v as a value of type want, if it is one.
func take(v penstock.Value, want *types.Type) (bool, penstock.Value) {
	if v.Kind() == penstock.KindError {
		return true, v
	}
	if v.Kind() == penstock.KindNull {
		return want.Nullable || want.Kind == types.Null, v
	}
	switch want.Kind {
	case types.Bool:
		return v.Kind() == penstock.KindBool, v
	case types.Int:
		return v.Kind() == penstock.KindInt, v
	case types.Uint:
		if v.Kind() == penstock.KindInt && v.Int() >= 0 {
			return true, penstock.UintValue(uint64(v.Int()))
		}
		return v.Kind() == penstock.KindUint, v
	case types.Double:
		if v.Kind() == penstock.KindInt {
			return true, penstock.DoubleValue(float64(v.Int()))
		}
		return v.Kind() == penstock.KindDouble, v
	case types.Decimal:
		switch v.Kind() {
		case penstock.KindInt:
			return true, penstock.DecimalValue(penstock.DecimalFromInt(v.Int()))
		case penstock.KindDouble:
			if d, err := penstock.ParseDecimal(v.NumberText()); err == nil {
				return true, penstock.DecimalValue(d)
			}
		}
		return v.Kind() == penstock.KindDecimal, v
	case types.String:
		return v.Kind() == penstock.KindString, v
	case types.Bytes:
		return v.Kind() == penstock.KindBytes, v
	case types.Timestamp:
		if v.Kind() == penstock.KindString {
			t, err := parseTime(v.Str(), want.Layout)
			return err == nil, penstock.TimestampValue(t)
		}
		return v.Kind() == penstock.KindTimestamp, v
	case types.Duration:
		if v.Kind() == penstock.KindString {
			d, err := parseDuration(v.Str())
			return err == nil, penstock.DurationValue(d)
		}
		return v.Kind() == penstock.KindDuration, v
	case types.List:
		return v.Kind() == penstock.KindList || isNode(v, '['), v
	case types.Map, types.Object:
		return v.Kind() == penstock.KindMap || isNode(v, '{'), v
	case types.Optional:
		if v.IsAbsent() {
			return true, v
		}
		if v.Kind() == penstock.KindOptional {
			return true, v
		}
		return take(v, want.Elem)
	}
	return true, v
}

// isNode says that v is an array or object of a document.
func isNode(v penstock.Value, open byte) bool {
	if v.Kind() != penstock.KindNode {
		return false
	}
	d, n := v.Node()
	return kindWord(d.Kind(n)) == map[byte]string{'[': "a list", '{': "an object"}[open]
}

var kindWords = [...]string{"absent", "null", "a bool", "an int", "a uint", "a double", "a decimal", "text", "binary", "a timestamp", "a duration",
	"a list", "a map", "an optional", "a type", "an error", "data"}

func kindOf(v penstock.Value) string {
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		return kindWord(d.Kind(n))
	}
	return kindWords[v.Kind()]
}
