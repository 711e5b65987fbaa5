package expr

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

func sortedNames(names []string) []string {
	sort.Strings(names)
	return names
}

// noOverload reports a call whose operands do not go with it.
func (p *Profile) noOverload(r *reporter, a *ast.AST, e ast.Expr, char int, name string) {
	var operands []*types.Type
	var exprs []ast.Expr
	if e != nil && e.Kind() == ast.CallKind {
		if e.AsCall().IsMemberFunction() {
			exprs = append(exprs, e.AsCall().Target())
		}
		exprs = append(exprs, e.AsCall().Args()...)
		for _, x := range exprs {
			operands = append(operands, p.catalog.ours(a.GetType(x.ID())))
		}
	}
	p.mismatch(r, char, name, operands, exprs)
}

// mismatch words the error of an operator or function whose operands do not fit.
func (p *Profile) mismatch(r *reporter, char int, name string, operands []*types.Type, exprs []ast.Expr) {
	names := make([]string, len(operands))
	for i, t := range operands {
		names[i] = t.Text(0)
	}
	sym, isOperator := symbols[name]
	if !isOperator {
		r.add(diag.Error, r.src.called(char, name), "type-mismatch", name, signatureHint(name),
			fmt.Sprintf("`%s` does not take (%s)", name, strings.Join(names, ", ")))
		return
	}
	msg := fmt.Sprintf("`%s` has no meaning for %s", sym, strings.Join(names, " and "))
	hint := ""
	has := func(k types.Kind) int {
		return slices.IndexFunc(operands, func(t *types.Type) bool { return t.Kind == k })
	}
	optional := has(types.Optional)
	switch {
	case name == operators.Conditional && len(operands) == 3 && (operands[0].Kind == types.Bool || unknown(operands[0])):
		msg = fmt.Sprintf("the two sides of `?:` are of different types: %s and %s", names[1], names[2])
		hint = "convert one, or use dyn(…)"
	case optional >= 0:
		hint = "the value may be absent: give a default with `.orValue(…)`"
	case has(types.Decimal) >= 0 && has(types.Double) >= 0:
		msg = fmt.Sprintf("`%s` does not mix decimal and double: a double is not exact", sym)
		hint = "convert one: decimal(…) or double(…)"
		if x := exprs[has(types.Double)]; x.Kind() == ast.LiteralKind {
			if _, ok := x.AsLiteral().(celtypes.Double); ok {
				at := span(r.ast, x.ID())
				hint = "write `decimal(\"" + numberAt(r.src, at) + "\")`"
			}
		}
	case name == opAdd && has(types.String) >= 0:
		other := 1 - has(types.String)
		if other < len(operands) && operands[other].Kind != types.List {
			hint = "make text of it with string(…), or use a template"
		}
	case has(types.Int) >= 0 && has(types.Uint) >= 0:
		hint = "convert one: int(…) or uint(…)"
	case operands != nil && name == opIndex:
		msg = fmt.Sprintf("%s has no element for a key of type %s", names[0], names[len(names)-1])
	}
	r.add(diag.Error, char, "type-mismatch", sym, hint, msg)
}

// numberAt gives the number literal that begins at a character.
func numberAt(s source, char int) string {
	rest := s.text[byteOffset(s.text, char):]
	end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != 'e' && r != 'E' })
	if end < 0 {
		end = len(rest)
	}
	return rest[:end]
}

// signatureHint shows how a function is called.
func signatureHint(name string) string {
	for _, f := range Functions() {
		if f.Name == name {
			return "it is called as " + f.Signature
		}
	}
	return ""
}
