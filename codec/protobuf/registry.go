package protobuf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
)

type codec struct {
	config     Config
	max        int
	delimited  bool
	refuse     bool
	own        *message // nil: messages bring their schema
	descriptor protoreflect.MessageDescriptor
	index      []byte // where it stands in its file, as the wire has it
	registry   penstock.SchemaRegistry
	*learnt
}

// learnt is what copies of a codec share: what the registry said.
type learnt struct {
	mu   sync.RWMutex
	byID map[uint32]*written

	once sync.Mutex
	id   uint32 // of the codec's own schema
	has  bool
}

// written is a schema that others wrote with.
type written struct {
	file protoreflect.FileDescriptor
	mu   sync.RWMutex
	at   map[string]reader // by the bytes of the index
}

// reader is what messages of one type of a schema are read by.
type reader struct {
	message *message
	err     error
}

// patience is how long a registry is asked for.
const patience = 10 * time.Second

const (
	// maxSchemas bounds how many schemas of others are kept.
	maxSchemas = 10_000
	// maxTypes bounds how many messages of one of them are.
	maxTypes = 1000
	// header is how long the id of a schema is, with the byte before it.
	header = 5
)

// appendIndex appends where a message stands in its file: how many numbers follow, and these; the first message at the top, which most are, is
// one zero byte. They are zig-zag (Confluent, "Wire format").
func appendIndex(dst []byte, path []int) []byte {
	if len(path) == 1 && path[0] == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(len(path)))
	for _, i := range path {
		dst = binary.AppendVarint(dst, int64(i))
	}
	return dst
}

// readIndex is the way back; n is how many bytes it took, 0 where they are none.
func readIndex(src []byte) (path []int, n int) {
	count, n := binary.Varint(src)
	if n <= 0 || count < 0 || count > maxDepth {
		return nil, 0
	}
	if count == 0 {
		return []int{0}, n
	}
	for range count {
		i, size := binary.Varint(src[n:])
		if size <= 0 || i < 0 || i > 1<<20 {
			return nil, 0
		}
		path, n = append(path, int(i)), n+size
	}
	return path, n
}

// writer is what a message of the registry is read by, and its bytes behind the header.
func (c *codec) writer(src []byte) (*message, []byte, error) {
	if len(src) < header || src[0] != 0 {
		return nil, nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: errors.New("the message does not begin with the id of a schema"), Hint: "was it written with a schema registry? Without one, leave `registry` out"}
	}
	id, rest := binary.BigEndian.Uint32(src[1:]), src[header:]
	n := 1
	if len(rest) == 0 || rest[0] != 0 { // one zero byte is what nearly all have
		if _, n = readIndex(rest); n == 0 {
			return nil, nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Path: "byte 5", Err: errors.New("behind the id of the schema it is not said which of its messages this is")}
		}
	}
	index := rest[:n]
	c.mu.RLock()
	w := c.byID[id]
	c.mu.RUnlock()
	if w == nil {
		var err error
		if w, err = c.learn(context.Background(), id); err != nil {
			return nil, nil, err
		}
	}
	w.mu.RLock()
	f, ok := w.at[string(index)]
	w.mu.RUnlock()
	if !ok {
		f.message, f.err = c.resolve(id, w.file, index)
		w.mu.Lock()
		if len(w.at) >= maxTypes {
			clear(w.at)
		}
		w.at[string(index)] = f
		w.mu.Unlock()
	}
	return f.message, rest[n:], f.err
}

// Prepare implements penstock.Preparing.
func (c *codec) Prepare(ctx context.Context, payload []byte) error {
	if c.registry == nil || len(payload) < header || payload[0] != 0 {
		return nil
	}
	id := binary.BigEndian.Uint32(payload[1:])
	c.mu.RLock()
	_, known := c.byID[id]
	c.mu.RUnlock()
	if known {
		return nil
	}
	_, err := c.learn(ctx, id)
	if penstock.CodeOf(err).Transient() || ctx.Err() != nil {
		return err
	}
	return nil
}

// learn asks the registry for a schema.
func (c *codec) learn(ctx context.Context, id uint32) (*written, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := c.registry.ByID(ctx, int(id))
	if err != nil {
		return nil, err
	}
	if text.Language != penstock.Protobuf {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: fmt.Errorf("the message names the schema %d, which is one of %s", id, text.Language)}
	}
	f, err := protofile.File(text)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: fmt.Errorf("the schema %d of the registry can't be read: %w", id, err)}
	}
	w := &written{file: f, at: map[string]reader{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byID) >= maxSchemas {
		clear(c.byID)
	}
	c.byID[id] = w
	return w, nil
}

// resolve finds what a message of a writer's schema is read by: the codec's own, where it has one and that can read it.
func (c *codec) resolve(id uint32, f protoreflect.FileDescriptor, index []byte) (*message, error) {
	path, _ := readIndex(index)
	d := protofile.AtIndex(f, path)
	if d == nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: fmt.Errorf("the schema %d of the registry has no message at %v", id, path)}
	}
	if c.own == nil {
		return compile(d), nil
	}
	if err := c.reads(d, fmt.Sprintf("the schema %d of the registry", id)); err != nil {
		return nil, err
	}
	return c.own, nil
}

