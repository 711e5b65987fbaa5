package resource

import (
	"penstock.dev/penstock"
)

// APIVersion is the one version of the language that this package reads.
const APIVersion = "penstock.dev/v1alpha1"

// Kind is what a resource is.
type Kind string

// The kinds that this version supports.
const (
	KindSchema      Kind = "Schema"
	KindConnection  Kind = "Connection"
	KindChannel     Kind = "Channel"
	KindFlow        Kind = "Flow"
	KindIntegration Kind = "Integration"
	KindTest        Kind = "Test"
)

// Kinds lists the supported kinds in the order of the reference.
func Kinds() []Kind {
	return []Kind{KindFlow, KindSchema, KindChannel, KindConnection, KindIntegration, KindTest}
}

// Resource is one document of a configuration file.
type Resource struct {
	// Version of the language: penstock.dev/v1alpha1.
	APIVersion string `json:"apiVersion" penstock:"required"`
	// What the resource is: Flow, Schema, Channel, Connection, Integration or Test.
	Kind Kind `json:"kind" penstock:"required"`
	// Name, labels and annotations.
	Metadata Metadata `json:"metadata" penstock:"required"`

	Pos  penstock.Pos // of the document's first key
	File string       // as it was found: the path given, or a path below the folder given
	Doc  *Node        // the whole document
	Spec any          // *Flow, *Schema, *Channel, *Connection, *Integration or *Test; never nil
}

// Name is the resource's name.
func (r *Resource) Name() string { return r.Metadata.Name }

// NamePos is where the name stands, or where the resource begins if it has none.
func (r *Resource) NamePos() penstock.Pos {
	if p := r.Metadata.At("name"); p.IsValid() {
		return p
	}
	return r.Pos
}

// Metadata names a resource and groups it with others.
type Metadata struct {
	Place
	// Name of the resource: a DNS label, unique among the resources of its kind. At most 63 of a-z, 0-9 and -, beginning with a letter and not ending with -.
	Name string `json:"name" penstock:"required,dns"`
	// Namespace in the cluster, for kubectl. It has no meaning outside of one.
	Namespace string `json:"namespace" penstock:"dns"`
	// Labels, by which an Integration selects what is deployed together.
	Labels map[string]string `json:"labels"`
	// Annotations for people and tools. Penstock does not read them.
	Annotations map[string]string `json:"annotations"`
}

// Place says where a struct of the configuration stands. Embedded in a struct, it is filled
// by [Decode].
type Place struct {
	Pos  penstock.Pos // of the value's first character
	Node *Node        // what was decoded; nil if the struct was made by hand
}

// Has reports whether the field is written in the file.
func (p Place) Has(field string) bool { return p.Node != nil && p.Node.Get(field) != nil }

// At is where the value of a field stands, or the struct's own place if it was left out.
func (p Place) At(field string) penstock.Pos {
	if p.Node != nil {
		if v := p.Node.Get(field); v != nil {
			return v.Pos
		}
	}
	return p.Pos
}

// AtKey is where the name of a field stands, or the struct's own place if it was left out.
func (p Place) AtKey(field string) penstock.Pos {
	if p.Node != nil {
		if e := p.Node.Entry(field); e != nil {
			return e.KeyPos
		}
	}
	return p.Pos
}

// Ref is the name of another resource.
type Ref struct {
	Name string
	Pos  penstock.Pos
}

// IsZero reports whether the field was left out.
func (r Ref) IsZero() bool { return r.Name == "" }

// Neighbour is a document that stands in a file beside the resource, or in the resource itself.
type Neighbour struct {
	Place
	// Path of the file, relative to the file that the resource stands in.
	File string `json:"file"`
	// The document itself. It may also stand directly in place of file and inline.
	Inline *Node `json:"inline"`

	// Path is File joined with the folder of the resource's file: what Set.ReadFile takes.
	Path string `json:"-"`
}

// Ordered is a map that keeps the order of its keys, as they stand in the file.
type Ordered[T any] struct {
	Entries []OrderedEntry[T]
}

// OrderedEntry is one entry of an [Ordered] map.
type OrderedEntry[T any] struct {
	Key   string
	Pos   penstock.Pos // of the key
	Value T
}

// Get finds the value of key.
func (o Ordered[T]) Get(key string) (T, bool) {
	for i := range o.Entries {
		if o.Entries[i].Key == key {
			return o.Entries[i].Value, true
		}
	}
	var zero T
	return zero, false
}

// Schema is a type: what a message, a record or a document looks like.
type Schema struct {
	Place
	// JSON Schema (draft 2020-12): {file: order.schema.json}, {inline: {…}}, or the schema itself.
	JSONSchema *Neighbour `json:"jsonSchema" penstock:"required"`
}

// Connection is an external system: where it is, and how one logs in. Drivers name it with
// `connection:`.
type Connection struct {
	Place
	// How long one try of a request may take, where the step says nothing else. Left out, the connector's own limit holds.
	Timeout penstock.Duration `json:"timeout" penstock:"min=1ms"`
	// Tries of a request that failed, where the step declares none. It counts as the step's own: retries never multiply.
	Retry *Retry `json:"retry"`

	// Tech is the technology: the one other key of the spec, such as http; TechPos is its place.
	Tech    string       `json:"-"`
	TechPos penstock.Pos `json:"-"`
	// Config is what stands under Tech, for the technology's own struct.
	Config *Node `json:"-"`
}

// Channel is a named place where one flow leaves messages for others. In this version it is
// held in memory: a direct hand-over that settles when the reader has it, blocks when it is full,
// and counts what it loses when the process ends before the reader is done.
type Channel struct {
	Place
	// How readers share messages: with topic every reading flow gets each message, with queue one of them does.
	Mode string `json:"mode" penstock:"enum=topic|queue,default=topic"`
	// Whether messages outlive the process. Only false is supported by this version, and it must be said, because it is the weaker promise.
	Durable *bool `json:"durable" penstock:"required"`
	// Name of the Schema of the messages. It types what readers see and is checked against what writers send.
	Schema Ref `json:"schema"`
	// What the messages' key becomes: order and partitioning go by it. Left out, messages keep the key that they have.
	Key penstock.Expr `json:"key"`
	// How many messages it holds before writers wait.
	Capacity int `json:"capacity" penstock:"default=1024,min=1,max=10000000"`
}

// Integration is what is deployed together, and its parameters. A folder without one behaves
// as if it had one that selects everything.
type Integration struct {
	Place
	// Labels that a Flow must carry to belong to this integration; all of them must match. Left out, every flow belongs. Tests go with their flow, and what flows refer to (schemas, channels, connections) comes along by reference.
	Select map[string]string `json:"select"`
	// Parameters, which expressions read as params.<name> and the command line sets with --param name=value.
	Params Ordered[Param] `json:"params" penstock:"name"`
	// Whether reading an optional or nullable field bare is an error rather than a warning.
	Strict bool `json:"strict" penstock:"default=false"`
}

// Param is one parameter of an [Integration].
type Param struct {
	Place
	// Type of the value: string, int, double, decimal, bool or duration.
	Type string `json:"type" penstock:"enum=string|int|double|decimal|bool|duration,default=string"`
	// Value if none is given. A parameter without a default must be given.
	Default *Node `json:"default"`
	// What the parameter is for. Help texts show it.
	Description string `json:"description"`
}
