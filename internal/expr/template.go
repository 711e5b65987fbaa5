package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

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
		if place == SQL {
			r.statementPlaces(segments, make([]*Compiled, len(segments)))
			if r.failed {
				return nil
			}
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
	var c penstock.Program = constantProgram(penstock.StringValue(text))
	if place == SQL {
		st := &statement{}
		st.text.WriteString(text)
		c = st
	}
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
		case place == SQL && !c.raw: // what is absent or null is bound as NULL
		case c.Type.Kind == types.Optional:
			r.add(diag.Error, at, "may-be-absent", c.Source, "give a default with `.orValue(…)`", "the value may be absent, and a text needs it")
		case c.Type.Kind == types.Null:
			r.add(diag.Error, at, "type-mismatch", c.Source, "", "null has no text")
		case c.Type.Nullable:
			r.doubt(at, "may-be-null", c.Source, "test with `!= null` first", "the value may be null, which has no text")
		}
		if c.raw && place != Plain && (place != SQL || decidedBy(c) == nil) {
			r.add(diag.Warning, at, "raw-interpolation", c.Source, "", fmt.Sprintf("raw() puts the value into the %s as it is: make sure that nobody else decides it", place))
		}
		labels = labels.With(deepLabels(c.Type))
		for _, path := range c.Reads {
			out.Reads = appendPath(out.Reads, path)
		}
		out.Typed, out.Total = out.Typed+c.Typed, out.Total+c.Total
		out.Constant, out.Fast, out.Volatile = out.Constant && c.Constant, out.Fast && c.Fast, out.Volatile || c.Volatile
	}
	if place == SQL {
		r.statementPlaces(segments, parts)
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
