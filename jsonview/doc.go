// Package jsonview reads JSON where it lies: one forward scan checks a document and builds a tape of
// 16-byte nodes that point into the original bytes; nothing is copied and, on a reused [Doc], nothing is
// allocated.
//
// A Doc holds one message body in one of four formats, all read through the same node API: JSON text, a
// Record (a row whose cells a codec located in the source, with column names shared by a [Shape]), plain
// Text (one string) and Binary (opaque bytes). JSON is parsed lazily: [Doc.Reset] only remembers the bytes,
// [Doc.Parse] does the work when something is first read.
//
// # The tape
//
// Nodes lie in document order. Index 0 is the root. In an object each field takes a key node, and its value
// is the node right after the key. Every value knows its next sibling: an element points to the next
// element, a value in an object to the next key; the last one points nowhere. So a walk is
//
//	for e := d.First(arr); e != jsonview.None; e = d.Next(e) { … }
//	for k := d.First(obj); k != jsonview.None; k = d.Next(d.Value(k)) { … }
//
// and skips whole subtrees in one step. A key node also knows its object, which is what makes a [Hint] safe:
// one comparison proves that the remembered place is the wanted field of the wanted object.
//
// # What is refused
//
// Parse accepts exactly RFC 8259 with three things tightened, because each of them is read differently by
// different readers (RFC 8259 §4, §8.1, §8.2; RFC 7493): duplicate keys in an object, strings that are not valid
// UTF-8, and \u escapes that form a lone surrogate. A byte order mark is refused too (RFC 8259 §8.1).
//
// # Lifetime
//
// A Doc refers to the bytes it was given. Strings and slices it returns alias those bytes; whoever keeps one
// beyond the life of the source copies it (see [Doc.CloneInto]).
package jsonview

import "math"

// Format says how the bytes of a Doc are to be read.
type Format uint8

// The formats of a document. The zero value is JSON.
const (
	// JSON is text as RFC 8259 defines it, parsed by [Doc.Parse].
	JSON Format = iota
	// Record is one row of cells, built by [Doc.ResetRecord] and [Doc.AddCell]; it reads as an object.
	Record
	// Text is one string: the whole source.
	Text
	// Binary is opaque bytes; it renders in JSON as a base64 string.
	Binary
)

// String gives the lower-case name of the format.
func (f Format) String() string {
	switch f {
	case JSON:
		return "json"
	case Record:
		return "record"
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return "invalid"
}

// Kind is the kind of a node.
type Kind uint8

// The kinds of a node. The zero value, Invalid, is the kind of a node that is not there, and of every node
// of a JSON document that was not parsed or was refused.
const (
	Invalid Kind = iota
	Null
	False
	True
	Number
	String
	Array
	Object
	// Bytes is the kind of the root of a Binary document.
	Bytes
)

// String gives the lower-case name of the kind.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case False:
		return "false"
	case True:
		return "true"
	case Number:
		return "number"
	case String:
		return "string"
	case Array:
		return "array"
	case Object:
		return "object"
	case Bytes:
		return "bytes"
	}
	return "invalid"
}

// Node is the index of a node on the tape of the Doc it came from. 0 is the root. A Node means nothing to
// another Doc, nor to the same Doc after a Reset.
type Node int32

// None is the node that is not there. Every method of Doc accepts it.
const None Node = -1

// Limits bound what Parse accepts. Zero or negative fields mean the defaults.
type Limits struct {
	// MaxDepth is how deep arrays and objects may nest; the outermost counts as 1. Default 512.
	MaxDepth int
	// MaxBytes is the largest document, in bytes. Default 64 Mi. More than 4 GiB − 1 is never accepted, since
	// offsets have 32 bits. The tape of a document needs 16 bytes a node, at worst 8 times the text.
	MaxBytes int
}

// The defaults of Limits.
const (
	DefaultMaxDepth = 512
	DefaultMaxBytes = 64 << 20
)

// keepNodes is the tape, in nodes (1 MiB), that a Reset keeps: one huge document must not pin its tape for the
// life of a pooled Doc.
const keepNodes = 1 << 16

