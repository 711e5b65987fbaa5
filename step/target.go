package step

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Root says what part of a message a [Target] names.
type Root uint8

// The roots of targets. Discard is `into: none`.
const (
	Body Root = iota
	Vars
	Meta
	Key
	Discard
)

// PathStep is one field name, or a list index where Name is empty.
type PathStep = penstock.PathStep

// Each is the Index of a PathStep that stands for every element of a list and for every field of an object that
// no other path of the same step names. Only [Mask] and [Remove] know it: it is how a class of the schema reaches
// into lists.
const Each = -1

// Target is where a value goes: a compiled path (LANGUAGE.md §2). Steps lists the fields
// below the root; for Vars the first name has become Slot, for Meta it is Name.
type Target struct {
	Root  Root
	Slot  int    // of Vars
	Name  string // of Vars, for messages; of Meta
	Steps []PathStep
}

// String gives the path as it is written: body.lines[0].price. [*] stands for [Each].
func (t Target) String() string {
	var dst []byte
	switch t.Root {
	case Body:
		dst = append(dst, "body"...)
	case Vars:
		dst = append(dst, "vars"...)
		if t.Name != "" {
			dst = appendPath(dst, []PathStep{{Name: t.Name}})
		}
	case Meta:
		dst = appendPath(append(dst, "meta"...), []PathStep{{Name: t.Name}})
	case Key:
		return "key"
	default:
		return "none"
	}
	return string(appendPath(dst, t.Steps))
}

// Assign writes v to t in message m of b. Errors name the path.
//
// The body is never changed in place: a value for the whole body becomes its document (a whole document as it is,
// without a copy), a path in the body is edited as [Set] does it. A variable or header shares v, whose memory lives as
// long as the batch; a path inside a variable or header makes a new list or map around it. The key takes strings,
// numbers and bools as text; null and absent make it empty.
//
// An absent value (or an optional that holds none) takes away what is at the path; the whole body becomes null.
// An error value is returned as an error, and nothing is changed.
func Assign(b *penstock.Batch, m *penstock.Message, t Target, v penstock.Value) error {
	v = unwrap(v)
	if v.IsError() {
		return v.Err()
	}
	switch t.Root {
	case Body:
		if len(t.Steps) == 0 {
			return assignBody(b, m, v)
		}
		return assignField(b, m, t, v)
	case Vars:
		for t.Slot >= len(m.Vars) {
			m.Vars = append(m.Vars, penstock.Absent)
		}
		nv, err := putIn(m.Vars[t.Slot], t.Steps, v)
		if err != nil {
			return at(Target{Root: Vars, Name: t.Name}.String(), err)
		}
		m.Vars[t.Slot] = nv
	case Meta:
		if len(t.Steps) > 0 {
			nv, err := putIn(m.Meta.Get(t.Name), t.Steps, v)
			if err != nil {
				return at(Target{Root: Meta, Name: t.Name}.String(), err)
			}
			v = nv
		}
		m.Meta.Set(t.Name, v)
	case Key:
		key, err := keyText(b, v)
		if err != nil {
			return at("key", err)
		}
		m.Key = key
	}
	return nil
}

// assignBody makes v the body.
func assignBody(b *penstock.Batch, m *penstock.Message, v penstock.Value) error {
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		switch {
		case n == 0:
			m.Body = d
			return nil
		case d.Format() == jsonview.JSON && d.Kind(n) != jsonview.Invalid:
			setBody(b, m, d.Raw(n)) // as immutable as the document it lies in
			return nil
		}
	}
	if v.IsAbsent() {
		v = penstock.Null
	}
	arena := b.Arena()
	text, err := appendValue(arena.Tail(sizeOf(v)), v)
	if err != nil {
		return at("body", err)
	}
	setBody(b, m, arena.Keep(text))
	return nil
}

// setBody gives m a new document of the JSON text, which must live as long as the batch.
func setBody(b *penstock.Batch, m *penstock.Message, text []byte) {
	m.Body = document(b, text)
}

func document(b *penstock.Batch, text []byte) *jsonview.Doc {
	d := b.NewDoc()
	d.Reset(jsonview.JSON, text)
	return d
}

// assignField edits one path of the body.
func assignField(b *penstock.Batch, m *penstock.Message, t Target, v penstock.Value) error {
	var (
		s     splicer
		nodes = make([]editNode, len(t.Steps)+1)
		ch    = [1]change{{kind: put, value: v}}
	)
	if v.IsAbsent() {
		ch[0].kind = drop
	}
	for i := range t.Steps {
		nodes[i].leaf = -1
		nodes[i+1].step = t.Steps[i]
		nodes[i].kids = nodes[i+1 : i+2]
	}
	return s.edit(b, m, &nodes[0], ch[:])
}

