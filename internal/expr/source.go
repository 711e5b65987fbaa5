package expr

import (
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// source is the text of one expression and where it stands in its file.
type source struct {
	text  string       // the expression
	whole string       // the text it is part of: a template, or text itself
	start int          // where text begins in whole, in bytes
	pos   penstock.Pos // of whole
}

// at gives the file position of a character of the expression, counted from 0.
func (s source) at(char int) penstock.Pos {
	b := s.start + byteOffset(s.text, char)
	p := s.pos
	if !p.IsValid() {
		p.Line, p.Col = 1, 1
	}
	before := s.whole[:min(b, len(s.whole))]
	// A text of several lines is a block in YAML: all its lines begin in the same column.
	p.Line += strings.Count(before, "\n")
	p.Col += utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return p
}

// byteOffset turns a count of characters into one of bytes.
func byteOffset(s string, chars int) int {
	for i := range s {
		if chars == 0 {
			return i
		}
		chars--
	}
	return len(s)
}

// span gives where a node begins, in characters; 0 where that is not known.
func span(a *ast.AST, id int64) int {
	if r, ok := a.SourceInfo().GetOffsetRange(id); ok {
		return int(r.Start)
	}
	return 0
}

// token gives the word or sign at a character of the expression, for messages.
func (s source) token(char int) string {
	rest := s.text[byteOffset(s.text, char):]
	end := strings.IndexFunc(rest, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 128
	})
	switch {
	case rest == "":
		return ""
	case end < 0:
		return rest
	case end == 0:
		_, size := utf8.DecodeRuneInString(rest)
		return rest[:size]
	}
	return rest[:end]
}

// word finds name at or after a character, such as a field after its point; it gives the
// place of the name itself.
func (s source) word(char int, name string) int {
	b := byteOffset(s.text, char)
	if i := strings.Index(s.text[b:], name); i >= 0 {
		return char + utf8.RuneCountInString(s.text[b:b+i])
	}
	return char
}

// called finds the name of a function whose call is noted at a character, which is that of
// its parenthesis.
func (s source) called(char int, name string) int {
	before := s.text[:byteOffset(s.text, char)]
	if i := strings.LastIndex(before, name); i >= 0 {
		return utf8.RuneCountInString(before[:i])
	}
	return char
}

// reporter adds findings about one expression.
type reporter struct {
	src    source
	l      *diag.List
	strict bool
	ast    *ast.AST // once it is parsed
	failed bool
}

func (r *reporter) add(severity diag.Severity, char int, code, text, hint, message string) {
	if text == "" {
		text = r.src.token(char)
	}
	if severity == diag.Error {
		r.failed = true
	}
	r.l.Add(diag.Diagnostic{Severity: severity, Code: code, Pos: r.src.at(char), Text: text, Hint: hint, Message: message})
}

// doubt is a warning, or an error for the strict.
func (r *reporter) doubt(char int, code, text, hint, message string) {
	severity := diag.Warning
	if r.strict {
		severity = diag.Error
	}
	r.add(severity, char, code, text, hint, message)
}
