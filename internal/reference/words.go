package reference

import (
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// Word is something that may be written at a place of a file.
type Word struct {
	Name     string
	Kind     string // field, verb, connector, codec
	Type     string // of a field: what is written there
	Required bool
	Default  string
	Doc      string
}

// place is a place of a file on the way down from the kind.
type place struct {
	types []reflect.Type
	// role is what a target here is for: source, sink, caller; "" is any.
	role string
	// free says that the next key is a name of the user's: a branch, a parameter; or, with drivers, the name of one of that kind.
	free    bool
	drivers string
}

// driversOf is a place where the name of a driver of a kind stands.
func (r *Reference) driversOf(kind string, at place) place {
	at.free, at.drivers = true, kind
	for _, d := range r.registry.Drivers(kind) {
		at.types = append(at.types, d.Config)
	}
	return at
}

// roleOf are the fields of targets, by what they are for.
var roleOf = map[string]string{
	"from": penstock.KindOfSource, "sources": penstock.KindOfSource, "to": penstock.KindOfSink, "deadLetter": penstock.KindOfSink, "call": penstock.KindOfCaller,
}

// walk follows the keys of a document from its kind; ok is false where they lead to no place that is known.
func (r *Reference) walk(kind string, path []string) (place, bool) {
	at := place{}
	for _, k := range resource.Kinds() {
		if string(k) == kind {
			at.types = []reflect.Type{reflect.TypeOf(resource.SpecOf(k)).Elem()}
		}
	}
	if at.types == nil {
		return at, false
	}
	for _, name := range path {
		if at.free {
			if d, ok := r.registry.Lookup(at.drivers, name); ok {
				at.types = []reflect.Type{d.Config}
			}
			at.free, at.drivers = false, ""
			continue
		}
		next, ok := r.step(at, name)
		if !ok {
			return place{}, false
		}
		if role := roleOf[name]; role != "" {
			next.role = role
		}
		at = next
	}
	return at, true
}

// step goes one key down.
func (r *Reference) step(at place, name string) (place, bool) {
	for _, t := range at.types {
		for _, f := range r.fields(unwrapSelf(t)) {
			if f.Name != name {
				continue
			}
			next := place{role: at.role}
			s, ft := shapeOf(f.Type)
			for s == shapeList {
				s, ft = shapeOf(ft.Elem())
			}
			switch s {
			case shapeOrdered:
				elem, _ := resource.OrderedElem(ft)
				next.types, next.free = []reflect.Type{elem}, true
			case shapeMap:
				next.types, next.free = []reflect.Type{ft.Elem()}, true
			case shapeFormat:
				next = r.driversOf(penstock.KindOfCodec, next)
			case shapeBroker:
				next = r.driversOf(penstock.KindOfChannel, next)
			default:
				if in := inner(f.Type); in != nil {
					next.types = []reflect.Type{in}
				}
			}
			return next, true
		}
		switch s, _ := shapeOf(unwrapSelf(t)); s {
		case shapeStep:
			if v, ok := resource.LookupVerb(name); ok {
				vt := unwrapSelf(reflect.TypeOf(v.New()).Elem())
				if vs, ot := shapeOf(vt); vs == shapeOrdered {
					elem, _ := resource.OrderedElem(ot)
					return place{types: []reflect.Type{elem}, free: true}, true
				}
				return place{types: []reflect.Type{vt}}, true
			}
		case shapeTarget, shapeTech:
			var next place
			for _, kind := range append([]string{penstock.KindOfConnection}, driverKinds...) {
				if d, ok := r.registry.Lookup(kind, name); ok && (s == shapeTech) == (kind == penstock.KindOfConnection) && plays(kind, at.role) {
					next.types = append(next.types, d.Config)
				}
			}
			if next.types != nil {
				return next, true
			}
		}
	}
	return place{}, false
}

// plays says that a driver of a kind can stand where a role is wanted.
func plays(kind, role string) bool {
	return role == "" || kind == role || kind == penstock.KindOfConnection || role == penstock.KindOfSource && kind == penstock.KindOfServer
}

// Words lists what may be written as a key below a path of keys of a document's spec (list indexes left out): the fields, in a
// step the verbs, in a target the connectors. ok is false where the path leads nowhere.
func (r *Reference) Words(kind string, path []string) (words []Word, ok bool) {
	at, ok := r.walk(kind, path)
	if !ok || at.free && at.drivers == "" {
		return nil, ok
	}
	if at.free {
		for _, d := range r.registry.Drivers(at.drivers) {
			words = append(words, Word{Name: d.Spec.Name, Kind: at.drivers, Doc: d.Spec.Summary})
		}
		return words, true
	}
	for _, t := range at.types {
		switch s, _ := shapeOf(unwrapSelf(t)); s {
		case shapeStep:
			for i := range resource.Verbs() {
				v := &resource.Verbs()[i]
				words = append(words, Word{Name: v.Name, Kind: "verb", Doc: r.verbDoc(v)})
			}
		case shapeTarget:
			if at.role != penstock.KindOfCaller {
				words = append(words, Word{Name: "channel", Kind: "connector", Type: "name of a Channel", Doc: "A channel: of the store, on a broker, or in memory."})
			}
			if plays(penstock.KindOfSource, at.role) {
				words = append(words, sourceKinds...)
			}
			for _, name := range r.connectors() {
				for _, kind := range driverKinds {
					if d, ok := r.registry.Lookup(kind, name); ok && plays(kind, at.role) && !slices.ContainsFunc(words, func(w Word) bool { return w.Name == name }) {
						words = append(words, Word{Name: name, Kind: "connector", Doc: d.Spec.Summary})
					}
				}
			}
		case shapeTech:
			for _, d := range r.registry.Drivers(penstock.KindOfConnection) {
				words = append(words, Word{Name: d.Spec.Name, Kind: "connector", Doc: d.Spec.Summary})
			}
		}
		for _, f := range r.fields(unwrapSelf(t)) {
			if f.Self || slices.ContainsFunc(words, func(w Word) bool { return w.Name == f.Name }) {
				continue
			}
			words = append(words, Word{Name: f.Name, Kind: "field", Type: plainWords(&f.FieldSpec), Required: f.Required, Default: f.Default, Doc: f.doc})
		}
	}
	return words, true
}

// Values lists the words that a field can be, where there are only a few; and names the kind of resource that it names, if it
// does ("Schema"), or "" .
func (r *Reference) Values(kind string, path []string) (values []string, names string) {
	if len(path) == 0 {
		return nil, ""
	}
	last := path[len(path)-1]
	at, ok := r.walk(kind, path[:len(path)-1])
	if !ok || at.free {
		return nil, ""
	}
	switch last {
	case "channel":
		return nil, string(resource.KindChannel)
	case "entity":
		return nil, string(resource.KindEntity)
	case "queue":
		return nil, string(resource.KindJobQueue)
	}
	for _, t := range at.types {
		for _, f := range r.fields(unwrapSelf(t)) {
			if f.Name != last {
				continue
			}
			switch s, _ := shapeOf(f.Type); {
			case len(f.Enum) > 0:
				return f.Enum, ""
			case s == shapeBool:
				return []string{"true", "false"}, ""
			case s == shapeCode:
				for _, c := range penstock.Codes() {
					values = append(values, string(c))
				}
				return values, ""
			case s == shapeConnection:
				return nil, string(resource.KindConnection)
			case s == shapeRef:
				return nil, refKind(last)
			}
		}
	}
	return nil, ""
}

// refKind is the kind of resource that a reference field of this name refers to: they are called by it.
func refKind(field string) string {
	for _, k := range resource.Kinds() {
		if strings.EqualFold(string(k), field) {
			return string(k)
		}
	}
	return ""
}
