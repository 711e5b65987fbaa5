package reference

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// SchemaID is the identity of the JSON Schema of all kinds.
const SchemaID = "https://penstock.dev/schema/v1alpha1.json"

// object is a part of a JSON Schema. Its keys are written in alphabetical order.
type object = map[string]any

// schemas builds the schema; defs fill as types are met.
type schemas struct {
	*Reference
	defs object
}

// JSONSchema is the schema (draft 2020-12) of a document of any kind, with the configurations of all drivers. It is the same for
// the same binary, to the byte.
func (r *Reference) JSONSchema() ([]byte, error) {
	s := &schemas{r, object{}}
	var kinds []any
	var branches []any
	for _, k := range resource.Kinds() {
		kinds = append(kinds, string(k))
		required := []any{"spec"}
		if k == resource.KindIntegration {
			required = []any{}
		}
		branches = append(branches, object{
			"if":   object{"properties": object{"kind": object{"const": string(k)}}, "required": []any{"kind"}},
			"then": object{"properties": object{"spec": s.of(reflect.TypeOf(resource.SpecOf(k)), "")}, "required": required},
		})
	}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     SchemaID,
		"title":   "A resource of Penstock",
		"type":    "object",
		"properties": object{
			"apiVersion": object{"const": resource.APIVersion, "description": "Version of the language."},
			"kind":       object{"enum": kinds, "description": "What the resource is."},
			"metadata":   s.of(reflect.TypeFor[resource.Metadata](), ""),
			"spec":       object{},
		},
		"required":             []any{"apiVersion", "kind", "metadata"},
		"additionalProperties": false,
		"allOf":                branches,
	}
	root["$defs"] = s.defs
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

const (
	dnsPattern  = `^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`
	namePattern = `^[a-z][A-Za-z0-9]*$`
	pathPattern = `^(body|vars|meta|key|none)([.\[].*)?$`
)

// of is the schema of a type. role says what a target is for: source, sink or caller.
func (s *schemas) of(t reflect.Type, role string) object {
	kind, t := shapeOf(t)
	switch kind {
	case shapeBool:
		return object{"type": "boolean"}
	case shapeInt:
		return object{"type": "integer"}
	case shapeNumber:
		return object{"type": "number"}
	case shapeDuration:
		return object{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h|d))+$|^0$`}
	case shapeSize:
		return object{"anyOf": []any{object{"type": "integer", "minimum": 0}, object{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?([KMGTP]i|[kMGTP])?$`}}}
	case shapeRate:
		return object{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?/(ms|s|m|h|d)$`}
	case shapeShare:
		return object{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?%$`}
	case shapeCode:
		var codes []any
		for _, c := range penstock.Codes() {
			codes = append(codes, string(c))
		}
		return object{"enum": codes}
	case shapeExpr:
		return object{"type": []any{"string", "boolean", "number"}}
	case shapePath:
		return object{"type": "string", "pattern": pathPattern}
	case shapeTree, shapeNode:
		return object{}
	case shapeConnection, shapeRef:
		return object{"type": "string", "pattern": dnsPattern}
	case shapeSecret:
		return object{"type": "object", "properties": object{"secret": object{"type": "string", "pattern": dnsPattern}}, "required": []any{"secret"}, "additionalProperties": false}
	case shapeEvery:
		return object{"anyOf": []any{object{"type": "integer", "minimum": 1}, s.of(reflect.TypeFor[penstock.Duration](), "")}}
	case shapeSampleRate:
		return object{"anyOf": []any{s.of(reflect.TypeFor[penstock.Share](), ""), s.of(reflect.TypeFor[penstock.Rate](), "")}}
	case shapeAtLeast:
		return object{"anyOf": []any{object{"type": "integer", "minimum": 1}, object{"type": "array", "minItems": 1, "items": object{"type": "string"}}}}
	case shapeAssign:
		return object{"type": "object", "minProperties": 1, "propertyNames": object{"pattern": pathPattern}}
	case shapeMask:
		return object{"anyOf": []any{
			object{"type": "array", "minItems": 1, "items": s.of(reflect.TypeFor[penstock.Path](), "")},
			s.structure(t, ""),
		}}
	case shapeNeighbour:
		return object{"type": "object"}
	case shapeList:
		return object{"type": "array", "items": s.of(t.Elem(), role)}
	case shapeMap:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), role)}
	case shapeOrdered:
		e, _ := resource.OrderedElem(t)
		return object{"type": "object", "additionalProperties": s.of(e, role)}
	case shapeFormat:
		return s.ref("codec", func() object { return s.oneOf(penstock.KindOfCodec) })
	case shapeBroker:
		return s.ref("broker", func() object { return s.oneOf(penstock.KindOfChannel) })
	case shapeTarget:
		return s.ref("target-"+role, func() object { return s.target(role) })
	case shapeStep:
		return s.ref("step", s.step)
	case shapeTech:
		return s.ref("Connection", s.connection)
	case shapeSecrets:
		one := s.ref("secrets", s.providers)
		return object{"anyOf": []any{one, object{"type": "array", "minItems": 1, "items": one}}}
	case shapeStruct:
		if t.Name() == "" {
			return s.structure(t, role)
		}
		return s.ref(defName(t), func() object { return s.structure(t, role) })
	}
	return object{"type": "string"}
}

