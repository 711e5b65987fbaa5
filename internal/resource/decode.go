package resource

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// NodeDecoder is implemented (on the pointer) by a type that reads itself from a node.
type NodeDecoder interface {
	DecodeNode(n *Node, d *Decoder)
}

// checker is implemented (on the pointer) by a struct of this package with rules that no tag
// can state. It is called once the struct is decoded.
type checker interface{ check(d *Decoder) }

// Decoder turns nodes into Go values. Findings go to Diags. It is not safe for concurrent use.
type Decoder struct {
	Diags *diag.List
	// Registry decodes the configuration of codecs in place, and checks the names of connectors; nil
	// leaves a Format's Config the *Node that stands there.
	Registry *penstock.Registry
	// Secrets collects the secrets that were referred to. The values are put in before a driver
	// is built.
	Secrets []SecretUse

	infos map[reflect.Type]*structInfo
	field string // the name of what a NodeDecoder reads
}

// SecretUse is a place in a decoded configuration that refers to a secret.
type SecretUse struct {
	Name   string
	Pos    penstock.Pos
	Target penstock.Secret // the same cell as in the configuration: what to bind
}

// Decode decodes n into the value that into points to, with a zero [Decoder].
func Decode(n *Node, into any, l *diag.List) {
	d := &Decoder{Diags: l}
	d.Decode(n, into)
}

// Decode decodes n into the value that into points to. Types that the package comment does not list
// are a fault of the program, and panic.
func (d *Decoder) Decode(n *Node, into any) {
	d.value(n, reflect.ValueOf(into).Elem(), &fieldInfo{})
}

// DecodeConfig decodes the configuration of the driver that the registry has under kind
// (penstock.KindOfSource …) and name. It returns the driver and a pointer to its configuration, also
// where that has errors; a driver that is not there is reported at pos, and nil.
func (d *Decoder) DecodeConfig(r *penstock.Registry, kind, name string, pos penstock.Pos, n *Node) (*penstock.Driver, any) {
	drv, ok := r.Lookup(kind, name)
	if !ok {
		var names []string
		for _, o := range r.Drivers(kind) {
			names = append(names, o.Spec.Name)
		}
		d.Diags.Errorf(pos, "unknown-driver", name, hintFor(name, names), "this program has no %s called `%s`", kind, name)
		return nil, nil
	}
	config := drv.NewConfig()
	before := d.Diags.Len()
	d.value(n, reflect.ValueOf(config).Elem(), &fieldInfo{name: name})
	if v, ok := config.(penstock.Resolver); ok && d.Diags.Len() == before {
		for _, err := range v.Validate() {
			d.Diags.Errorf(n.Pos, "driver-config", name, "", "%s: %v", name, err)
		}
	}
	return drv, config
}

func (d *Decoder) errorf(pos penstock.Pos, code, text, hint, format string, args ...any) {
	d.Diags.Errorf(pos, code, text, hint, format, args...)
}

// wrong reports that n is not what the field wants.
func (d *Decoder) wrong(n *Node, f *fieldInfo, want, hint string) {
	found := n.Kind.String()
	switch n.Kind {
	case NodeNull:
		d.errorf(n.Pos, "wrong-type", n.Text, "give it a value, or leave it out", "%sis empty; %s is wanted", f.subject(), want)
		return
	case NodeBool, NodeInt, NodeFloat, NodeText:
		found += " `" + clip(n.Text) + "`"
	}
	d.errorf(n.Pos, "wrong-type", clip(n.Text), hint, "%swants %s, and this is %s", f.subject(), want, found)
}

// subject names the field at the beginning of a message: "`level` ".
func (f *fieldInfo) subject() string {
	if f.name == "" {
		return "this place "
	}
	return "`" + f.name + "` "
}

// clip shortens a text for a message.
func clip(s string) string {
	s, _, more := strings.Cut(s, "\n")
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	if more {
		s += " …"
	}
	return s
}

// value decodes n into v.
func (d *Decoder) value(n *Node, v reflect.Value, f *fieldInfo) {
	if v.CanAddr() {
		p := v.Addr().Interface()
		if own, ok := p.(NodeDecoder); ok {
			outer := d.field
			d.field = f.name
			own.DecodeNode(n, d)
			d.field = outer
			d.checked(p)
			return
		}
		if own, ok := p.(orderedDecoder); ok {
			own.decodeOrdered(n, d, f)
			return
		}
		if d.known(n, p, f) {
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), f)
		v.Set(p)
	case reflect.Struct:
		d.structure(n, v, f, nil)
		if v.CanAddr() {
			d.checked(v.Addr().Interface())
		}
	case reflect.Slice:
		d.list(n, v, f)
	case reflect.Map:
		d.mapOf(n, v, f)
	default:
		d.scalar(n, v, f)
	}
}

