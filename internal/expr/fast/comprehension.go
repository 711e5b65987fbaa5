package fast

import (
	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// comprehension compiles what macros expand to: the known forms to loops of their own, the rest
// as written.
func (c *compiler) comprehension(e ast.Expr) (code, error) {
	x := e.AsComprehension()
	if x.IterRange().Kind() == ast.ListKind && x.IterRange().AsList().Size() == 0 && isBool(x.LoopCondition(), false) {
		return c.binding(x)
	}
	over, err := c.compile(x.IterRange())
	if err != nil {
		return code{}, err
	}
	l := loop{over: over.eval, two: -1}
	if x.HasIterVar2() && over.typ.Kind == types.Object {
		l.over = deep(over) // the fields have types of their own
	}
	before := len(c.locals)
	l.one = c.push(x.IterVar())
	first, second := rangeTypes(over.typ)
	if x.HasIterVar2() {
		c.locals[before].code = c.slotCode(l.one, first, "")
		l.two = c.push(x.IterVar2())
		c.locals[before+1].code = c.slotCode(l.two, second, over.path+"[]")
	} else {
		if over.typ.Kind == types.List || over.typ.IsDyn() {
			first = second
		}
		c.locals[before].code = c.slotCode(l.one, first, over.path+"[]")
	}
	defer func() { c.pop(len(c.locals) - before) }()
	if out, ok, err := c.knownLoop(x, l); ok || err != nil {
		return out, err
	}
	return c.generalLoop(x, l)
}

// rangeTypes gives the types of the two variables over a value of type t.
func rangeTypes(t *types.Type) (first, second *types.Type) {
	switch t.Kind {
	case types.List:
		return types.IntType, elemType(t)
	case types.Map:
		first = types.StringType
		if t.Key != nil {
			first = t.Key
		}
		return first, fieldType(t, "")
	case types.Object:
		return types.StringType, types.DynType
	}
	return types.DynType, types.DynType
}

// slotCode reads a local that holds values or nodes.
func (c *compiler) slotCode(slot int, t *types.Type, path string) code {
	return c.pathCode(&chain{root: path, base: func(f *penstock.Frame) penstock.Value { return f.Locals[slot] }}, t)
}

func isBool(e ast.Expr, want bool) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	b, ok := e.AsLiteral().(celtypes.Bool)
	return ok && bool(b) == want
}

func isInt(e ast.Expr, want int64) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	i, ok := e.AsLiteral().(celtypes.Int)
	return ok && int64(i) == want
}

func isIdent(e ast.Expr, name string) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == name }

// isCall gives the arguments of a call of one of the names.
func isCall(e ast.Expr, n int, names ...string) ([]ast.Expr, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() || len(e.AsCall().Args()) != n {
		return nil, false
	}
	for _, name := range names {
		if e.AsCall().FunctionName() == name {
			return e.AsCall().Args(), true
		}
	}
	return nil, false
}

// knownLoop recognises the standard macros by the form of their expansion.
func (c *compiler) knownLoop(x ast.ComprehensionExpr, l loop) (code, bool, error) {
	accu, step := x.AccuVar(), x.LoopStep()
	plain := isIdent(x.Result(), accu)
	switch {
	case plain && isBool(x.AccuInit(), true):
		if args, ok := isCall(step, 2, "_&&_"); ok && isIdent(args[0], accu) && guarded(x.LoopCondition(), accu, false) {
			return c.quantifier(l, args[1], false)
		}
	case plain && isBool(x.AccuInit(), false):
		if args, ok := isCall(step, 2, "_||_"); ok && isIdent(args[0], accu) && guarded(x.LoopCondition(), accu, true) {
			return c.quantifier(l, args[1], true)
		}
	case isInt(x.AccuInit(), 0) && isBool(x.LoopCondition(), true):
		return c.one(x, l)
	}
	if !plain || !isBool(x.LoopCondition(), true) {
		return code{}, false, nil
	}
	var filter ast.Expr
	if args, ok := isCall(step, 3, "_?_:_"); ok && isIdent(args[2], accu) {
		filter, step = args[0], args[1]
	}
	switch {
	case x.AccuInit().Kind() == ast.ListKind && x.AccuInit().AsList().Size() == 0:
		args, ok := isCall(step, 2, "_+_", "@add")
		if !ok || !isIdent(args[0], accu) || args[1].Kind() != ast.ListKind {
			return code{}, false, nil
		}
		el := args[1].AsList()
		if el.Size() != 1 || len(el.OptionalIndices()) != 0 {
			return code{}, false, nil
		}
		return c.transform(l, filter, el.Elements()[0])
	case x.AccuInit().Kind() == ast.MapKind && x.AccuInit().AsMap().Size() == 0:
		args := insertion(step, accu)
		if args == nil {
			return code{}, false, nil
		}
		return c.transformMap(l, filter, args)
	}
	return code{}, false, nil
}

// guarded recognises the loop conditions of all and exists.
func guarded(cond ast.Expr, accu string, negated bool) bool {
	args, ok := isCall(cond, 1, "@not_strictly_false", "__not_strictly_false__")
	if !ok {
		return isBool(cond, true)
	}
	if negated {
		if args, ok = isCall(args[0], 1, "!_", "@not"); !ok {
			return false
		}
	}
	return isIdent(args[0], accu)
}

// insertion gives what transformMap and transformMapEntry insert: key and value, or a map.
func insertion(step ast.Expr, accu string) []ast.Expr {
	if step.Kind() != ast.CallKind {
		return nil
	}
	call := step.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		if call.FunctionName() != "@mapInsert" || !isIdent(call.Target(), "cel") {
			return nil
		}
	} else if call.FunctionName() != "cel.@mapInsert" {
		return nil
	}
	if len(args) < 2 || len(args) > 3 || !isIdent(args[0], accu) {
		return nil
	}
	return args[1:]
}

