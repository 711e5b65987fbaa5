package fast

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// NodeKind is the shape of a [Node] of a data tree.
type NodeKind uint8

// The shapes of a data tree.
const (
	Const  NodeKind = iota // JSON text, the same for all messages
	Leaf                   // a program
	Object                 // Keys and Elems, in order
	Array                  // Elems
)

// Node is a node of a data tree whose leaves are compiled (LANGUAGE.md §2).
type Node struct {
	Kind    NodeKind
	JSON    []byte           // Const: the text
	Program penstock.Program // Leaf
	Keys    []string         // Object: the names, not encoded; each may stand once
	Elems   []*Node          // of Object and Array
}

// NewMapping compiles a data tree. The mapping writes JSON straight into the caller's buffer; what
// was not changed is copied as it stands in the document. An object's entry, or a list's element, whose
// value is absent is left out; a tree that as a whole is absent is an error. It is safe for
// concurrent use.
func NewMapping(root *Node) penstock.Mapping {
	m := &mapping{}
	m.add(root, "")
	m.merge()
	return m
}

// mapping is a data tree as a flat list of what to write.
type mapping struct {
	ops    []writeOp
	locals int
	limit  int64
}

type writeKind uint8

const (
	writeText  writeKind = iota // text as it is
	writeValue                  // text (the key) and then the value, both left out if it is absent; then a comma
	writeEnd                    // closes an object or list: text is its closing bracket
)

type writeOp struct {
	kind writeKind
	text []byte
	emit emitter
	path string // of the entry, for errors
}

// emitter appends a value as JSON. The error is errOmit where the value is absent.
type emitter func(dst []byte, f *penstock.Frame) ([]byte, error)

var errOmit = errors.New("the value is absent")

// add appends what writes n after text (a key), followed by a comma unless n is the root.
func (m *mapping) add(n *Node, path string) {
	switch n.Kind {
	case Const:
		m.text(n.JSON)
	case Leaf:
		m.ops = append(m.ops, writeOp{kind: writeValue, emit: m.emitterOf(n.Program), path: path})
		return
	case Object:
		m.text([]byte{'{'})
		for i, k := range n.Keys {
			key := append(jsonview.AppendString(nil, k), ':')
			below := join(path, k)
			if path == "" {
				below = k
			}
			if n.Elems[i].Kind == Leaf {
				m.ops = append(m.ops, writeOp{kind: writeValue, text: key, emit: m.emitterOf(n.Elems[i].Program), path: below})
				continue
			}
			m.text(key)
			m.add(n.Elems[i], below)
		}
		m.ops = append(m.ops, writeOp{kind: writeEnd, text: []byte{'}'}})
	case Array:
		m.text([]byte{'['})
		for i, e := range n.Elems {
			m.add(e, fmt.Sprintf("%s[%d]", path, i))
		}
		m.ops = append(m.ops, writeOp{kind: writeEnd, text: []byte{']'}})
	}
	m.text([]byte{','})
}

func (m *mapping) text(b []byte) { m.ops = append(m.ops, writeOp{kind: writeText, text: b}) }

// merge joins texts that follow each other.
func (m *mapping) merge() {
	out := m.ops[:0]
	for _, o := range m.ops {
		if n := len(out); n > 0 && o.kind == writeText && out[n-1].kind == writeText {
			out[n-1].text = append(append([]byte(nil), out[n-1].text...), o.text...)
			continue
		}
		out = append(out, o)
	}
	m.ops = out
}

// Append appends the JSON text for f.
func (m *mapping) Append(dst []byte, f *penstock.Frame) ([]byte, error) {
	if m.locals > 0 {
		prepare(f, m.locals, m.limit)
	}
	out := dst
	for i := range m.ops {
		o := &m.ops[i]
		switch o.kind {
		case writeText:
			out = append(out, o.text...)
		case writeValue:
			mark := len(out)
			out = append(out, o.text...)
			var err error
			if out, err = o.emit(out, f); err != nil {
				if !errors.Is(err, errOmit) {
					return dst, at(err, o.path)
				}
				out = out[:mark]
				continue
			}
			out = append(out, ',')
		default:
			// Every member wrote a comma after itself.
			if last := len(out) - 1; out[last] == ',' {
				out[last] = o.text[0]
			} else {
				out = append(out, o.text[0])
			}
		}
	}
	if len(out) == len(dst) {
		return dst, penstock.E(penstock.Unprocessable, "", "", "the value is absent; give a default with orValue")
	}
	return out[:len(out)-1], nil // the root's own comma
}

