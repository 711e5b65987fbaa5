package expr

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/containers"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/stdlib"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/parser"
)

// engine is what all expressions of a Profile share: cel-go's environment, whose functions
// are the profile's, and a checker environment that scopes are laid over.
type engine struct {
	parser    *parser.Parser
	env       *cel.Env
	checks    *checker.Env
	container *containers.Container
}

// newEngine builds the environment: cel-go's standard library and extensions, then our
// operators and functions.
func newEngine(o Options) (*engine, error) {
	// cel-go's extensions come from an environment of their own, so that what the profile
	// implements anew can be left out.
	lib, err := cel.NewCustomEnv(cel.StdLib(), cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Encoders(),
		ext.Bindings(), ext.TwoVarComprehensions(), ext.Regex())
	if err != nil {
		return nil, fmt.Errorf("building the expression profile: %w", err)
	}
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(&celenv.LibrarySubset{ExcludeFunctions: []*celenv.Function{celenv.NewFunction(operators.In)}})),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.Types(decimalType),
	}
	std, err := cel.NewCustomEnv(cel.StdLib(), cel.OptionalTypes())
	if err != nil {
		return nil, fmt.Errorf("building the expression profile: %w", err)
	}
	for name, fn := range lib.Functions() {
		if have, ok := std.Functions()[name]; (!ok || len(have.OverloadDecls()) < len(fn.OverloadDecls())) && !slices.Contains(replaced, name) {
			opts = append(opts, cel.FunctionDecls(fn))
		}
	}
	opts = append(opts, operatorFunctions()...)
	opts = append(opts, addedFunctions()...)
	env, err := cel.NewCustomEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("building the expression profile: %w", err)
	}
	// cel-go's hand-written parser: several times as fast as the generated one, and warm at once.
	prs, err := parser.NewParser(parser.EnablePrattParser(true), parser.EnableOptionalSyntax(true), parser.EnableIdentEscapeSyntax(true),
		parser.MaxRecursionDepth(2*o.MaxDepth), parser.ExpressionSizeCodePointLimit(o.MaxSource),
		parser.Macros(append(slices.Clone(lib.Macros()), macros()...)...))
	if err != nil {
		return nil, fmt.Errorf("building the expression parser: %w", err)
	}
	e := &engine{parser: prs, env: env, container: containers.DefaultContainer}
	e.checks, err = checker.NewEnv(e.container, env.CELTypeProvider(), checker.CrossTypeNumericComparisons(true))
	if err != nil {
		return nil, fmt.Errorf("building the expression checker: %w", err)
	}
	if err := e.checks.AddIdents(stdlib.Types()...); err != nil {
		return nil, fmt.Errorf("building the expression checker: %w", err)
	}
	for _, fn := range env.Functions() {
		if fn.IsDeclarationDisabled() {
			continue
		}
		if err := e.checks.AddFunctions(fn); err != nil {
			return nil, fmt.Errorf("building the expression checker: %w", err)
		}
	}
	return e, nil
}

// internalNames are the operators as the rewritten tree has them, by their cel-go names.
// They stand in for cel-go's so that they can have the profile's overloads.
var internalNames = map[string]string{
	operators.Add: opAdd, operators.Subtract: opSub, operators.Multiply: opMul, operators.Divide: opDiv, operators.Modulo: opMod,
	operators.Negate: opNeg, operators.Less: opLt, operators.LessEquals: opLe, operators.Greater: opGt, operators.GreaterEquals: opGe,
	operators.Equals: opEq, operators.NotEquals: opNe, operators.In: opIn, operators.OldIn: opIn, operators.Index: opIndex,
}

// The internal operator functions.
const (
	opAdd   = "@add"
	opSub   = "@sub"
	opMul   = "@mul"
	opDiv   = "@div"
	opMod   = "@mod"
	opNeg   = "@neg"
	opLt    = "@lt"
	opLe    = "@le"
	opGt    = "@gt"
	opGe    = "@ge"
	opEq    = "@eq"
	opNe    = "@ne"
	opIn    = "@in"
	opIndex = "@index"
)

// symbols are the operators as they are written, for messages.
var symbols = map[string]string{
	opAdd: "+", opSub: "-", opMul: "*", opDiv: "/", opMod: "%", opNeg: "-", opLt: "<", opLe: "<=", opGt: ">", opGe: ">=",
	opEq: "==", opNe: "!=", opIn: "in", opIndex: "[…]",
	operators.LogicalAnd: "&&", operators.LogicalOr: "||", operators.LogicalNot: "!", operators.Conditional: "?:",
	operators.OptIndex: "[?…]", operators.OptSelect: ".?",
}
