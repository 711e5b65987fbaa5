// Package route reads the patterns of HTTP routes, tells which of them want the same requests, and finds the one that
// a request is for. The compiler finds conflicts with it before anything runs, the listener serves by it.
//
// A pattern is a path: /orders/{id}/lines, /files/{path...}. It matches exactly, also at its end: /orders and /orders/ are
// two paths. {name} stands for one segment that is not empty, {name...} at the end for all that follows, which may be
// nothing. Of two patterns that match a path, the one wins that says more: a segment as it is written before {name}, that before
// {name...}. Where neither does, they are in conflict.
package route

import (
	"errors"
	"fmt"
	"strings"
)

// Pattern is a pattern, read. It is immutable.
type Pattern struct {
	text     string
	segments []segment
}

// segment is one segment of a pattern.
type segment struct {
	kind kind
	text string // a literal, decoded; or the name
}

type kind uint8

// The kinds of segments, from the one that says most.
const (
	literal kind = iota
	one          // {name}
	rest         // {name...}
)

// Parse reads a pattern. The error says what is wrong with it.
func Parse(text string) (*Pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("the path %q does not begin with /", text)
	}
	if strings.ContainsAny(text, "?#") {
		return nil, fmt.Errorf("the path %q has a %q: a route is a path, without query", text, text[strings.IndexAny(text, "?#")])
	}
	p := &Pattern{text: text}
	seen := map[string]bool{}
	parts := strings.Split(text[1:], "/")
	for i, part := range parts {
		s, err := parseSegment(part)
		switch {
		case err != nil:
			return nil, fmt.Errorf("the path %q: %w", text, err)
		case part == "" && i < len(parts)-1:
			return nil, fmt.Errorf("the path %q has an empty segment", text)
		case s.kind == rest && i < len(parts)-1:
			return nil, fmt.Errorf("the path %q: {%s...} stands for all that follows, so nothing can stand behind it", text, s.text)
		case s.kind != literal && seen[s.text]:
			return nil, fmt.Errorf("the path %q names {%s} twice", text, s.text)
		}
		seen[s.text] = s.kind != literal
		p.segments = append(p.segments, s)
	}
	return p, nil
}

func parseSegment(part string) (segment, error) {
	if !strings.ContainsAny(part, "{}") {
		text, err := decode(part)
		if err != nil {
			return segment{}, err
		}
		return segment{literal, text}, nil
	}
	name, ok := strings.CutSuffix(strings.TrimPrefix(part, "{"), "}")
	if !ok || part[0] != '{' || strings.ContainsAny(name, "{}") {
		return segment{}, fmt.Errorf("%q is neither text nor one {name}: a name takes a whole segment", part)
	}
	name, all := strings.CutSuffix(name, "...")
	if !isName(name) {
		return segment{}, fmt.Errorf("{%s}: a name begins with a-z and has letters and digits only, so that expressions can say request.path.%s", name, "name")
	}
	if all {
		return segment{rest, name}, nil
	}
	return segment{one, name}, nil
}

// isName reports whether expressions can read it (LANGUAGE.md §1).
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'):
		default:
			return false
		}
	}
	return s != ""
}

// String is the pattern as it was written.
func (p *Pattern) String() string { return p.text }

// Names lists the names of the pattern's parts that vary, in order.
func (p *Pattern) Names() []string {
	var out []string
	for _, s := range p.segments {
		if s.kind != literal {
			out = append(out, s.text)
		}
	}
	return out
}

// ErrConflict is matched by what [Conflict] returns.
var ErrConflict = errors.New("two routes match the same requests")

// Conflict says whether two routes match the same requests and none of them says more; the empty method is every one. Where
// the paths say the same, the route with a method wins over the one without.
func Conflict(method string, p *Pattern, otherMethod string, q *Pattern) bool {
	if method != otherMethod && method != "" && otherMethod != "" {
		return false
	}
	switch p.compare(q) {
	case same:
		return method == otherMethod
	case crossing:
		return true
	}
	return false
}

type relation uint8

const (
	apart    relation = iota // no path matches both
	same                     // the same paths match both
	nested                   // all that match one match the other
	crossing                 // some match both, some only the one, some only the other
)

func (p *Pattern) compare(q *Pattern) relation {
	more, less := false, false // p says more somewhere; q does
	for i := 0; ; i++ {
		a, aok := at(p, i)
		b, bok := at(q, i)
		switch {
		case !aok && !bok:
			return relate(more, less)
		case aok && a.kind == rest && bok && b.kind == rest:
			return relate(more, less)
		case aok && a.kind == rest: // matches whatever q has there, and more
			return relate(more, true)
		case bok && b.kind == rest:
			return relate(true, less)
		case aok != bok:
			return apart
		case a.kind == literal && b.kind == literal:
			if a.text != b.text {
				return apart
			}
		case a.kind == one && b.kind == one:
		case a.kind == one:
			if b.text == "" {
				return apart // {name} is never empty
			}
			less = true
		case a.text == "":
			return apart
		default:
			more = true
		}
	}
}

func at(p *Pattern, i int) (segment, bool) {
	if i < len(p.segments) {
		return p.segments[i], true
	}
	return segment{}, false
}

func relate(more, less bool) relation {
	switch {
	case more && less:
		return crossing
	case more || less:
		return nested
	}
	return same
}
