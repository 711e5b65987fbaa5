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
