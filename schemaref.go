package penstock

import (
	"context"

	"penstock.dev/penstock/types"
)

// The languages that a [SchemaText] is written in.
const (
	JSONSchema = "jsonSchema"
	Avro       = "avro"
	Protobuf   = "protobuf"
)

// SchemaText is a schema as its author wrote it, for codecs whose bytes can't be read without it.
type SchemaText struct {
	Language string // JSONSchema, Avro or Protobuf
	// Text is the schema: JSON, or the source of a .proto file.
	Text []byte
	// Message is, for Protobuf, the full name of the message.
	Message string
	// Files are, for Protobuf, what Text imports, by the path that it does so.
	Files map[string][]byte
	// Descriptors are, for Protobuf and in the place of Text and Files, a google.protobuf.FileDescriptorSet with all that Message needs: what others
	// tell of the schemas that they write with. Only [Resolving] takes it.
	Descriptors []byte
}

// SchemaRef is a `schema:` field of a codec's configuration. Decoding fills Name and Pos, compiling the rest from the Schema resource.
type SchemaRef struct {
	Name   string
	Pos    Pos
	Schema SchemaText
	Type   *types.Type // what a document of it is
}

// IsZero reports whether the field was left out.
func (s SchemaRef) IsZero() bool { return s.Name == "" }

// Publisher is implemented by a codec's configuration whose messages name a schema of a registry: what is written with it must be compatible with what
// was written before, which `penstock check --online` asks about.
type Publisher interface {
	// Publishes gives the registry, the subject and the schema; a nil registry says that nothing is published.
	Publishes() (r SchemaRegistry, subject string, s SchemaText)
}

// SchemaRegistry is a registry of schemas, where writers and readers of messages meet: the Confluent Schema Registry, and those that speak
// its API. The configuration of a Connection whose Tech is schemaRegistry implements it. It is safe for concurrent use; what it has seen once it keeps, since
// the schema of an id never changes. Errors have the code unavailable where the registry can't be reached, and notFound where it
// doesn't know what was asked for.
type SchemaRegistry interface {
	// ByID gives the schema that messages name by their id.
	ByID(ctx context.Context, id int) (SchemaText, error)
	// ID gives the id of a schema under a subject. With register, one that is not there yet is registered: the registry refuses it with the
	// code conflict where it isn't compatible with those before it.
	ID(ctx context.Context, subject string, s SchemaText, register bool) (int, error)
	// Compatible says why a schema can't be the next of its subject, by the rules that the subject has there; none where it can, and where there is no
	// such subject yet.
	Compatible(ctx context.Context, subject string, s SchemaText) ([]string, error)
}
