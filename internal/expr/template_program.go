package expr

import (
	"net/url"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/fast"
)

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