func (c *compiler) quantifier(l loop, pred ast.Expr, stop bool) (code, bool, error) {
	p, err := c.compile(pred)
	if err != nil {
		return code{}, false, err
	}
	l.each = p.eval
	return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value { return l.quantify(f, stop) }}, true, nil
}

func (c *compiler) one(x ast.ComprehensionExpr, l loop) (code, bool, error) {
	accu := x.AccuVar()
	args, ok := isCall(x.LoopStep(), 3, "_?_:_")
	if !ok || !isIdent(args[2], accu) {
		return code{}, false, nil
	}
	inc, ok := isCall(args[1], 2, "_+_", "@add")
	if !ok || !isIdent(inc[0], accu) || !isInt(inc[1], 1) {
		return code{}, false, nil
	}
	res, ok := isCall(x.Result(), 2, "_==_", "@eq")
	if !ok || !isIdent(res[0], accu) || !isInt(res[1], 1) {
		return code{}, false, nil
	}
	p, err := c.compile(args[0])
	if err != nil {
		return code{}, false, err
	}
	l.each = p.eval
	return code{typ: types.BoolType, eval: l.exactlyOne}, true, nil
}

// transform is map, filter and transformList.
func (c *compiler) transform(l loop, filter, fn ast.Expr) (code, bool, error) {
	if filter != nil {
		p, err := c.compile(filter)
		if err != nil {
			return code{}, false, err
		}
		l.filter = p.eval
	}
	x, err := c.compile(fn)
	if err != nil {
		return code{}, false, err
	}
	l.each = x.eval
	p := &producer{loop: l, part: x.emitter()}
	return code{typ: types.ListOf(x.typ), eval: p.collect, write: p.write, made: p}, true, nil
}

// transformMap is transformMap and transformMapEntry.
func (c *compiler) transformMap(l loop, filter ast.Expr, args []ast.Expr) (code, bool, error) {
	if filter != nil {
		p, err := c.compile(filter)
		if err != nil {
			return code{}, false, err
		}
		l.filter = p.eval
	}
	xs, err := c.compileAll(args)
	if err != nil {
		return code{}, false, err
	}
	value := xs[len(xs)-1]
	l.each = value.eval
	var key eval
	t := types.MapOf(value.typ)
	if len(xs) == 2 {
		key = xs[0].eval
	} else {
		l.each = deep(value)
		t = types.MapOf(types.DynType)
	}
	return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		var cur cursor
		if bad := l.start(f, &cur); bad.IsError() {
			return bad
		}
		m := &penstock.Map{}
		for {
			v, more := l.next(f, &cur)
			if !more {
				if v.IsError() {
					return v
				}
				return penstock.MapValue(m)
			}
			vs := [2]penstock.Value{v}
			in := vs[:1]
			if key != nil {
				vs = [2]penstock.Value{key(f), v}
				in = vs[:]
			}
			if bad := insertAll(m, in); bad.IsError() {
				return bad
			}
		}
	}}, true, nil
}

// binding is cel.bind and the macros built on it: a comprehension over nothing.
func (c *compiler) binding(x ast.ComprehensionExpr) (code, error) {
	init, err := c.compile(x.AccuInit())
	if err != nil {
		return code{}, err
	}
	if init.con {
		c.locals = append(c.locals, local{name: x.AccuVar(), code: init})
		defer func() { c.locals = c.locals[:len(c.locals)-1] }()
		return c.compile(x.Result())
	}
	slot := c.push(x.AccuVar())
	defer c.pop(1)
	set := init.eval
	bound := &c.locals[len(c.locals)-1].code
	if init.typ.Kind == types.Optional {
		// The slot has what the optional holds: no box.
		set = init.optional()
		*bound = newOptional(func(f *penstock.Frame) penstock.Value { return f.Locals[slot] }, init.typ.Elem)
		bound.path = init.path
		bound.chain = &chain{root: init.path, optBase: true, base: bound.inner}
	} else {
		*bound = c.slotCode(slot, init.typ, init.path)
	}
	res, err := c.compile(x.Result())
	if err != nil {
		return code{}, err
	}
	bind := func(then eval) eval {
		return func(f *penstock.Frame) penstock.Value {
			f.Locals[slot] = set(f)
			return then(f)
		}
	}
	out := code{typ: res.typ, eval: bind(res.eval)}
	if res.typ.Kind == types.Optional {
		out.inner = bind(res.optional())
	}
	return out, nil
}

// generalLoop runs a comprehension as it is written.
func (c *compiler) generalLoop(x ast.ComprehensionExpr, l loop) (code, error) {
	init, err := c.compile(x.AccuInit())
	if err != nil {
		return code{}, err
	}
	accu := c.push(x.AccuVar())
	c.locals[len(c.locals)-1].code = code{typ: types.DynType, eval: func(f *penstock.Frame) penstock.Value { return f.Locals[accu] }}
	xs, err := c.compileAll([]ast.Expr{x.LoopCondition(), x.LoopStep(), x.Result()})
	if err != nil {
		return code{}, err
	}
	first, cond, step, result := deep(init), xs[0].eval, deep(xs[1]), xs[2].eval
	return code{typ: xs[2].typ, eval: func(f *penstock.Frame) penstock.Value {
		var cur cursor
		if bad := l.start(f, &cur); bad.IsError() {
			return bad
		}
		f.Locals[accu] = first(f)
		for {
			more, bad := l.step(f, &cur)
			if bad.IsError() {
				return bad
			}
			if !more {
				break
			}
			if v := cond(f); v.Kind() != penstock.KindBool || !v.Bool() {
				break
			}
			f.Locals[accu] = step(f)
		}
		return result(f)
	}}, nil
}
