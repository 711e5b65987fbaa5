package expr

import (
	"bytes"
	"net/url"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/fast"
)

// join makes the program of a template.
func join(segments []segment, parts []*Compiled, place Place, pick func(*Compiled) penstock.Program) penstock.Program {
	out := make([]fast.Part, len(segments))
	at := place
	for i, s := range segments {
		out[i].Text = s.text
		if c := parts[i]; c != nil {
			out[i] = fast.Part{Program: pick(c)}
			if !c.raw && place != Plain && place != SQL {
				out[i].Program = &encoded{out[i].Program, at, c.Source}
			}
		} else if place == URLPath && strings.Contains(s.text, "?") {
			at = Query // "/holds?order=${input.id}": behind the mark, & and = would begin another parameter
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
			st.text.WriteString(Parameter)
			st.parts = append(st.parts, part.Program)
		}
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
	v = v.Load(f.Arena)
	var s string
	if v.Kind() == penstock.KindString {
		s = v.Str() // what needs no encoding is not copied
	} else {
		text, err := v.AppendText(nil)
		if err != nil {
			return fail(err)
		}
		s = string(text)
	}
	refuse := func(msg string) penstock.Value {
		return penstock.ErrorValue(penstock.E(penstock.Unprocessable, "", e.source, msg))
	}
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

var _ penstock.Statement = (*statement)(nil)

// statement is an SQL template: its value is a list of the text with a Parameter for each interpolation, and the values.
type statement struct {
	text     strings.Builder
	parts    []penstock.Program // of what is bound
	raw      bool
	pieces   []fast.Part // where raw() parts stand in the text
	compiled []*Compiled
}

// Eval gives the list.
func (s *statement) Eval(f *penstock.Frame) penstock.Value {
	l := &penstock.List{Elems: make([]penstock.Value, 1, 1+len(s.parts))}
	text, err := s.Text(f)
	if err != nil {
		return penstock.ErrorValue(err)
	}
	l.Elems[0] = penstock.StringValue(text)
	for _, p := range s.parts {
		v := p.Eval(f)
		if v.IsError() {
			return v
		}
		l.Elems = append(l.Elems, bound(v, f))
	}
	return penstock.ListValue(l)
}

// Text implements penstock.Statement.
func (s *statement) Text(f *penstock.Frame) (string, error) {
	if !s.raw {
		return s.text.String(), nil
	}
	var text []byte
	for i, piece := range s.pieces {
		switch {
		case piece.Program == nil:
			text = append(text, piece.Text...)
			continue
		case !s.compiled[i].raw:
			text = append(text, Parameter...)
			continue
		}
		v := piece.Program.Eval(f)
		if v.IsError() {
			return "", v.Err()
		}
		from := len(text)
		var err error
		if text, err = v.AppendText(text); err != nil {
			return "", err
		}
		if bytes.Contains(text[from:], []byte(Parameter)) {
			return "", penstock.E(penstock.Unprocessable, "", s.compiled[i].Source, "has a NUL character, which no statement may have")
		}
	}
	return string(text), nil
}

// bound is a value as it is bound: what is absent is NULL.
func bound(v penstock.Value, f *penstock.Frame) penstock.Value {
	for v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	if v = v.Load(f.Arena); v.IsAbsent() {
		return penstock.Null
	}
	return v
}