// keyText is v as a message's key.
func keyText(b *penstock.Batch, v penstock.Value) (string, error) {
	switch v.Kind() {
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	case penstock.KindString:
		return v.Str(), nil
	case penstock.KindNode:
		d, n := v.Node()
		if err := read(d); err != nil {
			return "", err
		}
		switch d.Kind(n) {
		case jsonview.String:
			return d.Str(n, b.Arena().Alloc), nil
		case jsonview.Null:
			return "", nil
		case jsonview.Array, jsonview.Object, jsonview.Invalid:
			return "", notKey(d.Kind(n).String())
		}
	case penstock.KindList:
		return "", notKey("list")
	case penstock.KindMap:
		return "", notKey("map")
	}
	arena := b.Arena()
	text, err := v.AppendText(arena.Tail(sizeOf(v)))
	if err != nil {
		return "", err
	}
	return text2string(arena.Keep(text)), nil
}

func notKey(kind string) error {
	return &penstock.Error{Code: penstock.Unprocessable, Err: errors.New("the key can't be " + article(kind)),
		Hint: "a key is a string, a number or a bool"}
}

// appendValue is v.AppendJSON, but that a document which was not read yet is checked before its text goes into another.
func appendValue(dst []byte, v penstock.Value) ([]byte, error) {
	if v.Kind() == penstock.KindNode {
		d, _ := v.Node()
		if err := read(d); err != nil {
			return dst, err
		}
		if len(d.Bytes()) == 0 && d.Format() == jsonview.JSON {
			return append(dst, "null"...), nil
		}
	}
	return v.AppendJSON(dst)
}

// unwrap gives what an optional holds, however deep; Absent for none.
func unwrap(v penstock.Value) penstock.Value {
	for v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	return v
}

// read reads d, if that wasn't done before. The empty document, which has no text, is null.
func read(d *jsonview.Doc) error {
	if d.Format() == jsonview.JSON && len(d.Bytes()) == 0 {
		return nil
	}
	err := d.Parse(jsonview.Limits{})
	if err == nil {
		return nil
	}
	var e *penstock.Error
	if errors.As(err, &e) {
		return e
	}
	return &penstock.Error{Code: penstock.Invalid, Err: err}
}

// sizeOf guesses how much JSON text v makes, so that it is rarely moved while it grows.
func sizeOf(v penstock.Value) int {
	switch v.Kind() {
	case penstock.KindString:
		return len(v.Str()) + len(v.Str())/16 + 8
	case penstock.KindBytes:
		return len(v.Bytes())*4/3 + 8
	case penstock.KindNode:
		d, n := v.Node()
		return len(d.Raw(n)) + 32
	case penstock.KindList:
		return 32 * (1 + len(v.List().Elems))
	case penstock.KindMap:
		return 48 * (1 + len(v.Map().Entries))
	}
	return 48
}

// at puts a place before an error of writing there.
func at(path string, err error) error {
	var e *penstock.Error
	if !errors.As(err, &e) || error(e) != err { //nolint:errorlint // only an unwrapped error is changed in place
		return &penstock.Error{Code: penstock.CodeOf(err), Path: path, Err: err}
	}
	c := *e
	switch {
	case c.Path == "":
		c.Path = path
	case path == "":
	case c.Path[0] == '[' || c.Path[0] == '.':
		c.Path = path + c.Path
	default:
		c.Path = path + "." + c.Path
	}
	return &c
}

// failed gives err the verb of the step.
func failed(verb string, err error) error {
	var e *penstock.Error
	if errors.As(err, &e) && error(e) == err && e.Op == "" { //nolint:errorlint // only an unwrapped error is changed in place
		c := *e
		c.Op = verb
		return &c
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Op: verb, Err: err}
}

// computing says what was being computed when err came.
func computing(verb, what string, err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: verb, Path: what, Err: err}
}

// article puts a or an before the name of a kind.
func article(kind string) string {
	switch kind {
	case "null", "bytes":
		return kind
	case "array":
		kind = "list"
	case "true", "false":
		kind = "bool"
	case "object", "int", "error", "optional":
		return "an " + kind
	}
	return fmt.Sprintf("a %s", kind)
}
