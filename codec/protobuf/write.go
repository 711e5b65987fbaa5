package protobuf

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// misfit is why a value can't be written, at a path that is filled in on the way out.
type misfit struct {
	path string
	text string
}

func (m *misfit) at(step string) *misfit {
	m.path = step + m.path
	return m
}

func (m *misfit) error() error {
	return &penstock.Error{Code: penstock.Unprocessable, Op: "protobuf", Path: "body" + m.path, Err: fmt.Errorf("%s", m.text)}
}

func wants(what string, d *jsonview.Doc, n jsonview.Node) *misfit {
	return &misfit{text: "the schema wants " + what + ", and this is " + found(d, n)}
}

// found says what a value is, for people.
func found(d *jsonview.Doc, n jsonview.Node) string {
	switch d.Kind(n) {
	case jsonview.Null:
		return "null"
	case jsonview.Object:
		return "an object"
	case jsonview.Array:
		return "a list"
	case jsonview.String:
		return fmt.Sprintf("the text %.40q", d.Str(n, nil))
	case jsonview.Number, jsonview.True, jsonview.False:
		return fmt.Sprintf("%.40s", d.Raw(n))
	}
	return d.Kind(n).String()
}

// writing is one document that is being written. It is used again for others.
type writing struct {
	d     *jsonview.Doc
	nodes []jsonview.Node // of the fields of the messages that are being written
	key   []byte
	depth int
}

var writings = sync.Pool{New: func() any { return new(writing) }}

// write appends the bytes of a document.
func (m *message) write(dst []byte, d *jsonview.Doc) ([]byte, *misfit) {
	w := writings.Get().(*writing)
	w.d, w.nodes, w.depth = d, w.nodes[:0], 0
	out, bad := m.body(w, dst, 0)
	w.d = nil
	writings.Put(w)
	return out, bad
}

// body appends the fields of a message, without its length.
func (m *message) body(w *writing, dst []byte, v jsonview.Node) ([]byte, *misfit) {
	if w.depth++; w.depth > maxDepth {
		return dst, &misfit{text: fmt.Sprintf("it is nested more than %d deep", maxDepth)}
	}
	var bad *misfit
	if m.as == plain {
		dst, bad = m.object(w, dst, v, "")
	} else {
		dst, bad = m.writeSpecial(w, dst, v)
	}
	w.depth--
	return dst, bad
}

// object appends the members of an object; but is a member that is none of the message.
func (m *message) object(w *writing, dst []byte, v jsonview.Node, but string) ([]byte, *misfit) {
	d := w.d
	if d.Kind(v) != jsonview.Object {
		return dst, wants("a message "+m.name, d, v)
	}
	base := len(w.nodes)
	w.nodes = slices.Grow(w.nodes, len(m.fields))[:base+len(m.fields)]
	nodes := w.nodes[base:]
	for i := range nodes {
		nodes[i] = jsonview.None
	}
	next := 0 // mostly the members are in the order of the fields
	for k := d.First(v); k != jsonview.None; k = d.Next(k) {
		w.key = d.Key(k, w.key)
		i := next
		for i < len(m.fields) && m.fields[i].name != string(w.key) && i-next < 4 {
			i++
		}
		if i >= len(m.fields) || m.fields[i].name != string(w.key) {
			at, ok := m.byName[string(w.key)]
			if !ok {
				if but != "" && string(w.key) == but {
					continue
				}
				return dst, (&misfit{text: "the message " + m.name + " of the schema has no such field"}).at("." + string(w.key))
			}
			i = int(at)
		}
		if nodes[i] != jsonview.None {
			return dst, (&misfit{text: "it is there twice, by the name of the source and by that of JSON"}).at("." + m.fields[i].name)
		}
		nodes[i] = d.Value(k)
		next = i + 1
	}
	dst, bad := m.values(w, dst, base)
	w.nodes = w.nodes[:base]
	return dst, bad
}

// values appends the fields whose nodes were found.
func (m *message) values(w *writing, dst []byte, base int) ([]byte, *misfit) {
	var oneofs []int32 // the field of each that is there
	for i := range m.fields {
		f, n := &m.fields[i], w.nodes[base+i]
		if n == jsonview.None || w.d.Kind(n) == jsonview.Null && !f.takesNull() {
			if f.required {
				return dst, (&misfit{text: "the schema requires a value here, and there is none"}).at("." + f.name)
			}
			continue
		}
		if f.oneof >= 0 {
			for _, other := range oneofs {
				if m.fields[other].oneof == f.oneof {
					return dst, (&misfit{text: "the schema has either this or " + m.fields[other].name + ", and both are there"}).at("." + f.name)
				}
			}
			oneofs = append(oneofs, int32(i))
		}
		var bad *misfit
		if dst, bad = f.write(w, dst, n); bad != nil {
			return dst, bad.at("." + f.name)
		}
	}
	return dst, nil
}

