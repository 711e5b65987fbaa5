package reference

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// Reference joins the structs, their comments and the drivers of a binary. It is immutable and safe for
// concurrent use.
type Reference struct {
	comments Comments
	registry *penstock.Registry
}

// New makes a reference of the language and of the drivers in r, which may be nil.
func New(c Comments, r *penstock.Registry) *Reference {
	if r == nil {
		r = penstock.NewRegistry()
	}
	return &Reference{comments: c, registry: r}
}

// field is a field as people see it.
type field struct {
	resource.FieldSpec
	doc string
}

// fields lists what can be written in a struct.
func (r *Reference) fields(t reflect.Type) []field {
	var out []field
	for _, f := range resource.DescribeStruct(t) {
		out = append(out, field{f, r.comments.ofField(f.Owner, f.GoName)})
	}
	return out
}

// shape is what a Go type looks like in a file.
type shape uint8

const (
	shapeText shape = iota
	shapeBool
	shapeInt
	shapeNumber
	shapeDuration
	shapeSize
	shapeRate
	shapeShare
	shapeCode
	shapeExpr
	shapeTemplate
	shapePath
	shapeTree
	shapeFormat
	shapeConnection
	shapeSecret
	shapeRef
	shapeNode
	shapeTarget
	shapeStep
	shapeNeighbour
	shapeEvery
	shapeSampleRate
	shapeAtLeast
	shapeAssign
	shapeMask
	shapeTech
	shapeSecrets
	shapeBroker
	shapeList
	shapeMap
	shapeOrdered
	shapeStruct
)

var namedShapes = map[reflect.Type]shape{
	reflect.TypeFor[penstock.Duration]():      shapeDuration,
	reflect.TypeFor[time.Duration]():          shapeDuration,
	reflect.TypeFor[penstock.Size]():          shapeSize,
	reflect.TypeFor[penstock.Rate]():          shapeRate,
	reflect.TypeFor[penstock.Share]():         shapeShare,
	reflect.TypeFor[penstock.Code]():          shapeCode,
	reflect.TypeFor[penstock.Expr]():          shapeExpr,
	reflect.TypeFor[penstock.Template]():      shapeTemplate,
	reflect.TypeFor[penstock.Path]():          shapePath,
	reflect.TypeFor[penstock.Tree]():          shapeTree,
	reflect.TypeFor[penstock.DataTree]():      shapeTree,
	reflect.TypeFor[penstock.Format]():        shapeFormat,
	reflect.TypeFor[penstock.ConnectionRef](): shapeConnection,
	reflect.TypeFor[penstock.SchemaRef]():     shapeRef,
	reflect.TypeFor[penstock.Secret]():        shapeSecret,
	reflect.TypeFor[resource.Ref]():           shapeRef,
	reflect.TypeFor[resource.Node]():          shapeNode,
	reflect.TypeFor[resource.Target]():        shapeTarget,
	reflect.TypeFor[resource.Step]():          shapeStep,
	reflect.TypeFor[resource.Neighbour]():     shapeNeighbour,
	reflect.TypeFor[resource.Every]():         shapeEvery,
	reflect.TypeFor[resource.SampleRate]():    shapeSampleRate,
	reflect.TypeFor[resource.AtLeast]():       shapeAtLeast,
	reflect.TypeFor[resource.Assign]():        shapeAssign,
	reflect.TypeFor[resource.Mask]():          shapeMask,
	reflect.TypeFor[resource.Connection]():    shapeTech,
	reflect.TypeFor[resource.Secrets]():       shapeSecrets,
	reflect.TypeFor[resource.Broker]():        shapeBroker,
}

// shapeOf tells the shape of t without pointers, and t without them.
func shapeOf(t reflect.Type) (shape, reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := namedShapes[t]; ok {
		return s, t
	}
	if _, ok := resource.OrderedElem(t); ok {
		return shapeOrdered, t
	}
	switch t.Kind() {
	case reflect.Bool:
		return shapeBool, t
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return shapeInt, t
	case reflect.Float32, reflect.Float64:
		return shapeNumber, t
	case reflect.Slice:
		return shapeList, t
	case reflect.Map:
		return shapeMap, t
	case reflect.Struct:
		return shapeStruct, t
	}
	return shapeText, t
}

