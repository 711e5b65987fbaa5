package fast

import (
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// str2 makes the code of a function of two strings.
func str2(name string, xs []code, t *types.Type, op func(f *penstock.Frame, s, u string) penstock.Value) code {
	return binary2(xs[0], xs[1], t, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
		a, b = ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena)
		if a.Kind() != penstock.KindString || b.Kind() != penstock.KindString {
			return ops.NoOverload(name, a, b)
		}
		return op(f, a.Str(), b.Str())
	})
}

// str1 makes the code of a function of one string.
func str1(name string, xs []code, t *types.Type, op func(f *penstock.Frame, s string) penstock.Value) code {
	return unary(xs[0], t, func(f *penstock.Frame, v penstock.Value) penstock.Value {
		if v = ops.Resolve(v, f.Arena); v.Kind() != penstock.KindString {
			return ops.NoOverload(name, v)
		}
		return op(f, v.Str())
	})
}

// text compiles the functions of strings: the standard ones and cel-go's extension "strings".
// Positions count code points.
func (c *compiler) text(name string, xs []code) (code, bool, error) {
	switch name {
	case "contains", "startsWith", "endsWith", "matches":
		if len(xs) == 2 {
			return c.textTest(name, xs)
		}
	case "lowerAscii", "upperAscii":
		if len(xs) == 1 {
			return str1(name, xs, types.StringType, asciiCase(name == "upperAscii")), true, nil
		}
	case "trim":
		if len(xs) == 1 {
			return str1(name, xs, types.StringType, func(_ *penstock.Frame, s string) penstock.Value {
				return penstock.StringValue(strings.TrimSpace(s))
			}), true, nil
		}
	case "reverse":
		if len(xs) == 1 && xs[0].typ.Kind == types.String {
			return str1(name, xs, types.StringType, reversed), true, nil
		}
	case "strings.quote":
		if len(xs) == 1 {
			return str1(name, xs, types.StringType, quoted), true, nil
		}
	case "split", "replace", "substring", "charAt", "indexOf", "lastIndexOf":
		if len(xs) >= 2 && len(xs) <= 4 {
			return c.textPart(name, xs)
		}
	case "join":
		if len(xs) == 1 || len(xs) == 2 {
			return c.join(xs), true, nil
		}
	}
	return code{}, false, nil
}

func asciiCase(upper bool) func(*penstock.Frame, string) penstock.Value {
	low, high, diff := byte('A'), byte('Z'), byte('a'-'A')
	if upper {
		low, high, diff = 'a', 'z', 256-('a'-'A')
	}
	return func(f *penstock.Frame, s string) penstock.Value {
		i := 0
		for i < len(s) && (s[i] < low || s[i] > high) {
			i++
		}
		if i == len(s) {
			return penstock.StringValue(s)
		}
		out := f.Arena.Alloc(len(s))
		copy(out, s)
		for ; i < len(out); i++ {
			if out[i] >= low && out[i] <= high {
				out[i] += diff
			}
		}
		return ops.TextValue(out)
	}
}

func reversed(f *penstock.Frame, s string) penstock.Value {
	out := f.Arena.Alloc(len(s))[:0]
	for len(s) > 0 {
		_, size := utf8.DecodeLastRuneInString(s)
		out = append(out, s[len(s)-size:]...)
		s = s[:len(s)-size]
	}
	return ops.TextValue(out)
}