// within2 says which entry of the tree an error belongs to.
func at(err error, path string) error {
	var e *penstock.Error
	if path == "" || !errors.As(err, &e) {
		return err
	}
	c := *e
	if c.Op != "" {
		path += ": " + c.Op
	}
	c.Op = path
	return &c
}

// emitterOf makes what writes a program's value. Programs of this package are looked into: a path is
// copied, a template written without being put together first.
func (m *mapping) emitterOf(p penstock.Program) emitter {
	switch p := p.(type) {
	case *program:
		m.locals, m.limit = max(m.locals, p.locals), max(m.limit, p.limit)
		return p.root.emitter()
	case *template:
		m.locals, m.limit = max(m.locals, p.locals), max(m.limit, p.limit)
		return p.emit
	}
	return func(dst []byte, f *penstock.Frame) ([]byte, error) { return emitValue(dst, p.Eval(f)) }
}

// emitValue appends a value that was computed.
func emitValue(dst []byte, v penstock.Value) ([]byte, error) {
	switch v.Kind() {
	case penstock.KindAbsent:
		return dst, errOmit
	case penstock.KindOptional:
		if v.Optional().IsAbsent() {
			return dst, errOmit
		}
	}
	return v.AppendJSON(dst)
}

// emitter makes what writes the value of x.
func (x *code) emitter() emitter {
	if x.con {
		text, err := emitValue(nil, x.val)
		return func(dst []byte, _ *penstock.Frame) ([]byte, error) {
			if err != nil {
				return dst, err
			}
			return append(dst, text...), nil
		}
	}
	if x.raw != nil {
		return x.copier()
	}
	if x.write != nil {
		return x.write
	}
	in := x.eval
	if x.typ.Kind == types.Optional {
		in = x.optional()
	}
	return func(dst []byte, f *penstock.Frame) ([]byte, error) { return emitValue(dst, in(f)) }
}

// copier writes what a path finds as it stands in the document, once its kind is verified.
func (x *code) copier() emitter {
	find := x.lazy()
	return func(dst []byte, f *penstock.Frame) ([]byte, error) {
		v := find(f)
		if v.Kind() == penstock.KindNode {
			d, n := v.Node()
			return d.AppendJSON(dst, n), nil
		}
		return emitValue(dst, v)
	}
}

// lazy gives what a path finds, verified but not read: nodes keep the text of the document.
func (x *code) lazy() eval {
	raw, t, optional := x.raw, x.typ, x.inner != nil
	if t.Kind == types.Optional {
		t = t.Elem
	}
	last := ""
	if ch := x.chain; ch != nil && len(ch.steps) > 0 {
		last = ch.steps[len(ch.steps)-1].name
	}
	r := newReader(t, x.path, last)
	return func(f *penstock.Frame) penstock.Value {
		v := raw(f)
		switch v.Kind() {
		case penstock.KindNode:
			d, n := v.Node()
			if r.plainly(d, n) {
				return v
			}
			if w := r.read(f, v); w.IsError() || d.Kind(n) == jsonview.Bytes {
				return w
			}
		case penstock.KindAbsent:
			if !optional {
				return r.missing
			}
		}
		return v
	}
}

// plainly reports whether the kind of a node alone shows that it is of the type.
func (r *reader) plainly(d *jsonview.Doc, n jsonview.Node) bool {
	switch k := d.Kind(n); r.typ.Kind {
	case types.String:
		return k == jsonview.String
	case types.Double:
		return k == jsonview.Number
	case types.Decimal:
		return k == jsonview.Number
	case types.Int:
		return k == jsonview.Number && d.IsInt(n)
	case types.Bool:
		return k == jsonview.True || k == jsonview.False
	case types.List:
		return k == jsonview.Array
	case types.Map, types.Object:
		return k == jsonview.Object
	case types.Dyn:
		return k != jsonview.Invalid
	}
	return false
}