var shapeWords = map[shape]string{
	shapeText: "text", shapeBool: "true or false", shapeInt: "whole number", shapeNumber: "number", shapeDuration: "duration (30s, 7d)",
	shapeSize: "size (10Mi)", shapeRate: "rate (100/s)", shapeShare: "share (20%)", shapeCode: "error code", shapeExpr: "expression (CEL)",
	shapeTemplate: "template", shapePath: "path", shapeTree: "data tree", shapeFormat: "codec", shapeConnection: "name of a Connection",
	shapeSecret: "{ secret: name }", shapeRef: "name of a resource", shapeNode: "any value", shapeTarget: "target", shapeStep: "step",
	shapeNeighbour: "document", shapeEvery: "count or duration", shapeSampleRate: "share or rate", shapeAtLeast: "list of names, or whole number", shapeAssign: "map of paths to values",
	shapeMask: "list of paths, or { class }", shapeTech: "map", shapeStruct: "map", shapeSecrets: "[provider](../secrets.md), or list of them", shapeBroker: "map with the name of a broker",
}

// words names the type of a field for people.
func words(f *resource.FieldSpec) string {
	if len(f.Enum) > 0 && f.Type.Kind() == reflect.String {
		return "`" + strings.Join(f.Enum, "` \\| `") + "`"
	}
	w := typeWords(f.Type)
	if f.Literal && strings.HasSuffix(w, "data tree") {
		w = strings.TrimSuffix(w, "data tree") + "literal document"
	}
	return w
}

func typeWords(t reflect.Type) string {
	s, t := shapeOf(t)
	switch s {
	case shapeList:
		return "list of " + typeWords(t.Elem())
	case shapeMap:
		return "map of text to " + typeWords(t.Elem())
	case shapeOrdered:
		e, _ := resource.OrderedElem(t)
		return "map of names to " + typeWords(e)
	}
	return shapeWords[s]
}

// inner is the struct that a field's value, or each of its elements, is made of; nil if it is none.
func inner(t reflect.Type) reflect.Type {
	s, t := shapeOf(t)
	switch s {
	case shapeList, shapeMap:
		return inner(t.Elem())
	case shapeOrdered:
		e, _ := resource.OrderedElem(t)
		return inner(e)
	case shapeStruct, shapeTarget, shapeStep, shapeMask, shapeTech:
		return t
	}
	return nil
}

// kindDoc is what a kind is, in words.
func (r *Reference) kindDoc(k resource.Kind) string {
	return r.comments.ofType(reflect.TypeOf(resource.SpecOf(k)).Elem())
}

// verbDoc is what a verb does, in words that begin with the verb's own doing: "Makes a new body …".
func (r *Reference) verbDoc(v *resource.VerbSpec) string {
	t := reflect.TypeOf(v.New()).Elem()
	doc := strings.TrimPrefix(r.comments.ofType(t), t.Name()+" ")
	doc = strings.TrimPrefix(doc, "(the verb "+v.Name+") ")
	return capital(doc)
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// driverKinds are the kinds of connectors, in the order of the pages.
var driverKinds = []string{penstock.KindOfSource, penstock.KindOfSink, penstock.KindOfCaller, penstock.KindOfServer}

var driverTitles = map[string]string{
	penstock.KindOfSource: "Reading (`from`)", penstock.KindOfSink: "Writing (`to`)",
	penstock.KindOfCaller: "Asking (`call`)", penstock.KindOfServer: "Serving (`from`)", penstock.KindOfChannel: "As a channel (`broker`)",
}

// connectors lists the names of all connectors.
func (r *Reference) connectors() []string {
	var out []string
	for _, k := range driverKinds {
		for _, d := range r.registry.Drivers(k) {
			if !slices.Contains(out, d.Spec.Name) {
				out = append(out, d.Spec.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Uncommented lists the fields of the language and of all drivers that have no comment.
func (r *Reference) Uncommented() []string {
	var out []string
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t == nil || seen[t] {
			return
		}
		seen[t] = true
		if r.comments.ofType(t) == "" {
			out = append(out, t.String())
		}
		for _, f := range r.fields(t) {
			if strings.TrimSpace(f.doc) == "" {
				out = append(out, t.String()+"."+f.GoName)
			}
			walk(inner(f.Type))
		}
	}
	walk(reflect.TypeFor[resource.Metadata]())
	for _, k := range resource.Kinds() {
		walk(reflect.TypeOf(resource.SpecOf(k)).Elem())
	}
	for i := range resource.Verbs() {
		walk(reflect.TypeOf(resource.Verbs()[i].New()).Elem())
	}
	for _, k := range append([]string{penstock.KindOfCodec, penstock.KindOfConnection, penstock.KindOfChannel, penstock.KindOfSecrets}, driverKinds...) {
		for _, d := range r.registry.Drivers(k) {
			walk(d.Config)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
