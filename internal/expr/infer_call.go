package expr

import (
	"fmt"
	"regexp"
	"slices"
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

// arithmetic finds the type of + - * / %, refusing what has no meaning.
func (in *inferrer) arithmetic(e ast.Expr, name string, args []ast.Expr, ops []result) *types.Type {
	a, b := ops[0].t, ops[1].t
	if name == opDiv || name == opMod {
		for i, t := range []*types.Type{a, b} {
			if unknown(t) {
				in.r.add(diag.Error, span(in.a, e.ID()), "untyped-division", symbols[name],
					"say what it is: int(…), double(…) or decimal(…)",
					fmt.Sprintf("`%s` needs to know its numbers: %s side has no type, and an int is divided in another way than a double", symbols[name], [...]string{"the left", "the right"}[i]))
				return types.DynType
			}
		}
	}
	if a.Kind == types.List && b.Kind == types.List {
		return types.ListOf(in.unite(element(a), element(b)))
	}
	if unknown(a) || unknown(b) {
		return in.celType(e)
	}
	if t := sumType(name, a.Kind, b.Kind); t != nil {
		return t
	}
	in.p.mismatch(in.r, span(in.a, e.ID()), name, []*types.Type{a, b}, args)
	return types.DynType
}

// unknown says that only the run will tell what kind a value has.
func unknown(t *types.Type) bool {
	return t.IsDyn() || t.Kind == types.Never || t.Kind == types.Union
}

// sumType is the kind of a result by the rules of the profile; nil where there is none.
func sumType(name string, a, b types.Kind) *types.Type {
	num := func(k types.Kind) int {
		return slices.Index([]types.Kind{types.Int, types.Uint, types.Double, types.Decimal}, k)
	}
	if num(a) >= 0 && num(b) >= 0 {
		switch {
		case a == b && (a != types.Double || name != opMod):
			return scalar(a)
		case (a == types.Decimal || b == types.Decimal) && a != types.Double && b != types.Double:
			return types.DecimalType
		case (a == types.Double || b == types.Double) && a != types.Decimal && b != types.Decimal && name != opMod:
			return types.DoubleType
		}
		return nil
	}
	switch {
	case name == opAdd && a == b && (a == types.String || a == types.Bytes || a == types.Duration):
		return scalar(a)
	case name == opAdd && (a == types.Timestamp && b == types.Duration || a == types.Duration && b == types.Timestamp):
		return types.TimestampType
	case name == opSub && a == types.Timestamp && b == types.Timestamp, name == opSub && a == types.Duration && b == types.Duration:
		return types.DurationType
	case name == opSub && a == types.Timestamp && b == types.Duration:
		return types.TimestampType
	}
	return nil
}

func scalar(k types.Kind) *types.Type {
	switch k {
	case types.Int:
		return types.IntType
	case types.Uint:
		return types.UintType
	case types.Double:
		return types.DoubleType
	case types.Decimal:
		return types.DecimalType
	case types.String:
		return types.StringType
	case types.Bytes:
		return types.BytesType
	}
	return &types.Type{Kind: k}
}

// relation checks < <= > >= on types that cel-go did not know.
func (in *inferrer) relation(e ast.Expr, name string, args []ast.Expr, ops []result) {
	a, b := ops[0].t, ops[1].t
	if unknown(a) || unknown(b) || a.IsNumeric() && b.IsNumeric() {
		in.inexact(args, ops)
		return
	}
	switch a.Kind {
	case types.Bool, types.String, types.Bytes, types.Timestamp, types.Duration:
		if a.Kind == b.Kind {
			return
		}
	}
	in.p.mismatch(in.r, span(in.a, e.ID()), name, []*types.Type{a, b}, args)
}

// inexact warns of a decimal compared with a double literal that is not what it looks like.
func (in *inferrer) inexact(args []ast.Expr, ops []result) {
	for i, j := range []int{1, 0} {
		if ops[i].t.Kind != types.Decimal || args[j].Kind() != ast.LiteralKind {
			continue
		}
		f, ok := args[j].AsLiteral().(celtypes.Double)
		if !ok {
			continue
		}
		text := strconv.FormatFloat(float64(f), 'g', -1, 64)
		short, ok := toDecimal(f).(decimalVal)
		if ok && short.d.CmpDouble(float64(f)) != 0 {
			in.r.add(diag.Warning, span(in.a, args[j].ID()), "inexact-comparison", text, "write `decimal(\""+text+"\")`",
				fmt.Sprintf("the double %s is not exactly %s, and a decimal is compared exactly", text, text))
		}
	}
}

// comparable checks that == can be true at all.
func (in *inferrer) comparable(e ast.Expr, args []ast.Expr, a, b *types.Type) {
	if !mayEqual(a, b) {
		in.r.add(diag.Error, span(in.a, e.ID()), "type-mismatch", symbols[e.AsCall().FunctionName()], "", fmt.Sprintf("%s and %s are never equal", a.Text(0), b.Text(0)))
		return
	}
	if a.IsNumeric() && b != nil && b.IsNumeric() {
		in.inexact(args, []result{{t: a}, {t: b}})
	}
	if bad, of := notInEnum(a, b); bad != "" {
		in.r.add(diag.Warning, span(in.a, e.ID()), "not-in-enum", strconv.Quote(bad), didYouMean(bad, of),
			fmt.Sprintf("the schema has no value %q here", bad))
	}
}

// notInEnum tells a literal text that an enumeration does not have.
func notInEnum(a, b *types.Type) (bad string, of []string) {
	if a.Kind != types.String || b == nil || b.Kind != types.String || len(a.Enum) == 0 || len(b.Enum) == 0 {
		return "", nil
	}
	if len(a.Enum) != 1 {
		a, b = b, a
	}
	if len(a.Enum) == 1 && !slices.Contains(b.Enum, a.Enum[0]) {
		return a.Enum[0], b.Enum
	}
	return "", nil
}

// mayEqual says that some value of a may equal some value of b.
func mayEqual(a, b *types.Type) bool {
	switch {
	case a.IsDyn() || b.IsDyn() || a.Kind == types.Never || b.Kind == types.Never:
		return true
	case a.Kind == types.Null || b.Kind == types.Null:
		return true // a test for null is always fair
	case a.Kind == types.Union || b.Kind == types.Union:
		return true
	case a.IsNumeric() && b.IsNumeric():
		return true
	case a.Kind == types.Optional && b.Kind == types.Optional:
		return mayEqual(element(a), element(b))
	case (a.Kind == types.Object || a.Kind == types.Map) && (b.Kind == types.Object || b.Kind == types.Map):
		return true
	}
	return a.Kind == b.Kind
}

// aggregate is the type of sum, avg, min and max.
func (in *inferrer) aggregate(e ast.Expr, name string, list *types.Type) *types.Type {
	elem := element(list)
	switch {
	case elem.Kind == types.Never && name == "sum":
		return types.IntType
	case unknown(elem):
		return in.celType(e)
	case name == "avg" && elem.Kind != types.Decimal && elem.IsNumeric():
		return types.DoubleType
	case elem.IsNumeric(), name == "sum" && elem.Kind == types.Duration:
		return bare(elem)
	}
	switch elem.Kind {
	case types.Bool, types.Duration, types.Timestamp, types.String, types.Bytes:
		if name == "min" || name == "max" {
			return bare(elem)
		}
	}
	in.p.mismatch(in.r, span(in.a, e.ID()), name, []*types.Type{list}, nil)
	return types.DynType
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