func (d *Decoder) checked(p any) {
	if c, ok := p.(checker); ok {
		c.check(d)
	}
}

// structure decodes the fields of a struct. extra may take entries that no field has; it
// reports whether it did.
func (d *Decoder) structure(n *Node, v reflect.Value, f *fieldInfo, extra func(e *NodeEntry) bool) {
	info := d.info(v.Type())
	if info.place != nil {
		v.FieldByIndex(info.place).Set(reflect.ValueOf(Place{n.Pos, n}))
	}
	if s := info.self; s != nil {
		own := *s
		own.name = f.name
		if s.rules.required && n.Kind == NodeNull {
			d.wrong(n, f, describe(s.typ, &s.rules), "")
			return
		}
		d.value(n, v.FieldByIndex(s.index), &own)
		return
	}
	if n.Kind != NodeMap {
		hint := "write `" + f.name + ": {}`"
		if len(info.fields) > 0 {
			hint = "write it as `{ " + info.fields[0].name + ": … }`"
		}
		if n.Kind == NodeNull {
			d.errorf(n.Pos, "wrong-type", n.Text, hint, "%sis empty; a map is wanted", f.subject())
		} else {
			d.wrong(n, f, "a map", hint)
		}
		d.defaults(v, n.Pos)
		return
	}
	seen := make([]bool, len(info.fields))
	for i := range n.Entries {
		e := &n.Entries[i]
		at := info.find(e.Key)
		switch {
		case at >= 0:
			seen[at] = true
			fi := &info.fields[at]
			d.value(e.Value, v.FieldByIndex(fi.index), fi)
		case extra != nil && extra(e):
		default:
			d.unknown(e, info, f)
		}
	}
	for i := range info.fields {
		fi := &info.fields[i]
		if seen[i] {
			continue
		}
		if fi.rules.required {
			d.errorf(n.Pos, "missing-field", "", "add `"+fi.name+": …`", "%sneeds the field `%s`", f.subject(), fi.name)
		}
		d.defaultOf(v.FieldByIndex(fi.index), fi, n.Pos)
	}
}

func (s *structInfo) find(name string) int {
	for i := range s.fields {
		if s.fields[i].name == name {
			return i
		}
	}
	return -1
}

func (s *structInfo) names() []string {
	out := make([]string, len(s.fields))
	for i := range s.fields {
		out[i] = s.fields[i].name
	}
	return out
}

// unknown reports an entry that the struct has no field for.
func (d *Decoder) unknown(e *NodeEntry, info *structInfo, f *fieldInfo) {
	if isUnsupported(info.name, e.Key) {
		d.unsupported(e.KeyPos, e.Key)
		return
	}
	where := ""
	if f.name != "" {
		where = " in `" + f.name + "`"
	}
	d.errorf(e.KeyPos, "unknown-field", e.Key, hintFor(e.Key, info.names()), "unknown field `%s`%s", e.Key, where)
}

// unsupported reports a word of the language that this version doesn't know yet.
func (d *Decoder) unsupported(pos penstock.Pos, word string) {
	d.errorf(pos, "unsupported", word, "leave it out, or use a later version", "`%s` is part of the language but not supported by this version", word)
}

// defaults gives the fields of a struct that is left out their defaults.
func (d *Decoder) defaults(v reflect.Value, pos penstock.Pos) {
	info := d.info(v.Type())
	if info.place != nil {
		p := v.FieldByIndex(info.place)
		if p.Interface().(Place).Node == nil {
			p.Set(reflect.ValueOf(Place{Pos: pos}))
		}
	}
	for i := range info.fields {
		d.defaultOf(v.FieldByIndex(info.fields[i].index), &info.fields[i], pos)
	}
}

func (d *Decoder) defaultOf(v reflect.Value, f *fieldInfo, pos penstock.Pos) {
	switch {
	case f.rules.hasDef:
		n := &Node{Kind: NodeText, Text: f.rules.def, Pos: pos, TextPos: pos}
		if isPlainNumber(v.Type()) {
			n.Kind = readScalar12(f.rules.def)
		}
		n.Bool = n.Kind == NodeBool && n.Text == "true"
		if _, ok := v.Addr().Interface().(*penstock.Format); ok { // default=json is { json: {} }
			n = &Node{Kind: NodeMap, Pos: pos, Entries: []NodeEntry{{Key: n.Text, KeyPos: pos, Value: &Node{Kind: NodeMap, Pos: pos}}}}
		}
		own := *f
		own.rules.literal = true
		var l diag.List
		(&Decoder{Diags: &l, Registry: d.Registry, infos: d.infos}).value(n, v, &own)
		if l.Len() > 0 {
			panic(fmt.Sprintf("resource: the default %q of %s: %v", f.rules.def, f.name, l.Sorted()[0]))
		}
	case v.Kind() == reflect.Struct && d.plain(v):
		d.defaults(v, pos)
	}
}

