package xml

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// group are the elements of one name within another.
type group struct {
	name        string
	first, last int32
	count       int32
}

// unwrap is a type without what says that it may be absent.
func unwrap(t *types.Type) *types.Type {
	for t != nil && t.Kind == types.Optional {
		t = t.Elem
	}
	return t
}

// value appends what an element is; nothing where it is absent, since it is empty and its type is no text.
func (r *reader) value(dst []byte, i int32, t *types.Type) ([]byte, error) {
	n := &r.nodes[i]
	t = unwrap(t)
	switch {
	case n.isNil:
		return append(dst, "null"...), nil
	case n.first == 0 && n.attrs == n.end:
		if t != nil && (t.Kind == types.Object || t.Kind == types.Map) {
			if blank(n.text) {
				return r.missing(append(dst, '{'), t, len(r.groups)), nil
			}
			dst = jsonview.AppendString(append(dst, '{'), r.dialect.text)
			return append(r.scalar(append(dst, ':'), n.text, member(t, r.dialect.text)), '}'), nil
		}
		return r.scalar(dst, n.text, t), nil
	}
	return r.object(dst, i, t)
}

// member is the type of a field; nil where it is not known.
func member(t *types.Type, name string) *types.Type {
	if t == nil {
		return nil
	}
	switch t.Kind {
	case types.Object:
		for i := range t.Fields {
			if t.Fields[i].Name == name {
				return t.Fields[i].Type
			}
		}
		return t.Rest
	case types.Map:
		return t.Elem
	}
	return nil
}

// object appends an element with attributes or elements in it.
func (r *reader) object(dst []byte, i int32, t *types.Type) ([]byte, error) {
	n := &r.nodes[i]
	if n.first != 0 && n.pieces > 0 && r.refuse {
		return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "xml", Path: "body" + r.where(), Err: errors.New("text stands between elements"), Hint: "say `mixed: join` to have it as one text"}
	}
	base := len(r.groups)
	defer func() { r.groups = r.groups[:base] }()
	r.gather(n.first, base)
	dst = append(dst, '{')
	for _, a := range r.attrs[n.attrs:n.end] {
		name := r.attributes + a.name
		dst = r.member(dst, name, a.value, member(t, name))
	}
	for g := base; g < len(r.groups); g++ {
		x := r.groups[g]
		elem := unwrap(member(t, x.name))
		list := x.count > 1 || r.lists[x.name] || elem != nil && elem.Kind == types.List
		mark := len(dst)
		dst = append(jsonview.AppendString(dst, x.name), ':')
		begin := len(dst)
		var err error
		r.path = append(r.path, x.name)
		if list {
			if elem != nil && elem.Kind == types.List {
				elem = elem.Elem
			} else {
				elem = nil
			}
			dst, err = r.list(append(dst, '['), x.first, elem)
		} else {
			dst, err = r.value(dst, x.first, elem)
		}
		if err != nil {
			return dst, err
		}
		r.path = r.path[:len(r.path)-1]
		if len(dst) == begin { // absent
			dst = dst[:mark]
			continue
		}
		dst = append(dst, ',')
	}
	if n.pieces > 0 {
		dst = r.member(dst, r.dialect.text, n.text, member(t, r.dialect.text))
	}
	return r.missing(dst, t, base), nil
}

// where is the path of what is being written, for messages.
func (r *reader) where() string {
	out := ""
	for _, p := range r.path {
		out += "." + p
	}
	return out
}

// member appends `"name":text,`, or nothing where that is absent.
func (r *reader) member(dst []byte, name string, text []byte, t *types.Type) []byte {
	mark := len(dst)
	dst = append(jsonview.AppendString(dst, name), ':')
	begin := len(dst)
	if dst = r.scalar(dst, text, unwrap(t)); len(dst) == begin {
		return dst[:mark]
	}
	return append(dst, ',')
}

// missing appends the lists of a type that must be there, which have no elements, and closes the object.
func (r *reader) missing(dst []byte, t *types.Type, base int) []byte {
	if t != nil && t.Kind == types.Object {
		for i := range t.Fields {
			f := &t.Fields[i]
			if f.Required && f.Type.Kind == types.List && !slices.ContainsFunc(r.groups[base:], func(g group) bool { return g.name == f.Name }) {
				dst = append(jsonview.AppendString(dst, f.Name), ":[],"...)
			}
		}
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}')
}

// manyNames is from how many names on they are found by a map.
const manyNames = 24