// takesNull says that null is a value of the field, not the lack of one.
func (f *field) takesNull() bool {
	return !f.list && (f.null && f.oneof >= 0 || f.msg != nil && f.msg.as == structValue && !f.isMap)
}

// write appends a field with its tag.
func (f *field) write(w *writing, dst []byte, n jsonview.Node) ([]byte, *misfit) {
	switch {
	case f.isMap:
		return f.writeMap(w, dst, n)
	case f.list:
		return f.writeList(w, dst, n)
	case f.implicit:
		mark := len(dst)
		dst = append(dst, f.tag...)
		content := len(dst)
		dst, bad := f.value(w, dst, n)
		if bad == nil && allZero(dst[content:]) { // what is zero is not written
			dst = dst[:mark]
		}
		return dst, bad
	}
	return f.value(w, append(dst, f.tag...), n)
}

// allZero says whether bytes are those of a zero: one of varint, a length of nothing, fixed ones.
func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (f *field) writeList(w *writing, dst []byte, n jsonview.Node) ([]byte, *misfit) {
	d := w.d
	if d.Kind(n) != jsonview.Array {
		return dst, wants("a list", d, n)
	}
	if d.Len(n) == 0 {
		return dst, nil
	}
	var bad *misfit
	i, begin := 0, 0
	if f.packed {
		dst = append(append(dst, f.packTag...), 0)
		begin = len(dst)
	}
	for e := d.First(n); e != jsonview.None; e = d.Next(e) {
		if !f.packed {
			dst = append(dst, f.tag...)
		}
		if dst, bad = f.value(w, dst, e); bad != nil {
			return dst, bad.at("[" + strconv.Itoa(i) + "]")
		}
		i++
	}
	if f.packed {
		dst = lengthBefore(dst, begin)
	}
	return dst, nil
}

func (f *field) writeMap(w *writing, dst []byte, n jsonview.Node) ([]byte, *misfit) {
	d := w.d
	if d.Kind(n) != jsonview.Object {
		return dst, wants("an object", d, n)
	}
	for k := d.First(n); k != jsonview.None; k = d.Next(k) {
		dst = append(append(dst, f.tag...), 0)
		begin := len(dst)
		key := string(d.Key(k, nil))
		var ok bool
		if dst, ok = f.mapKey.writeKey(append(dst, f.mapKey.tag...), key); !ok {
			return dst, (&misfit{text: "the schema wants keys of " + f.mapKey.what()}).at("." + key)
		}
		var bad *misfit
		if dst, bad = f.mapValue.value(w, append(dst, f.mapValue.tag...), d.Value(k)); bad != nil {
			return dst, bad.at("." + key)
		}
		dst = lengthBefore(dst, begin)
	}
	return dst, nil
}

// lengthBefore puts the length of what begins at begin into the byte before it, and makes room where it needs more.
func lengthBefore(dst []byte, begin int) []byte {
	size := len(dst) - begin
	if size < 0x80 {
		dst[begin-1] = byte(size)
		return dst
	}
	var buf [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(buf[:], uint64(size))
	dst = append(dst, buf[:n-1]...)
	copy(dst[begin+n-1:], dst[begin:begin+size])
	copy(dst[begin-1:], buf[:n])
	return dst
}

// value appends one value without its tag.
func (f *field) value(w *writing, dst []byte, n jsonview.Node) ([]byte, *misfit) {
	d := w.d
	kind := d.Kind(n)
	switch f.kind {
	case protoreflect.MessageKind:
		dst = append(dst, 0)
		begin := len(dst)
		dst, bad := f.msg.body(w, dst, n)
		if bad != nil {
			return dst, bad
		}
		return lengthBefore(dst, begin), nil
	case protoreflect.GroupKind:
		dst, bad := f.msg.body(w, dst, n)
		return appendTag(dst, f.num, wireEnd), bad
	case protoreflect.StringKind:
		if kind != jsonview.String {
			return dst, wants("text", d, n)
		}
		s := d.Str(n, nil)
		return append(appendVarint(dst, uint64(len(s))), s...), nil
	case protoreflect.BytesKind:
		raw, ok := bytesOf(d, n)
		if !ok {
			return dst, wants("bytes, which stand as base64 in a document", d, n)
		}
		return append(appendVarint(dst, uint64(len(raw))), raw...), nil
	case protoreflect.BoolKind:
		switch kind {
		case jsonview.True:
			return append(dst, 1), nil
		case jsonview.False:
			return append(dst, 0), nil
		}
		return dst, wants("true or false", d, n)
	case protoreflect.EnumKind:
		return f.writeEnum(dst, d, n)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return f.writeFloat(dst, d, n)
	}
	return f.writeInt(dst, d, n)
}

func bytesOf(d *jsonview.Doc, n jsonview.Node) ([]byte, bool) {
	switch d.Kind(n) {
	case jsonview.Bytes:
		return d.Bytes(), true
	case jsonview.String:
		raw, err := base64.StdEncoding.DecodeString(d.Str(n, nil))
		return raw, err == nil
	}
	return nil, false
}

func (f *field) writeEnum(dst []byte, d *jsonview.Doc, n jsonview.Node) ([]byte, *misfit) {
	switch d.Kind(n) {
	case jsonview.Null:
		if f.null {
			return append(dst, 0), nil
		}
	case jsonview.String:
		if i, ok := f.enum.byName[d.Str(n, nil)]; ok {
			return appendVarint(dst, uint64(int64(i))), nil
		}
	case jsonview.Number:
		if i, ok := d.Int(n); ok && i >= math.MinInt32 && i <= math.MaxInt32 && f.enum.text(int32(i)) != nil {
			return appendVarint(dst, uint64(i)), nil
		}
	}
	names := make([]string, 0, len(f.enum.byName))
	for name := range f.enum.byName {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(f.enum.byName[a] - f.enum.byName[b]) })
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return dst, wants("one of "+strings.Join(names, ", "), d, n)
}

