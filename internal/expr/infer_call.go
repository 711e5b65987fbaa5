package expr

import (
	"fmt"
	"regexp"
	"strconv"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

// call infers an operator or function.
func (in *inferrer) call(e ast.Expr, c context) result {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	switch name {
	case operators.LogicalAnd, operators.LogicalOr:
		return in.logical(name == operators.LogicalAnd, args, c)
	case operators.Conditional:
		in.value(args[0], c)
		yes := in.infer(args[1], c.assume(proves(args[0], c, true)))
		no := in.infer(args[2], c.assume(proves(args[0], c, false)))
		in.use(yes)
		in.use(no)
		return result{t: in.unite(yes.t, no.t)}
	case operators.OptSelect:
		return in.optSelect(e, args, c)
	case opIndex, operators.OptIndex:
		return in.indexed(e, name == operators.OptIndex, args, c)
	}
	if name == "dyn" || name == "raw" {
		res := in.infer(args[0], c) // transparent: what it reads is read as it was
		if name == "dyn" {
			res.t = labelled(types.DynType, deepLabels(res.t))
		} else if e.ID() != in.a.Expr().ID() {
			in.r.add(diag.Warning, in.r.src.called(span(in.a, e.ID()), "raw"), "raw-interpolation", "raw", "let it be the outermost call of a `${…}`",
				"raw() has a meaning only around a whole interpolation")
		}
		return res
	}
	ops := make([]result, len(args))
	for i, x := range args {
		ops[i] = in.infer(x, c)
		in.use(ops[i])
	}
	t := in.callType(e, name, args, ops, c)
	if name == "uuid" {
		in.volatile, in.varies = true, true
	}
	return result{t: in.spread(name, t, ops)}
}

// spread gives the result of a call the labels of its operands: what is made of a person's
// data is a person's data. mask and hash take the class away, which is what they are for.
func (in *inferrer) spread(name string, t *types.Type, ops []result) *types.Type {
	switch t.Kind {
	case types.List, types.Map, types.Object, types.Optional, types.Bool:
		return t // elements carry their own; a yes or no is not the data
	}
	var l types.Labels
	for _, op := range ops {
		l = l.With(deepLabels(op.t))
	}
	if name == "mask" || name == "hash" {
		l.Class = nil
	}
	return labelled(t, l)
}

// logical infers && and ||. Either side may prove what the other needs: in CEL, a side that
// fails does not matter where the other decides.
func (in *inferrer) logical(and bool, args []ast.Expr, c context) result {
	for i, x := range args {
		inner := c
		for j, other := range args {
			if i != j {
				inner = inner.assume(proves(other, c, and))
			}
		}
		in.value(x, inner)
	}
	return result{t: types.BoolType}
}

func (in *inferrer) optSelect(e ast.Expr, args []ast.Expr, c context) result {
	op := in.infer(args[0], c)
	lit, _ := args[1].AsLiteral().(celtypes.String)
	name := string(lit)
	in.facts[args[1].ID()] = types.StringType
	t := op.t
	if t.Kind == types.Optional {
		t = t.Elem
	} else {
		in.notNull(args[0], op, c)
	}
	in.total++
	f, ok := in.field(t, name, in.r.src.word(span(in.a, e.ID()), name), in.loose(args[0]))
	if ok && !f.Type.IsDyn() {
		in.typed++
	}
	return result{t: optionalOf(f.Type), path: extend(op.path, name), read: extend(op.read, name)}
}

func (in *inferrer) indexed(e ast.Expr, optional bool, args []ast.Expr, c context) result {
	op := in.infer(args[0], c)
	key := in.value(args[1], c)
	in.total++
	res := result{t: types.DynType, read: extend(op.read, "[]")}
	t := op.t
	if t.Kind == types.Optional {
		t, optional = t.Elem, true
	} else {
		in.notNull(args[0], op, c)
	}
	switch t.Kind {
	case types.List:
		if t.Elem.Kind != types.Never {
			res.t = t.Elem
		}
	case types.Map:
		res.t = t.Elem
	case types.Object, types.Dyn:
		if name, ok := literalText(args[1]); ok {
			res.read = extend(op.read, name)
			if f, declared := fieldOf(t, name); declared {
				res.t = f.Type
			}
		}
	case types.Never, types.Union:
	default:
		in.p.mismatch(in.r, span(in.a, e.ID()), opIndex, []*types.Type{t, key}, args)
	}
	if res.t == nil {
		res.t = types.DynType
	}
	if !res.t.IsDyn() {
		in.typed++
	}
	res.path = extend(op.path, indexStep(args[1]))
	if indexStep(args[1]) == "" {
		res.path = nil
	}
	if optional {
		res.t = optionalOf(res.t)
	}
	return res
}

// indexStep names a constant index in a path: "[3]", or a key's own name.
func indexStep(key ast.Expr) string {
	if name, ok := literalText(key); ok {
		return name
	}
	if key.Kind() == ast.LiteralKind {
		if i, ok := key.AsLiteral().(celtypes.Int); ok {
			return "[" + strconv.FormatInt(int64(i), 10) + "]"
		}
	}
	return ""
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(celtypes.String)
	return string(s), ok && s != ""
}

// callType is the type of a call, with what the profile refuses reported.
func (in *inferrer) callType(e ast.Expr, name string, args []ast.Expr, ops []result, c context) *types.Type {
	switch name {
	case opAdd, opSub, opMul, opDiv, opMod, operators.Add:
		in.notNullAll(args, ops, c)
		return in.arithmetic(e, name, args, ops)
	case opLt, opLe, opGt, opGe:
		in.notNullAll(args, ops, c)
		in.relation(e, name, args, ops)
		return types.BoolType
	case opEq, opNe:
		in.comparable(e, args, ops[0].t, ops[1].t)
		return types.BoolType
	case opIn:
		in.notNull(args[1], ops[1], c)
		if t := ops[1].t; t.Kind == types.List {
			in.comparable(e, args, ops[0].t, t.Elem)
		}
		return types.BoolType
	case opNeg:
		in.notNullAll(args, ops, c)
		return bare(ops[0].t)
	case operators.LogicalNot, operators.NotStrictlyFalse:
		return types.BoolType
	case "orValue":
		return in.unite(element(ops[0].t), ops[1].t)
	case "or":
		return optionalOf(in.unite(element(ops[0].t), element(ops[1].t)))
	case "value":
		return element(ops[0].t)
	case "optional.of", "optional.ofNonZeroValue":
		return optionalOf(ops[0].t)
	case "optional.none":
		return &types.Type{Kind: types.Optional, Elem: types.NeverType}
	case "first", "last":
		return optionalOf(element(ops[0].t))
	case "reverse", "slice", "sort", "@sortByAssociatedKeys", "distinct":
		if ops[0].t.Kind == types.List {
			return ops[0].t
		}
	case "flatten":
		if inner := element(ops[0].t); inner.Kind == types.List {
			return inner
		}
	case "sum", "min", "max", "avg":
		in.notNullAll(args, ops, c)
		return in.aggregate(e, name, ops[0].t)
	case "@groupBy":
		return types.ListOf(&types.Type{Kind: types.Object, Fields: []types.Field{
			{Name: "key", Type: element(ops[1].t), Required: true}, {Name: "items", Type: ops[0].t, Required: true}}})
	case "cel.@mapInsert":
		return in.inserted(ops)
	case "matches", "regex.extract", "regex.extractAll", "regex.replace":
		in.pattern(args[1])
	case "timestamp", "duration", "decimal":
		in.constant(name, args)
	}
	if !tolerant(name) {
		in.notNullAll(args, ops, c)
	}
	return in.celType(e)
}

// tolerant says that a function takes null like any other value.
func tolerant(name string) bool {
	switch name {
	case "type", "hasValue", "json.encode", "optional.of", "optional.ofNonZeroValue", "format":
		return true
	}
	return false
}

func (in *inferrer) notNullAll(args []ast.Expr, ops []result, c context) {
	for i := range args {
		in.notNull(args[i], ops[i], c)
	}
}

// element is what a list, map or optional holds; dyn where that is not known.
func element(t *types.Type) *types.Type {
	switch t.Kind {
	case types.List, types.Map, types.Optional:
		if t.Elem != nil {
			return t.Elem
		}
	}
	return types.DynType
}

// bare is t as a computed value has it: without name, layout or null.
func bare(t *types.Type) *types.Type {
	if t.Kind == types.List || t.Kind == types.Map || t.Kind == types.Object || t.IsDyn() {
		return t
	}
	return &types.Type{Kind: t.Kind, Elem: t.Elem, Key: t.Key, Labels: t.Labels}
}

// inserted is the map that a comprehension builds.
func (in *inferrer) inserted(ops []result) *types.Type {
	acc := ops[0].t
	key, elem := types.NeverType, types.NeverType
	if acc.Kind == types.Map && acc.Elem != nil && acc.Elem.Kind != types.Never {
		key, elem = types.StringType, acc.Elem
		if acc.Key != nil {
			key = acc.Key
		}
	}
	if len(ops) == 3 {
		key, elem = in.unite(key, ops[1].t), in.unite(elem, ops[2].t)
	} else if m := ops[1].t; m.Kind == types.Map {
		k := types.StringType
		if m.Key != nil {
			k = m.Key
		}
		key, elem = in.unite(key, k), in.unite(elem, m.Elem)
	} else if m.Kind == types.Object {
		key = in.unite(key, types.StringType)
		for _, f := range m.Fields {
			elem = in.unite(elem, f.Type)
		}
	}
	m := types.MapOf(elem)
	if key.Kind != types.String && key.Kind != types.Never {
		m.Key = key
	}
	return m
}

// pattern checks a regular expression that is written out.
func (in *inferrer) pattern(e ast.Expr) {
	text, ok := literalText(e)
	if !ok {
		return
	}
	if _, err := regexp.Compile(text); err != nil {
		in.report(e, "bad-pattern", text, "the syntax is RE2's", err.Error())
	}
}

// constant checks a conversion of a text that is written out.
func (in *inferrer) constant(name string, args []ast.Expr) {
	text, ok := literalText(args[0])
	if !ok {
		return
	}
	var err error
	hint := ""
	switch name {
	case "timestamp":
		hint = "RFC 3339: `2010-12-01T08:26:00Z`"
		_, err = parseTime(text, "")
	case "duration":
		hint = "as in `90s`, `1h30m`"
		_, err = parseDuration(text)
	case "decimal":
		hint = "as in `12.50`"
		if v, bad := toDecimal(celtypes.String(text)).(*celtypes.Err); bad {
			err = v
		}
	}
	if err != nil {
		in.report(args[0], "bad-literal", text, hint, fmt.Sprintf("%q is no %s", text, name))
	}
}

// optionalOf is optional(t).
func optionalOf(t *types.Type) *types.Type { return types.OptionalOf(t) }