// defName names a struct's definition: the package's name tells drivers' structs apart.
func defName(t reflect.Type) string {
	pkg := t.PkgPath()
	if pkg == reflect.TypeFor[resource.Flow]().PkgPath() {
		return t.Name()
	}
	return pkg[strings.LastIndexByte(pkg, '/')+1:] + "." + t.Name()
}

// ref gives a reference to the definition of a name, which build makes at the first use.
func (s *schemas) ref(name string, build func() object) object {
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = object{} // ends recursion
		s.defs[name] = build()
	}
	return object{"$ref": "#/$defs/" + name}
}

// structure is the schema of a struct's fields.
func (s *schemas) structure(t reflect.Type, role string) object {
	properties, required := object{}, []any{}
	for _, f := range s.fields(t) {
		own := s.field(&f, role)
		if f.Self {
			return own
		}
		properties[f.Name] = own
		if f.Required {
			required = append(required, f.Name)
		}
	}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if doc := s.comments.ofType(t); doc != "" {
		out["description"] = doc
	}
	return out
}

// targetRoles tells by its field what a target is for.
var targetRoles = map[string]string{"From": "source", "Sources": "source", "To": "sink", "DeadLetter": "sink"}

// selfRoles tells by its verb what a target is for.
var selfRoles = map[reflect.Type]string{reflect.TypeFor[resource.Send](): "sink", reflect.TypeFor[resource.Call](): "caller"}

// field is the schema of a field, with its rules and comment.
func (s *schemas) field(f *field, role string) object {
	if r, ok := targetRoles[f.GoName]; ok {
		role = r
	}
	if r, ok := selfRoles[f.Owner]; ok {
		role = r
	}
	own := s.of(f.Type, role)
	if _, is := own["$ref"]; is {
		own = object{"$ref": own["$ref"]}
	}
	if f.doc != "" {
		own["description"] = f.doc
	}
	kind, _ := shapeOf(f.Type)
	if len(f.Enum) > 0 && kind == shapeText {
		words := make([]any, len(f.Enum))
		for i, w := range f.Enum {
			words[i] = w
		}
		delete(own, "type")
		own["enum"] = words
	}
	switch {
	case f.IsName && kind == shapeText:
		own["pattern"] = namePattern
	case f.IsName && kind == shapeOrdered:
		own["propertyNames"] = object{"pattern": namePattern}
	case f.IsDNS && kind == shapeText:
		own["pattern"] = dnsPattern
	}
	if f.Nonempty || f.Required && kind == shapeText {
		switch kind {
		case shapeList:
			own["minItems"] = 1
		case shapeMap, shapeOrdered:
			own["minProperties"] = 1
		case shapeText, shapeTemplate:
			if len(f.Enum) == 0 {
				own["minLength"] = 1
			}
		}
	}
	if kind == shapeInt || kind == shapeNumber {
		for word, text := range map[string]string{"minimum": f.Min, "maximum": f.Max} {
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				own[word] = n
			}
		}
	}
	if f.Default != "" {
		own["default"] = defaultValue(kind, f.Default)
	}
	return own
}

func defaultValue(kind shape, text string) any {
	switch kind {
	case shapeBool:
		return text == "true"
	case shapeInt, shapeNumber:
		return json.Number(text)
	}
	return text
}

