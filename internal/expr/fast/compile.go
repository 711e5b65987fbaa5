// Package fast compiles checked and rewritten CEL expressions to trees of Go closures
// over lazily read documents: no interface calls, no maps and, for what most flows do, no
// allocation while a message is evaluated (LANGUAGE.md §3; DESIGN.md §4).
//
// The input is cel-go's AST after macro expansion, after the profile's rewrite of operators
// to internal functions (@add, @lt …; the plain operators are understood as well) and after
// checking. What is not supported here is refused by [Compile] with an error that names it, and
// the caller evaluates with cel-go instead; cel-go on the same AST is the oracle for
// everything that is supported.
//
// # How it works
//
// Every subexpression becomes a code: an eval closure, its static type, and where it is a
// path also a raw closure that finds the place in the document without reading it. Consumers
// that can work on the text in place (comparisons with constants, JSON output, has(), loops)
// take raw; all others take eval, which reads by the static type and verifies it:
// "body.price: want a number, found a string". Static types only choose which check comes
// first; every closure falls back to package ops, which decides by the kinds at run time.
//
// Variables of comprehensions and bindings live in slots of Frame.Locals, numbered at
// compile time. Errors are values and absorbed by && || and the quantifiers as CEL says.
//
// # Numbers
//
// A number of static type dyn is an int if it is written as an integer of 64 bits, a decimal if
// written as an integer beyond that (no digit is lost), else the nearest double. A double that
// was read and not computed keeps its text for output.
package fast

