package penstock

import (
	"context"
	"io"
)

// The interfaces of this file are optional: a Codec or Encoder that has the ability
// implements it, and a connector that reads or writes streams asks for it.

// Transcoder is a [Codec] whose streams may be in another character encoding than UTF-8.
// Offsets into such a stream are offsets into its UTF-8 form.
type Transcoder interface {
	// Transcode looks at the first bytes of a stream, at least four unless the stream is shorter, and
	// returns what turns the stream into UTF-8, or nil if it is to be read as it is.
	Transcode(head []byte) func(io.Reader) io.Reader
}

// Splitter is a [Codec] whose streams can be cut into ranges that are read at the same time.
type Splitter interface {
	// Split returns the first place in data, a piece from somewhere in a stream, at which a record
	// surely begins, -1 if it can't tell. The framer of a range has seen the head of the stream first,
	// up to its first record.
	Split(data []byte) int
}

// Continuer is an [Encoder] that needs to see a stream that it goes on with, since what it writes
// depends on it (the columns of a CSV file). Begin is not called for such a stream.
type Continuer interface {
	// Continue reads the head of the stream: all up to the end of its first record at least. It fails
	// where the encoder's configuration contradicts the stream.
	Continue(head []byte) error
}

// Tabular is implemented by a codec's configuration that says itself whether what is decoded as a whole is a list of records: what Spec.Rows says of all.
type Tabular interface {
	// Rows says that it is.
	Rows() bool
}

// Exact is a [Codec] of bytes whose streams hold nothing but records: no line ends may be put between them, and blanks are as good as any byte.
type Exact interface {
	// Exact says that it is so.
	Exact() bool
}

// Limiter is a [Codec] whose largest record can be set: for connectors that have a setting of their own.
type Limiter interface {
	// WithMaxRecord returns the same codec with another limit, in bytes.
	WithMaxRecord(bytes int) Codec
}

// Resolving is implemented by a codec whose bytes can't be read without the schema that they were written with, for connectors that know it of each
// message by other means than its bytes (a topic that numbers the versions of its schema).
type Resolving interface {
	Codec
	// WrittenWith gives a codec that reads what was written with the schema w as its own schema has it. It fails with Invalid where w can't be read, and
	// with Unprocessable where the two are not compatible.
	WrittenWith(w SchemaText) (Codec, error)
}

// Described is implemented by a [Resolving] codec of messages that others know by descriptors (Protobuf), for connectors that declare the schema of a topic.
type Described interface {
	Resolving
	// Descriptors gives a google.protobuf.FileDescriptorSet with the codec's own schema and all that it imports, the same bytes each time; the full name of the
	// message; and the path of its file in the set. It fails where the codec has no schema of its own.
	Descriptors() (set []byte, message, file string, err error)
}

// Preparing is implemented by a codec that may have to ask another system before it can read a payload: a registry for the schema that the payload names. A source that can hold
// its messages back asks it first, so that a registry which is away holds the flow up, and makes no dead letters.
type Preparing interface {
	// Prepare asks for what payload needs, if that is not known. An error says that it can't be had now, and may be later. Whatever else is wrong is left to who reads the
	// payload.
	Prepare(ctx context.Context, payload []byte) error
}
