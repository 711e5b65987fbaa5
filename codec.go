package penstock

import (
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Codec turns bytes into documents and documents into bytes. A codec is immutable and
// safe for concurrent use; a Framer and an Encoder serve one stream.
type Codec interface {
	// NewFramer begins reading a stream (a file, a connection).
	NewFramer(name string) Framer
	// NewEncoder begins writing a stream.
	NewEncoder() Encoder
	// Decode turns a whole document (a decode step's input) into JSON text appended to dst.
	Decode(dst, src []byte) ([]byte, error)
	// Encode turns one body into this format, appended to dst (an encode step's output).
	Encode(dst []byte, d *jsonview.Doc) ([]byte, error)
}

// Framer cuts a stream into records. Finding where a record ends is cheap and happens in the
// source; decoding a record happens lazily, when a step first reads the document.
type Framer interface {
	// Frame looks for the next record at the start of data, which is all that is buffered. It
	// returns how many bytes to step over and the record, a part of data; a nil record with
	// advance > 0 is skipped (a header, a blank line); advance 0 asks for more data. At the end
	// of the stream atEOF is true and advance 0 means that nothing is left. An error (a record
	// over the limit, a quote that is never closed) comes with how far to skip to go on after it,
	// or advance 0 when the rest of the stream can't be read.
	Frame(data []byte, atEOF bool) (advance int, record []byte, err error)
	// Bind makes d the document of record, which stays unchanged as long as d lives.
	Bind(d *jsonview.Doc, record []byte)
}

// Encoder writes a stream of records.
type Encoder interface {
	// Begin appends what stands before the first record (a CSV header needs the first document:
	// then it is left to Append).
	Begin(dst []byte) []byte
	// Append appends one record. On an error the returned slice is dst, unchanged.
	Append(dst []byte, d *jsonview.Doc) ([]byte, error)
	// End appends what stands after the last record.
	End(dst []byte) []byte
}

// CodecOptions is what a codec is built with beside its own configuration.
type CodecOptions struct {
	Type      *types.Type // the declared type of a record; nil if none: text cells are then strings
	MaxRecord int         // bytes; 0 is 16 MiB
	MaxDepth  int         // of nesting; 0 is 512
}

// Format is a codec in a driver's configuration: a map with the codec's name as its one
// key, `{csv: {separator: ";"}}`. Decoding fills Name, Pos and Config, compiling Codec.
type Format struct {
	Name   string
	Pos    Pos
	Config any   // the codec's own decoded configuration
	Codec  Codec // nil until compiled
}

// IsZero reports whether the field was left out.
func (f Format) IsZero() bool { return f.Name == "" }
