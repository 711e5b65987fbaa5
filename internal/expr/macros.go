package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// groupInput is the variable that holds groupBy's list while its keys are computed.
const groupInput = "@groupBy_input"

// macros are those that the profile adds to cel-go's.
func macros() []cel.Macro {
	return []cel.Macro{
		cel.ReceiverMacro("groupBy", 2, func(eh cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return groupBy(eh, target, args)
		}),
		cel.GlobalMacro("groupBy", 3, func(eh cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return groupBy(eh, args[0], args[1:])
		}),
	}
}

// groupBy expands list.groupBy(x, key) to
//
//	cel.bind(@groupBy_input, list, @groupBy(@groupBy_input, @groupBy_input.map(x, key)))
func groupBy(eh cel.MacroExprFactory, list ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	keys, err := parser.MakeMap(eh, eh.NewIdent(groupInput), args)
	if err != nil {
		return nil, err
	}
	call := eh.NewCall("@groupBy", eh.NewIdent(groupInput), keys)
	return eh.NewComprehension(eh.NewList(), "#unused", groupInput, list, eh.NewLiteral(types.False), eh.NewIdent(groupInput), call), nil
}
