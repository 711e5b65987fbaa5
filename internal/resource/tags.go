package resource

import (
	"fmt"
	"reflect"
	"strings"
)

// rules is what the penstock tag of a field says; see the package comment.
type rules struct {
	required bool
	self     bool
	enum     []string
	def      string
	hasDef   bool
	min, max string
	nonempty bool
	name     bool
	dns      bool
	literal  bool
}

// fieldInfo is one field of a configuration struct.
type fieldInfo struct {
	name  string // in the file
	index []int
	rules rules
	typ   reflect.Type
}

// structInfo is what decoding needs to know of a struct type.
type structInfo struct {
	name   string
	fields []fieldInfo
	self   *fieldInfo
	place  []int // index of the embedded Place; nil if there is none
}

var placeType = reflect.TypeFor[Place]()

// infoOf reads the tags of t. A tag that makes no sense is a fault of the program, and panics.
func infoOf(t reflect.Type) *structInfo {
	info := &structInfo{name: t.Name()}
	collectFields(info, t, nil)
	return info
}

func collectFields(info *structInfo, t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		if f.Anonymous && f.Type == placeType {
			info.place = at
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			collectFields(info, f.Type, at)
			continue
		}
		r, err := parseRules(f.Tag.Get("penstock"))
		if err != nil {
			panic(fmt.Sprintf("resource: %s.%s: %v", t, f.Name, err))
		}
		fi := fieldInfo{name: name, index: at, rules: r, typ: f.Type}
		switch {
		case r.self:
			info.self = &fi
		case name != "" && name != "-":
			info.fields = append(info.fields, fi)
		}
	}
}

func parseRules(tag string) (rules, error) {
	var r rules
	if tag == "" {
		return r, nil
	}
	for _, part := range strings.Split(tag, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch k {
		case "required":
			r.required = true
		case "self":
			r.self = true
		case "enum":
			r.enum = strings.Split(v, "|")
		case "default":
			r.def, r.hasDef = v, true
		case "min":
			r.min = v
		case "max":
			r.max = v
		case "nonempty":
			r.nonempty = true
		case "name":
			r.name = true
		case "dns":
			r.dns = true
		case "literal":
			r.literal = true
		case "place":
			// Where a template's result stands (url path, query, header, sql): for the compiler.
		case "at":
			// Of what a template of a server may speak: for the compiler.
		default:
			return r, fmt.Errorf("unknown rule %q in a penstock tag", k)
		}
	}
	return r, nil
}

// info is infoOf, remembered.
func (d *Decoder) info(t reflect.Type) *structInfo {
	if i, ok := d.infos[t]; ok {
		return i
	}
	if d.infos == nil {
		d.infos = map[reflect.Type]*structInfo{}
	}
	i := infoOf(t)
	d.infos[t] = i
	return i
}

// FieldSpec describes one field of a configuration struct to the reference and the JSON Schema.
type FieldSpec struct {
	Name     string // in the file; empty for the one that is the whole value
	GoName   string
	Owner    reflect.Type // the struct that declares it, for its comment
	Type     reflect.Type
	Required bool
	Self     bool // the whole value is this field
	Enum     []string
	Default  string
	Min, Max string
	Nonempty bool
	IsName   bool // a name that expressions use
	IsDNS    bool // a resource name
	Literal  bool // data in which ${…} means nothing
}

// DescribeStruct lists the fields of a configuration struct in the order in which they are declared.
// t must be a struct.
func DescribeStruct(t reflect.Type) []FieldSpec {
	info := infoOf(t)
	var out []FieldSpec
	add := func(f *fieldInfo, self bool) {
		owner := t
		for _, i := range f.index[:len(f.index)-1] {
			owner = owner.Field(i).Type
		}
		sf := t.FieldByIndex(f.index)
		out = append(out, FieldSpec{Name: f.name, GoName: sf.Name, Owner: owner, Type: f.typ, Required: f.rules.required, Self: self,
			Enum: f.rules.enum, Default: f.rules.def, Min: f.rules.min, Max: f.rules.max, Nonempty: f.rules.nonempty,
			IsName: f.rules.name, IsDNS: f.rules.dns, Literal: f.rules.literal})
	}
	if info.self != nil {
		add(info.self, true)
		return out
	}
	for i := range info.fields {
		add(&info.fields[i], false)
	}
	return out
}

// Unsupported lists the words of the language that this version refuses in the place of a struct (Flow,
// Step, Target …) or of a field's values; with "kind" the kinds. The list is not to be changed.
func Unsupported(place string) []string { return unsupportedWords[place] }

// elem is implemented by Ordered[T] for the reference.
func (Ordered[T]) elem() reflect.Type { return reflect.TypeFor[T]() }

// OrderedElem returns T where t is Ordered[T].
func OrderedElem(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	o, ok := reflect.Zero(t).Interface().(interface{ elem() reflect.Type })
	if !ok {
		return nil, false
	}
	return o.elem(), true
}

// SpecOf is a zero spec of a kind, a pointer to its struct; nil if this version doesn't support it.
func SpecOf(k Kind) any { return newSpec(k) }
