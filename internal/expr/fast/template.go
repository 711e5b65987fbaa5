package fast

import (
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
)

// Part is a piece of a template: fixed text, or a program where Program is not nil.
type Part struct {
	Text    string
	Program penstock.Program
}

// NewTemplate puts parts together to a string, each as [penstock.Value.AppendText] gives
// it, in the frame's arena. A part that is null or absent is an error. It is safe for
// concurrent use.
func NewTemplate(parts ...Part) penstock.Program {
	t := &template{parts: make([]piece, len(parts))}
	for i, p := range parts {
		q := &t.parts[i]
		if p.Program == nil {
			q.text, q.escaped = p.Text, appendInside(nil, p.Text)
			continue
		}
		q.eval = p.Program.Eval
		if in, ok := p.Program.(*program); ok {
			t.locals, t.limit = max(t.locals, in.locals), max(t.limit, in.limit)
			q.eval = in.eval
			if in.root.raw != nil {
				q.eval = in.root.lazy()
			}
		}
	}
	return t
}

type template struct {
	parts  []piece
	locals int
	limit  int64
}

// piece is a part as it is used: eval is nil for text. Paths are left as they stand, so that a
// number keeps its text.
type piece struct {
	text    string
	escaped []byte // text, within a JSON string
	eval    eval
}

// Eval gives the string.
func (t *template) Eval(f *penstock.Frame) penstock.Value {
	if t.locals > 0 {
		prepare(f, t.locals, t.limit)
	}
	// Parts may use the arena themselves: the text is put together on the stack where it fits.
	var room [256]byte
	out := room[:0]
	for i := range t.parts {
		p := &t.parts[i]
		if p.eval == nil {
			out = append(out, p.text...)
			continue
		}
		v := p.eval(f)
		if v.Kind() == penstock.KindNode {
			if d, n := v.Node(); d.Kind(n) == jsonview.String {
				out = append(out, text(f, d, n)...)
				continue
			}
		}
		var err error
		if out, err = v.AppendText(out); err != nil {
			return ops.WrapError(err)
		}
	}
	return ops.TextValue(f.Arena.Copy(out))
}

// emit writes the text as a JSON string without putting it together first. The caller has prepared
// the frame.
func (t *template) emit(dst []byte, f *penstock.Frame) ([]byte, error) {
	start := len(dst)
	dst = append(dst, '"')
	for i := range t.parts {
		p := &t.parts[i]
		if p.eval == nil {
			dst = append(dst, p.escaped...)
			continue
		}
		v := p.eval(f)
		switch v.Kind() {
		case penstock.KindString:
			dst = appendInside(dst, v.Str())
			continue
		case penstock.KindNode:
			d, n := v.Node()
			if d.Kind(n) != jsonview.String {
				break
			}
			if d.Format() == jsonview.JSON {
				raw := d.Raw(n)
				dst = append(dst, raw[1:len(raw)-1]...)
			} else {
				dst = appendInside(dst, text(f, d, n))
			}
			continue
		case penstock.KindError:
			return dst[:start], v.Err()
		}
		mark := len(dst)
		var err error
		if dst, err = v.AppendText(dst); err != nil {
			return dst[:start], err
		}
		if !clean(dst[mark:]) { // lists and maps
			inside := f.Arena.Copy(dst[mark:])
			dst = appendInside(dst[:mark], alias(inside))
		}
	}
	return append(dst, '"'), nil
}

// appendInside appends s escaped as within a JSON string.
func appendInside(dst []byte, s string) []byte {
	mark := len(dst)
	dst = jsonview.AppendString(dst, s)
	copy(dst[mark:], dst[mark+1:])
	return dst[:len(dst)-2]
}

// clean reports whether text can stand in a JSON string as it is.
func clean(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