import (
	"fmt"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// DefaultCostLimit bounds the rounds of all loops of one evaluation where Input has no limit.
const DefaultCostLimit = 1_000_000

// Input is what Compile works on.
type Input struct {
	AST   *ast.AST     // checked and rewritten
	Scope *scope.Scope // the roots, as the AST was checked against them
	// TypeOf gives the type of the expression with that id as the caller infers it; it is asked where a
	// condition may have told which alternative of a union (oneOf) the data is. Nil, or a nil result, means
	// that nothing is known. All other types follow from the scope's along the data, since they decide how
	// text is read: the AST's type map takes dyn for whatever it is put together with.
	TypeOf func(id int64) *types.Type
	// CostLimit bounds how many rounds the loops of one evaluation may make together; beyond it
	// the evaluation is an error of code unprocessable. 0 means DefaultCostLimit. Expressions without
	// loops are not counted at all.
	CostLimit int64
}

// eval computes a value for a frame.
type eval = func(f *penstock.Frame) penstock.Value

// code is one compiled subexpression.
type code struct {
	// eval gives the value: scalars are read and verified, arrays and objects may stay nodes. An
	// optional is boxed, none is ops.None; eval never gives Absent.
	eval eval
	// raw, of a path: the value unread, Absent if the last step of the path is not there (or no
	// container), an error if an earlier one is not. For an optional it is what eval would box.
	raw eval
	// inner, of an optional: what it holds, read; Absent for none.
	inner eval
	chain *chain      // of a path: how it is found
	typ   *types.Type // never nil
	con   bool        // val is the value, always
	val   penstock.Value
	path  string // of a path, for messages
	// write, where it is not nil, appends the value as JSON without making it first.
	write emitter
	texts []code // of a chain of +: the texts that are put together
	// made, of a list that a comprehension makes: pushes the elements one by one, without the list.
	made *producer
}

// local is a variable of a comprehension or binding.
type local struct {
	name string
	code code
}

type compiler struct {
	in        Input
	locals    []local
	overloads []string // of the call that is being compiled
	slots     int      // in use
	most      int      // slots ever in use at once
}

// unsupported is why Compile refuses an expression.
type unsupported struct{ what string }

func (u *unsupported) Error() string { return "not supported by the fast evaluator: " + u.what }

func refuse(format string, args ...any) error {
	return &unsupported{fmt.Sprintf(format, args...)}
}

// Compile makes a program of a checked expression. An error says what in it is not
// supported here. The program is safe for concurrent use, with a frame for each goroutine.
func Compile(in Input) (penstock.Program, error) {
	if in.Scope == nil {
		in.Scope = &scope.Scope{}
	}
	if in.CostLimit <= 0 {
		in.CostLimit = DefaultCostLimit
	}
	c := &compiler{in: in}
	root, err := c.compile(in.AST.Expr())
	if err != nil {
		return nil, err
	}
	return &program{eval: root.eval, root: root, locals: c.most, limit: in.CostLimit}, nil
}

// program is what Compile makes.
type program struct {
	eval   eval
	root   code
	locals int
	limit  int64
}

// Eval computes the value. An optional that is none gives Absent.
func (p *program) Eval(f *penstock.Frame) penstock.Value {
	if p.locals > 0 {
		prepare(f, p.locals, p.limit)
	}
	v := p.eval(f)
	if v.Kind() == penstock.KindOptional && ops.IsNone(v) {
		return penstock.Absent
	}
	return v
}

// prepare makes room for the locals and sets the budget.
func prepare(f *penstock.Frame, locals int, limit int64) {
	if len(f.Locals) < locals {
		f.Locals = append(f.Locals, make([]penstock.Value, locals-len(f.Locals))...)
	}
	f.Cost = limit
}

func constant(v penstock.Value, t *types.Type) code {
	return code{eval: func(*penstock.Frame) penstock.Value { return v }, typ: t, con: true, val: v}
}

func (c *compiler) compile(e ast.Expr) (code, error) {
	switch e.Kind() {
	case ast.LiteralKind:
		return c.literal(e)
	case ast.IdentKind:
		return c.ident(e)
	case ast.SelectKind:
		return c.selection(e)
	case ast.CallKind:
		return c.call(e)
	case ast.ListKind:
		return c.list(e)
	case ast.MapKind:
		return c.mapping(e)
	case ast.ComprehensionKind:
		return c.comprehension(e)
	case ast.StructKind:
		return code{}, refuse("the object construction %s{}", e.AsStruct().TypeName())
	}
	return code{}, refuse("an empty expression")
}

func (c *compiler) compileAll(es []ast.Expr) ([]code, error) {
	out := make([]code, len(es))
	for i, e := range es {
		var err error
		if out[i], err = c.compile(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// narrowed is x with the type that the caller knows of it, where x is one of several
// alternatives and a condition has told which.
func (c *compiler) narrowed(x code, id int64) code {
	t := x.typ
	if t.Kind == types.Optional {
		t = t.Elem
	}
	if t.Kind != types.Union || c.in.TypeOf == nil {
		return x
	}
	known := c.in.TypeOf(id)
	if known != nil && known.Kind == types.Optional {
		known = known.Elem
	}
	for _, v := range t.Variants {
		if v == known {
			if x.typ.Kind == types.Optional {
				v = types.OptionalOf(v)
			}
			x.typ = v
		}
	}
	return x
}

// literal translates a constant.
func (c *compiler) literal(e ast.Expr) (code, error) {
	switch v := e.AsLiteral().(type) {
	case celtypes.Bool:
		return constant(penstock.BoolValue(bool(v)), types.BoolType), nil
	case celtypes.Int:
		return constant(penstock.IntValue(int64(v)), types.IntType), nil
	case celtypes.Uint:
		return constant(penstock.UintValue(uint64(v)), types.UintType), nil
	case celtypes.Double:
		return constant(penstock.DoubleValue(float64(v)), types.DoubleType), nil
	case celtypes.String:
		return constant(penstock.StringValue(string(v)), types.StringType), nil
	case celtypes.Bytes:
		return constant(penstock.BytesValue([]byte(v)), types.BytesType), nil
	case celtypes.Null:
		return constant(penstock.Null, types.NullType), nil
	case celtypes.Duration:
		return constant(penstock.DurationValue(v.Duration), types.DurationType), nil
	case celtypes.Timestamp:
		return constant(penstock.TimestampValue(v.Time), types.TimestampType), nil
	default:
		return code{}, refuse("a constant of type %v", v.Type())
	}
}

// fold evaluates what depends on constants alone.
func fold(x code, args ...code) code {
	for i := range args {
		if !args[i].con {
			return x
		}
	}
	f := &penstock.Frame{Arena: new(penstock.Arena), Cost: DefaultCostLimit}
	v := ops.Resolve(x.eval(f), nil)
	k := constant(v, x.typ)
	if x.typ.Kind == types.Optional {
		in, _ := ops.Unbox(v)
		k.inner = func(*penstock.Frame) penstock.Value { return in }
	}
	return k
}

// push makes a local with a slot of its own; pop ends it.
func (c *compiler) push(name string) (slot int) {
	slot = c.slots
	c.slots++
	c.most = max(c.most, c.slots)
	c.locals = append(c.locals, local{name: name})
	return slot
}

func (c *compiler) pop(n int) {
	c.locals = c.locals[:len(c.locals)-n]
	c.slots -= n
}

// optional gives the closure for what an optional holds.
func (x *code) optional() eval {
	if x.inner != nil {
		return x.inner
	}
	boxed := x.eval
	return func(f *penstock.Frame) penstock.Value {
		v := boxed(f)
		if v.IsError() {
			return v
		}
		in, ok := ops.Unbox(v)
		if !ok {
			return ops.NoOverload("optional", v)
		}
		return in
	}
}

// newOptional makes the code of an optional from what it holds.
func newOptional(inner eval, elem *types.Type) code {
	return code{
		inner: inner,
		eval: func(f *penstock.Frame) penstock.Value {
			v := inner(f)
			switch v.Kind() {
			case penstock.KindAbsent:
				return ops.None
			case penstock.KindError:
				return v
			}
			return penstock.OptionalValue(v)
		},
		typ: types.OptionalOf(elem),
	}
}
