package expr

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// Profile is the compiler of expressions under one set of options. It is safe for
// concurrent use.
type Profile struct{ opts Options }

// NewProfile makes a profile. An error is a fault of this program.
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
	return &Profile{opts: o}, nil
}

func (p *Profile) compile(src string, pos penstock.Pos, sc *scope.Scope, want *types.Type, l *diag.List) *Compiled {
	l.Errorf(pos, "expression", src, "", "expressions are being built")
	return nil
}

// Template checks free text with ${…} parts (LANGUAGE.md §2). `$${` is a literal `${`. A
// text that is exactly one ${…} keeps the value's type; any other is a string, encoded for
// its place. Findings go to l; the result is nil if any of them is an error.
func (p *Profile) Template(src string, pos penstock.Pos, sc *scope.Scope, place Place, l *diag.List) *Compiled {
	return p.compile(src, pos, sc, nil, l)
}

// Tree checks a data tree: every text leaf is a template. Findings go to l; the result is
// nil if any of them is an error.
func (p *Profile) Tree(t penstock.Tree, sc *scope.Scope, l *diag.List) *CompiledTree {
	p.compile("", t.Pos, sc, nil, l)
	return nil
}

// Narrow gives the scope that holds where c (a condition checked in sc) was true, or was
// false: fields that it proves present, not null, or of one alternative have that type there.
func Narrow(c *Compiled, sc *scope.Scope, truth bool) *scope.Scope { return sc }
