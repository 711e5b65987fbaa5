package route

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table finds routes. It is immutable, so that it can be swapped whole while requests are looked up in it. T is what is
// found.
type Table[T any] struct {
	exact map[string][]entry[T] // patterns without names, by path
	root  node[T]
}

// node is a place of the tree of patterns.
type node[T any] struct {
	literals map[string]*node[T]
	one      *node[T]
	here     []entry[T]
	rest     []entry[T]
}

type entry[T any] struct {
	method string
	names  []string
	value  T
}

// Route is one route of a [Table].
type Route[T any] struct {
	Method  string // "" is every method
	Pattern *Pattern
	Value   T
}

// NewTable makes a table of routes that are not in conflict with each other.
func NewTable[T any](routes []Route[T]) *Table[T] {
	t := &Table[T]{exact: map[string][]entry[T]{}}
	for _, r := range routes {
		e := entry[T]{method: r.Method, names: r.Pattern.Names(), value: r.Value}
		n, all := &t.root, false
		for _, s := range r.Pattern.segments {
			switch s.kind {
			case literal:
				if n.literals == nil {
					n.literals = map[string]*node[T]{}
				}
				if n.literals[s.text] == nil {
					n.literals[s.text] = &node[T]{}
				}
				n = n.literals[s.text]
			case one:
				if n.one == nil {
					n.one = &node[T]{}
				}
				n = n.one
			case rest:
				all = true
			}
		}
		switch {
		case all:
			n.rest = append(n.rest, e)
		default:
			n.here = append(n.here, e)
		}
		if len(e.names) == 0 {
			t.exact[r.Pattern.text] = append(t.exact[r.Pattern.text], e)
		}
	}
	return t
}

// Match is what was found for a request.
type Match[T any] struct {
	Value T
	Found bool
	// Names and Values are the parts of the path that vary, decoded once.
	Names, Values []string
	// Allowed are the methods of the routes that match the path, where none has the request's; empty where no route matches
	// the path.
	Allowed []string
}

// ErrPath is returned for a path that is refused whatever the routes are.
var ErrPath = errors.New("the path is malformed")

// Find looks a request up. path is the path as it came, still encoded (url.URL.EscapedPath). It is never cleaned: segments of
// one or two dots, encoded or not, are refused, as are an encoding that is malformed, what is not UTF-8 when decoded, and NUL. An
// encoded slash is part of its segment's data; where {name...} would stand for it, so that it could not be told from one that
// separates, it is refused.
func (t *Table[T]) Find(method, path string) (Match[T], error) {
	if plain(path) {
		if es, ok := t.exact[path]; ok {
			if e := pick(es, method); e != nil {
				return Match[T]{Value: e.value, Found: true}, nil
			}
		}
	}
	if !strings.HasPrefix(path, "/") {
		return Match[T]{}, ErrPath
	}
	var memory [16]string
	segments := memory[:0]
	slash := len(segments) // index from which on no segment has an encoded slash
	for raw := range strings.SplitSeq(path[1:], "/") {
		s, err := decode(raw)
		if err != nil {
			return Match[T]{}, ErrPath
		}
		segments = append(segments, s)
		if strings.ContainsRune(s, '/') {
			slash = len(segments)
		}
	}
	var m Match[T]
	w := walk[T]{method: method, segments: segments, slash: slash, found: &m}
	if w.from(&t.root, 0) {
		m.Allowed = nil
		return m, nil
	}
	if w.refused {
		return Match[T]{}, ErrPath
	}
	slices.Sort(m.Allowed)
	m.Allowed = slices.Compact(m.Allowed)
	return m, nil
}

// plain reports whether nothing of a path is encoded or has dots that could mean a folder.
func plain(path string) bool {
	return strings.IndexByte(path, '%') < 0 && !strings.Contains(path, "/.")
}

// walk is one look-up.
type walk[T any] struct {
	method   string
	segments []string
	slash    int
	values   []string
	found    *Match[T]
	refused  bool
}

// from looks for what matches the segments from i on; what says more comes first.
func (w *walk[T]) from(n *node[T], i int) bool {
	if i == len(w.segments) {
		return w.take(n.here)
	}
	s := w.segments[i]
	if next := n.literals[s]; next != nil && w.from(next, i+1) {
		return true
	}
	if n.one != nil && s != "" {
		w.values = append(w.values, s)
		if w.from(n.one, i+1) {
			return true
		}
		w.values = w.values[:len(w.values)-1]
	}
	if len(n.rest) == 0 {
		return false
	}
	if w.slash > i {
		w.refused = true
		return false
	}
	w.values = append(w.values, strings.Join(w.segments[i:], "/"))
	if w.take(n.rest) {
		return true
	}
	w.values = w.values[:len(w.values)-1]
	return false
}

// take takes the one of es that has the method, or notes what they have.
func (w *walk[T]) take(es []entry[T]) bool {
	if e := pick(es, w.method); e != nil {
		w.found.Value, w.found.Found, w.found.Names, w.found.Values = e.value, true, e.names, w.values
		return true
	}
	for i := range es {
		w.found.Allowed = append(w.found.Allowed, es[i].method)
		if es[i].method == http.MethodGet {
			w.found.Allowed = append(w.found.Allowed, http.MethodHead)
		}
	}
	return false
}

// pick finds the entry for a method: its own, for HEAD that of GET, or that for all methods.
func pick[T any](es []entry[T], method string) *entry[T] {
	var get, all *entry[T]
	for i := range es {
		switch es[i].method {
		case method:
			return &es[i]
		case "":
			all = &es[i]
		case http.MethodGet:
			get = &es[i]
		}
	}
	if method == http.MethodHead && get != nil {
		return get
	}
	return all
}

// decode reads a segment as RFC 3986, section 2.1, encodes it, once.
func decode(raw string) (string, error) {
	if strings.IndexByte(raw, '%') < 0 {
		if raw == "." || raw == ".." || strings.IndexByte(raw, 0) >= 0 {
			return "", ErrPath
		}
		return raw, nil
	}
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return "", ErrPath
			}
			hi, ok := unhex(raw[i+1])
			lo, ok2 := unhex(raw[i+2])
			if !ok || !ok2 {
				return "", ErrPath
			}
			c = hi<<4 | lo
			i += 2
		}
		b = append(b, c)
	}
	s := string(b)
	if s == "." || s == ".." || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return "", ErrPath
	}
	return s, nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
