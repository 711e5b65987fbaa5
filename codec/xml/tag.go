package xml

import (
	"bytes"
	"strings"
	"unsafe"

	"penstock.dev/penstock"
)

// scope is what prefixes stand for at some place: what the nearest declares, else what those around it do.
type scope struct {
	parent *scope
	binding
}

// uri is what a prefix stands for; ok is false where it stands for nothing.
func (s *scope) uri(prefix string) (string, bool) {
	for ; s != nil; s = s.parent {
		if s.prefix == prefix {
			return s.binding.uri, s.binding.uri != "" || prefix == ""
		}
	}
	switch prefix {
	case "":
		return "", true
	case "xml":
		return xmlSpace, true
	}
	return "", false
}

// attr is an attribute: its name as documents have it, and its value.
type attr struct {
	raw   []byte
	name  string
	space string
	value []byte
}

// tag is a start tag, or that of an empty element.
type tag struct {
	raw   []byte // its name as it stands there
	name  string // as documents have it
	attrs []attr
	scope *scope // within the element
	isNil bool   // xsi:nil
}

func text2string(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// parse reads the tag that is src[i:end], `<` and `>` included. Texts alias src, or memory of their own.
func (t *tag) parse(d *dialect, src []byte, i, end int, outer *scope) *fault {
	t.attrs, t.scope, t.isNil = t.attrs[:0], outer, false
	last := end - 1
	if src[last-1] == '/' {
		last--
	}
	b := src[:last]
	j := nameEnd(b, i+1)
	t.raw = b[i+1 : j]
	if len(t.raw) == 0 {
		return invalid(i, "`<` begins no tag: it is written as &lt;")
	}
	for j < last {
		at := skipSpace(b, j)
		if at == last {
			break
		}
		if at == j {
			return invalid(j, "a blank is missing before an attribute, or the name of <%.40s> holds what it can't", t.raw)
		}
		j = nameEnd(b, at)
		if j == at {
			return invalid(at, "this is no name of an attribute")
		}
		a := attr{raw: b[at:j]}
		j = skipSpace(b, j)
		if j >= last || b[j] != '=' {
			return invalid(j, "the attribute %.40s has no value", a.raw)
		}
		j = skipSpace(b, j+1)
		if j >= last || b[j] != '"' && b[j] != '\'' {
			return invalid(j, "the value of the attribute %.40s has no quotes", a.raw)
		}
		n := bytes.IndexByte(b[j+1:], b[j])
		if n < 0 {
			return invalid(j, "the value of the attribute %.40s is not closed", a.raw)
		}
		a.value = b[j+1 : j+1+n]
		if !plainText(a.value) || bytes.ContainsAny(a.value, "\n\t") {
			var bad *fault
			if a.value, bad = appendText(nil, a.value, j+1, true, false); bad != nil {
				return bad
			}
		}
		j += n + 2
		if len(t.attrs) >= maxAttributes {
			return &fault{at: at, code: penstock.TooLarge, text: "an element has more than 1000 attributes"}
		}
		t.attrs = append(t.attrs, a)
	}
	return t.resolve(d, i)
}

// resolve makes of names what documents have, by what their prefixes stand for.
func (t *tag) resolve(d *dialect, at int) *fault {
	kept, outer := t.attrs[:0], t.scope
	for _, a := range t.attrs {
		prefix, ok := strings.CutPrefix(text2string(a.raw), "xmlns")
		if !ok || prefix != "" && prefix[0] != ':' {
			kept = append(kept, a)
			continue
		}
		prefix = strings.TrimPrefix(prefix, ":")
		uri := string(a.value)
		switch {
		case len(a.raw) > len("xmlns") && (prefix == "" || strings.Contains(prefix, ":")):
			return invalid(at, "%.40s declares no prefix", a.raw)
		case prefix == "xmlns", uri == xmlnsSpace, (prefix == "xml") != (uri == xmlSpace):
			return invalid(at, "%.40s declares what can't be declared", a.raw)
		case prefix != "" && uri == "":
			return invalid(at, "the prefix %s is declared as nothing", prefix)
		}
		for s := t.scope; s != outer; s = s.parent {
			if s.prefix == prefix {
				return invalid(at, "%.40s is there twice", a.raw)
			}
		}
		t.scope = &scope{parent: t.scope, binding: binding{strings.Clone(prefix), uri}}
	}
	t.attrs = kept
	var bad *fault
	if t.name, _, bad = d.name(t.raw, t.scope, false, at); bad != nil {
		return bad
	}
	kept = t.attrs[:0]
	for _, a := range t.attrs {
		if a.name, a.space, bad = d.name(a.raw, t.scope, true, at); bad != nil {
			return bad
		}
		if a.space == xsiSpace { // says how a schema of XML sees the element, and whether it is null
			if strings.HasSuffix(text2string(a.raw), ":nil") {
				v := strings.TrimSpace(string(a.value))
				t.isNil = v == "true" || v == "1"
			}
			continue
		}
		for i := range kept {
			if kept[i].name == a.name {
				return invalid(at, "the attribute %.40s is there twice", a.raw)
			}
		}
		kept = append(kept, a)
	}
	t.attrs = kept
	return nil
}

// name is a name as documents have it.
func (d *dialect) name(raw []byte, s *scope, attribute bool, at int) (name, uri string, bad *fault) {
	if len(raw) > maxName {
		return "", "", invalid(at, "a name has more than %d bytes", maxName)
	}
	colon := bytes.IndexByte(raw, ':')
	if colon < 0 && (attribute || s == nil) {
		return text2string(raw), "", nil
	}
	prefix, local := "", raw
	if colon >= 0 {
		prefix, local = text2string(raw[:colon]), raw[colon+1:]
		if colon == 0 || len(local) == 0 || bytes.IndexByte(local, ':') >= 0 || nameByte[local[0]] != 1 {
			return "", "", invalid(at, "%.40s is no name with a prefix", raw)
		}
	}
	uri, ok := s.uri(prefix)
	if !ok {
		return "", "", invalid(at, "the prefix of %.40s is not declared", raw)
	}
	if as := d.prefixes[uri]; uri != "" && as != "" {
		if as == prefix {
			return text2string(raw), uri, nil
		}
		return as + ":" + string(local), uri, nil
	}
	return text2string(local), uri, nil
}