// Doc is one document. The zero value is an empty JSON document, ready for Reset.
//
// Reset, Parse and the record building methods change the Doc and are not safe for concurrent use. Once Parse has
// returned, every other method, and Parse again, only reads and may be called by many goroutines at once.
type Doc struct {
	src      []byte
	nodes    []node
	shape    *Shape // Record only
	err      error  // what Parse found
	work     *work  // scratch of Parse, made when first needed
	cells    int    // Record only: cells added so far
	maxDepth int32  // of Parse; 0 is the default
	lazy     lazy   // Record only: how it is decoded at first read
	format   Format
	parsed   bool
}

// node is one entry of the tape: 16 bytes, so four to a cache line.
type node struct {
	// start and end are where the text of the node lies in the source. Key nodes of a Record have none.
	start, end uint32
	// next is, for a value, the index of the next sibling (in an object: its key), 0 if it is the last; for a key
	// the index of its object.
	next uint32
	// meta packs kind (4 bits), flags (4 bits) and 24 bits of number: for arrays and objects how many members
	// they have (saturated), for keys a hash of the unescaped name.
	meta uint32
}

// The layout of node.meta.
const (
	kindMask    = 0x0f
	flagKey     = 0x10 // a key of an object; its kind is String
	flagEscaped = 0x20 // the text is not the value: a string with escapes, or a key that lives in a Shape
	flagQuoted  = 0x40 // the text has quotes around it
	flagPlain   = 0x80 // Number: no fraction, no exponent. Array, Object: all members are scalars or empty
	quotedShift = 6
	countShift  = 8
	countMax    = 1<<24 - 1
)

// Reset makes d an unread document of format f over src and forgets everything else but the capacity of the tape
// (up to 1 MiB). d refers to src, which must stay unchanged as long as d is read. For Record use ResetRecord; a
// Reset to Record gives a record without columns.
func (d *Doc) Reset(f Format, src []byte) {
	d.src = src
	d.format = f
	d.shape = nil
	d.err = nil
	d.cells = 0
	d.maxDepth = 0
	d.lazy.reset()
	d.parsed = f != JSON
	if cap(d.nodes) > keepNodes || d.work != nil && d.work.large() {
		d.nodes = nil
		d.work = nil
	}
	d.nodes = d.nodes[:0]
	switch f {
	case JSON:
	case Text:
		d.nodes = append(d.nodes, node{end: uint32(len(src)), meta: uint32(String)})
	case Binary:
		d.nodes = append(d.nodes, node{end: uint32(len(src)), meta: uint32(Bytes)})
	case Record:
		d.nodes = append(d.nodes, node{end: uint32(len(src)), meta: uint32(Object)})
	}
}

// SetMaxDepth bounds the nesting that a later Parse without a bound of its own accepts, until the next Reset: how the
// codec of a stream says what its documents may be. 0 is the default.
func (d *Doc) SetMaxDepth(n int) { d.maxDepth = int32(min(max(n, 0), math.MaxInt32)) }

// Format says what the document is.
func (d *Doc) Format() Format { return d.format }

// Bytes gives the source exactly as it came, whether parsed or not. A Record that is cut into cells has no text of its own as a
// whole: it gives nil, use AppendJSON. A lazy one that was not cut yet, or could not be, gives its row.
func (d *Doc) Bytes() []byte {
	if d.format == Record && d.parsed && d.err == nil {
		return nil
	}
	return d.src
}

// Parsed says whether Parse has run since the last Reset, whatever it found. Only JSON and lazy Records (see
// [Doc.ResetLazy]) need it: the others are always parsed.
func (d *Doc) Parsed() bool { return d.parsed }

// Parse scans the whole document once, checks it (see the package comment for what is refused) and builds the
// tape. It is idempotent: later calls, whatever their limits, give what the first one gave. The error is nil or a
// *SyntaxError for JSON, what the Decoder says for a lazy Record; a document with an error has no nodes at all. For
// every other document Parse does nothing.
func (d *Doc) Parse(lim Limits) error {
	if d.parsed {
		return d.err
	}
	if d.format == Record {
		return d.decode()
	}
	d.parsed = true
	if lim.MaxDepth == 0 {
		lim.MaxDepth = int(d.maxDepth)
	}
	if err := d.scan(lim); err != nil {
		d.nodes = d.nodes[:0]
		d.err = err
	}
	return d.err
}

// Valid reports whether src is a document that Parse accepts under the default limits.
func Valid(src []byte) bool {
	var d Doc
	d.Reset(JSON, src)
	return d.Parse(Limits{}) == nil
}
