// Package avro is the codec for Apache Avro 1.11: binary data that its schema is needed to read, and that stands beside a schema
// registry's id in front of it (the Confluent wire format) or is agreed upon.
//
// Bytes go to JSON text and back in one pass, by a program that was compiled of the schema: no values are made in between.
package avro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hamba/avro/v2"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec.
type Config struct {
	// Name of the Schema, one of avro, that messages are written with. Messages are read as it has them: without a registry they were written with it;
	// with one, what their writer's schema has more is left out, and what it has less gets its default (Avro, Schema Resolution). Left out, messages of a registry
	// are read as they were written, and none can be written.
	Schema penstock.SchemaRef `json:"schema"`
	// Name of a Connection to a schema registry. Each message then begins with the id of the schema that it was written with (Confluent wire format: a zero byte
	// and four of the id).
	Registry penstock.ConnectionRef `json:"registry"`
	// Subject of the registry that the schema belongs to, by convention <topic>-value. Only for messages that are written, with registry and schema.
	Subject string `json:"subject" penstock:"nonempty"`
	// Whether the schema is registered under the subject when the first message is written, if it is not there yet. With false that is an error.
	Register bool `json:"register" penstock:"default=false"`
	// Whether a stream (a file, standard input) is an object container file (.avro): many data in blocks, behind a header with the schema that they were written
	// with. They are read as `schema` has them, where there is one. A decode step gives the list of them all, an encode step writes one, or the elements of a list.
	Container bool `json:"container" penstock:"default=false"`
	// How the blocks of a container are compressed that is written. Those that are read say it themselves.
	Compression string `json:"compression" penstock:"enum=null|deflate|snappy|zstandard,default=deflate"`
}

// Rows implements penstock.Tabular: a container is a list.
func (c *Config) Rows() bool { return c.Container }

// Validate implements penstock.Resolver.
func (c *Config) Validate() []error {
	var errs []error
	refuse := func(path, text, hint string) {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Path: path, Err: errors.New(text), Hint: hint})
	}
	if c.Container && !c.Registry.IsZero() {
		refuse("container", "a container has its schema in it, and not in a registry", "leave `registry` or `container` out")
	}
	if c.Schema.IsZero() && c.Registry.IsZero() && !c.Container {
		refuse("", "avro can't be read without its schema", "add `schema: …`, or `registry: …` where messages name theirs")
	}
	if !c.Schema.IsZero() && c.Schema.Schema.Language != "" && c.Schema.Schema.Language != penstock.Avro {
		refuse("schema", fmt.Sprintf("the schema %s is one of %s", c.Schema.Name, c.Schema.Schema.Language), "name a Schema with `avro: …`")
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
		Name:    "avro",
		Summary: "Apache Avro: each message is one datum, with or without the id of a schema registry in front.",
	}, New)
}

// DefaultMaxRecord is the largest datum in bytes where CodecOptions.MaxRecord is 0; its JSON text may be eight times as long.
const DefaultMaxRecord = 16 << 20

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	out := &codec{config: c, max: o.MaxRecord, shared: &shared{byID: map[uint32]program{}}}
	if out.max <= 0 {
		out.max = DefaultMaxRecord
	}
	if !c.Schema.IsZero() {
		var err error
		if out.schema, err = parse(c.Schema.Schema.Text); err != nil {
			return nil, err
		}
		if out.own, err = compile(out.schema, out.schema); err != nil {
			return nil, err
		}
	}
	out.registry, _ = c.Registry.Config.(penstock.SchemaRegistry)
	return out, nil
}

type codec struct {
	config   Config
	max      int
	schema   avro.Schema // nil: messages bring theirs
	own      *node
	registry penstock.SchemaRegistry
	*shared
}

// shared is what copies of a codec share: what was learnt from the registry.
type shared struct {
	mu   sync.RWMutex
	byID map[uint32]program // by the writer's schema

	once sync.Mutex
	id   uint32 // of the codec's own schema
	has  bool
}

// program reads what was written with a schema; err says why nothing can, which stays so, since the schema of an id never changes.
type program struct {
	node *node
	err  error
}

var (
	_ penstock.Codec      = (*codec)(nil)
	_ penstock.Limiter    = (*codec)(nil)
	_ penstock.Transcoder = (*codec)(nil)
	_ penstock.Resolving  = (*codec)(nil)
	_ penstock.Preparing  = (*codec)(nil)
	_ penstock.Tabular    = (*Config)(nil)
)

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	n := *c
	n.max = bytes
	return &n
}

// WrittenWith implements penstock.Resolving.
func (c *codec) WrittenWith(text penstock.SchemaText) (penstock.Codec, error) {
	own, err := c.resolved(text, "the writer's schema")
	if err != nil {
		return nil, err
	}
	n := *c
	n.own, n.registry = own, nil
	return &n, nil
}

// patience is how long a registry is asked for.
const patience = 10 * time.Second

// Prepare implements penstock.Preparing.
func (c *codec) Prepare(ctx context.Context, payload []byte) error {
	if c.registry == nil || len(payload) < header || payload[0] != 0 {
		return nil
	}
	_, err := c.writer(ctx, binary.BigEndian.Uint32(payload[1:]))
	if penstock.CodeOf(err).Transient() || ctx.Err() != nil {
		return err
	}
	return nil
}

// maxSchemas bounds how many schemas of others are kept.
const maxSchemas = 10_000