func (f *field) writeFloat(dst []byte, d *jsonview.Doc, n jsonview.Node) ([]byte, *misfit) {
	var v float64
	ok := false
	switch d.Kind(n) {
	case jsonview.Number:
		v, ok = d.Float(n)
	case jsonview.String:
		switch d.Str(n, nil) {
		case "NaN":
			v, ok = math.NaN(), true
		case "Infinity":
			v, ok = math.Inf(1), true
		case "-Infinity":
			v, ok = math.Inf(-1), true
		}
	}
	if !ok {
		return dst, wants("a number", d, n)
	}
	if f.kind == protoreflect.DoubleKind {
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), nil
	}
	if math.Abs(v) > math.MaxFloat32 && !math.IsInf(v, 0) {
		return dst, wants("a number of 32 bits", d, n)
	}
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v))), nil
}

// writeInt appends a whole number; one as text, as ProtoJSON has those of 64 bits, is taken too.
func (f *field) writeInt(dst []byte, d *jsonview.Doc, n jsonview.Node) ([]byte, *misfit) {
	var text string
	switch d.Kind(n) {
	case jsonview.Number:
		if i, ok := d.Int(n); ok {
			return f.signed(dst, i, d, n)
		}
		text = text2string(d.Raw(n))
	case jsonview.String:
		text = d.Str(n, nil)
	default:
		return dst, wants("a whole number", d, n)
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return f.signed(dst, i, d, n)
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil && (f.kind == protoreflect.Uint64Kind || f.kind == protoreflect.Fixed64Kind) {
		if f.kind == protoreflect.Fixed64Kind {
			return binary.LittleEndian.AppendUint64(dst, u), nil
		}
		return appendVarint(dst, u), nil
	}
	if d.Kind(n) == jsonview.Number { // 1.0, 1e3
		if v, ok := d.Float(n); ok && v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return f.signed(dst, int64(v), d, n)
		}
	}
	return dst, wants("a whole number", d, n)
}

func (f *field) signed(dst []byte, i int64, d *jsonview.Doc, n jsonview.Node) ([]byte, *misfit) {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		if i < math.MinInt32 || i > math.MaxInt32 {
			return dst, wants("a whole number of 32 bits", d, n)
		}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		if i < 0 || i > math.MaxUint32 {
			return dst, wants("a whole number of 32 bits, without a sign", d, n)
		}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if i < 0 {
			return dst, wants("a whole number without a sign", d, n)
		}
	}
	return f.integer(dst, i), nil
}

// integer appends a whole number that fits.
func (f *field) integer(dst []byte, i int64) []byte {
	switch f.kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return binary.AppendVarint(dst, i)
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return binary.LittleEndian.AppendUint32(dst, uint32(i))
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return binary.LittleEndian.AppendUint64(dst, uint64(i))
	}
	return appendVarint(dst, uint64(i))
}

// writeKey appends the key of a map.
func (f *field) writeKey(dst []byte, key string) ([]byte, bool) {
	switch f.kind {
	case protoreflect.StringKind:
		return append(appendVarint(dst, uint64(len(key))), key...), true
	case protoreflect.BoolKind:
		if key == "true" {
			return append(dst, 1), true
		}
		return append(dst, 0), key == "false"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		u, err := strconv.ParseUint(key, 10, 64)
		return f.integer(dst, int64(u)), err == nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, err := strconv.ParseUint(key, 10, 32)
		return f.integer(dst, int64(u)), err == nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, err := strconv.ParseInt(key, 10, 32)
		return f.integer(dst, i), err == nil
	}
	i, err := strconv.ParseInt(key, 10, 64)
	return f.integer(dst, i), err == nil
}
