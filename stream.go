package penstock

import "io"

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

// Limiter is a [Codec] whose largest record can be set: for connectors that have a setting of their own.
type Limiter interface {
	// WithMaxRecord returns the same codec with another limit, in bytes.
	WithMaxRecord(bytes int) Codec
}