// quoted is cel-go's strings.quote.
func quoted(f *penstock.Frame, s string) penstock.Value {
	out := append(f.Arena.Tail(len(s)+8), '"')
	for _, r := range s {
		if i := strings.IndexRune("\a\b\f\n\r\t\v\\\"", r); i >= 0 {
			out = append(out, '\\', `abfnrtv\"`[i])
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return ops.TextValue(f.Arena.Keep(append(out, '"')))
}

// textPart compiles the functions that take a string, and then strings or positions.
func (c *compiler) textPart(name string, xs []code) (code, bool, error) {
	t := types.IntType
	switch name {
	case "split":
		t = types.ListOf(types.StringType)
	case "replace", "substring", "charAt":
		t = types.StringType
	}
	var op func(f *penstock.Frame, vs []penstock.Value) penstock.Value
	kinds := ""
	switch {
	case name == "split" && len(xs) <= 3:
		op, kinds = split, "ssi"
	case name == "replace" && len(xs) >= 3:
		op, kinds = replace, "sssi"
	case name == "substring" && len(xs) <= 3:
		op, kinds = substring, "sii"
	case name == "charAt" && len(xs) == 2:
		op, kinds = charAt, "si"
	case name == "indexOf" && len(xs) <= 3:
		op, kinds = indexOf, "ssi"
	case name == "lastIndexOf" && len(xs) <= 3:
		op, kinds = lastIndexOf, "ssi"
	default:
		return code{}, false, nil
	}
	return nary(xs, t, func(f *penstock.Frame, vs []penstock.Value) penstock.Value {
		for i := range vs {
			vs[i] = ops.Resolve(vs[i], f.Arena)
			want := penstock.KindString
			if kinds[i] == 'i' {
				want = penstock.KindInt
			}
			if vs[i].Kind() != want {
				return ops.NoOverload(name, vs...)
			}
		}
		return op(f, vs)
	}), true, nil
}

func textList(parts []string) penstock.Value {
	l := &penstock.List{Elems: make([]penstock.Value, len(parts))}
	for i, p := range parts {
		l.Elems[i] = penstock.StringValue(p)
	}
	return penstock.ListValue(l)
}

func split(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	n := -1
	if len(vs) == 3 {
		n = int(vs[2].Int())
	}
	if len(vs[0].Str()) > ops.MaxElems && n != 0 && strings.Count(vs[0].Str(), vs[1].Str()) >= ops.MaxElems {
		return ops.TooLarge
	}
	return textList(strings.SplitN(vs[0].Str(), vs[1].Str(), n))
}

func replace(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	n := -1
	if len(vs) == 4 {
		n = int(vs[3].Int())
	}
	s, by := vs[0].Str(), vs[2].Str()
	if len(by) > 1 && (len(s)+1)*len(by) > ops.MaxText && len(s)+strings.Count(s, vs[1].Str())*len(by) > ops.MaxText {
		return ops.TooLarge
	}
	return penstock.StringValue(strings.Replace(s, vs[1].Str(), by, n))
}

// offset gives the byte position of a code point; −1 if the string is shorter.
func offset(s string, runes int64) int {
	if runes < 0 || runes > int64(len(s)) {
		return -1
	}
	i := 0
	for ; runes > 0; runes-- {
		if i >= len(s) {
			return -1
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return i
}

func outOfRange(i int64) penstock.Value { return ops.Errorf("index out of range: %d", i) }

func substring(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	s, from := vs[0].Str(), vs[1].Int()
	if len(vs) == 3 && from > vs[2].Int() {
		return ops.Errorf("invalid substring range: from %d to %d", from, vs[2].Int())
	}
	start := offset(s, from)
	if start < 0 {
		return outOfRange(from)
	}
	if len(vs) == 2 {
		return penstock.StringValue(s[start:])
	}
	length := offset(s[start:], vs[2].Int()-from)
	if length < 0 {
		return outOfRange(vs[2].Int())
	}
	return penstock.StringValue(s[start : start+length])
}

func charAt(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	s := vs[0].Str()
	at := offset(s, vs[1].Int())
	if at < 0 {
		return outOfRange(vs[1].Int())
	}
	_, size := utf8.DecodeRuneInString(s[at:])
	return penstock.StringValue(s[at : at+size])
}

func indexOf(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	s, sub, from := vs[0].Str(), vs[1].Str(), int64(0)
	if len(vs) == 3 {
		if from = vs[2].Int(); from < 0 {
			return outOfRange(from)
		}
	}
	start := offset(s, from)
	if start < 0 {
		if sub == "" {
			return penstock.IntValue(int64(utf8.RuneCountInString(s)))
		}
		return penstock.IntValue(-1)
	}
	i := strings.Index(s[start:], sub)
	if i < 0 {
		return penstock.IntValue(-1)
	}
	return penstock.IntValue(from + int64(utf8.RuneCountInString(s[start:start+i])))
}

func lastIndexOf(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
	s, sub := vs[0].Str(), vs[1].Str()
	size := int64(utf8.RuneCountInString(s))
	last := size
	if len(vs) == 3 {
		if last = vs[2].Int(); last < 0 {
			return outOfRange(last)
		}
		if sub != "" && last >= size {
			return penstock.IntValue(-1)
		}
	}
	if sub == "" {
		return penstock.IntValue(min(last, size))
	}
	end := len(s)
	if last < size {
		end = min(offset(s, last)+len(sub), len(s))
	}
	i := strings.LastIndex(s[:end], sub)
	if i < 0 {
		return penstock.IntValue(-1)
	}
	return penstock.IntValue(int64(utf8.RuneCountInString(s[:i])))
}

// join puts the strings of a list together; what a comprehension makes needs no list.
func (c *compiler) join(xs []code) code {
	over := visitorOf(xs[0])
	sep := func(*penstock.Frame) penstock.Value { return penstock.StringValue("") }
	if len(xs) == 2 {
		sep = xs[1].eval
	}
	return code{typ: types.StringType, eval: func(f *penstock.Frame) penstock.Value {
		s := sep(f)
		if s.Kind() != penstock.KindString {
			return ops.NoOverload("join", s)
		}
		var cur cursor
		if bad := over.start(f, &cur); bad.IsError() {
			return bad
		}
		// The parts may use the arena themselves, so the text grows on its own.
		var room [256]byte
		out := room[:0]
		for first := true; ; first = false {
			v, more := over.next(f, &cur)
			if !more {
				if v.IsError() {
					return v
				}
				return ops.TextValue(f.Arena.Copy(out))
			}
			if v.Kind() != penstock.KindString {
				return ops.NoOverload("join", v)
			}
			if !first {
				out = append(out, s.Str()...)
			}
			if out = append(out, v.Str()...); len(out) > ops.MaxText {
				return ops.TooLarge
			}
		}
	}}
}