// isPlainNumber reports whether t is a number or a bool in the file, not a quantity with its unit.
func isPlainNumber(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[penstock.Duration](), reflect.TypeFor[time.Duration](), reflect.TypeFor[penstock.Size](), reflect.TypeFor[penstock.Share]():
		return false
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Float64
}

// plain reports whether v is a struct that is decoded by its fields.
func (d *Decoder) plain(v reflect.Value) bool {
	if !v.CanAddr() {
		return false
	}
	switch v.Addr().Interface().(type) {
	case NodeDecoder, orderedDecoder:
		return false
	}
	return !isKnownType(v.Type()) && d.info(v.Type()).self == nil
}

func (d *Decoder) list(n *Node, v reflect.Value, f *fieldInfo) {
	if n.Kind != NodeList {
		d.wrong(n, f, "a list", "write it as a list, even of one: `- …`")
		return
	}
	d.bounds(n, f, len(n.Elems), "element")
	out := reflect.MakeSlice(v.Type(), len(n.Elems), len(n.Elems))
	elem := fieldInfo{name: f.name, rules: rules{name: f.rules.name, dns: f.rules.dns, enum: f.rules.enum, literal: f.rules.literal}}
	for i, e := range n.Elems {
		d.value(e, out.Index(i), &elem)
	}
	v.Set(out)
}

func (d *Decoder) bounds(n *Node, f *fieldInfo, count int, what string) {
	if f.rules.nonempty && count == 0 {
		d.errorf(n.Pos, "empty", "", "add at least one", "%sis empty", f.subject())
		return
	}
	if lo, err := strconv.Atoi(f.rules.min); err == nil && count < lo {
		d.errorf(n.Pos, "out-of-range", "", "", "%shas %s; at least %d are needed", f.subject(), counted(count, what), lo)
	}
	if hi, err := strconv.Atoi(f.rules.max); err == nil && count > hi {
		d.errorf(n.Pos, "out-of-range", "", "", "%shas %s; at most %d are allowed", f.subject(), counted(count, what), hi)
	}
}

// counted gives "1 entry" or "2 entries".
func counted(n int, what string) string {
	stem, y := strings.CutSuffix(what, "y")
	switch {
	case n == 1:
		return "1 " + what
	case y:
		return strconv.Itoa(n) + " " + stem + "ies"
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func (d *Decoder) mapOf(n *Node, v reflect.Value, f *fieldInfo) {
	if n.Kind != NodeMap {
		d.wrong(n, f, "a map", "write it as a map: `key: value`")
		return
	}
	d.bounds(n, f, len(n.Entries), "entry")
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Entries)))
	for i := range n.Entries {
		e := &n.Entries[i]
		if f.rules.name {
			d.name(e.Key, e.KeyPos, "the key")
		}
		x := reflect.New(v.Type().Elem()).Elem()
		// Labels and the like are for others to read: what they hold is not looked into.
		d.value(e.Value, x, &fieldInfo{name: e.Key, rules: rules{literal: true}})
		v.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), x)
	}
}

// orderedDecoder is implemented by *Ordered[T].
type orderedDecoder interface {
	decodeOrdered(n *Node, d *Decoder, f *fieldInfo)
}

func (o *Ordered[T]) decodeOrdered(n *Node, d *Decoder, f *fieldInfo) {
	if n.Kind != NodeMap {
		d.wrong(n, f, "a map", "write it as a map: `name: …`")
		return
	}
	d.bounds(n, f, len(n.Entries), "entry")
	o.Entries = make([]OrderedEntry[T], len(n.Entries))
	for i := range n.Entries {
		e := &n.Entries[i]
		if f.rules.name {
			d.name(e.Key, e.KeyPos, "the name")
		}
		o.Entries[i].Key, o.Entries[i].Pos = e.Key, e.KeyPos
		d.value(e.Value, reflect.ValueOf(&o.Entries[i].Value).Elem(), &fieldInfo{name: e.Key})
	}
}
