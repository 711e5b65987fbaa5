package resource

import (
	"path"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
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
	KindPolicy      Kind = "Policy"
	KindEntity      Kind = "Entity"
	KindView        Kind = "View"
	KindJobQueue    Kind = "JobQueue"
)

// Kinds lists the supported kinds in the order of the reference.
func Kinds() []Kind {
	return []Kind{KindFlow, KindSchema, KindChannel, KindConnection, KindEntity, KindView, KindJobQueue, KindPolicy, KindIntegration, KindTest}
}

// Resource is one document of a configuration file.
type Resource struct {
	// Version of the language: penstock.dev/v1alpha1.
	APIVersion string `json:"apiVersion" penstock:"required"`
	// What the resource is: Flow, Schema, Channel, Connection, Entity, View, JobQueue, Policy, Integration or Test.
	Kind Kind `json:"kind" penstock:"required"`
	// Name, labels and annotations.
	Metadata Metadata `json:"metadata" penstock:"required"`

	Pos  penstock.Pos // of the document's first key
	File string       // as it was found: the path given, or a path below the folder given
	Doc  *Node        // the whole document
	Spec any          // *Flow, *Schema, *Channel, *Connection, *Entity, *View, *JobQueue, *Policy, *Integration or *Test; never nil
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
	// JSON Schema (draft 2020-12): {file: order.schema.json}, {inline: {…}}, or the schema itself. Exactly one of jsonSchema, avro and protobuf must be there.
	JSONSchema *Neighbour `json:"jsonSchema"`
	// Avro schema (1.11): {file: order.avsc}, {inline: {…}}, or the schema itself. It types documents in any format, and the format avro reads and writes with it. Records are closed; bytes are text of base64, decimals exact numbers, and times as in RFC 3339.
	Avro *Neighbour `json:"avro"`
	// A message of Protocol Buffers (proto2, proto3, editions). It types documents in any format, and the format protobuf reads and writes with it. Documents are as in ProtoJSON, but numbers of 64 bits are numbers, and fields without presence are there when they are zero. Messages are closed.
	Protobuf *Protobuf `json:"protobuf"`
}

func (s *Schema) check(d *Decoder) {
	d.exactlyOne(&s.Place, "a schema", "jsonSchema", "avro", "protobuf")
	if p := s.Protobuf; p != nil {
		d.exactlyOne(&p.Place, "`protobuf`", "file", "inline", "descriptors")
		if p.Descriptors != "" && p.Message == "" && p.Has("descriptors") {
			d.errorf(p.AtKey("descriptors"), "missing-field", "message", "name it in full: `message: shop.v1.Order`", "a descriptor set holds many messages, and `message` does not say which one is meant")
		}
		if p.Descriptors != "" && len(p.Imports) > 0 {
			d.errorf(p.AtKey("imports"), "wrong-field", "imports", "leave it out", "a descriptor set holds what it imports: `imports` means nothing here")
		}
	}
}

// Protobuf is where a message of Protocol Buffers is declared.
type Protobuf struct {
	Place
	// Path of the .proto file, relative to the file that the resource stands in.
	File string `json:"file" penstock:"nonempty"`
	// The source itself, as text.
	Inline string `json:"inline" penstock:"nonempty"`
	// Path of a descriptor set in place of a source, as `protoc --include_imports --descriptor_set_out` and `buf build` write it.
	Descriptors string `json:"descriptors" penstock:"nonempty"`
	// Name of the message, in full (shop.v1.Order) or within the package of the file (Order). Default: the only one that stands at the top of the file.
	Message string `json:"message" penstock:"nonempty"`
	// Folders in which imports are looked for, one after the other, relative to the file that the resource stands in. Default: the folder of the .proto file. What is imported of google/protobuf is there by itself.
	Imports []string `json:"imports"`
}

// Path is the path of a neighbour as Set.ReadFile takes it.
func (p *Protobuf) Path(name string) string { return besides(p.Pos.File, name) }

// Connection is an external system: where it is, and how one logs in. Drivers name it with
// `connection:`.
type Connection struct {
	Place
	Resilience

	// Tech is the technology: the one other key of the spec, such as http; TechPos is its place.
	Tech    string       `json:"-"`
	TechPos penstock.Pos `json:"-"`
	// Config is what stands under Tech, for the technology's own struct.
	Config *Node `json:"-"`
}

// Channel is a named place where flows leave messages for others. It is kept in the store: what is sent to it is
// durable before the sender's message is settled, outlives the process, and waits for readers that are not there yet. Each reading
// flow goes on where it stopped.
//
// With broker it is a topic or queue of a message broker instead, and flows that read or write it stay as they are: what is sent is
// durable when the broker has confirmed it, or, from a flow that keeps state, when it is recorded in the flow's transaction, in an
// outbox from which it is relayed.
//
// With durable: false it is a direct hand-over in memory, the weaker promise: a message is settled when its reader has it, senders
// wait when it is full, and what its readers were not done with when the process ends is lost, and counted.
type Channel struct {
	Place
	// How readers share messages: with topic every reading flow gets each message; with queue the flows that read it compete, and one of them does. Messages of one key go to one reader at a time, in order. A queue keeps a message until it is done.
	Mode string `json:"mode" penstock:"enum=topic|queue,default=topic"`
	// Whether messages are kept in the store. With false the channel is a direct hand-over in memory, which loses what is in it when the process ends, and needs a reader; a queue has one reader then.
	Durable bool `json:"durable" penstock:"default=true"`
	// Name of the Schema of the messages. It types what readers see and is checked against what writers send.
	Schema Ref `json:"schema"`
	// What the messages' key becomes: order and partitioning go by it. Left out, messages keep the key that they have.
	Key penstock.Expr `json:"key"`
	// How long messages stay for replays after every reader is done with them. Only for durable topics; nothing that a flow has not read yet is ever dropped, however old it is. With broker it is asked of the broker, where that can be, which drops what is older whether it was read or not.
	Retention Retention `json:"retention"`
	// The broker that the channel is on, instead of the store: a map with the name of the technology (kafka, nats, pulsar, rabbitmq) and what the broker is asked for. Flows read and write it as they would in the store; `penstock plan` says what is created there.
	Broker Broker `json:"broker"`
	// How many messages it holds before writers wait. Only with durable: false.
	Capacity int `json:"capacity" penstock:"default=1024,min=1,max=10000000"`
}