// writer is the program for messages of a writer's schema.
func (c *codec) writer(ctx context.Context, id uint32) (*node, error) {
	c.mu.RLock()
	known, ok := c.byID[id]
	c.mu.RUnlock()
	if ok {
		return known.node, known.err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := c.registry.ByID(ctx, int(id))
	if err != nil {
		return nil, err
	}
	known.node, known.err = c.programFor(id, text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byID) >= maxSchemas {
		clear(c.byID)
	}
	c.byID[id] = known
	return known.node, known.err
}

func (c *codec) programFor(id uint32, text penstock.SchemaText) (*node, error) {
	return c.resolved(text, fmt.Sprintf("the schema %d of the registry", id))
}

// resolved makes what reads messages of a writer's schema, which is called what, as the codec's own schema has them.
func (c *codec) resolved(text penstock.SchemaText, what string) (*node, error) {
	if text.Language != penstock.Avro {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: fmt.Errorf("the message was written with %s, which is one of %s", what, text.Language)}
	}
	w, err := parseWith(text.Text, text.Files)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: fmt.Errorf("%s can't be read: %w", what, err)}
	}
	reader := c.schema
	if reader == nil {
		reader = w
	}
	n, err := compile(w, reader)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "avro", Err: fmt.Errorf("what was written with %s can't be read as %s: %w", what, c.config.Schema.Name, err),
			Hint: "the schemas are not compatible: change one of them"}
	}
	return n, nil
}

// header is how long the Confluent wire format's is.
const header = 5

// Decode implements penstock.Codec.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	if c.config.Container {
		return c.decodeContainer(dst, src)
	}
	if len(src) > c.max {
		return dst, &penstock.Error{Code: penstock.TooLarge, Op: "avro", Err: fmt.Errorf("a datum of %d bytes; %d are read", len(src), c.max), Hint: "raise maxRecord if it is meant"}
	}
	n := c.own
	if c.registry != nil {
		if len(src) < header || src[0] != 0 {
			return dst, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: errors.New("the message does not begin with the id of a schema"), Hint: "was it written with a schema registry? Without one, leave `registry` out"}
		}
		var err error
		if n, err = c.writer(context.Background(), binary.BigEndian.Uint32(src[1:])); err != nil {
			return dst, err
		}
		src = src[header:]
	}
	return n.read(dst, src, 8*c.max)
}

// identity is the id of the codec's own schema.
func (c *codec) identity() (uint32, error) {
	c.once.Lock()
	defer c.once.Unlock()
	if c.has {
		return c.id, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id, err := c.registry.ID(ctx, c.config.Subject, c.config.Schema.Schema, c.config.Register)
	if err != nil {
		return 0, err
	}
	c.id, c.has = uint32(id), true //nolint:gosec // an id has 32 bits
	return c.id, nil
}

// Encode implements penstock.Codec.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if c.own == nil {
		return dst, &penstock.Error{Code: penstock.Config, Op: "avro", Err: errors.New("nothing can be written without a schema"), Hint: "add `schema: …` to the format"}
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "avro", Err: err}
	}
	if c.config.Container {
		return c.encodeContainer(dst, d)
	}
	out := dst
	if c.registry != nil {
		if c.config.Subject == "" {
			return dst, &penstock.Error{Code: penstock.Config, Op: "avro", Err: errors.New("nothing can be written without a subject"), Hint: "add `subject: <topic>-value` to the format"}
		}
		id, err := c.identity()
		if err != nil {
			return dst, err
		}
		out = binary.BigEndian.AppendUint32(append(out, 0), id)
	}
	out, bad := c.own.write(out, d, 0)
	if bad != nil {
		return dst, bad.error()
	}
	return out, nil
}

// NewFramer implements penstock.Codec: a stream is one datum.
func (c *codec) NewFramer(string) penstock.Framer {
	if c.config.Container {
		return &lineFramer{codec: c}
	}
	return &framer{codec: c}
}

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder {
	if c.config.Container {
		return &containerEncoder{codec: c}
	}
	return &encoder{codec: c}
}

type framer struct {
	codec *codec
	lost  bool // the stream is over the limit
}

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	switch {
	case len(data) == 0:
		return 0, nil, nil
	case f.lost:
		return len(data), nil, nil
	case len(data) > f.codec.max:
		f.lost = true
		return len(data), nil, &penstock.Error{Code: penstock.TooLarge, Op: "avro", Err: fmt.Errorf("a datum of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant"}
	case !atEOF:
		return 0, nil, nil
	}
	return len(data), data, nil
}

// Bind implements penstock.Framer. A datum that can't be read fails when it is: its document is the text of nothing.
func (f *framer) Bind(d *jsonview.Doc, record []byte) { d.ResetLazy(record, lazy{f.codec}) }

// lazy reads a datum when a document is first looked at.
type lazy struct{ codec *codec }

// DecodeRecord implements jsonview.Decoder.
func (l lazy) DecodeRecord(d *jsonview.Doc, src []byte) error {
	text, err := l.codec.Decode(nil, src)
	if err != nil {
		return err
	}
	d.Reset(jsonview.JSON, text)
	return d.Parse(jsonview.Limits{})
}

// encoder writes one datum: a second one would stand behind it without anything to tell them apart.
type encoder struct {
	codec *codec
	begun bool
}

// Begin implements penstock.Encoder.
func (e *encoder) Begin(dst []byte) []byte { return dst }

// Append implements penstock.Encoder.
func (e *encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if e.begun {
		return dst, &penstock.Error{Code: penstock.Config, Op: "avro", Err: errors.New("a stream of avro holds one datum, and this is a second"), Hint: "write each message to a file of its own, or use the format json"}
	}
	out, err := e.codec.Encode(dst, d)
	e.begun = err == nil
	return out, err
}

// End implements penstock.Encoder.
func (e *encoder) End(dst []byte) []byte { return dst }
