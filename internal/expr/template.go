package expr

import (
	"fmt"
	"net/url"
	"strings"

	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// segment is a piece of a template: text, or an expression that begins at byte start of it.
type segment struct {
	text  string
	cel   bool
	start int
}

// templateError is what keeps a text from being a template, at a byte of it.
type templateError struct {
	at        int
	msg, hint string
}

// cut splits a template into its segments. Braces within CEL's strings, maps and comments do
// not end an interpolation.
func cut(src string) ([]segment, *templateError) {
	var out []segment
	var text strings.Builder
	begin := 0
	flush := func() {
		if text.Len() > 0 {
			out = append(out, segment{text: text.String(), start: begin})
			text.Reset()
		}
	}
	for i := 0; i < len(src); {
		switch {
		case strings.HasPrefix(src[i:], "$${"):
			text.WriteString("${")
			i += 3
		case strings.HasPrefix(src[i:], "${"):
			flush()
			end, err := celEnd(src, i+2)
			if err != nil {
				return nil, err
			}
			out = append(out, segment{text: src[i+2 : end], cel: true, start: i + 2})
			i = end + 1
			begin = i
		default:
			text.WriteByte(src[i])
			i++
		}
	}
	flush()
	return out, nil
}

// celEnd finds the brace that ends the interpolation whose expression begins at byte i.
func celEnd(src string, i int) (int, *templateError) {
	open, depth := i-2, 0
	for i < len(src) {
		switch c := src[i]; {
		case c == '"' || c == '\'':
			end := stringEnd(src, i)
			if end < 0 {
				return 0, &templateError{at: i, msg: "a text in this ${…} is not closed", hint: "add the closing " + string(c)}
			}
			i = end
		case c == '`':
			end := strings.IndexByte(src[i+1:], '`')
			if end < 0 {
				return 0, &templateError{at: i, msg: "a quoted name in this ${…} is not closed", hint: "add the closing `"}
			}
			i += end + 2
		case strings.HasPrefix(src[i:], "//"):
			end := strings.IndexByte(src[i:], '\n')
			if end < 0 {
				return 0, &templateError{at: open, msg: "a comment hides the end of this ${…}", hint: "end the comment's line before `}`"}
			}
			i += end + 1
		case c == '{':
			depth++
			i++
		case c == '}' && depth == 0:
			return i, nil
		case c == '}':
			depth--
			i++
		default:
			i++
		}
	}
	return 0, &templateError{at: open, msg: "this ${ is not closed", hint: "add `}`, or write `$${` for a literal `${`"}
}

// stringEnd gives the byte after the CEL string that begins at byte i, -1 if it does not
// end: with one quote or three, raw (r"…") or not.
func stringEnd(src string, i int) int {
	raw := false
	for j := i - 1; j >= 0 && strings.IndexByte("rRbB", src[j]) >= 0; j-- {
		if j > 0 && isWordByte(src[j-1]) && strings.IndexByte("rRbB", src[j-1]) < 0 {
			raw = false // the end of a longer word
			break
		}
		raw = raw || src[j] == 'r' || src[j] == 'R'
	}
	quote := src[i : i+1]
	if strings.HasPrefix(src[i:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for j := i + len(quote); j < len(src); {
		switch {
		case src[j] == '\\' && !raw:
			j += 2
		case strings.HasPrefix(src[j:], quote):
			return j + len(quote)
		case len(quote) == 1 && src[j] == '\n':
			return -1
		default:
			j++
		}
	}
	return -1
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Template checks free text with ${…} parts (LANGUAGE.md §2). `$${` is a literal `${`. A
// text that is exactly one ${…} keeps the value's type in the place Plain; any other is a
// string, its interpolations encoded for its place. Findings go to l; the result is nil if
// any of them is an error.
func (p *Profile) Template(src string, pos penstock.Pos, sc *scope.Scope, place Place, l *diag.List) *Compiled {
	whole := source{text: src, whole: src, pos: pos}
	r := &reporter{src: whole, l: l, strict: p.opts.Strict}
	segments, bad := cut(src)
	if bad != nil {
		r.add(diag.Error, len([]rune(src[:bad.at])), "template-syntax", "${", bad.hint, bad.msg)
		return nil
	}
	if len(segments) == 0 || len(segments) == 1 && !segments[0].cel {
		text := ""
		if len(segments) == 1 {
			text = segments[0].text
		}
		if !p.barePath(r, src, sc) {
			return nil
		}
		return p.literal(text, pos, place)
	}
	parts := make([]*Compiled, len(segments))
	ok := true
	for i, s := range segments {
		if !s.cel {
			continue
		}
		c := p.compile(source{text: s.text, whole: src, start: s.start, pos: pos}, sc, nil, l)
		if c == nil {
			ok = false
			continue
		}
		c.raw = isRaw(c.AST)
		parts[i] = c
	}
	if !ok {
		return nil
	}
	if len(segments) == 1 && place == Plain {
		return parts[0]
	}
	return p.assemble(r, segments, parts, place)
}

// isRaw says that the outermost call is raw().
func isRaw(a *ast.AST) bool {
	return a.Expr().Kind() == ast.CallKind && a.Expr().AsCall().FunctionName() == "raw"
}

// barePath reports a text that is an expression whose ${…} was forgotten.
func (p *Profile) barePath(r *reporter, src string, sc *scope.Scope) bool {
	text := strings.TrimSpace(src)
	end := strings.IndexAny(text, ".[")
	if end <= 0 || sc == nil {
		return true
	}
	root, ok := sc.Root(text[:end])
	if !ok {
		return true
	}
	switch rootType(root).Kind {
	case types.String, types.Timestamp, types.Int, types.Bool:
		return true // it has no fields: `key.pem` is a file's name
	}
	quiet := &reporter{src: source{text: text, whole: text}, l: new(diag.List)}
	if a, _ := p.parse(quiet); a == nil {
		return true
	}
	r.add(diag.Error, 0, "expression-in-template", text, "write `${"+text+"}`; if the text itself is meant: `${\""+text+"\"}`",
		fmt.Sprintf("`%s` is an expression, but this field is text", text))
	return false
}

// literal is a template without interpolations.
func (p *Profile) literal(text string, pos penstock.Pos, place Place) *Compiled {
	v := penstock.StringValue(text)
	if place == SQL {
		v = penstock.ListValue(&penstock.List{Elems: []penstock.Value{v}})
	}
	c := constantProgram(v)
	return &Compiled{Program: c, Type: templateType(place), Constant: true, Fast: true, Source: text, Pos: pos, prof: p, oracle: c}
}

// constantProgram always gives the same value.
type constantProgram penstock.Value

// Eval gives the value.
func (c constantProgram) Eval(*penstock.Frame) penstock.Value { return penstock.Value(c) }

func templateType(place Place) *types.Type {
	if place == SQL {
		return types.ListOf(types.DynType)
	}
	return types.StringType
}

// assemble puts a template of several parts together.
func (p *Profile) assemble(r *reporter, segments []segment, parts []*Compiled, place Place) *Compiled {
	out := &Compiled{Type: templateType(place), Constant: true, Fast: true, Source: r.src.text, Pos: r.src.pos, prof: p}
	if !out.Pos.IsValid() {
		out.Pos = r.src.at(0)
	}
	var labels types.Labels
	for i, c := range parts {
		if c == nil {
			continue
		}
		at := len([]rune(r.src.text[:segments[i].start]))
		switch {
		case c.Type.Kind == types.Optional:
			r.add(diag.Error, at, "may-be-absent", c.Source, "give a default with `.orValue(…)`", "the value may be absent, and a text needs it")
		case c.Type.Kind == types.Null:
			r.add(diag.Error, at, "type-mismatch", c.Source, "", "null has no text")
		case c.Type.Nullable:
			r.doubt(at, "may-be-null", c.Source, "test with `!= null` first", "the value may be null, which has no text")
		}
		if c.raw && place != Plain {
			r.add(diag.Warning, at, "raw-interpolation", c.Source, "", fmt.Sprintf("raw() puts the value into the %s as it is: make sure that nobody else decides it", place))
		}
		labels = labels.With(deepLabels(c.Type))
		for _, path := range c.Reads {
			out.Reads = appendPath(out.Reads, path)
		}
		out.Typed, out.Total = out.Typed+c.Typed, out.Total+c.Total
		out.Constant, out.Fast, out.Volatile = out.Constant && c.Constant, out.Fast && c.Fast, out.Volatile || c.Volatile
	}
	if r.failed {
		return nil
	}
	out.Type = labelled(out.Type, labels)
	out.Program = join(segments, parts, place, func(c *Compiled) penstock.Program { return c.Program })
	out.oracle = join(segments, parts, place, func(c *Compiled) penstock.Program { return c.oracle })
	return out
}

func appendPath(paths [][]string, path []string) [][]string {
	for _, have := range paths {
		if strings.Join(have, "\x00") == strings.Join(path, "\x00") {
			return paths
		}
	}
	return append(paths, path)
}

// String names the place in messages.
func (p Place) String() string {
	return [...]string{"text", "URL path", "query", "header", "SQL"}[p]
}

// join makes the program of a template.
func join(segments []segment, parts []*Compiled, place Place, pick func(*Compiled) penstock.Program) penstock.Program {
	out := make([]fast.Part, len(segments))
	for i, s := range segments {
		out[i].Text = s.text
		if c := parts[i]; c != nil {
			out[i] = fast.Part{Program: pick(c)}
			if !c.raw && place != Plain && place != SQL {
				out[i].Program = &encoded{out[i].Program, place, c.Source}
			}
		}
	}
	if place != SQL {
		return fast.NewTemplate(out...)
	}
	st := &statement{}
	for i, part := range out {
		switch {
		case part.Program == nil:
			st.text.WriteString(part.Text)
			continue
		case parts[i].raw:
			st.raw = true
		default:
			st.text.WriteByte('?')
		}
		st.parts = append(st.parts, part.Program)
	}
	if st.raw {
		st.pieces, st.compiled = out, parts
	}
	return st
}

// encoded encodes a value's text for a place.
type encoded struct {
	penstock.Program
	place  Place
	source string
}

// Eval gives the encoded text.
func (e *encoded) Eval(f *penstock.Frame) penstock.Value {
	v := e.Program.Eval(f)
	if v.IsError() {
		return v
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return fail(err)
	}
	refuse := func(msg string) penstock.Value {
		return penstock.ErrorValue(penstock.E(penstock.Unprocessable, "", e.source, msg))
	}
	s := string(text)
	switch e.place {
	case URLPath:
		switch s {
		case "":
			return refuse("is empty, which would name another resource in a URL path")
		case ".", "..":
			return refuse("is " + s + ", which would leave the URL path")
		}
		s = url.PathEscape(s)
	case Query:
		s = url.QueryEscape(s)
	case Header:
		if strings.ContainsAny(s, "\r\n\x00") {
			return refuse("has a line break or NUL, which a header cannot carry")
		}
	}
	return penstock.StringValue(s)
}

// statement is an SQL template: its value is a list of the text with `?` and the values.
type statement struct {
	text     strings.Builder
	parts    []penstock.Program
	raw      bool
	pieces   []fast.Part // where raw() parts stand in the text
	compiled []*Compiled
}

// Eval gives the list.
func (s *statement) Eval(f *penstock.Frame) penstock.Value {
	l := &penstock.List{Elems: make([]penstock.Value, 1, 1+len(s.parts))}
	if !s.raw {
		l.Elems[0] = penstock.StringValue(s.text.String())
		for _, p := range s.parts {
			v := p.Eval(f)
			if v.IsError() {
				return v
			}
			l.Elems = append(l.Elems, v.Load(f.Arena))
		}
		return penstock.ListValue(l)
	}
	var text []byte
	for i, piece := range s.pieces {
		if piece.Program == nil {
			text = append(text, piece.Text...)
			continue
		}
		v := piece.Program.Eval(f)
		if v.IsError() {
			return v
		}
		if !s.compiled[i].raw {
			text = append(text, '?')
			l.Elems = append(l.Elems, v.Load(f.Arena))
			continue
		}
		var err error
		if text, err = v.AppendText(text); err != nil {
			return fail(err)
		}
	}
	l.Elems[0] = penstock.StringValue(string(text))
	return penstock.ListValue(l)
}
