package expr

import (
	"fmt"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

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
