// Package protobuf is the codec for Protocol Buffers: binary messages that their schema is needed to read, alone, behind a schema registry's
// id (the Confluent wire format), or in a stream, each with its length before it.
//
// Bytes go to JSON text and back by a program that was compiled of the schema: no values are made in between. The text is ProtoJSON's but for numbers of 64
// bits, which are numbers, and for fields that are zero, which are there.
package protobuf

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec.
type Config struct {
	// Name of the Schema, one of protobuf, whose message is read and written. Fields of a message that it doesn't know are left out, and those that a
	// message lacks are zero or absent. Left out, messages of a registry are read as they were written, and none can be written.
	Schema penstock.SchemaRef `json:"schema"`
	// Name of a Connection to a schema registry. Each message then begins with the id of the schema that it was written with, and with where its message
	// stands in that (Confluent wire format).
	Registry penstock.ConnectionRef `json:"registry"`
	// Subject of the registry that the schema belongs to, by convention <topic>-value. Only for messages that are written, with registry and schema.
	Subject string `json:"subject" penstock:"nonempty"`
	// Whether the schema is registered under the subject when the first message is written, if it is not there yet; and before it what it imports, each file
	// under a subject of its own path. With false that is an error.
	Register bool `json:"register" penstock:"default=false"`
	// What becomes of fields that the schema doesn't have: with drop they are left out, with refuse the message fails.
	Unknown string `json:"unknown" penstock:"enum=drop|refuse,default=drop"`
	// Whether a stream (a file, standard input, a streamed body) holds many messages, each with its length before it as a varint (writeDelimitedTo
	// and its like). With false a stream is one message. What brokers carry, and what the steps decode and encode see, is always one.
	Delimited *bool `json:"delimited" penstock:"default=true"`
}

// Validate implements penstock.Resolver.
func (c *Config) Validate() []error {
	var errs []error
	refuse := func(path, text, hint string) {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Path: path, Err: errors.New(text), Hint: hint})
	}
	if c.Schema.IsZero() && c.Registry.IsZero() {
		refuse("", "protobuf can't be read without its schema", "add `schema: …`, or `registry: …` where messages name theirs")
	}
	if !c.Schema.IsZero() && c.Schema.Schema.Language != "" && c.Schema.Schema.Language != penstock.Protobuf {
		refuse("schema", fmt.Sprintf("the schema %s is one of %s", c.Schema.Name, c.Schema.Schema.Language), "name a Schema with `protobuf: …`")
	}
	if c.Registry.IsZero() && (c.Subject != "" || c.Register) {
		refuse("subject", "`subject` and `register` mean nothing without `registry`", "leave them out")
	}
	if !c.Registry.IsZero() && c.Registry.Config != nil {
		if _, ok := c.Registry.Config.(penstock.SchemaRegistry); !ok {
			refuse("registry", fmt.Sprintf("the connection %s is no schema registry", c.Registry.Name), "name a Connection with `schemaRegistry: …`")
		}
	}
	return errs
}

// Publishes implements penstock.Publisher.
func (c *Config) Publishes() (penstock.SchemaRegistry, string, penstock.SchemaText) {
	r, _ := c.Registry.Config.(penstock.SchemaRegistry)
	if r == nil || c.Subject == "" || c.Schema.IsZero() {
		return nil, "", penstock.SchemaText{}
	}
	return r, c.Subject, c.Schema.Schema
}

// OutputType implements penstock.Typed.
func (c *Config) OutputType() *types.Type { return c.Schema.Type }

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "protobuf",
		Summary: "Protocol Buffers: messages alone, with the id of a schema registry in front, or in streams with their lengths.",
	}, New)
}

// DefaultMaxRecord is the largest message in bytes where CodecOptions.MaxRecord is 0; its JSON text may be eight times as long.
const DefaultMaxRecord = 16 << 20

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	out := &codec{config: c, max: o.MaxRecord, delimited: c.Delimited == nil || *c.Delimited, refuse: c.Unknown == "refuse", learnt: &learnt{byID: map[uint32]*written{}}}
	if out.max <= 0 {
		out.max = DefaultMaxRecord
	}
	if !c.Schema.IsZero() {
		d, err := protofile.Compile(c.Schema.Schema)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "protobuf", Path: "schema " + c.Schema.Name, Err: err}
		}
		out.own, out.descriptor = compile(d), d
		out.index = appendIndex(nil, protofile.IndexPath(d))
	}
	out.registry, _ = c.Registry.Config.(penstock.SchemaRegistry)
	return out, nil
}

var (
	_ penstock.Codec     = (*codec)(nil)
	_ penstock.Limiter   = (*codec)(nil)
	_ penstock.Exact     = (*codec)(nil)
	_ penstock.Described = (*codec)(nil)
)

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	n := *c
	n.max = bytes
	return &n
}

// Decode implements penstock.Codec.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	if len(src) > c.max {
		return dst, &penstock.Error{Code: penstock.TooLarge, Op: "protobuf", Err: fmt.Errorf("a message of %d bytes; %d are read", len(src), c.max), Hint: "raise maxRecord if it is meant"}
	}
	m := c.own
	if c.registry != nil {
		var err error
		if m, src, err = c.writer(src); err != nil {
			return dst, err
		}
	}
	return m.read(dst, src, 8*c.max, c.refuse)
}

// Encode implements penstock.Codec.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if c.own == nil {
		return dst, &penstock.Error{Code: penstock.Config, Op: "protobuf", Err: errors.New("nothing can be written without a schema"), Hint: "add `schema: …` to the format"}
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: err}
	}
	out := dst
	if c.registry != nil {
		var err error
		if out, err = c.appendHeader(out); err != nil {
			return dst, err
		}
	}
	out, bad := c.own.write(out, d)
	if bad != nil {
		return dst, bad.error()
	}
	return out, nil
}
