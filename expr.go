package penstock

import "penstock.dev/penstock/types"

// Program is a compiled expression. It is immutable and safe for concurrent use;
// the Frame is not.
type Program interface {
	// Eval computes the value. A failure is a KindError value whose error is an *Error.
	Eval(f *Frame) Value
}

// Statement is the Program of a [Template] with the place sql. It gives a list: the text of the statement, in which the character U+0000
// stands for each ${…}, and the values to bind, in order; what is absent is null. So a value is never part of a statement's text.
type Statement interface {
	Program
	// Text gives the text alone. It is the same for all messages: what raw() puts in depends on params only.
	Text(f *Frame) (string, error)
}

// Expr is a CEL expression of a configuration: a field that LANGUAGE.md §2 lists as
// CEL. Decoding fills Source and Pos, compiling the rest.
type Expr struct {
	Source  string
	Pos     Pos
	Program Program     // nil until compiled
	Type    *types.Type // the checked type; nil until compiled
}

// IsZero reports whether the field was left out.
func (e Expr) IsZero() bool { return e.Source == "" }

// Template is free text with ${…} parts. One that is exactly one ${…} keeps the
// value's type. Decoding fills Source and Pos, compiling the rest.
type Template struct {
	Source   string
	Pos      Pos
	Program  Program     // nil until compiled
	Type     *types.Type // the type of the result; nil until compiled
	Constant bool        // has no part that varies by message
}

// IsZero reports whether the field was left out.
func (t Template) IsZero() bool { return t.Source == "" && !t.Pos.IsValid() }

// Fixed evaluates a text that is the same for all messages: the name of a queue, which may have ${params.…} in it. One that was left out
// is "". op is what an error begins with, the driver's name; it has the code Config and the text's place. The text is evaluated anew at each call.
func (t Template) Fixed(op string, env Env) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	var text []byte
	v := t.Program.Eval(&Frame{Runtime: env.Runtime, Arena: new(Arena)})
	var err error
	if v.IsError() {
		err = v.Err()
	} else {
		text, err = v.AppendText(nil)
	}
	if err != nil {
		return "", &Error{Code: Config, Op: op, Path: t.Pos.String(), Err: err}
	}
	return string(text), nil
}

// Path is where a value goes or is: body.total, body["x-y"], vars.country,
// meta.priority, key (LANGUAGE.md §2).
type Path struct {
	Source string
	Pos    Pos
	Root   string     // body, vars, meta, key; "none" discards (into only)
	Steps  []PathStep // after the root
}

// PathStep is one field name, or one list index where Name is empty.
type PathStep struct {
	Name  string
	Index int
}

// IsZero reports whether the field was left out.
func (p Path) IsZero() bool { return p.Source == "" }

// Tree is a data tree as it stands in the file: every key is data, every text leaf a
// template (LANGUAGE.md §2).
type Tree struct {
	Kind   TreeKind
	Pos    Pos
	Text   string // TreeText: the template's source; TreeNumber: the number's text
	Bool   bool   // TreeBool
	Keys   []string
	KeyPos []Pos
	Elems  []Tree // values of Keys, or the elements of a list
}

// TreeKind is the shape of a node of a [Tree].
type TreeKind uint8

// The shapes of data. TreeNone is a tree that was left out.
const (
	TreeNone TreeKind = iota
	TreeNull
	TreeBool
	TreeNumber
	TreeText
	TreeList
	TreeMap
)

// Mapping is a compiled data tree: one that writes JSON text straight from what its
// leaves compute. It is immutable and safe for concurrent use.
type Mapping interface {
	// Append appends the JSON text for f to dst. On an error the returned slice is dst, unchanged.
	Append(dst []byte, f *Frame) ([]byte, error)
}