// gather puts elements that stand beside each other into groups by their names, in the order in which these are first there.
func (r *reader) gather(first int32, base int) {
	var index map[string]int
	last := -1
	for i := first; i != 0; i = r.nodes[i].next {
		name := r.nodes[i].name
		r.nodes[i].same = 0
		at := -1
		switch {
		case last >= 0 && r.groups[last].name == name:
			at = last
		case index != nil:
			if g, ok := index[name]; ok {
				at = g
			}
		default:
			for g := base; g < len(r.groups); g++ {
				if r.groups[g].name == name {
					at = g
					break
				}
			}
		}
		if at < 0 {
			at = len(r.groups)
			r.groups = append(r.groups, group{name: name, first: i, last: i, count: 1})
			switch {
			case index != nil:
				index[name] = at
			case at-base == manyNames:
				index = map[string]int{}
				for g := base; g <= at; g++ {
					index[r.groups[g].name] = g
				}
			}
		} else {
			g := &r.groups[at]
			r.nodes[g.last].same = i
			g.last = i
			g.count++
		}
		last = at
	}
}

func (r *reader) list(dst []byte, first int32, elem *types.Type) ([]byte, error) {
	for i, n := first, 0; i != 0; i, n = r.nodes[i].same, n+1 {
		begin := len(dst)
		var err error
		if dst, err = r.value(dst, i, elem); err != nil {
			return dst, err
		}
		if len(dst) == begin { // a list has no gaps
			dst = append(dst, "null"...)
		}
		dst = append(dst, ',')
	}
	dst[len(dst)-1] = ']'
	return dst, nil
}

// scalar appends a text as what its type is. One that does not fit stays text, so that reading it, or validating the record, fails with its path. What is
// blank, and no text by its type, is null, or nothing.
func (r *reader) scalar(dst, text []byte, t *types.Type) []byte {
	if t == nil {
		return jsonview.AppendString(dst, text2string(text))
	}
	switch t.Kind {
	case types.Bool, types.Int, types.Uint, types.Double, types.Decimal, types.Timestamp, types.Duration, types.Null:
	default:
		return jsonview.AppendString(dst, text2string(text))
	}
	trimmed := bytes.Trim(text, " \t\r\n")
	if len(trimmed) == 0 {
		if t.Nullable || t.Kind == types.Null {
			return append(dst, "null"...)
		}
		return dst
	}
	switch t.Kind {
	case types.Bool:
		switch string(trimmed) {
		case "true", "1":
			return append(dst, "true"...)
		case "false", "0":
			return append(dst, "false"...)
		}
	case types.Int, types.Uint, types.Double, types.Decimal:
		if t.DecimalText {
			break
		}
		if out, ok := appendNumber(dst, trimmed, t.Kind); ok {
			return out
		}
	case types.Timestamp:
		if t.Layout != "" {
			if out, ok := appendTime(dst, trimmed, t); ok {
				return out
			}
		}
	}
	return jsonview.AppendString(dst, text2string(trimmed))
}

func appendTime(dst, text []byte, t *types.Type) ([]byte, bool) {
	when, err := time.Parse(t.Layout, string(text))
	if err != nil || when.Year() < 0 || when.Year() > 9999 {
		return dst, false
	}
	if t.Date {
		return when.AppendFormat(dst, `"`+time.DateOnly+`"`), true
	}
	return when.AppendFormat(dst, `"`+time.RFC3339Nano+`"`), true
}

// appendNumber appends a number as JSON has it: without a plus, leading zeros or a bare point; of a whole number without a fraction of zeros. It never changes the value.
func appendNumber(dst, text []byte, kind types.Kind) ([]byte, bool) {
	i := 0
	begin := len(dst)
	if text[0] == '+' || text[0] == '-' {
		if text[0] == '-' {
			if kind == types.Uint {
				return dst, false
			}
			dst = append(dst, '-')
		}
		i++
	}
	whole := i
	for i < len(text) && text[i]-'0' < 10 {
		i++
	}
	digits := text[whole:i]
	var part []byte
	if i < len(text) && text[i] == '.' {
		i++
		from := i
		for i < len(text) && text[i]-'0' < 10 {
			i++
		}
		part = text[from:i]
	}
	if len(digits)+len(part) == 0 {
		return dst[:begin], false
	}
	exponent := text[i:]
	if len(exponent) > 0 {
		if exponent[0]|0x20 != 'e' || kind == types.Int || kind == types.Uint {
			return dst[:begin], false
		}
		if _, err := strconv.Atoi(string(exponent[1:])); err != nil || len(exponent) > 8 {
			return dst[:begin], false
		}
	}
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) == 0 {
		digits = []byte{'0'}
	}
	dst = append(dst, digits...)
	if kind == types.Int || kind == types.Uint {
		if len(bytes.Trim(part, "0")) > 0 {
			return dst[:begin], false
		}
		return dst, true
	}
	if len(part) > 0 {
		dst = append(append(dst, '.'), part...)
	}
	return append(dst, exponent...), true
}
