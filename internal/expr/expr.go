// Package expr is Penstock's CEL profile (LANGUAGE.md §3): it parses and checks
// expressions, templates and data trees with cel-go, rewrites operators so that the
// profile's number rules hold, and gives back programs.
//
// The path of an expression: parse (macros expand) → rewrite operators to internal
// functions → check against the scope's types → our own pass over the checked tree
// (null safety, untyped division, decimal against double, what is read) → the fast
// evaluator, or cel-go where that does not take it. cel-go on the same rewritten tree
// is the oracle that the fast evaluator is tested against.
package expr

import (
	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// The defaults of Options.
const (
	DefaultCostLimit = 1_000_000
	DefaultMaxDepth  = 250
	DefaultMaxSource = 64 << 10
)

// Options configure a Profile.
type Options struct {
	// Strict turns what is doubtful (an optional or nullable field read bare) from a warning into an error.
	Strict bool
	// CostLimit bounds one evaluation, in steps; 0 means DefaultCostLimit.
	CostLimit uint64
	// MaxDepth bounds how deep an expression nests; 0 means DefaultMaxDepth.
	MaxDepth int
	// MaxSource bounds the text of one expression in bytes; 0 means DefaultMaxSource.
	MaxSource int
	// Seen, where it is there, is told of every expression that is compiled, also of those with an error.
	Seen func(Expression)
	// Wrap, where it is there, puts a program around that of each expression that is not constant: to see what is evaluated.
	Wrap func(Expression, penstock.Program) penstock.Program
}

// Place says where the text of a template goes, and so how its interpolations are encoded.
type Place uint8

// The places.
const (
	Plain   Place = iota // no encoding
	URLPath              // one path segment, percent-encoded (RFC 3986 §3.3); behind a ? as Query
	Query                // a query value, percent-encoded (RFC 3986 §3.4)
	Header               // CR, LF and NUL are an error (RFC 9110 §5.5)
	SQL                  // each interpolation becomes a [Parameter]; the result is a list: the text, then the values
)

// Compiled is one checked expression or template, ready to run. It is immutable and safe
// for concurrent use.
type Compiled struct {
	Program  penstock.Program
	Type     *types.Type // never nil; types.DynType where nothing is known
	Reads    [][]string  // the paths that it reads: the root's name, then fields; "[]" stands for any element
	Constant bool        // depends on nothing but its source
	Fast     bool        // the fast evaluator took it; else cel-go runs it
	Typed    int         // selections and indexings whose type is known …
	Total    int         // … of so many
	Optional bool        // the result may be absent: a template that is exactly this omits its key
	Volatile bool        // reads now or uuid(): two evaluations may differ
	AST      *ast.AST    // the checked, rewritten tree; nil for a template that is more than one ${…}

	Source string
	Pos    penstock.Pos

	prof   *Profile
	scope  *scope.Scope
	oracle penstock.Program
	facts  map[int64]*types.Type // types by node, ours
	raw    bool                  // the outermost call is raw()
}

// EvalOracle evaluates with cel-go on the rewritten tree, whatever Program is.
func (c *Compiled) EvalOracle(f *penstock.Frame) penstock.Value { return c.oracle.Eval(f) }

// CompiledTree is a checked data tree (LANGUAGE.md §2).
type CompiledTree struct {
	// Mapping writes the tree as JSON text.
	Mapping penstock.Mapping
	// Type is the type of the result: an object type in insertion order for a map.
	Type *types.Type
	// Leaves are the templates in it that are no plain text, in the order of the text.
	Leaves       []*Compiled
	Reads        [][]string
	Typed, Total int
	Constant     bool // depends on nothing but its source
	Fast         bool // no leaf needs cel-go
	Volatile     bool
}

// Expr checks a CEL expression that stands at pos in its file, whose text begins there. sc
// says what it may speak of; want, unless nil, what its value must be (an int is widened
// where a double or decimal is wanted). All findings go to l; the result is nil if any
// of them is an error.
func (p *Profile) Expr(src string, pos penstock.Pos, sc *scope.Scope, want *types.Type, l *diag.List) *Compiled {
	return p.compile(source{text: src, whole: src, pos: pos}, sc, want, l)
}
