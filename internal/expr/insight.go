package expr

import (
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// Expression is an expression of a configuration as the compiler met it, for editors: it is there also where the
// expression is wrong.
type Expression struct {
	Pos   penstock.Pos // of its first character
	End   penstock.Pos // behind its last one
	Text  string
	Scope *scope.Scope
	Type  *types.Type // nil where it has an error
	// Condition says that its place wants true or false.
	Condition bool

	src      source
	compiled *Compiled
}

// insight makes an Expression of what was compiled; c is nil after an error.
func insight(src source, sc *scope.Scope, want *types.Type, c *Compiled) Expression {
	e := Expression{Pos: src.at(0), End: src.at(utf8.RuneCountInString(src.text)), Text: src.text, Scope: sc, Condition: want == types.BoolType, src: src, compiled: c}
	if c != nil {
		e.Type = c.Type
	}
	return e
}

// Holds says that a place of the file is in the expression, or right behind it.
func (e *Expression) Holds(p penstock.Pos) bool {
	after := p.Line > e.Pos.Line || p.Line == e.Pos.Line && p.Col >= e.Pos.Col
	before := p.Line < e.End.Line || p.Line == e.End.Line && p.Col <= e.End.Col
	return p.File == e.Pos.File && after && before
}

// offset is the byte of the text that stands at a place of the file.
func (e *Expression) offset(p penstock.Pos) int {
	at := 0
	for i := range utf8.RuneCountInString(e.Text) + 1 {
		q := e.src.at(i)
		if q.Line > p.Line || q.Line == p.Line && q.Col > p.Col {
			break
		}
		at = byteOffset(e.Text, i)
	}
	return at
}

// Before is the text of the expression up to a place of the file.
func (e *Expression) Before(p penstock.Pos) string { return e.Text[:e.offset(p)] }

// At finds the path that stands at a place of the file, such as body.lines, and its type; ok is false where there is none
// or nothing is known of it.
func (e *Expression) At(p penstock.Pos) (path string, t *types.Type, ok bool) {
	at := e.offset(p)
	for at < len(e.Text) && isWord(e.Text[at]) {
		at++
	}
	segs, start := chain(e.Text[:at])
	if len(segs) == 0 {
		return "", nil, false
	}
	t = e.root(segs[0])
	for _, s := range segs[1:] {
		t = below(t, s)
	}
	return e.Text[start:at], t, t != nil
}

// root is the type of a name: of the scope, or a variable of a comprehension.
func (e *Expression) root(name string) *types.Type {
	if e.Scope != nil {
		if r, ok := e.Scope.Root(name); ok {
			return rootType(r)
		}
	}
	if e.compiled == nil || e.compiled.AST == nil {
		return nil
	}
	var t *types.Type
	ast.PreOrderVisit(e.compiled.AST.Expr(), ast.NewExprVisitor(func(n ast.Expr) {
		if n.Kind() == ast.IdentKind && n.AsIdent() == name && e.compiled.facts[n.ID()] != nil {
			t = e.compiled.facts[n.ID()]
		}
	}))
	return t
}

// Candidate is a word that may stand at a place of an expression.
type Candidate struct {
	Name   string
	Type   *types.Type // of a root or field; nil for a function
	Doc    string      // of a field or function, in sentences
	Method bool        // a function that is called on a value
}

// Candidates lists what may be written behind before, the text of an expression up to some place: fields behind a point,
// else roots and functions. word is what of it was written already.
func Candidates(sc *scope.Scope, before string) (word string, out []Candidate) {
	word = before[wordStart(before):]
	rest := strings.TrimSuffix(before[:len(before)-len(word)], "?")
	if owner, dotted := strings.CutSuffix(rest, "."); dotted {
		segs, _ := chain(owner)
		if len(segs) == 0 || sc == nil {
			return word, methods()
		}
		r, ok := sc.Root(segs[0])
		if !ok {
			return word, methods()
		}
		t := rootType(r)
		for _, s := range segs[1:] {
			t = below(t, s)
		}
		for _, f := range fieldsOf(t) {
			out = append(out, Candidate{Name: f.Name, Type: f.Type, Doc: f.Doc})
		}
		if len(out) == 0 {
			return word, methods()
		}
		return word, out
	}
	if sc != nil {
		for i := range sc.Roots {
			out = append(out, Candidate{Name: sc.Roots[i].Name, Type: rootType(&sc.Roots[i])})
		}
	}
	for _, f := range Functions() {
		out = append(out, Candidate{Name: f.Name, Doc: f.Signature + "\n\n" + f.Doc})
	}
	return word, out
}

// methods are the functions, which may all be called on a value.
func methods() []Candidate {
	var out []Candidate
	for _, f := range Functions() {
		if !strings.Contains(f.Name, ".") {
			out = append(out, Candidate{Name: f.Name, Doc: f.Signature + "\n\n" + f.Doc, Method: true})
		}
	}
	return out
}

// below is the type of a field, or with "[]" of an element; nil where nothing is known.
func below(t *types.Type, segment string) *types.Type {
	if t == nil {
		return nil
	}
	t = unwrapped(t)
	switch {
	case segment == "[]" && (t.Kind == types.List || t.Kind == types.Map):
		return t.Elem
	case t.Kind == types.Map:
		return t.Elem
	}
	for _, f := range fieldsOf(t) {
		if f.Name == segment {
			return f.Type
		}
	}
	if t.IsDyn() || t.Open {
		return types.DynType
	}
	return nil
}

// fieldsOf lists the declared fields; of a union those of every variant.
func fieldsOf(t *types.Type) []types.Field {
	if t == nil {
		return nil
	}
	t = unwrapped(t)
	if t.Kind != types.Union {
		return t.Fields
	}
	var out []types.Field
	for _, v := range t.Variants {
		for _, f := range v.Fields {
			if !slices.ContainsFunc(out, func(have types.Field) bool { return have.Name == f.Name }) {
				out = append(out, f)
			}
		}
	}
	return out
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func wordStart(s string) int {
	i := len(s)
	for i > 0 && isWord(s[i-1]) {
		i--
	}
	return i
}

// chain reads the path that ends a text backwards: body.lines[0].price is body, lines, [], price. It gives where the path
// begins; nil where it hangs on something else, such as a call.
func chain(s string) (segments []string, start int) {
	end := len(s)
	for {
		if end > 0 && s[end-1] == ']' {
			open := strings.LastIndexByte(s[:end], '[')
			if open < 0 {
				return nil, 0
			}
			index := strings.TrimPrefix(s[open+1:end-1], "?")
			if name := strings.Trim(index, `"'`); name != index {
				segments = append(segments, name)
			} else {
				segments = append(segments, "[]")
			}
			end = open
			continue
		}
		at := wordStart(s[:end])
		if at == end {
			return nil, 0
		}
		segments = append(segments, s[at:end])
		switch {
		case strings.HasSuffix(s[:at], ".?"):
			end = at - 2
		case strings.HasSuffix(s[:at], "."):
			end = at - 1
		default:
			slices.Reverse(segments)
			return segments, at
		}
	}
}