// reads says why what was written with a message of another schema, which is called so, can't be read as the codec's own; nil where it can.
func (c *codec) reads(d protoreflect.MessageDescriptor, called string) error {
	if d.FullName() != c.descriptor.FullName() {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "protobuf", Err: fmt.Errorf("the message is a %s, by %s, and a %s is expected", d.FullName(), called, c.descriptor.FullName()),
			Hint: "read it by a schema of its own, or leave `schema` out"}
	}
	if err := readable(d, c.descriptor, map[[2]protoreflect.FullName]bool{}); err != nil {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "protobuf", Err: fmt.Errorf("what was written with %s can't be read as %s: %w", called, c.config.Schema.Name, err),
			Hint: "the schemas are not compatible: change one of them"}
	}
	return nil
}

// WrittenWith implements penstock.Resolving. Fields are known by their numbers, so the same codec reads it.
func (c *codec) WrittenWith(text penstock.SchemaText) (penstock.Codec, error) {
	if text.Language != penstock.Protobuf {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: fmt.Errorf("the writer's schema is one of %s", text.Language)}
	}
	var d protoreflect.MessageDescriptor
	var err error
	if len(text.Descriptors) > 0 {
		d, err = protofile.CompileDescriptors(text.Descriptors, text.Message)
	} else {
		d, err = protofile.Compile(text)
	}
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: fmt.Errorf("the writer's schema can't be read: %w", err)}
	}
	n := *c
	n.registry = nil
	if c.own == nil {
		n.own, n.descriptor = compile(d), d
		return &n, nil
	}
	if err := c.reads(d, "the writer's schema"); err != nil {
		return nil, err
	}
	return &n, nil
}

// Descriptors implements penstock.Described.
func (c *codec) Descriptors() (set []byte, message, file string, err error) {
	if c.own == nil {
		return nil, "", "", &penstock.Error{Code: penstock.Config, Op: "protobuf", Err: errors.New("the format names no schema"), Hint: "add `schema: …` to the format"}
	}
	set, file, err = protofile.Descriptors(c.descriptor)
	return set, string(c.descriptor.FullName()), file, err
}

// sorts group the types of fields that can be read as one another (Protocol Buffers, "Updating A Message Type").
var sorts = map[protoreflect.Kind]string{
	protoreflect.Int32Kind: "varint", protoreflect.Uint32Kind: "varint", protoreflect.Int64Kind: "varint", protoreflect.Uint64Kind: "varint", protoreflect.BoolKind: "varint",
	protoreflect.EnumKind: "varint", protoreflect.Sint32Kind: "zig-zag", protoreflect.Sint64Kind: "zig-zag", protoreflect.StringKind: "text", protoreflect.BytesKind: "text",
	protoreflect.Fixed32Kind: "fixed32", protoreflect.Sfixed32Kind: "fixed32", protoreflect.Fixed64Kind: "fixed64", protoreflect.Sfixed64Kind: "fixed64",
}

// readable says why what was written as w can't be read as r.
func readable(w, r protoreflect.MessageDescriptor, seen map[[2]protoreflect.FullName]bool) error {
	key := [2]protoreflect.FullName{w.FullName(), r.FullName()}
	if seen[key] {
		return nil
	}
	seen[key] = true
	for i := range r.Fields().Len() {
		have := r.Fields().Get(i)
		was := w.Fields().ByNumber(have.Number())
		if was == nil {
			if have.Cardinality() == protoreflect.Required {
				return fmt.Errorf("%s is required, and %s has no field number %d", have.FullName(), w.FullName(), have.Number())
			}
			continue
		}
		a, b := sorts[was.Kind()], sorts[have.Kind()]
		if a == "" {
			a, b = was.Kind().String(), have.Kind().String()
		}
		if a != b || was.IsMap() != have.IsMap() {
			return fmt.Errorf("the field number %d was written as %s, a %s, and is read as %s, a %s", have.Number(), was.FullName(), kindOf(was), have.FullName(), kindOf(have))
		}
		if was.IsList() && !have.IsList() {
			return fmt.Errorf("the field number %d was written as the list %s, and is read as %s, a single value", have.Number(), was.FullName(), have.FullName())
		}
		if m := was.Message(); m != nil {
			if err := readable(m, have.Message(), seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func kindOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "map"
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

// appendHeader appends the id of the codec's own schema, and which of its messages it is.
func (c *codec) appendHeader(dst []byte) ([]byte, error) {
	if c.config.Subject == "" {
		return dst, &penstock.Error{Code: penstock.Config, Op: "protobuf", Err: errors.New("nothing can be written without a subject"), Hint: "add `subject: <topic>-value` to the format"}
	}
	id, err := c.identity()
	if err != nil {
		return dst, err
	}
	return append(binary.BigEndian.AppendUint32(append(dst, 0), id), c.index...), nil
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