// Retention bounds what a durable topic keeps of what was read by every flow that reads it: what is older than time, or beyond size,
// is dropped, oldest first and in whole segments. What is unread is kept in any case.
type Retention struct {
	Place
	// How long messages are kept.
	Time penstock.Duration `json:"time" penstock:"default=7d,min=1s"`
	// How many bytes of them are kept.
	Size penstock.Size `json:"size" penstock:"default=1Gi,min=1Mi"`
}

// Integration is what is deployed together, and its parameters. A folder without one behaves
// as if it had one that selects everything.
type Integration struct {
	Place
	// Labels that a Flow must carry to belong to this integration; all of them must match. Left out, every flow belongs. Tests go with their flow, and what flows refer to (schemas, channels, connections) comes along by reference.
	Select map[string]string `json:"select"`
	// Parameters, which expressions read as params.<name> and the command line sets with --param name=value.
	Params Ordered[Param] `json:"params" penstock:"name"`
	// Where durable channels, positions, the state of steps and dead letters are kept. Written, it makes every flow keep its position, so that a run goes on where the last one stopped. Left out, the store is used where something needs it (a durable channel or step, an inbox, a watched folder), and for dead letters.
	Store Store `json:"store"`
	// Where the values of secrets come from: a map with the provider's name and its settings, or a list of such maps, of which the first that has a secret gives it. Left out, they come from environment variables: db-password from PENSTOCK_SECRET_DB_PASSWORD.
	Secrets Secrets `json:"secrets"`
	// Where flows that are called over HTTP listen.
	HTTP HTTP `json:"http"`
	// Traces and metrics of what flows do.
	Telemetry Telemetry `json:"telemetry"`
	// The port on which it says how it is: metrics, health, profiles. Left out, there is none; the command line has --control for it.
	Control *Control `json:"control"`
	// What is off unless it is allowed here, or on the command line.
	Allow Allow `json:"allow"`
	// Whether reading an optional or nullable field bare is an error rather than a warning.
	Strict bool `json:"strict" penstock:"default=false"`
}

// Allow is what an [Integration] allows that is off otherwise.
type Allow struct {
	Place
	// Programs that the exec connector may start, by their absolute paths.
	Exec []string `json:"exec"`
}

func (a *Allow) check(d *Decoder) {
	for i, p := range a.Exec {
		if !path.IsAbs(p) || path.Clean(p) != p {
			d.errorf(a.Node.Get("exec").Elems[i].Pos, "wrong-value", clip(p), "write it as in /usr/bin/jq", "a program is named by its absolute path")
		}
	}
}

// Store is where an [Integration] keeps what must outlive the process. One process at a time opens a file; a database may be opened by many, which
// are replicas of one another.
type Store struct {
	Place
	// What keeps it: sqlite is one file on a local disk, for one process; postgres is a PostgreSQL server (version 13 and later) that replicas share.
	Driver string `json:"driver" penstock:"enum=sqlite|postgres,default=sqlite"`
	// With sqlite: path of the file, relative to the folder that the program runs in. Files of the same name with -wal and -lock or the like stand beside it.
	Path string `json:"path" penstock:"default=.penstock/store.db,nonempty"`
	// With sqlite: how much of the disk stays free. A store that would fill it up stops accepting messages before, so that what is in it can still be worked off.
	Reserve penstock.Size `json:"reserve" penstock:"default=64Mi,min=1Mi"`
	// With postgres: where the server is, as a connection URI of libpq, without a password: postgres://penstock@db.example.com:5432/penstock?sslmode=verify-full. What it leaves out comes from the environment (PGHOST, PGPASSFILE and the like).
	URL string `json:"url"`
	// With postgres: the password of the role. It is read when a connection is opened.
	Password penstock.Secret `json:"password"`
	// With postgres: the schema of the tables, which is made where it is not there. Each Integration on a database needs one of its own.
	Schema string `json:"schema" penstock:"default=penstock"`
	// With postgres: how long a replica may be silent before others take over what it drives. Transactions that stand still are ended by the server after less than a third of it.
	Lease penstock.Duration `json:"lease" penstock:"default=10s,min=1s,max=10m"`
	// With postgres: accept a server that says that something is durable before it is (fsync, synchronous_commit or full_page_writes off). What was acknowledged is lost when its machine stops: for tests.
	Volatile bool `json:"volatile"`
	// How many bytes the journal of messages may take, which `penstock trace` reads; what is older is dropped. 0 keeps none.
	Journal penstock.Size `json:"journal" penstock:"default=64Mi,min=0"`
}

// DefaultStore is the store of a folder whose Integration names none.
func DefaultStore() Store {
	var s Store
	Decode(&Node{Kind: NodeMap}, &s, &diag.List{})
	return s
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