// oneOf is the schema of a map with the name of one driver as its key.
func (s *schemas) oneOf(kind string) object {
	properties := object{}
	if len(s.registry.Drivers(kind)) == 0 {
		return object{"type": "object"} // none in this binary to name
	}
	for _, d := range s.registry.Drivers(kind) {
		own := s.of(d.Config, "")
		own["description"] = d.Spec.Summary
		properties[d.Spec.Name] = own
	}
	return object{"type": "object", "properties": properties, "minProperties": 1, "maxProperties": 1, "additionalProperties": false}
}

// providers is the schema of a provider of secrets: its name, and its fields beside it.
func (s *schemas) providers() object {
	var ones []any
	for _, d := range s.registry.Drivers(penstock.KindOfSecrets) {
		own := s.structure(d.Config, "")
		own["description"] = d.Spec.Summary
		own["properties"].(object)["provider"] = object{"const": d.Spec.Name}
		required, _ := own["required"].([]any)
		own["required"] = append([]any{"provider"}, required...)
		ones = append(ones, own)
	}
	if len(ones) == 0 {
		return object{"type": "object"} // no provider in this binary to name
	}
	return object{"oneOf": ones}
}

// sourceKinds are resources that a flow reads by their name, beside channels.
var sourceKinds = []Word{
	{Name: "entity", Kind: "connector", Type: "name of an Entity", Doc: "The events of an Entity, in their order."},
	{Name: "queue", Kind: "connector", Type: "name of a JobQueue", Doc: "The jobs of a JobQueue: the flow does them."},
}

// target is the schema of a source, sink or caller: its options, and the connectors.
func (s *schemas) target(role string) object {
	out := s.structure(reflect.TypeFor[resource.Target](), "")
	properties := out["properties"].(object)
	allowed := map[string][]string{"source": {"schema", "key", "id", "remember"}, "sink": {"schema", "key", "body", "wait"}, "caller": {"schema", "key", "body", "cache", "paginate"}}[role]
	for name := range properties {
		if !contains(allowed, name) {
			delete(properties, name)
		}
	}
	var ones []any
	add := func(name string, own object) {
		if other, twice := properties[name]; twice { // a source that is a server, too, where it says how it replies
			properties[name] = object{"anyOf": []any{other, own}, "description": other.(object)["description"]}
			return
		}
		properties[name] = own
		ones = append(ones, object{"required": []any{name}})
	}
	kinds := map[string][]string{"source": {penstock.KindOfSource, penstock.KindOfServer}, "sink": {penstock.KindOfSink}, "caller": {penstock.KindOfCaller}}[role]
	if role != "caller" {
		add("channel", object{"type": "string", "pattern": `^[a-z]([-a-z0-9]{0,61}[a-z0-9])?(\.dead)?$`, "description": "Name of a Channel."})
	}
	if role == "source" {
		for _, w := range sourceKinds {
			add(w.Name, object{"type": "string", "pattern": `^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`, "description": w.Doc})
		}
	}
	for _, k := range kinds {
		for _, d := range s.registry.Drivers(k) {
			if d.Spec.Name == "channel" {
				continue
			}
			own := s.of(d.Config, "")
			own["description"] = d.Spec.Summary
			add(d.Spec.Name, own)
		}
	}
	if len(ones) > 0 {
		out["oneOf"] = ones
	}
	return out
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// step is the schema of a step: the common keys and exactly one verb.
func (s *schemas) step() object {
	out := s.structure(reflect.TypeFor[resource.Step](), "")
	properties := out["properties"].(object)
	var ones []any
	for i := range resource.Verbs() {
		v := &resource.Verbs()[i]
		own := s.of(reflect.TypeOf(v.New()), "")
		if _, is := own["$ref"]; is {
			own = object{"$ref": own["$ref"]}
		}
		own["description"] = s.verbDoc(v)
		properties[v.Name] = own
		ones = append(ones, object{"required": []any{v.Name}})
	}
	out["oneOf"] = ones
	return out
}

// connection is the schema of a connection: what all have, and the technologies.
func (s *schemas) connection() object {
	out := s.structure(reflect.TypeFor[resource.Connection](), "")
	properties := out["properties"].(object)
	drivers := s.registry.Drivers(penstock.KindOfConnection)
	for _, d := range drivers {
		own := s.of(d.Config, "")
		own["description"] = d.Spec.Summary
		properties[d.Spec.Name] = own
	}
	if len(drivers) == 0 {
		out["additionalProperties"] = object{"type": "object"} // no technology in this binary to name
	}
	return out
}
